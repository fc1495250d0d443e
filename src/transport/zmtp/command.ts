// Commands of ZMTP 3.1 (ZeroMQ RFC 37): a name (length, characters) and data; and the metadata of READY and INITIATE,
// a list of properties: name (length, characters) and value (32-bit length, bytes).
import { errno, FluxError } from "../../message/errno.ts";

/** A refusal reason has a length byte. */
const REASON_MAX = 255;
const PROPERTIES_MAX = 32;
export const IDENTITY_MAX = 255;
const PING_CONTEXT_MAX = 16;

export interface Command {
  name: string;
  data: Uint8Array;
}

/** What a peer says of itself. */
export interface Metadata {
  /** "DEALER", "ROUTER", … */
  socketType: string;
  identity: Uint8Array;
}

export function encodeCommand(name: string, ...data: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat([Uint8Array.of(name.length), Buffer.from(name, "latin1"), ...data]);
}

/** Reads a command frame's body. Throws FluxError EPROTO. */
export function parseCommand(body: Uint8Array): Command {
  const size = body[0] ?? 0;
  if (size === 0 || body.length < 1 + size) throw new FluxError(errno.EPROTO, "a command without a name");
  return { name: Buffer.from(body.subarray(1, 1 + size)).toString("latin1"), data: body.subarray(1 + size) };
}

export function encodeMetadata(metadata: Metadata): Uint8Array {
  if (metadata.identity.length > IDENTITY_MAX) {
    throw new FluxError(errno.EINVAL, `an identity has at most ${IDENTITY_MAX} bytes, not ${metadata.identity.length}`);
  }
  return Buffer.concat([
    encodeProperty("Socket-Type", Buffer.from(metadata.socketType, "latin1")),
    encodeProperty("Identity", metadata.identity),
  ]);
}

function encodeProperty(name: string, value: Uint8Array): Uint8Array {
  const size = Buffer.alloc(4);
  size.writeUInt32BE(value.length);
  return Buffer.concat([Uint8Array.of(name.length), Buffer.from(name, "latin1"), size, value]);
}

/** Reads metadata; unknown properties are passed over. Throws FluxError EPROTO. */
export function parseMetadata(data: Uint8Array): Metadata {
  const bytes = Buffer.from(data);
  const metadata: Metadata = { socketType: "", identity: new Uint8Array(0) };
  let at = 0;
  for (let count = 0; at < bytes.length; count++) {
    const nameEnd = at + 1 + (bytes[at] ?? 0);
    if (count === PROPERTIES_MAX || nameEnd === at + 1 || nameEnd + 4 > bytes.length) throw malformed(at);
    const valueEnd = nameEnd + 4 + bytes.readUInt32BE(nameEnd);
    if (valueEnd > bytes.length) throw malformed(at);
    const name = bytes.toString("latin1", at + 1, nameEnd).toLowerCase();
    const value = new Uint8Array(bytes.subarray(nameEnd + 4, valueEnd));
    if (name === "socket-type") metadata.socketType = Buffer.from(value).toString("latin1");
    if (name === "identity") metadata.identity = value;
    at = valueEnd;
  }
  if (metadata.identity.length > IDENTITY_MAX) throw new FluxError(errno.EPROTO, "the peer's identity is too long");
  return metadata;
}

function malformed(at: number): FluxError {
  return new FluxError(errno.EPROTO, `the peer's metadata is malformed at byte ${at}`);
}

/** The body of an ERROR command; a long reason is cut. */
export function encodeError(reason: string): Uint8Array {
  const bytes = Buffer.from(reason).subarray(0, REASON_MAX);
  return encodeCommand("ERROR", Uint8Array.of(bytes.length), bytes);
}

/** The reason of an ERROR command, made safe to log. */
export function parseError(data: Uint8Array): string {
  const size = data[0] ?? 0;
  if (data.length < 1 + size) throw new FluxError(errno.EPROTO, "a malformed ERROR command");
  const text = Buffer.from(data.subarray(1, 1 + size)).toString("utf8");
  return text.replace(/[^\x20-\x7e]/g, "?");
}

/** The body of a PING; the time to live is rounded up to tenths of a second, 0 is none. */
export function encodePing(ttl_ms: number): Uint8Array {
  const tenths = Math.min(0xffff, Math.ceil(ttl_ms / 100));
  return encodeCommand("PING", Uint8Array.of(tenths >>> 8, tenths & 0xff));
}

/** Reads a PING's data. */
export function parsePing(data: Uint8Array): { ttl_ms: number; context: Uint8Array } {
  if (data.length < 2 || data.length > 2 + PING_CONTEXT_MAX) throw new FluxError(errno.EPROTO, "a malformed PING command");
  return { ttl_ms: (((data[0] ?? 0) << 8) | (data[1] ?? 0)) * 100, context: data.subarray(2) };
}
