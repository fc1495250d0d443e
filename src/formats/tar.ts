// Tar archives, as POSIX pax describes them (ustar headers, and extended ones where those are too small), and as GNU tar writes
// long names. Written are regular files and symbolic links; what else is read is passed over.
import { FormatError } from "./error.ts";

export interface TarEntry {
  readonly type: "file" | "symlink" | "other";
  readonly path: string;
  /** Of a symbolic link. */
  readonly target: string;
  readonly size_bytes: number;
  /** Seconds. */
  readonly mtime: number;
}

const BLOCK_BYTES = 512;
const WHAT = "tar archive";
/** The largest number that 11 octal digits hold. */
const OCTAL_MAX = 0o77_777_777_777;
/** Extended headers and long names are small. */
const EXTENDED_MAX_BYTES = 1024 * 1024;

export interface TarOwner {
  readonly uid: number;
  readonly gid: number;
}

/** The blocks before an entry's data. */
export function tarHeader(entry: Omit<TarEntry, "type"> & { readonly type: "file" | "symlink" }, owner: TarOwner): Uint8Array {
  const split = splitPath(entry.path);
  const extended: [string, string][] = [];
  if (split === undefined) extended.push(["path", entry.path]);
  if (Buffer.byteLength(entry.target) > 100) extended.push(["linkpath", entry.target]);
  if (entry.size_bytes > OCTAL_MAX) extended.push(["size", String(entry.size_bytes)]);
  const type = entry.type === "symlink" ? "2" : "0";
  const main = headerBlock(split ?? { prefix: "", name: Buffer.from(entry.path).subarray(0, 100) }, type, entry, owner);
  if (extended.length === 0) return main;
  const records = Buffer.from(extended.map(([key, value]) => paxRecord(key, value)).join(""));
  const paxEntry = { target: "", size_bytes: records.length, mtime: entry.mtime };
  const pax = headerBlock({ prefix: "", name: Buffer.from("PaxHeader") }, "x", paxEntry, owner);
  return Buffer.concat([pax, records, tarPadding(records.length), main]);
}

/** What follows `size` bytes of data. */
export function tarPadding(size_bytes: number): Uint8Array {
  return new Uint8Array((BLOCK_BYTES - (size_bytes % BLOCK_BYTES)) % BLOCK_BYTES);
}

/** What ends an archive. */
export function tarEnd(): Uint8Array {
  return new Uint8Array(2 * BLOCK_BYTES);
}

/** "LENGTH key=value\n", where the length counts itself. */
function paxRecord(key: string, value: string): string {
  const rest = Buffer.byteLength(` ${key}=${value}\n`);
  let length = rest + String(rest).length;
  if (rest + String(length).length !== length) length = rest + String(length).length;
  return `${length} ${key}=${value}\n`;
}

/** The path as prefix and name; undefined when it doesn't fit. */
function splitPath(path: string): { prefix: string; name: Buffer } | undefined {
  const bytes = Buffer.from(path);
  if (bytes.length <= 100) return { prefix: "", name: bytes };
  const slash = bytes.lastIndexOf("/", 155);
  const name = bytes.subarray(slash + 1);
  return slash > 0 && name.length > 0 && name.length <= 100 ? { prefix: bytes.toString("utf8", 0, slash), name } : undefined;
}

function headerBlock(
  path: { readonly prefix: string; readonly name: Uint8Array },
  type: string,
  { target, size_bytes, mtime }: Pick<TarEntry, "target" | "size_bytes" | "mtime">,
  { uid, gid }: TarOwner,
): Uint8Array {
  const block = Buffer.alloc(BLOCK_BYTES);
  block.set(path.name, 0);
  const octal = (value: number, at: number, digits: number): void => void block.write(Math.max(0, Math.trunc(value)).toString(8).padStart(digits, "0"), at);
  octal(0o644, 100, 7);
  octal(Math.min(uid, 0o7_777_777), 108, 7);
  octal(Math.min(gid, 0o7_777_777), 116, 7);
  octal(Math.min(size_bytes, OCTAL_MAX), 124, 11);
  octal(Math.min(mtime, OCTAL_MAX), 136, 11);
  block.write("        ", 148);
  block.write(type, 156);
  block.set(Buffer.from(target).subarray(0, 100), 157);
  block.write("ustar\x0000", 257, "latin1");
  block.write(path.prefix, 345);
  octal(block.reduce((sum, byte) => sum + byte, 0), 148, 6);
  block.write("\0 ", 154, "latin1");
  return block;
}

/** Reads an archive from chunks of bytes. */
export class TarReader {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array(0);
  /** Data of the entry before that nobody has read. */
  #unread_bytes = 0;
  #padding_bytes = 0;

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** Undefined at the end. Throws FormatError. */
  async next(): Promise<TarEntry | undefined> {
    const extended = new Map<string, string>();
    for (;;) {
      await this.#skip(this.#unread_bytes + this.#padding_bytes);
      this.#unread_bytes = 0;
      this.#padding_bytes = 0;
      const block = await this.#take(BLOCK_BYTES, true);
      if (block === undefined || block.every((byte) => byte === 0)) return undefined;
      const header = parseHeader(block);
      const size_bytes = Number(extended.get("size") ?? header.size_bytes);
      if (!Number.isSafeInteger(size_bytes) || size_bytes < 0) throw new FormatError(WHAT, "", "a size is not a number");
      this.#unread_bytes = size_bytes;
      this.#padding_bytes = tarPadding(size_bytes).length;
      if (await this.#readExtension(header.type, size_bytes, extended)) continue;
      return {
        type: header.type === "2" ? "symlink" : header.type === "0" || header.type === "\0" || header.type === "7" ? "file" : "other",
        path: extended.get("path") ?? header.path,
        target: extended.get("linkpath") ?? header.target,
        size_bytes,
        mtime: Number(extended.get("mtime") ?? header.mtime),
      };
    }
  }

  /** The data of the entry that next() has returned. */
  async data(): Promise<Uint8Array> {
    const bytes = await this.#take(this.#unread_bytes);
    this.#unread_bytes = 0;
    return bytes;
  }

  /** True when the entry only says more about the one after it. */
  async #readExtension(type: string, size_bytes: number, extended: Map<string, string>): Promise<boolean> {
    if (!["x", "g", "L", "K"].includes(type)) return false;
    if (size_bytes > EXTENDED_MAX_BYTES) throw new FormatError(WHAT, "", `an extended header of ${size_bytes} bytes`);
    const data = Buffer.from(await this.data());
    if (type === "x") for (const [key, value] of paxRecords(data)) extended.set(key, value);
    if (type === "L") extended.set("path", cString(data, 0, data.length));
    if (type === "K") extended.set("linkpath", cString(data, 0, data.length));
    return true;
  }

  async #skip(count: number): Promise<void> {
    for (let left = count; left > 0; ) {
      if (this.#rest.length === 0 && !(await this.#more())) throw cutOff();
      const part = Math.min(left, this.#rest.length);
      this.#rest = this.#rest.subarray(part);
      left -= part;
    }
  }

  async #take(count: number): Promise<Uint8Array>;
  async #take(count: number, mayEnd: true): Promise<Uint8Array | undefined>;
  async #take(count: number, mayEnd: boolean = false): Promise<Uint8Array | undefined> {
    const parts: Uint8Array[] = [];
    for (let left = count; left > 0; ) {
      if (this.#rest.length === 0 && !(await this.#more())) {
        if (mayEnd && left === count) return undefined;
        throw cutOff();
      }
      const part = this.#rest.subarray(0, left);
      parts.push(part);
      this.#rest = this.#rest.subarray(part.length);
      left -= part.length;
    }
    return parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts);
  }

  async #more(): Promise<boolean> {
    const { value, done } = await this.#chunks.next();
    if (done) return false;
    this.#rest = value;
    return true;
  }
}

function cutOff(): FormatError {
  return new FormatError(WHAT, "", "it ends within an entry");
}

function parseHeader(block: Uint8Array): { type: string; path: string; target: string; size_bytes: number; mtime: number } {
  const bytes = Buffer.from(block.buffer, block.byteOffset, block.byteLength);
  const expected = parseOctal(bytes, 148, 8);
  let sum = 8 * 0x20;
  for (const [at, byte] of bytes.entries()) if (at < 148 || at >= 156) sum += byte;
  if (sum !== expected) throw new FormatError(WHAT, "", "a header's checksum is wrong");
  const name = cString(bytes, 0, 100);
  const prefix = bytes.toString("latin1", 257, 262) === "ustar" && bytes[262] === 0 ? cString(bytes, 345, 500) : "";
  return {
    type: bytes.toString("latin1", 156, 157),
    path: prefix === "" ? name : `${prefix}/${name}`,
    target: cString(bytes, 157, 257),
    size_bytes: parseOctal(bytes, 124, 12),
    mtime: parseOctal(bytes, 136, 12),
  };
}

/** Octal digits, or (as GNU tar has it for large ones) a number of base 256. */
function parseOctal(bytes: Buffer, at: number, length: number): number {
  if (((bytes[at] as number) & 0x80) !== 0) return Number(BigInt(`0x${bytes.toString("hex", at, at + length)}`) & ((1n << BigInt(8 * length - 1)) - 1n));
  const digits = bytes.toString("latin1", at, at + length).replace(/\0.*$/s, "").trim();
  return digits === "" ? 0 : Number.parseInt(digits, 8);
}

function cString(bytes: Buffer, start: number, end: number): string {
  const nul = bytes.indexOf(0, start);
  return bytes.toString("utf8", start, nul < 0 || nul > end ? end : nul);
}

function* paxRecords(data: Buffer): Iterable<[string, string]> {
  for (let at = 0; at < data.length; ) {
    const space = data.indexOf(0x20, at);
    const length = Number(data.toString("latin1", at, Math.max(at, space)));
    if (space < 0 || !Number.isInteger(length) || length < 5 || at + length > data.length) throw new FormatError(WHAT, "", "a damaged extended header");
    const record = data.toString("utf8", space + 1, at + length - 1);
    const equals = record.indexOf("=");
    yield [record.slice(0, equals), record.slice(equals + 1)];
    at += length;
  }
}
