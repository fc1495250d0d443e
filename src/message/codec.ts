// The parts of an encoded message (RFC 3), in wire order:
//
//   [route…, most recent hop first] [empty delimiter] [topic] [payload] [20-byte header]
//
// RFC 3 ends routes and topics with NUL; flux-core 0.88 sends them without and does not expect one. So nothing is
// added here, and a final NUL is dropped from what comes in.
// Routes and delimiter are there with FLAG_ROUTE, topic with FLAG_TOPIC, payload with FLAG_PAYLOAD. Nothing outside
// this folder knows a byte offset.
import { errno, FluxError } from "./errno.ts";
import {
  FLAG_PAYLOAD,
  FLAG_ROUTE,
  FLAG_TOPIC,
  Message,
  MSG_CONTROL,
  MSG_EVENT,
  MSG_REQUEST,
  MSG_RESPONSE,
  type MessageType,
} from "./message.ts";

const MAGIC = 0x8e;
const VERSION = 1;
export const HEADER_SIZE = 20;
/** A message that has passed more hops than this is caught in a loop. */
const ROUTES_MAX = 64;
const EMPTY = new Uint8Array(0);

/** The message as its parts. The payload part is shared with the message. */
export function encodeParts(message: Message): Uint8Array[] {
  const parts: Uint8Array[] = [];
  if (message.routes !== undefined) {
    for (let i = message.routes.length - 1; i >= 0; i--) parts.push(Buffer.from(message.routes[i] ?? ""));
    parts.push(EMPTY);
  }
  if (message.topic !== undefined) parts.push(Buffer.from(message.topic));
  const payload = message.bytes;
  if (payload !== undefined) parts.push(payload);
  const header = Buffer.allocUnsafe(HEADER_SIZE);
  writeHeader(header, 0, message);
  parts.push(header);
  return parts;
}

/** Writes the 20-byte header at `offset`. */
export function writeHeader(out: Buffer, offset: number, message: Message): void {
  out[offset] = MAGIC;
  out[offset + 1] = VERSION;
  out[offset + 2] = message.type;
  out[offset + 3] = message.flags;
  out.writeUInt32BE(message.userid >>> 0, offset + 4);
  out.writeUInt32BE(message.rolemask >>> 0, offset + 8);
  out.writeUInt32BE(message.aux1 >>> 0, offset + 12);
  out.writeUInt32BE(message.aux2 >>> 0, offset + 16);
}

/**
 * The message that `parts` encode. The payload part is kept, not copied: pass a copy when the memory is reused.
 * Throws FluxError EPROTO, with the reason, for anything that RFC 3 does not allow.
 */
export function decodeParts(parts: readonly Uint8Array[]): Message {
  const header = parts[parts.length - 1];
  if (header === undefined) throw malformed("no parts");
  if (header.length !== HEADER_SIZE) throw malformed(`header of ${header.length} bytes`);
  const view = new DataView(header.buffer, header.byteOffset, HEADER_SIZE);
  if (header[0] !== MAGIC) throw malformed(`magic 0x${hex(header[0])}`);
  if (header[1] !== VERSION) throw malformed(`protocol version ${header[1]}`);
  const type = messageType(header[2] ?? 0);
  const flags = header[3] ?? 0;
  checkFlags(type, flags);

  let next = 0;
  let routes: string[] | undefined;
  if ((flags & FLAG_ROUTE) !== 0) {
    const end = findDelimiter(parts);
    routes = [];
    for (let i = end - 1; i >= 0; i--) routes.push(partText(parts[i], "route"));
    next = end + 1;
  }
  const topic = (flags & FLAG_TOPIC) !== 0 ? partText(takePart(parts, next++), "topic") : undefined;
  const payload = (flags & FLAG_PAYLOAD) !== 0 ? takePart(parts, next++) : undefined;
  if (next !== parts.length - 1) throw malformed(`${parts.length} parts do not fit flags 0x${hex(flags)}`);

  const kept = type === MSG_EVENT ? flags & ~FLAG_ROUTE : flags;
  const message = new Message(type, kept, topic, view.getUint32(12), view.getUint32(16), undefined, payload);
  message.userid = view.getUint32(4);
  message.rolemask = view.getUint32(8);
  message.routes = type === MSG_EVENT ? undefined : routes;
  return message;
}

function takePart(parts: readonly Uint8Array[], index: number): Uint8Array {
  const part = parts[index];
  if (part === undefined || index === parts.length - 1) throw malformed("a part is missing");
  return part;
}

function messageType(type: number): MessageType {
  if (type === MSG_REQUEST || type === MSG_RESPONSE || type === MSG_EVENT || type === MSG_CONTROL) return type;
  throw malformed(`message type ${type}`);
}

function checkFlags(type: MessageType, flags: number): void {
  const routed = (flags & FLAG_ROUTE) !== 0;
  const mustRoute = type === MSG_REQUEST || type === MSG_RESPONSE;
  if (mustRoute && !routed) throw malformed("no route delimiter");
  // RFC 3 forbids routes in events, but flux-core 0.88 sends them with a delimiter.
  if (type === MSG_CONTROL && routed) throw malformed("routes in a control message");
  if (type !== MSG_CONTROL && (flags & FLAG_TOPIC) === 0) throw malformed("no topic");
}

function findDelimiter(parts: readonly Uint8Array[]): number {
  const limit = Math.min(parts.length - 1, ROUTES_MAX + 1);
  for (let i = 0; i < limit; i++) {
    if (parts[i]?.length === 0) return i;
  }
  throw malformed("no route delimiter");
}

/** Text of a part, with or without a final NUL; never empty and with no other NUL. */
function partText(part: Uint8Array | undefined, what: string): string {
  if (part === undefined || part.length === 0) throw malformed(`${what} is empty`);
  const end = part[part.length - 1] === 0 ? part.length - 1 : part.length;
  const nul = part.indexOf(0);
  if (end === 0 || (nul >= 0 && nul < end)) throw malformed(`${what} has a NUL inside`);
  return Buffer.from(part.buffer, part.byteOffset, end).toString("utf8");
}

function hex(value: number | undefined): string {
  return (value ?? 0).toString(16).padStart(2, "0");
}

function malformed(reason: string): FluxError {
  return new FluxError(errno.EPROTO, `malformed message: ${reason}`);
}
