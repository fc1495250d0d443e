// Messages on a UNIX stream socket (RFC 3, "Message Framing and Security"):
//
//   12 00 EE FF | u32be size of the parts that follow | part…
//   part = u8 length (0–254) data, or FF u32be length data
//
// The RFC prints the magic in network order and counts the prefix in the size. flux-core 0.88 writes the magic in host
// order (little-endian on every platform it runs on) and doesn't count the prefix: that is what its clients speak, so
// this does too.
//
// Before the first message the broker sends one byte: 0 for "welcome", otherwise the errno of a refusal.
import { decodeParts, HEADER_SIZE, writeHeader } from "./codec.ts";
import { errno, FluxError } from "./errno.ts";
import type { Message } from "./message.ts";

const MAGIC = 0xffee0012;
const PREFIX_SIZE = 8;
const SHORT_PART_MAX = 254;

/** The largest message that is accepted from or sent to a socket. */
export const MESSAGE_SIZE_MAX_BYTES = 1 << 30;

/** One framed message in one buffer. */
export function encodeFramed(message: Message): Buffer {
  const payload = message.bytes;
  const routes = message.routes;
  let size_bytes = PREFIX_SIZE + 1 + HEADER_SIZE;
  if (routes !== undefined) {
    size_bytes += 1;
    for (const route of routes) size_bytes += partSize(Buffer.byteLength(route));
  }
  const topicLength = message.topic === undefined ? 0 : Buffer.byteLength(message.topic);
  if (message.topic !== undefined) size_bytes += partSize(topicLength);
  if (payload !== undefined) size_bytes += partSize(payload.length);
  if (size_bytes > MESSAGE_SIZE_MAX_BYTES) {
    throw new FluxError(errno.EMSGSIZE, `message of ${size_bytes} bytes is over the limit of ${MESSAGE_SIZE_MAX_BYTES}`);
  }

  const out = Buffer.allocUnsafe(size_bytes);
  out.writeUInt32LE(MAGIC, 0);
  out.writeUInt32BE(size_bytes - PREFIX_SIZE, 4);
  let at = PREFIX_SIZE;
  if (routes !== undefined) {
    for (let i = routes.length - 1; i >= 0; i--) at = writeText(out, at, routes[i] ?? "");
    out[at++] = 0;
  }
  if (message.topic !== undefined) at = writeText(out, at, message.topic);
  if (payload !== undefined) {
    at = writeLength(out, at, payload.length);
    out.set(payload, at);
    at += payload.length;
  }
  out[at++] = HEADER_SIZE;
  writeHeader(out, at, message);
  return out;
}

function partSize(length: number): number {
  return length + (length > SHORT_PART_MAX ? 5 : 1);
}

function writeLength(out: Buffer, at: number, length: number): number {
  if (length <= SHORT_PART_MAX) {
    out[at] = length;
    return at + 1;
  }
  out[at] = 255;
  out.writeUInt32BE(length, at + 1);
  return at + 5;
}

function writeText(out: Buffer, at: number, text: string): number {
  const length = Buffer.byteLength(text);
  const start = writeLength(out, at, length);
  out.write(text, start);
  return start + length;
}

/**
 * Cuts a byte stream into messages. Whole messages inside one chunk are decoded in place and their payload
 * copied once; a message that spans chunks is collected in a buffer of exactly its size.
 */
export class FrameDecoder {
  #prefix = Buffer.alloc(PREFIX_SIZE);
  #prefixLength = 0;
  #body: Buffer | undefined;
  #bodyLength = 0;

  constructor(readonly maxSize_bytes: number = MESSAGE_SIZE_MAX_BYTES) {}

  /** Bytes of a message that is not complete yet. */
  get pending_bytes(): number {
    return this.#prefixLength + this.#bodyLength;
  }

  /** Calls `deliver` for each message that is complete with `chunk`. Throws FluxError EPROTO: close the connection then. */
  push(chunk: Uint8Array, deliver: (message: Message) => void): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#body === undefined) {
        const take = Math.min(PREFIX_SIZE - this.#prefixLength, chunk.length - at);
        this.#prefix.set(chunk.subarray(at, at + take), this.#prefixLength);
        this.#prefixLength += take;
        at += take;
        if (this.#prefixLength < PREFIX_SIZE) return;
        this.#body = Buffer.allocUnsafeSlow(this.#bodySize());
        this.#bodyLength = 0;
      }
      const take = Math.min(this.#body.length - this.#bodyLength, chunk.length - at);
      this.#body.set(chunk.subarray(at, at + take), this.#bodyLength);
      this.#bodyLength += take;
      at += take;
      if (this.#bodyLength < this.#body.length) return;
      const body = this.#body;
      this.#body = undefined;
      this.#prefixLength = 0;
      this.#bodyLength = 0;
      deliver(decodeParts(splitParts(body)));
    }
  }

  #bodySize(): number {
    const magic = this.#prefix.readUInt32LE(0);
    if (magic !== MAGIC) throw new FluxError(errno.EPROTO, `malformed frame: magic 0x${magic.toString(16)}`);
    const size_bytes = this.#prefix.readUInt32BE(4);
    if (size_bytes < 1 + HEADER_SIZE || size_bytes > this.maxSize_bytes) {
      throw new FluxError(errno.EPROTO, `malformed frame: size ${size_bytes} (limit ${this.maxSize_bytes})`);
    }
    return size_bytes;
  }
}

function splitParts(body: Buffer): Uint8Array[] {
  const parts: Uint8Array[] = [];
  let at = 0;
  while (at < body.length) {
    let length = body[at++] ?? 0;
    if (length === 255) {
      if (at + 4 > body.length) throw new FluxError(errno.EPROTO, "malformed frame: part length is cut off");
      length = body.readUInt32BE(at);
      at += 4;
    }
    if (at + length > body.length) throw new FluxError(errno.EPROTO, "malformed frame: part runs past the end");
    parts.push(body.subarray(at, at + length));
    at += length;
  }
  return parts;
}
