// A message as the parts of one ZMTP message. A large payload is cut into several parts: a CURVE box is sealed and
// opened in one go, and one of many megabytes would hold the event loop. Since every other part is known by its place,
// the receiver joins whatever lies between topic and header.
import { decodeParts, encodeParts } from "../../message/codec.ts";
import { FLAG_PAYLOAD, type Message } from "../../message/message.ts";

const PIECE_BYTES = 256 << 10;
/** A peer takes at most 1024 parts: routes, topic and header need some of them. */
const PIECES_MAX = 900;

export function toPieces(message: Message): Uint8Array[] {
  const parts = encodeParts(message);
  const payload = message.bytes;
  if (payload === undefined || payload.length <= PIECE_BYTES) return parts;
  const piece_bytes = Math.max(PIECE_BYTES, Math.ceil(payload.length / PIECES_MAX));
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < payload.length; at += piece_bytes) pieces.push(payload.subarray(at, at + piece_bytes));
  return [...parts.slice(0, -2), ...pieces, ...parts.slice(-1)];
}

/** Throws FluxError EPROTO for parts that are not a message. */
export function fromPieces(parts: readonly Uint8Array[]): Message {
  const header = parts[parts.length - 1];
  if (header === undefined || ((header[3] ?? 0) & FLAG_PAYLOAD) === 0) return decodeParts(parts);
  const delimiter = parts.findIndex((part) => part.length === 0);
  const first = delimiter + 2; // past the delimiter, when there is one, and the topic
  if (parts.length - 1 - first <= 1) return decodeParts(parts);
  return decodeParts([...parts.slice(0, first), Buffer.concat(parts.slice(first, -1)), header]);
}
