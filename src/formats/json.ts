// JSON as Flux messages carry it: 64-bit integers survive, and reals are always written as reals.
//
// Two traps this file closes for the rest of the project:
// - Job ids are 64-bit integers, which JSON.parse rounds above 2^53. They come back as bigint here.
// - Stock C clients unpack some members with a strict "real" and refuse `"duration":60`. Members named in REAL_KEYS are
//   therefore written `60.0`.

import { FormatError } from "./error.ts";
import { flat } from "./flat.ts";

export type Json = null | boolean | number | bigint | string | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json;
}

/** Names of members that are reals wherever the C side packs or unpacks them ("f" of jansson). */
export const REAL_KEYS: readonly string[] = [
  "timestamp",
  "t_submit",
  "t_depend",
  "t_run",
  "t_cleanup",
  "t_inactive",
  "t_estimate",
  "t_start",
  "duration",
  "attributes.system.duration",
  "expiration",
  "starttime",
  "since",
  "age_limit",
  "ctime",
  "stime",
  "utime",
  "lastrun",
  "next_wakeup",
  "min_interval",
  "sync_epsilon",
  "period",
  "kill-timeout",
  "kill_timeout",
  "max-kill-timeout",
  "effective-max-kill-timeout",
  "release-after",
  "default_barrier_timeout",
  "shell_exit_timeout",
  "mean",
  "stddev",
  "obj size total (MiB)",
];

// An unescaped quote directly after `{` or `,` can only open a member name: inside a string every quote has a backslash
// before it, and a closing quote is followed by structure, not by a letter. So text within strings is never touched.
const INTEGRAL_REAL = new RegExp(
  `([{,]"(?:${REAL_KEYS.map((key) => key.replace(/[().]/g, "\\$&")).join("|")})":-?\\d+)(?=[,}])`,
  "g",
);

const SIXTEEN_DIGITS = /\d{16}/;
const INTEGER = /^-?\d{1,20}$/;

interface RawJson {
  rawJSON(text: string): unknown;
}

// JSON.stringify refuses a bigint unless it has toJSON; rawJSON writes the digits as an unquoted integer.
if (!("toJSON" in BigInt.prototype)) {
  // oxlint-disable-next-line no-extend-native -- the hook that the bigint proposal left for exactly this
  Object.defineProperty(BigInt.prototype, "toJSON", {
    configurable: true,
    writable: true,
    value(this: bigint): unknown {
      return (JSON as typeof JSON & RawJson).rawJSON(this.toString());
    },
  });
}

/**
 * Value to compact JSON text. bigint is written as an integer, and an integral number under a name of REAL_KEYS with `.0`.
 * Throws FormatError for what JSON cannot say at top level (undefined, a function).
 */
export function encodeJson(value: unknown): string {
  const text = JSON.stringify(value) as string | undefined;
  if (text === undefined) throw new FormatError("JSON value", "", `a ${typeof value} cannot be encoded`);
  return flat(text.replace(INTEGRAL_REAL, "$1.0"));
}

function exactInteger(_key: string, value: unknown, context: { source?: string }): unknown {
  if (typeof value !== "number" || Number.isSafeInteger(value)) return value;
  const source = context.source;
  return source !== undefined && INTEGER.test(source) ? BigInt(source) : value;
}

type Reviver = (key: string, value: unknown, context: { source?: string }) => unknown;
const parseWith = JSON.parse as (text: string, reviver?: Reviver) => unknown;

/** JSON text to a value; integers beyond ±2^53 (at most 20 digits) become bigint. Throws FormatError. */
export function decodeJson(text: string): unknown {
  try {
    return SIXTEEN_DIGITS.test(text) ? parseWith(text, exactInteger) : JSON.parse(text);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.replace(/^JSON Parse error: /, "") : String(cause);
    throw new FormatError("JSON", text, reason);
  }
}

/** Whether `value` is a JSON object: not null, not an array. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Like decodeJson, for text that must hold an object, as every message payload must. Throws FormatError. */
export function decodeJsonObject(text: string): JsonObject {
  const value = decodeJson(text);
  if (!isJsonObject(value)) throw new FormatError("JSON object", text, "the value is not an object");
  return value;
}
