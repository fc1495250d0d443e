// Checks of option values that many commands share. Each throws an Error that says what is expected.
import { parseDuration } from "../formats/fsd.ts";
import { IdSet } from "../formats/idset.ts";

const KINDS = { int: "an integer", float: "a number", IDset: "a set of ids such as 0-3,7" } as const;

/** A value is none of its option's kind. */
export class KindError extends Error {
  constructor(readonly kind: keyof typeof KINDS) {
    super(`expected ${KINDS[kind]}`);
    this.name = "KindError";
  }
}

/** A set of ids (RFC 22). */
export function idset(text: string): IdSet {
  try {
    return IdSet.parse(text);
  } catch {
    throw new KindError("IDset");
  }
}

/** An integer from `min` on. */
export function integer(min: number = 0): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^[+-]?\d+$/.test(text) || !Number.isSafeInteger(value)) throw new KindError("int");
    if (value < min) throw new Error(`expected ${min} or more`);
    return value;
  };
}

export function real(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) throw new KindError("float");
  return value;
}

/** Flux standard duration (RFC 23) to seconds; not without end. */
export function seconds(text: string): number {
  const value = parseDuration(text);
  if (!Number.isFinite(value)) throw new Error("expected a duration that ends");
  return value;
}

/** A number of bytes, with k, M, G or T for powers of 1024. */
export function bytes(text: string): number {
  const [, number, suffix = ""] = /^(\d+(?:\.\d*)?)([kKMGT]?)$/.exec(text) ?? [];
  if (number === undefined) throw new Error("expected a number of bytes such as 100 or 2.5M");
  return Math.trunc(Number(number) * 1024 ** " KMGT".indexOf(suffix === "" ? " " : suffix.toUpperCase()));
}
