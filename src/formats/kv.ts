// Key-value encoding of the security tools (RFC 38): key NUL type-letter value NUL, again and again.

import { FormatError } from "./error.ts";

export type KvValue =
  | { readonly type: "s"; readonly value: string }
  | { readonly type: "i"; readonly value: bigint }
  | { readonly type: "d"; readonly value: number }
  | { readonly type: "b"; readonly value: boolean }
  /** Seconds since the epoch. */
  | { readonly type: "t"; readonly value: number };

const WHAT = "key-value encoding";
/** Bound of RFC 38 on one object. */
const MAX_CHARS = 1024 * 1024;
const INT64 = 1n << 63n;

/** printf's %.6f, also where JavaScript would write an exponent. */
function sixDecimals(value: number): string {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value < 0 ? "-inf" : "inf";
  return Math.abs(value) < 1e21 ? value.toFixed(6) : `${BigInt(value)}.000000`;
}

function valueText({ type, value }: KvValue): string {
  if (type === "d") return sixDecimals(value);
  if (type === "t") return new Date(value * 1000).toISOString().replace(/\.\d+Z$/, "Z");
  if (type === "i" && (value >= INT64 || value < -INT64)) throw new FormatError(WHAT, String(value), "an integer has 64 bits");
  return String(value);
}

/** Text with NUL characters, to be written as UTF-8. Throws FormatError. */
export function encodeKv(entries: Iterable<readonly [key: string, value: KvValue]>): string {
  let text = "";
  for (const [key, value] of entries) {
    const body = valueText(value);
    if (key === "" || key.includes("\0") || body.includes("\0"))
      throw new FormatError(WHAT, key, "a key must not be empty, and nothing may contain NUL");
    text += `${key}\0${value.type}${body}\0`;
  }
  if (text.length > MAX_CHARS) throw new FormatError(WHAT, "", `it would be longer than ${MAX_CHARS} characters`);
  return text;
}

function parseValue(field: string, key: string): KvValue {
  const type = field[0];
  const body = field.slice(1);
  switch (type) {
    case "s":
      return { type, value: body };
    case "i": {
      if (!/^-?\d{1,19}$/.test(body) || BigInt(body) >= INT64 || BigInt(body) < -INT64)
        throw new FormatError(WHAT, body, `${key} is not a 64-bit integer`);
      return { type, value: BigInt(body) };
    }
    case "d": {
      if (!/^-?(?:\d+(?:\.\d+)?|inf|nan)$/.test(body)) throw new FormatError(WHAT, body, `${key} is not a real`);
      return { type, value: Number(body.replace("inf", "Infinity").replace("nan", "NaN")) };
    }
    case "b": {
      if (body !== "true" && body !== "false") throw new FormatError(WHAT, body, `${key} is not a boolean`);
      return { type, value: body === "true" };
    }
    case "t": {
      const time_ms = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(body) ? Date.parse(body) : Number.NaN;
      if (Number.isNaN(time_ms)) throw new FormatError(WHAT, body, `${key} is not a timestamp`);
      return { type, value: time_ms / 1000 };
    }
    default:
      throw new FormatError(WHAT, field, `${key} has no type`);
  }
}

/** Throws FormatError, also when a key comes twice. */
export function decodeKv(text: string): Map<string, KvValue> {
  const result = new Map<string, KvValue>();
  if (text === "") return result;
  if (text.length > MAX_CHARS) throw new FormatError(WHAT, "", `it is longer than ${MAX_CHARS} characters`);
  if (!text.endsWith("\0")) throw new FormatError(WHAT, text, "the last value does not end in NUL");
  const fields = text.slice(0, -1).split("\0");
  if (fields.length % 2 !== 0) throw new FormatError(WHAT, text, "a key has no value");
  for (let i = 0; i < fields.length; i += 2) {
    const key = fields[i] ?? "";
    if (key === "") throw new FormatError(WHAT, text, "a key is empty");
    if (result.has(key)) throw new FormatError(WHAT, text, `key ${key} comes twice`);
    result.set(key, parseValue(fields[i + 1] ?? "", key));
  }
  return result;
}
