// ZMTP frames (ZeroMQ RFC 37): flags (1 byte), size (1 byte, or 8 big-endian with LONG), body.
import { errno, FluxError } from "../../message/errno.ts";

export const FRAME_MORE = 1;
export const FRAME_LONG = 2;
export const FRAME_COMMAND = 4;
/** The longest header: flags and a 64-bit size. */
export const FRAME_HEADER_MAX = 9;
const SHORT_MAX = 255;
const EMPTY = new Uint8Array(0);

/** One frame: its body is `bytes[start..end)`. The decoder reuses the object: it holds until the next call of `next`. */
export interface Frame {
  flags: number;
  bytes: Uint8Array;
  start: number;
  end: number;
}

/** Writes a frame's header at `offset`; LONG is set by the size. Returns where the body begins. */
export function writeFrameHeader(target: Uint8Array, offset: number, flags: number, size: number): number {
  if (size <= SHORT_MAX) {
    target[offset] = flags;
    target[offset + 1] = size;
    return offset + 2;
  }
  target[offset] = flags | FRAME_LONG;
  writeU64(target, offset + 1, size);
  return offset + FRAME_HEADER_MAX;
}

/** Memory for the caller to fill completely, which for large sizes is cheaper than zeroed memory. A plain Uint8Array. */
export function uninitialized(size_bytes: number): Uint8Array {
  return size_bytes < 4096 ? new Uint8Array(size_bytes) : new Uint8Array(Buffer.allocUnsafeSlow(size_bytes).buffer);
}

/** A frame as bytes of its own. */
export function encodeFrame(flags: number, body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(body.length + (body.length <= SHORT_MAX ? 2 : FRAME_HEADER_MAX));
  bytes.set(body, writeFrameHeader(bytes, 0, flags, body.length));
  return bytes;
}

/** Writes an unsigned integer below 2^53 as 8 bytes, big-endian. */
export function writeU64(target: Uint8Array, offset: number, value: number): void {
  const high = Math.floor(value / 0x1_0000_0000);
  const low = value >>> 0;
  target[offset] = high >>> 24;
  target[offset + 1] = high >>> 16;
  target[offset + 2] = high >>> 8;
  target[offset + 3] = high;
  target[offset + 4] = low >>> 24;
  target[offset + 5] = low >>> 16;
  target[offset + 6] = low >>> 8;
  target[offset + 7] = low;
}

/** Reads 8 bytes, big-endian. What is above 2^53 loses its low bits, which is enough to compare it with a bound. */
export function readU64(bytes: Uint8Array, offset: number): number {
  return readU32(bytes, offset) * 0x1_0000_0000 + readU32(bytes, offset + 4);
}

function readU32(b: Uint8Array, at: number): number {
  return (((b[at] ?? 0) << 24) | ((b[at + 1] ?? 0) << 16) | ((b[at + 2] ?? 0) << 8) | (b[at + 3] ?? 0)) >>> 0;
}

export interface FrameDecoder {
  /** The largest body accepted. Raised after authentication. */
  limit_bytes: number;
  /** Takes a chunk as the socket gave it; its memory is referred to until its frames have been read. */
  push(chunk: Uint8Array): void;
  /** The next whole frame, or undefined when more input is needed. Throws FluxError EPROTO or EMSGSIZE. */
  next(): Frame | undefined;
  /** True when input of an unfinished frame is held. */
  readonly partial: boolean;
}

/** An incremental decoder. Sizes are compared with the bound before anything is allocated for them. */
export function frameDecoder(limit_bytes: number): FrameDecoder {
  return new IncrementalDecoder(limit_bytes);
}

class IncrementalDecoder implements FrameDecoder {
  limit_bytes: number;
  readonly #chunks: Uint8Array[] = [];
  #chunk: Uint8Array = EMPTY;
  #at = 0;
  readonly #header = new Uint8Array(FRAME_HEADER_MAX);
  #headerSize = 0;
  /** The body of a frame that spans chunks, of its exact size. */
  #body: Uint8Array | undefined;
  #bodySize = 0;
  readonly #frame: Frame = { flags: 0, bytes: EMPTY, start: 0, end: 0 };

  constructor(limit_bytes: number) {
    this.limit_bytes = limit_bytes;
  }

  get partial(): boolean {
    return this.#body !== undefined || this.#headerSize > 0 || this.#at < this.#chunk.length || this.#chunks.length > 0;
  }

  push(chunk: Uint8Array): void {
    if (this.#at === this.#chunk.length && this.#chunks.length === 0) {
      this.#chunk = chunk;
      this.#at = 0;
    } else {
      this.#chunks.push(chunk);
    }
  }

  next(): Frame | undefined {
    if (this.#body !== undefined) return this.#fillBody(this.#body);
    if (this.#headerSize > 0) return this.#finishHeader();
    const chunk = this.#chunk;
    const at = this.#at;
    const left = chunk.length - at;
    const flags = chunk[at];
    if (flags === undefined) return this.#nextChunk() ? this.next() : undefined;
    const headerSize = (flags & FRAME_LONG) === 0 ? 2 : FRAME_HEADER_MAX;
    if (left < headerSize) return this.#finishHeader();
    this.#at = at + headerSize;
    return this.#readBody(flags, headerSize === 2 ? (chunk[at + 1] ?? 0) : readU64(chunk, at + 1));
  }

  /** Drops the chunk that has been read and takes the next one, if there is one. */
  #nextChunk(): boolean {
    this.#at = 0;
    this.#chunk = this.#chunks.shift() ?? EMPTY;
    return this.#chunk.length > 0;
  }

  /** A header that spans chunks is gathered byte by byte. */
  #finishHeader(): Frame | undefined {
    const header = this.#header;
    for (;;) {
      const needed = this.#headerSize === 0 ? 1 : ((header[0] ?? 0) & FRAME_LONG) === 0 ? 2 : FRAME_HEADER_MAX;
      if (this.#headerSize > 0 && this.#headerSize === needed) break;
      const byte = this.#chunk[this.#at];
      if (byte === undefined) {
        if (this.#nextChunk()) continue;
        return undefined;
      }
      header[this.#headerSize++] = byte;
      this.#at++;
    }
    const size = this.#headerSize === 2 ? (header[1] ?? 0) : readU64(header, 1);
    this.#headerSize = 0;
    return this.#readBody(header[0] ?? 0, size);
  }

  #readBody(flags: number, size: number): Frame | undefined {
    this.#check(flags, size);
    const frame = this.#frame;
    frame.flags = flags;
    if (this.#chunk.length - this.#at >= size) {
      frame.bytes = this.#chunk;
      frame.start = this.#at;
      frame.end = this.#at + size;
      this.#at = frame.end;
      return frame;
    }
    this.#body = uninitialized(size);
    this.#bodySize = 0;
    return this.#fillBody(this.#body);
  }

  #check(flags: number, size: number): void {
    if ((flags & ~(FRAME_MORE | FRAME_LONG | FRAME_COMMAND)) !== 0) {
      throw new FluxError(errno.EPROTO, `a frame has reserved flags (0x${flags.toString(16)})`);
    }
    if ((flags & FRAME_COMMAND) !== 0 && (flags & FRAME_MORE) !== 0) {
      throw new FluxError(errno.EPROTO, "a command frame has the MORE flag");
    }
    if (size > this.limit_bytes) {
      throw new FluxError(errno.EMSGSIZE, `a frame of ${size} bytes exceeds the limit of ${this.limit_bytes}`);
    }
  }

  #fillBody(body: Uint8Array): Frame | undefined {
    for (;;) {
      const count = Math.min(body.length - this.#bodySize, this.#chunk.length - this.#at);
      body.set(this.#chunk.subarray(this.#at, this.#at + count), this.#bodySize);
      this.#bodySize += count;
      this.#at += count;
      if (this.#bodySize === body.length) break;
      if (!this.#nextChunk()) return undefined;
    }
    this.#body = undefined;
    const frame = this.#frame;
    frame.bytes = body;
    frame.start = 0;
    frame.end = body.length;
    return frame;
  }
}
