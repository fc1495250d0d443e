// Eventlog (RFC 18): one JSON object a line: timestamp, name, optional context.

import { FormatError } from "./error.ts";
import { flat } from "./flat.ts";
import { decodeJsonObject, encodeJson, isJsonObject, type JsonObject } from "./json.ts";

export interface EventlogEntry {
  /** Seconds since the Unix epoch. */
  readonly timestamp: number;
  readonly name: string;
  readonly context?: JsonObject;
}

/** Bound on one entry, in characters. */
export const MAX_ENTRY_CHARS = 64 * 1024 * 1024;

const WHAT = "eventlog entry";

/** One line, with or without its newline. Throws FormatError. */
export function parseEventlogEntry(line: string): EventlogEntry {
  return toEventlogEntry(decodeJsonObject(line));
}

/** A decoded object, checked. Throws FormatError. */
export function toEventlogEntry(value: unknown): EventlogEntry {
  if (!isJsonObject(value)) throw new FormatError(WHAT, "", "must be an object");
  const { timestamp, name, context } = value;
  if (typeof timestamp !== "number" || !(timestamp >= 0))
    throw new FormatError(WHAT, "", "timestamp: must be a number of seconds, not negative");
  if (typeof name !== "string" || name === "") throw new FormatError(WHAT, "", "name: must be a string that is not empty");
  if (context === undefined) return { timestamp, name };
  if (!isJsonObject(context)) throw new FormatError(WHAT, "", "context: must be an object");
  return { timestamp, name, context };
}

/** A whole eventlog; every entry must be complete. Throws FormatError. */
export function parseEventlog(text: string): EventlogEntry[] {
  const parser = new EventlogParser();
  const entries = parser.push(text);
  parser.end();
  return entries;
}

/** One line ending in a newline; the timestamp is always a real. Throws FormatError for a timestamp that is no time. */
export function formatEventlogEntry(entry: EventlogEntry): string {
  const { timestamp, name, context } = entry;
  if (!Number.isFinite(timestamp) || timestamp < 0) throw new FormatError(WHAT, String(timestamp), "the timestamp is no time");
  return flat(`${encodeJson(context === undefined ? { timestamp, name } : { timestamp, name, context })}\n`);
}

export function formatEventlog(entries: Iterable<EventlogEntry>): string {
  let text = "";
  for (const entry of entries) text += formatEventlogEntry(entry);
  return text;
}

/** Takes an eventlog in pieces that need not end where lines do, and gives the entries that each piece completes. */
export class EventlogParser {
  readonly #decoder = new TextDecoder("utf-8", { fatal: true });
  #rest = "";

  /** Entries completed by this piece. Throws FormatError; the parser is of no use afterwards. */
  push(chunk: string | Uint8Array): EventlogEntry[] {
    const text = this.#rest + (typeof chunk === "string" ? chunk : this.#decode(chunk));
    const entries: EventlogEntry[] = [];
    let start = 0;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", start)) {
      entries.push(parseEventlogEntry(text.slice(start, end)));
      start = end + 1;
    }
    this.#rest = text.slice(start);
    if (this.#rest.length > MAX_ENTRY_CHARS)
      throw new FormatError(WHAT, this.#rest, `an entry is longer than ${MAX_ENTRY_CHARS} characters`);
    return entries;
  }

  /** Throws FormatError when the last entry was cut. */
  end(): void {
    if (this.#rest !== "") throw new FormatError(WHAT, this.#rest, "the last entry does not end in a newline");
  }

  #decode(chunk: Uint8Array): string {
    try {
      return this.#decoder.decode(chunk, { stream: true });
    } catch {
      throw new FormatError(WHAT, "", "the eventlog is not UTF-8");
    }
  }
}
