// Standard I/O of a job (RFC 24): the contexts of header, data, redirect and log events, and the encoding of data in them.

import { isUtf8 } from "node:buffer";
import { FormatError, fieldError } from "./error.ts";
import { isJsonObject, type JsonObject } from "./json.ts";

export interface IoChunk {
  readonly stream: string;
  /** Task rank, idset of ranks, or "all". */
  readonly rank: string;
  readonly data: Uint8Array | undefined;
  readonly eof: boolean;
  /** How many copies this stands for, 1 mostly. */
  readonly repeat: number;
}

const WHAT = "I/O data";
const bufferOf = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Bytes as members of an object: text where they are UTF-8 without NUL, at which C readers would stop, else base64. */
export function encodeData(bytes: Uint8Array): { data: string; encoding?: "base64" } {
  const buffer = bufferOf(bytes);
  if (isUtf8(buffer) && !buffer.includes(0)) return { data: buffer.toString("utf8") };
  return { encoding: "base64", data: buffer.toString("base64") };
}

/** Needs data, eof or both. Throws FormatError. */
export function encodeIo(chunk: {
  readonly stream: string;
  readonly rank: string | number;
  readonly data?: Uint8Array | undefined;
  readonly eof?: boolean | undefined;
}): JsonObject {
  const { stream, rank, data, eof = false } = chunk;
  const target = { stream, rank: String(rank) };
  const end = eof ? { eof: true } : {};
  if (data === undefined || data.length === 0) {
    if (!eof) throw new FormatError(WHAT, stream, "there is neither data nor an end");
    return { ...target, ...end };
  }
  return { ...target, ...encodeData(data), ...end };
}

/** Context of a data event, or a payload of the same shape. Throws FormatError that names the member. */
export function decodeIo(value: unknown): IoChunk {
  if (!isJsonObject(value)) throw fieldError(WHAT, "", "must be an object");
  const { stream, rank, data, eof = false, encoding = "UTF-8", repeat = 1 } = value;
  if (typeof stream !== "string") throw fieldError(WHAT, "stream", "must be a string");
  if (typeof rank !== "string" && typeof rank !== "number") throw fieldError(WHAT, "rank", "must be a string");
  if (typeof eof !== "boolean") throw fieldError(WHAT, "eof", "must be a boolean");
  if (data !== undefined && typeof data !== "string") throw fieldError(WHAT, "data", "must be a string");
  if (typeof repeat !== "number" || !Number.isInteger(repeat) || repeat < 1)
    throw fieldError(WHAT, "repeat", "must be a positive integer");
  if (data === undefined && !eof) throw fieldError(WHAT, "data", "there is neither data nor an end");
  return { stream, rank: String(rank), data: data === undefined ? undefined : bytesOf(data, encoding), eof, repeat };
}

function bytesOf(data: string, encoding: unknown): Uint8Array {
  if (encoding === "UTF-8" || encoding === "utf-8") return new TextEncoder().encode(data);
  if (encoding !== "base64") throw fieldError(WHAT, "encoding", "must be UTF-8 or base64");
  const bytes = Buffer.from(data, "base64");
  const padding = data.endsWith("==") ? 2 : data.endsWith("=") ? 1 : 0;
  if (data.length % 4 !== 0 || bytes.length !== (data.length / 4) * 3 - padding)
    throw fieldError(WHAT, "data", "it is not base64");
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Context of the header event: how many streams of each name there will be. */
export function ioHeader(count: Readonly<Record<string, number>>, options: JsonObject = {}): JsonObject {
  const encoding = Object.fromEntries(Object.keys(count).map((stream) => [stream, "UTF-8"]));
  return { version: 1, encoding, count: { ...count }, options };
}

/** Context of a redirect event. */
export function ioRedirect(stream: string, rank: string, path?: string): JsonObject {
  return path === undefined ? { stream, rank } : { stream, rank, path };
}

export interface ShellLog {
  /** RFC 5424 severity, 0 to 7. */
  readonly level: number;
  readonly message: string;
  readonly rank?: number | undefined;
  readonly component?: string | undefined;
  readonly file?: string | undefined;
  readonly line?: number | undefined;
  readonly program?: string | undefined;
}

/** Context of a log event. */
export function ioLog({ level, message, ...rest }: ShellLog): JsonObject {
  const more = Object.entries(rest).filter(([, value]) => value !== undefined);
  return { level, message, ...Object.fromEntries(more) };
}

const text = (field: unknown) => (typeof field === "string" ? field : undefined);
const number = (field: unknown) => (typeof field === "number" ? field : undefined);

/** Throws FormatError. */
export function parseIoLog(value: unknown): ShellLog {
  if (!isJsonObject(value)) throw fieldError("log event", "", "must be an object");
  const { level, message, rank, component, file, line, program } = value;
  if (typeof level !== "number" || !Number.isInteger(level) || level < 0 || level > 7)
    throw fieldError("log event", "level", "must be from 0 to 7");
  if (typeof message !== "string") throw fieldError("log event", "message", "must be a string");
  return {
    level,
    message,
    rank: number(rank),
    component: text(component),
    file: text(file),
    line: number(line),
    program: text(program),
  };
}
