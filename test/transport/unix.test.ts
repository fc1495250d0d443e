import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { errno, type FluxError } from "../../src/message/errno.ts";
import { encodeFramed } from "../../src/message/framing.ts";
import { eventMessage } from "../../src/message/message.ts";
import { UnixLink } from "../../src/transport/unix.ts";

test("what the receiver throws costs neither the link nor later messages; nonsense ends it after what came before", async () => {
  const dir = mkdtempSync(join(tmpdir(), "flux-test-"));
  const path = join(dir, "s");
  const bug = new Error("bug in the receiver");
  const failures: unknown[] = [];
  const topics: (string | undefined)[] = [];
  const second = Promise.withResolvers<void>();
  const closed = Promise.withResolvers<FluxError | undefined>();
  const server = Bun.listen<UnixLink>({
    unix: path,
    socket: {
      binaryType: "buffer",
      open(socket) {
        socket.data = new UnixLink(socket, (err) => failures.push(err));
        socket.data.start((message) => {
          topics.push(message.topic);
          if (message.topic === "second") second.resolve();
          if (message.topic === "first") throw bug;
        }, closed.resolve);
      },
      data: (socket, chunk) => socket.data.handleData(chunk),
      close: (socket) => socket.data.handleClose(undefined),
    },
  });
  const client = createConnection(path);
  try {
    client.write(Buffer.concat(["first", "second"].map((topic) => encodeFramed(eventMessage(topic, undefined)))));
    await Promise.race([second.promise, closed.promise]);
    expect(topics).toEqual(["first", "second"]);
    expect(failures).toEqual([bug]);
    client.write(Buffer.concat([encodeFramed(eventMessage("third", undefined)), Buffer.from("GET / HTTP/1.0\r\n\r\n")]));
    expect((await closed.promise)?.errno).toBe(errno.EPROTO);
    expect(topics).toEqual(["first", "second", "third"]);
  } finally {
    client.destroy();
    server.stop(true);
    rmSync(dir, { recursive: true });
  }
});
