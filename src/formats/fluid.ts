// FLUID (RFC 19): the 64-bit job id, its generator and its seven spellings.
//
// Bits, from the top: 40 of milliseconds since the instance began, 14 of generator id, 10 of sequence.
// In memory a job id is always a bigint; in JSON an integer (json.ts).

import { EMOJI_DIGITS } from "./emoji-digits.ts";
import { f58Prefix } from "./f58-prefix.ts";
import { FormatError } from "./error.ts";
import { MNEMONIC_BASE, MNEMONIC_WORDS } from "./mnemonic-words.ts";

export type JobId = bigint;
export type JobIdForm = "dec" | "hex" | "dothex" | "kvs" | "f58" | "f58plain" | "words" | "emoji";

export const JOB_ID_FORMS: readonly JobIdForm[] = ["dec", "hex", "dothex", "kvs", "f58", "f58plain", "words", "emoji"];

const WHAT = "job id";
const LIMIT = 1n << 64n;
const GENERATOR_BITS = 14n;
const SEQUENCE_BITS = 10n;
const TIMESTAMP_BITS = 40n;
const F58_DIGITS = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

const f58Value = new Map(Array.from(F58_DIGITS).map((digit, value) => [digit, BigInt(value)]));
let wordValue: Map<string, number> | undefined;
let emojiValue: Map<string, bigint> | undefined;

function bounded(id: bigint, text: string): JobId {
  if (id >= LIMIT) throw new FormatError(WHAT, text, "the value does not fit in 64 bits");
  return id;
}

/** A number or bigint from a payload as a job id. Throws FormatError when it is not an integer from 0 to 2^64-1. */
export function toJobId(value: unknown): JobId {
  if (typeof value === "bigint") {
    if (value >= 0n && value < LIMIT) return value;
  } else if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) {
    return BigInt(value);
  }
  const text = typeof value === "number" || typeof value === "bigint" || typeof value === "string" ? String(value) : typeof value;
  throw new FormatError(WHAT, text, "must be an integer from 0 to 2^64-1");
}

function digits(id: bigint, alphabet: ArrayLike<string>): string {
  const base = BigInt(alphabet.length);
  let text = "";
  let rest = id;
  do {
    text = (alphabet[Number(rest % base)] ?? "") + text;
    rest /= base;
  } while (rest > 0n);
  return text;
}

function fromDigits(symbols: Iterable<string>, values: ReadonlyMap<string, bigint>, text: string): bigint {
  const base = BigInt(values.size);
  let id = 0n;
  let seen = 0;
  for (const symbol of symbols) {
    const value = values.get(symbol);
    if (value === undefined) throw new FormatError(WHAT, text, `"${symbol}" is not one of its ${values.size} digits`);
    id = bounded(id * base + value, text);
    seen++;
  }
  if (seen === 0) throw new FormatError(WHAT, text, "there are no digits");
  return id;
}

/** `XXXX.XXXX.XXXX.XXXX`, lower-case hexadecimal. */
function dothex(id: bigint): string {
  const hex = id.toString(16).padStart(16, "0");
  return `${hex.slice(0, 4)}.${hex.slice(4, 8)}.${hex.slice(8, 12)}.${hex.slice(12)}`;
}

function fromDothex(body: string, text: string): bigint {
  const match = /^([0-9a-f]{1,4})\.([0-9a-f]{1,4})\.([0-9a-f]{1,4})\.([0-9a-f]{1,4})$/i.exec(body);
  if (!match) throw new FormatError(WHAT, text, "the dotted form is four groups of four hexadecimal digits");
  return BigInt(
    `0x${match
      .slice(1)
      .map((group) => group.padStart(4, "0"))
      .join("")}`,
  );
}

// Mnemonicode packs each 32 bits, least significant half first, into three words, least significant word first.
function threeWords(half: number): string {
  const words: string[] = [];
  let rest = half;
  for (let i = 0; i < 3; i++) {
    words.push(MNEMONIC_WORDS[rest % MNEMONIC_BASE] ?? "");
    rest = Math.floor(rest / MNEMONIC_BASE);
  }
  return words.join("-");
}

function toWords(id: bigint): string {
  return `${threeWords(Number(id & 0xffffffffn))}--${threeWords(Number(id >> 32n))}`;
}

function fromWords(body: string, text: string): bigint {
  const values = (wordValue ??= new Map(MNEMONIC_WORDS.slice(0, MNEMONIC_BASE).map((word, value) => [word, value])));
  const words = body
    .toLowerCase()
    .split(/[^a-z]+/)
    .filter((word) => word !== "");
  if (words.length !== 6) throw new FormatError(WHAT, text, `the words form has 6 words, not ${words.length}`);
  const indexes = words.map((word) => {
    const index = values.get(word);
    if (index === undefined) throw new FormatError(WHAT, text, `"${word}" is not a word of mnemonicode`);
    return index;
  });
  const half = (start: number) => [2, 1, 0].reduce((sum, i) => sum * MNEMONIC_BASE + (indexes[start + i] ?? 0), 0);
  const low = half(0);
  const high = half(3);
  if (low > 0xffffffff || high > 0xffffffff) throw new FormatError(WHAT, text, "these words stand for no 32-bit value");
  return (BigInt(high) << 32n) | BigInt(low);
}

/**
 * Any spelling of a job id, told apart by the rules of RFC 19; a leading `job.` (the KVS form) and surrounding white space
 * are ignored. Throws FormatError.
 */
export function parseJobId(text: string): JobId {
  const trimmed = text.trim();
  const body = trimmed.startsWith("job.") ? trimmed.slice(4) : trimmed;
  if (body === "") throw new FormatError(WHAT, text, "it is empty");
  if (body.includes(".")) return fromDothex(body, text);
  if (body.includes("-")) return fromWords(body, text);
  if (body.startsWith("ƒ") || body.startsWith("f")) return fromDigits(body.slice(1), f58Value, text);
  if (body.charCodeAt(0) >= 0xd800 && body.charCodeAt(0) <= 0xdbff) {
    emojiValue ??= new Map(EMOJI_DIGITS.map((digit, value) => [digit, BigInt(value)]));
    return fromDigits(body, emojiValue, text);
  }
  if (/^0x[0-9a-f]{1,16}$/i.test(body)) return BigInt(body);
  if (/^[0-9]{1,20}$/.test(body)) return bounded(BigInt(body), text);
  throw new FormatError(WHAT, text, "it is none of the decimal, hexadecimal, dotted, F58, words or emoji forms");
}

const spellings: Readonly<Record<JobIdForm, (id: JobId) => string>> = {
  dec: (id) => id.toString(),
  hex: (id) => `0x${id.toString(16)}`,
  dothex,
  kvs: (id) => `job.${dothex(id)}`,
  f58: (id) => `${f58Prefix()}${digits(id, F58_DIGITS)}`,
  f58plain: (id) => `f${digits(id, F58_DIGITS)}`,
  words: toWords,
  emoji: (id) => digits(id, EMOJI_DIGITS),
};

/** One spelling of a job id. `f58plain` begins with `f` instead of `ƒ`, for terminals that are not UTF-8. */
export function formatJobId(id: JobId, form: JobIdForm): string {
  return spellings[form](id);
}

/** KVS directory of a job, or of a key under it: `job.0000.0004.b200.0000.eventlog`. */
export function jobKvsPath(id: JobId, sub?: string): string {
  return sub === undefined || sub === "" ? `job.${dothex(id)}` : `job.${dothex(id)}.${sub}`;
}

/** Milliseconds between the epoch of the generator and the making of this id. */
export function fluidTimestamp_ms(id: JobId): number {
  return Number(id >> (GENERATOR_BITS + SEQUENCE_BITS));
}

/**
 * Makes increasing, unique ids. Time is given: `now_ms` may start anywhere, only its progress counts, from `offset_ms` on
 * (what `timestamp_ms` was when an earlier generator of the instance stopped; tests start far ahead to have ids above 2^53).
 * When a millisecond's 1024 ids are used up, ids are borrowed from the next one, so making an id never waits.
 */
export class FluidGenerator {
  readonly #now_ms: () => number;
  readonly #generator: bigint;
  readonly #zero_ms: number;
  readonly #offset_ms: number;
  #timestamp_ms: number;
  #sequence = 0;

  constructor(now_ms: () => number, generatorId: number, offset_ms = 0) {
    if (!Number.isInteger(generatorId) || generatorId < 0 || generatorId >= 2 ** Number(GENERATOR_BITS)) {
      throw new FormatError("FLUID generator id", String(generatorId), "must be from 0 to 16383");
    }
    if (!Number.isInteger(offset_ms) || offset_ms < 0 || offset_ms >= 2 ** Number(TIMESTAMP_BITS)) {
      throw new FormatError("FLUID timestamp", String(offset_ms), "must be an integer from 0 to 2^40-1");
    }
    this.#now_ms = now_ms;
    this.#generator = BigInt(generatorId) << SEQUENCE_BITS;
    this.#zero_ms = now_ms();
    this.#offset_ms = offset_ms;
    this.#timestamp_ms = offset_ms;
  }

  /** Current timestamp: what to save, and to start the next generator of this instance beyond. */
  get timestamp_ms(): number {
    const clock_ms = Math.floor(this.#now_ms() - this.#zero_ms) + this.#offset_ms;
    if (clock_ms > this.#timestamp_ms) {
      this.#timestamp_ms = clock_ms;
      this.#sequence = 0;
    }
    return this.#timestamp_ms;
  }

  next(): JobId {
    let timestamp_ms = this.timestamp_ms;
    if (this.#sequence >= 2 ** Number(SEQUENCE_BITS)) {
      timestamp_ms = ++this.#timestamp_ms;
      this.#sequence = 0;
    }
    if (timestamp_ms >= 2 ** Number(TIMESTAMP_BITS)) {
      throw new FormatError("FLUID timestamp", String(timestamp_ms), "the 40 bits of milliseconds of this instance are used up");
    }
    return (BigInt(timestamp_ms) << (GENERATOR_BITS + SEQUENCE_BITS)) | this.#generator | BigInt(this.#sequence++);
  }
}
