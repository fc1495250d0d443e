// Lines of the PMI-1 wire protocol (RFC 13): "key=value" words, ended by a newline.
//
// Launchers differ in the order of words, in what they add, and in whether "rc" is there, so a line is a set of words. Values are
// words without spaces, except `value` and `message`, which go on to the end of the line.

import { writeStderr } from "../os/stderr.ts";
import { errno, FluxError } from "../message/errno.ts";

export type PmiMessage = ReadonlyMap<string, string>;

/** Sizes that a server announces (get_maxes); each counts the terminating NUL that C clients add. */
export interface PmiLimits {
  kvsnameMax_bytes: number;
  keyMax_bytes: number;
  valueMax_bytes: number;
}

export const DEFAULT_LIMITS: PmiLimits = { kvsnameMax_bytes: 64, keyMax_bytes: 64, valueMax_bytes: 1024 };

/** The longest line that fits limits, with room for the words of the protocol itself. */
export function lineMax(limits: PmiLimits): number {
  return limits.kvsnameMax_bytes + limits.keyMax_bytes + limits.valueMax_bytes + 128;
}

const TEXT_KEYS = new Set(["value", "message", "error_msg"]);
/** Words that may follow a text in a line whose author put the text first. */
const AFTER_TEXT = new Set(["cmd", "rc", "key", "kvsname", "exitcode"]);

/** The words of a line (without its newline). EPROTO names what is no word; the first of two equal keys counts. */
export function parseLine(line: string): PmiMessage {
  const message = new Map<string, string>();
  for (let at = 0; ; ) {
    while (line[at] === " " || line[at] === "\t") at++;
    if (at >= line.length) return message;
    const equals = line.indexOf("=", at);
    const space = wordEnd(line, at);
    if (equals === -1 || equals === at || space < equals) throw new FluxError(errno.EPROTO, `PMI: "${excerpt(line.slice(at))}" is not key=value`);
    const key = line.slice(at, equals);
    const isText = TEXT_KEYS.has(key);
    at = isText ? line.length : space;
    const value = line.slice(equals + 1, at);
    if (!message.has(key)) message.set(key, isText ? wordsAfterText(value, key, message) : value);
  }
}

function wordEnd(line: string, at: number): number {
  for (let i = at; i < line.length; i++) if (line[i] === " " || line[i] === "\t") return i;
  return line.length;
}

/** Take known words, not seen before, off the end of a text; what is left is the text. */
function wordsAfterText(text: string, textKey: string, message: Map<string, string>): string {
  let rest = text;
  for (;;) {
    const match = /^(.*)[ \t]+([a-z_]+)=([^ \t=]*)$/.exec(rest);
    const key = match?.[2];
    if (match === null || key === undefined || key === textKey || message.has(key) || !AFTER_TEXT.has(key)) return rest;
    message.set(key, match[3] ?? "");
    rest = match[1] ?? "";
  }
}

function excerpt(text: string): string {
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

/** A line with its newline. EINVAL for a value that would end it or its word early. */
export function formatLine(words: Readonly<Record<string, string | number | undefined>>): string {
  const parts: string[] = [];
  for (const [key, value] of Object.entries(words)) {
    if (value === undefined) continue;
    const text = String(value);
    const bad = TEXT_KEYS.has(key) ? /[\n\r\0]/ : /[\s\0]/;
    if (bad.test(text)) throw new FluxError(errno.EINVAL, `PMI: ${key} "${excerpt(text)}" has a character that the protocol cannot carry`);
    parts.push(`${key}=${text}`);
  }
  return `${parts.join(" ")}\n`;
}

/** A whole number of a message; undefined when it is absent. EPROTO when it is something else. */
export function numberOf(message: PmiMessage, key: string): number | undefined {
  const text = message.get(key);
  if (text === undefined) return undefined;
  if (!/^[+-]?\d+$/.test(text)) throw new FluxError(errno.EPROTO, `PMI: ${key}=${excerpt(text)} is not a number`);
  return Number(text);
}

const CARRIAGE_RETURN = 13;

/** Splits a byte stream into lines no longer than `max_bytes`; a longer one is EMSGSIZE. */
export function createLineSplitter(max_bytes: number, onLine: (line: string) => void): (chunk: Uint8Array) => void {
  let kept = Buffer.alloc(0);
  return (chunk) => {
    let rest = kept.length === 0 ? Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength) : Buffer.concat([kept, chunk]);
    kept = Buffer.alloc(0);
    for (;;) {
      const newline = rest.indexOf(10);
      if ((newline === -1 ? rest.length : newline) > max_bytes) throw new FluxError(errno.EMSGSIZE, `PMI: a line is longer than ${max_bytes} bytes`);
      if (newline === -1) {
        kept = Buffer.from(rest);
        return;
      }
      const end = rest[newline - 1] === CARRIAGE_RETURN ? newline - 1 : newline;
      const line = rest.toString("utf8", 0, end);
      rest = rest.subarray(newline + 1);
      onLine(line);
    }
  };
}

/** Refuse a key or KVS name that the protocol or the server's limit forbids, in plain words. */
export function checkWord(what: string, text: string, max_bytes: number): void {
  if (text === "" || /[\s=\0]/.test(text)) throw new FluxError(errno.EINVAL, `PMI: ${what} "${excerpt(text)}" is empty or has a space or "="`);
  checkSize(what, text, max_bytes);
}

/** Refuse a text that is longer than the server stores (one byte less than the maximum: C clients count a NUL). */
export function checkSize(what: string, text: string, max_bytes: number): void {
  const size_bytes = Buffer.byteLength(text);
  if (size_bytes >= max_bytes) throw new FluxError(errno.EMSGSIZE, `PMI: ${what} "${excerpt(text)}" has ${size_bytes} bytes, the process manager takes ${max_bytes - 1}`);
}

/** Print the conversation on stderr, one line each way, when FLUX_PMI_DEBUG is set. */
export function tracer(name: string, env: Readonly<Record<string, string | undefined>>): ((direction: "C" | "S", line: string) => void) | undefined {
  const wanted = env["FLUX_PMI_DEBUG"];
  if (wanted === undefined || wanted === "" || wanted === "0") return undefined;
  return (direction, line) => writeStderr(`${name}: ${direction}: ${line.replace(/\n$/, "")}\n`);
}
