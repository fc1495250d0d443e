import { expect, test } from "bun:test";
import { fromPieces, toPieces } from "../../src/broker/overlay/pieces.ts";
import { encodeParts } from "../../src/message/codec.ts";
import { eventMessage, type Message, requestMessage, responseMessage } from "../../src/message/message.ts";

const request = (payload: Uint8Array | undefined, ...routes: string[]): Message => {
  const message = requestMessage("a.b", payload, { matchtag: 3 });
  message.routes?.push(...routes);
  return message;
};
const bytes = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => i * 7);
const KIB = 1 << 10;

test.each([
  ["a small request", request(bytes(10), "x", "y"), 6],
  ["no payload", request(undefined, "x"), 4],
  ["an empty payload", request(new Uint8Array(0)), 4],
  ["exactly one piece", request(bytes(256 * KIB)), 4],
  ["one byte more", request(bytes(256 * KIB + 1), "x"), 6],
  ["an event of ten pieces", eventMessage("news", bytes(2560 * KIB)), 12],
  ["a response", responseMessage(request(undefined, "x", "y"), bytes(700 * KIB)), 8],
])("%s comes out as it went in", (_what, message, parts) => {
  const pieces = toPieces(message);
  expect(pieces.length).toBe(parts);
  expect(Math.max(...pieces.map((piece) => piece.length))).toBeLessThanOrEqual(256 * KIB);
  const again = fromPieces(pieces);
  expect(encodeParts(again).map((part) => Buffer.from(part).toString("base64"))).toEqual(encodeParts(message).map((part) => Buffer.from(part).toString("base64")));
});

test("a payload of any size fits into the parts that a peer takes", () => {
  expect(toPieces(request(new Uint8Array(300 << 20), "x")).length).toBeLessThan(1024);
});
