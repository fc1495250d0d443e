// Hostlist (RFC 29): an ordered list of host names, duplicates kept, written "foo[0-3,5],login".
//
// Kept as runs of consecutive numbers under one prefix, so a cluster costs memory for its gaps and not for its nodes. A name is
// a prefix and a number when it ends in digits; zero padding belongs to the name.

import { FormatError } from "./error.ts";
import type { IdSet } from "./idset.ts";

/** Bound on the hosts of one list, and on the hosts a bracket with a suffix expands to. */
export const MAX_HOSTS = 1 << 24;
const MAX_EXPANDED = 1 << 20;
/** Longer numbers are taken as part of the name: they would not fit a number exactly. */
const MAX_DIGITS = 15;

const WHAT = "hostlist";
const NAME = /^[\x21-\x2b\x2d-\x5a\x5c\x5e-\x7e]+$/; // printable ASCII without white space , [ ]

/** `width` is the zero-padded width, 1 when not padded; a name without number has lo = hi = -1. */
interface Run {
  readonly prefix: string;
  readonly width: number;
  readonly lo: number;
  hi: number;
}

const numberText = (id: number, width: number) => String(id).padStart(width, "0");
const runLength = (run: Run) => run.hi - run.lo + 1;

function toRun(host: string): Run {
  const digits = /\d+$/.exec(host)?.[0] ?? "";
  if (digits === "" || digits.length > MAX_DIGITS) return { prefix: host, width: 1, lo: -1, hi: -1 };
  const id = Number(digits);
  return {
    prefix: host.slice(0, host.length - digits.length),
    width: digits.startsWith("0") ? digits.length : 1,
    lo: id,
    hi: id,
  };
}

/** Whether number `id` written with `width` has the same text in a run of width `other`. */
const sameText = (id: number, width: number, other: number) => numberText(id, width) === numberText(id, other);

function holds(run: Run, name: Run): boolean {
  return run.prefix === name.prefix && name.lo >= run.lo && name.lo <= run.hi && sameText(name.lo, name.width, run.width);
}

interface Expression {
  readonly text: string;
  readonly start: number;
}

/** The comma-separated expressions of a hostlist, with their offsets; commas within brackets do not separate. */
function split(text: string): Expression[] {
  const parts: Expression[] = [];
  let start = 0;
  let inside = false;
  for (let at = 0; at <= text.length; at++) {
    const char = text[at];
    if (char === "[") {
      if (inside) throw new FormatError(WHAT, text, "a bracket within brackets", at);
      inside = true;
    } else if (char === "]") {
      if (!inside) throw new FormatError(WHAT, text, "a bracket is closed that was not opened", at);
      inside = false;
    } else if (char === undefined || (char === "," && !inside)) {
      if (at > start) parts.push({ text: text.slice(start, at), start });
      start = at + 1;
    }
  }
  if (inside) throw new FormatError(WHAT, text, "a bracket is not closed");
  return parts;
}

/** "005,4,11-13" to ranges; zero padding of the first number holds for all. */
function parseIdList(list: string, text: string, start: number): { lo: number; hi: number; width: number }[] {
  let padded = 0;
  return list.split(",").map((part, i) => {
    const match = /^(\d{1,15})(?:-(\d{1,15}))?$/.exec(part);
    const first = match?.[1];
    if (first === undefined) throw new FormatError(WHAT, text, `"${part}" is not a number or a range`, start);
    const lo = Number(first);
    const hi = match?.[2] === undefined ? lo : Number(match[2]);
    if (hi < lo) throw new FormatError(WHAT, text, `range "${part}" ends before it begins`, start);
    const width = first.length > 1 && first.startsWith("0") ? first.length : 1;
    if (i === 0) padded = width;
    return { lo, hi, width: Math.max(width, padded) };
  });
}

/** A mutable, ordered list of host names. */
export class Hostlist implements Iterable<string> {
  #runs: Run[] = [];
  #length = 0;

  /** "" is the empty list. Throws FormatError. */
  static parse(text: string): Hostlist {
    return new Hostlist().append(text);
  }
  static of(...hosts: readonly string[]): Hostlist {
    return Hostlist.from(hosts);
  }

  /** Host names as they are, one each; brackets are not allowed. */
  static from(hosts: Iterable<string>): Hostlist {
    const list = new Hostlist();
    for (const host of hosts) list.push(host);
    return list;
  }

  get length(): number {
    return this.#length;
  }

  /** Adds one host name to the end. Throws FormatError. */
  push(host: string): void {
    if (!NAME.test(host))
      throw new FormatError("host name", host, "it must be printable ASCII without white space, commas and brackets");
    this.#add(toRun(host));
  }

  /** Adds hosts to the end: a hostlist, or text to parse. Throws FormatError, and then the list is unchanged. */
  append(hosts: string | Hostlist): this {
    if (typeof hosts !== "string") {
      for (const run of hosts.#runs.slice()) this.#add({ ...run });
      return this;
    }
    const added = new Hostlist();
    for (const expression of split(hosts)) added.#parseExpression(expression, hosts);
    return this.append(added);
  }

  #parseExpression({ text, start }: Expression, whole: string): void {
    const open = text.indexOf("[");
    if (open < 0) {
      if (!NAME.test(text)) throw new FormatError(WHAT, whole, "a host name must be printable ASCII without white space", start);
      this.#add(toRun(text));
      return;
    }
    const close = text.indexOf("]");
    const prefix = text.slice(0, open);
    const suffix = text.slice(close + 1);
    if (suffix.includes("[")) throw new FormatError(WHAT, whole, "more than one bracket in a name", start + close + 1);
    if ((prefix !== "" && !NAME.test(prefix)) || (suffix !== "" && !NAME.test(suffix))) {
      throw new FormatError(WHAT, whole, "a host name must be printable ASCII without white space", start);
    }
    const digitsInPrefix = /\d$/.test(prefix);
    for (const { lo, hi, width } of parseIdList(text.slice(open + 1, close), whole, start + open + 1)) {
      if (suffix === "" && !digitsInPrefix) {
        this.#add({ prefix, width, lo, hi });
        continue;
      }
      if (hi - lo >= MAX_EXPANDED)
        throw new FormatError(WHAT, whole, `more than ${MAX_EXPANDED} names in a bracket`, start + open);
      for (let id = lo; id <= hi; id++) this.#add(toRun(prefix + numberText(id, width) + suffix));
    }
  }

  /** Takes ownership of `run`; joins it to the last one where its names continue it. */
  #add(run: Run): void {
    if (this.#length + runLength(run) > MAX_HOSTS) throw new FormatError(WHAT, run.prefix, `more than ${MAX_HOSTS} hosts`);
    const last = this.#runs.at(-1);
    this.#length += runLength(run);
    if (
      last &&
      last.lo >= 0 &&
      last.prefix === run.prefix &&
      run.lo === last.hi + 1 &&
      sameText(run.lo, run.width, last.width) &&
      sameText(run.hi, run.width, last.width)
    )
      last.hi = run.hi;
    else this.#runs.push(run);
  }

  /** Host at an index from 0, or from the end when negative; undefined outside of the list. */
  nth(index: number): string | undefined {
    let rest = index < 0 ? index + this.#length : index;
    if (rest < 0) return undefined;
    for (const run of this.#runs) {
      const length = runLength(run);
      if (rest < length) return run.lo < 0 ? run.prefix : run.prefix + numberText(run.lo + rest, run.width);
      rest -= length;
    }
    return undefined;
  }

  /** Index of the first occurrence of one host, -1 when it is not there. */
  find(host: string): number {
    const name = toRun(host);
    let start = 0;
    for (const run of this.#runs) {
      if (holds(run, name)) return start + name.lo - run.lo;
      start += runLength(run);
    }
    return -1;
  }

  has(host: string): boolean {
    return this.find(host) >= 0;
  }

  /** Every index at which one host occurs. */
  findAll(host: string): number[] {
    const name = toRun(host);
    const found: number[] = [];
    let start = 0;
    for (const run of this.#runs) {
      if (holds(run, name)) found.push(start + name.lo - run.lo);
      start += runLength(run);
    }
    return found;
  }

  /** Removes every occurrence of the given hosts; returns how many were removed. */
  delete(hosts: string | Hostlist): number {
    const doomed = new Set(typeof hosts === "string" ? Hostlist.parse(hosts) : hosts);
    const before = this.#length;
    this.#replace([...this].filter((host) => !doomed.has(host)));
    return before - this.#length;
  }

  /** Sorts by prefix, then by number. */
  sort(): this {
    const singles = [...this].map(toRun);
    singles.sort((a, b) => (a.prefix < b.prefix ? -1 : a.prefix > b.prefix ? 1 : a.lo - b.lo || a.width - b.width));
    this.#runs = [];
    this.#length = 0;
    for (const single of singles) this.#add(single);
    return this;
  }

  /** Sorts and removes duplicates. */
  uniq(): this {
    this.#replace(new Set(this));
    return this.sort();
  }

  #replace(hosts: Iterable<string>): void {
    const names = [...hosts];
    this.#runs = [];
    this.#length = 0;
    for (const host of names) this.#add(toRun(host));
  }

  /** The hosts at the given indexes, in order. Throws FormatError when one is not in the list. */
  slice(ids: IdSet): Hostlist {
    const last = ids.last;
    if (last !== undefined && last >= this.#length) {
      throw new FormatError(WHAT, this.toString(), `there is no host ${last}, the list has ${this.#length}`);
    }
    const result = new Hostlist();
    let start = 0;
    let run = 0;
    for (const id of ids) {
      for (let current = this.#runs[run]; current && id >= start + runLength(current); current = this.#runs[++run])
        start += runLength(current);
      const current = this.#runs[run];
      if (!current) break;
      const lo = current.lo < 0 ? -1 : current.lo + id - start;
      result.#add({ prefix: current.prefix, width: current.width, lo, hi: lo });
    }
    return result;
  }

  clone(): Hostlist {
    return new Hostlist().append(this);
  }

  equals(other: Hostlist): boolean {
    return this.#length === other.#length && this.toString() === other.toString();
  }

  *[Symbol.iterator](): Iterator<string> {
    for (const run of this.#runs) {
      if (run.lo < 0) yield run.prefix;
      else for (let id = run.lo; id <= run.hi; id++) yield run.prefix + numberText(id, run.width);
    }
  }

  toArray(): string[] {
    return [...this];
  }

  /** "foo[0-3,5],login": neighbours with one prefix and compatible padding share a bracket. */
  toString(): string {
    const parts: string[] = [];
    for (let i = 0; i < this.#runs.length;) {
      const first = this.#runs[i];
      if (!first) break;
      if (first.lo < 0) {
        parts.push(first.prefix);
        i++;
        continue;
      }
      const ids: string[] = [];
      for (let run: Run | undefined = first; run && groups(first, run); run = this.#runs[++i]) {
        const lo = numberText(run.lo, run.width);
        ids.push(run.lo === run.hi ? lo : `${lo}-${numberText(run.hi, run.width)}`);
      }
      const single = ids.length === 1 && first.lo === first.hi;
      parts.push(single ? first.prefix + (ids[0] ?? "") : `${first.prefix}[${ids.join(",")}]`);
    }
    return parts.join(",");
  }
}

/** Whether `run` can stand in a bracket that `first` opens: the padding of the first number holds for all in it. */
function groups(first: Run, run: Run): boolean {
  if (run.lo < 0 || run.prefix !== first.prefix) return false;
  return first.width === 1 || sameText(run.lo, run.width, first.width);
}
