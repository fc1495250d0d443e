import { expect, test } from "bun:test";
import { RpcTracker } from "../../src/broker/rpc-tracker.ts";
import { errno } from "../../src/message/errno.ts";
import { type Message, requestMessage, responseMessage } from "../../src/message/message.ts";

function request(topic: string, sender: string, matchtag: number, streaming = false): Message {
  const message = requestMessage(topic, { big: "payload" }, { matchtag, streaming });
  message.routes?.push(sender, "hop");
  return message;
}

test("what was answered is forgotten, a stream at its end only; the rest fails with the link", () => {
  const tracker = new RpcTracker();
  const [once, stream, open] = [request("a.b", "x", 1), request("a.s", "x", 2, true), request("a.c", "y", 1)];
  for (const message of [once, stream, open]) expect(tracker.sent(message)).toBe(true);
  tracker.answered(responseMessage(once, undefined));
  tracker.answered(responseMessage(stream, undefined));
  expect(tracker.size).toBe(2);
  tracker.answered(responseMessage(stream, undefined, errno.ENODATA));
  const left = tracker.takeAll();
  expect(left.map((message) => [message.topic, message.sender, message.hasPayload])).toEqual([["a.c", "y", false]]);
  expect(tracker.size).toBe(0);
});

test("a sender that disconnects is dropped, and nobody else", () => {
  const tracker = new RpcTracker();
  for (let i = 1; i <= 5; i++) {
    tracker.sent(request("a.b", "x", i, true));
    tracker.sent(request("a.b", "y", i, true));
  }
  const gone = requestMessage("a.disconnect", undefined, { noResponse: true });
  gone.routes?.push("x", "hop");
  tracker.sent(gone);
  expect(tracker.takeAll().map((message) => message.sender)).toEqual(["y", "y", "y", "y", "y"]);
});
