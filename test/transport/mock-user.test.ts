// FLUX_HANDLE_USERID and FLUX_HANDLE_ROLEMASK: what a message says of its sender.
import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Flux } from "../../src/client/flux.ts";
import { type Message, requestMessage } from "../../src/message/message.ts";
import { ROLE_NONE, USERID_UNKNOWN } from "../../src/message/roles.ts";
import type { Link } from "../../src/transport/link.ts";
import { withMockUser } from "../../src/transport/mock-user.ts";
import { UnixLink } from "../../src/transport/unix.ts";

function sentWith(env: Record<string, string>): [number, number] {
  const sent: Message[] = [];
  const link: Link = { start: () => undefined, send: (message) => void sent.push(message), queued_bytes: 0, drained: () => Promise.resolve(), close: () => undefined };
  withMockUser(link, env).send(requestMessage("a.b", undefined));
  const [message] = sent;
  return [message?.userid ?? -1, message?.rolemask ?? -1];
}

test("without them the broker says who we are", () => {
  expect(sentWith({})).toEqual([USERID_UNKNOWN, ROLE_NONE]);
  expect(sentWith({ FLUX_HANDLE_USERID: "" })).toEqual([USERID_UNKNOWN, ROLE_NONE]);
});

test("decimal and hexadecimal", () => {
  expect(sentWith({ FLUX_HANDLE_USERID: "42", FLUX_HANDLE_ROLEMASK: "0x2" })).toEqual([42, 2]);
  expect(sentWith({ FLUX_HANDLE_ROLEMASK: "2" })).toEqual([USERID_UNKNOWN, 2]);
});

test("what is no number of 32 bits is refused", () => {
  for (const text of ["me", "-1", "0x", "4294967296", "1.5"]) expect(() => sentWith({ FLUX_HANDLE_USERID: text })).toThrow(`FLUX_HANDLE_USERID=${text}: expected a number`);
});

test("a handle on a broker has them, and an empty one is none", async () => {
  const directory = mkdtempSync(join(tmpdir(), "flux-test-"));
  let received = Promise.withResolvers<Message>();
  const server = Bun.listen<UnixLink>({
    unix: join(directory, "s"),
    socket: {
      binaryType: "buffer",
      open(socket) {
        socket.data = new UnixLink(socket);
        socket.data.start((message) => received.resolve(message), () => undefined);
        socket.data.sendRaw(Buffer.from([0]));
      },
      data: (socket, chunk) => socket.data.handleData(chunk),
      close: (socket) => socket.data.handleClose(undefined),
    },
  });
  const before = process.env["FLUX_HANDLE_USERID"];
  const sentBy = async (userid: string): Promise<number> => {
    process.env["FLUX_HANDLE_USERID"] = userid;
    received = Promise.withResolvers();
    const h = await Flux.open(`local://${directory}/s`);
    h.notify("a.b");
    const { userid: said } = await received.promise;
    h.close();
    return said;
  };
  try {
    expect(await sentBy("")).toBe(USERID_UNKNOWN);
    expect(await sentBy("42")).toBe(42);
    await expect(sentBy("me")).rejects.toThrow("FLUX_HANDLE_USERID=me: expected a number");
  } finally {
    if (before === undefined) delete process.env["FLUX_HANDLE_USERID"];
    else process.env["FLUX_HANDLE_USERID"] = before;
    server.stop(true);
    rmSync(directory, { recursive: true });
  }
});
