// FLUX_HANDLE_USERID and FLUX_HANDLE_ROLEMASK: what a message says of its sender.
import { expect, test } from "bun:test";
import { type Message, requestMessage } from "../../src/message/message.ts";
import { ROLE_NONE, USERID_UNKNOWN } from "../../src/message/roles.ts";
import type { Link } from "../../src/transport/link.ts";
import { withMockUser } from "../../src/transport/mock-user.ts";

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
