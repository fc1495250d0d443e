// Idset (RFC 22): a set of non-negative integers, written "0-3,7" or "[0-3,7]".
//
// Ids are kept as sorted, separated ranges, so a set costs memory for its gaps, not for its members: "0-4294967293" is one
// range. Lookups are binary searches.

import { FormatError } from "./error.ts";

/** Largest id: stock Flux reserves 2^32-1 as "no id". */
export const MAX_ID = 0xffff_fffe;
/** Bound on a written idset, in characters. */
const MAX_TEXT_CHARS = 16 * 1024 * 1024;

const WHAT = "idset";

function checkId(id: number): void {
  if (!Number.isInteger(id) || id < 0 || id > MAX_ID) {
    throw new FormatError(WHAT, String(id), `an id must be an integer from 0 to ${MAX_ID}`);
  }
}

function checkRange(lo: number, hi: number): void {
  checkId(lo);
  checkId(hi);
  if (hi < lo) throw new FormatError(WHAT, `${lo}-${hi}`, "a range must not end before it begins");
}

/** One decimal number of `text` at `start`, without leading zeroes; the end of it is returned too. */
function scanId(text: string, start: number, end: number): [id: number, next: number] {
  let next = start;
  let id = 0;
  for (; next < end; next++) {
    const digit = text.charCodeAt(next) - 48;
    if (digit < 0 || digit > 9) break;
    id = id * 10 + digit;
    if (id > MAX_ID) throw new FormatError(WHAT, text, `an id is larger than ${MAX_ID}`, start);
  }
  if (next === start) throw new FormatError(WHAT, text, "expected a number", start);
  if (next - start > 1 && text.charCodeAt(start) === 48) throw new FormatError(WHAT, text, "leading zero", start);
  return [id, next];
}

/** A mutable set of ids, iterated in ascending order. */
export class IdSet implements Iterable<number> {
  // #lo[i]..#hi[i] are the ranges, ascending, never touching each other.
  #lo: number[] = [];
  #hi: number[] = [];
  #count = 0;

  static of(...ids: readonly number[]): IdSet {
    return IdSet.from(ids);
  }

  static from(ids: Iterable<number>): IdSet {
    const set = new IdSet();
    for (const id of ids) set.add(id);
    return set;
  }

  /** All ids from `lo` to `hi`, both included. */
  static range(lo: number, hi: number): IdSet {
    const set = new IdSet();
    set.addRange(lo, hi);
    return set;
  }

  /** Throws FormatError. The empty string and "[]" are the empty set; elements must ascend, as RFC 22 says. */
  static parse(text: string): IdSet {
    if (text.length > MAX_TEXT_CHARS) throw new FormatError(WHAT, text, `it is longer than ${MAX_TEXT_CHARS} characters`);
    const set = new IdSet();
    let at = 0;
    let end = text.length;
    if (text.startsWith("[") || text.endsWith("]")) {
      if (!text.startsWith("[")) throw new FormatError(WHAT, text, "a bracket is closed that was not opened", end - 1);
      if (!text.endsWith("]")) throw new FormatError(WHAT, text, "a bracket is not closed", 0);
      at = 1;
      end--;
    }
    if (at === end) return set;
    for (;;) {
      const start = at;
      let lo: number;
      let hi: number;
      [lo, at] = scanId(text, at, end);
      hi = lo;
      if (at < end && text[at] === "-") {
        [hi, at] = scanId(text, at + 1, end);
        if (hi <= lo) throw new FormatError(WHAT, text, "a range must end above its beginning", start);
      }
      const last = set.#hi.at(-1);
      if (last !== undefined && lo <= last) throw new FormatError(WHAT, text, "ids are not in ascending order", start);
      set.addRange(lo, hi);
      if (at === end) return set;
      if (text[at] !== ",") throw new FormatError(WHAT, text, "expected a comma", at);
      at++;
    }
  }

  /** How many ids. */
  get count(): number {
    return this.#count;
  }
  get isEmpty(): boolean {
    return this.#count === 0;
  }
  /** Smallest id, undefined when empty. */
  get first(): number | undefined {
    return this.#lo[0];
  }
  /** Largest id, undefined when empty. */
  get last(): number | undefined {
    return this.#hi.at(-1);
  }

  /** Index of the first range that ends at or after `id`. */
  #search(id: number): number {
    let low = 0;
    let high = this.#hi.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#hi[middle] ?? 0) < id) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  has(id: number): boolean {
    const lo = this.#lo[this.#search(id)];
    return lo !== undefined && lo <= id;
  }

  /** Returns whether `id` was not there before. */
  add(id: number): boolean {
    const before = this.#count;
    this.addRange(id, id);
    return this.#count > before;
  }

  /** Returns whether `id` was there. */
  remove(id: number): boolean {
    const before = this.#count;
    this.removeRange(id, id);
    return this.#count < before;
  }

  addRange(lo: number, hi: number): void {
    checkRange(lo, hi);
    const last = this.#hi.length - 1;
    const lastHi = this.#hi[last];
    if (lastHi === undefined || lo > lastHi + 1) {
      this.#lo.push(lo);
      this.#hi.push(hi);
      this.#count += hi - lo + 1;
      return;
    }
    const start = this.#search(lo - 1); // a range that ends just before `lo` joins
    let end = start;
    let from = lo;
    let to = hi;
    let joined = 0;
    for (let l = this.#lo[end]; l !== undefined && l <= hi + 1; l = this.#lo[++end]) {
      const h = this.#hi[end] ?? l;
      joined += h - l + 1;
      from = Math.min(from, l);
      to = Math.max(to, h);
    }
    this.#lo.splice(start, end - start, from);
    this.#hi.splice(start, end - start, to);
    this.#count += to - from + 1 - joined;
  }

  removeRange(lo: number, hi: number): void {
    checkRange(lo, hi);
    const start = this.#search(lo);
    const keptLo: number[] = [];
    const keptHi: number[] = [];
    let end = start;
    let removed = 0;
    for (let l = this.#lo[end]; l !== undefined && l <= hi; l = this.#lo[++end]) {
      const h = this.#hi[end] ?? l;
      removed += Math.min(h, hi) - Math.max(l, lo) + 1;
      if (l < lo) {
        keptLo.push(l);
        keptHi.push(lo - 1);
      }
      if (h > hi) {
        keptLo.push(hi + 1);
        keptHi.push(h);
      }
    }
    if (end === start) return;
    this.#lo.splice(start, end - start, ...keptLo);
    this.#hi.splice(start, end - start, ...keptHi);
    this.#count -= removed;
  }

  clear(): void {
    this.#lo = [];
    this.#hi = [];
    this.#count = 0;
  }

  /** Smallest id above `id`, undefined when there is none. */
  next(id: number): number | undefined {
    const lo = this.#lo[this.#search(id + 1)];
    return lo === undefined ? undefined : Math.max(lo, id + 1);
  }

  /** Largest id below `id`, undefined when there is none. */
  prev(id: number): number | undefined {
    const at = this.#search(id - 1);
    const lo = this.#lo[at];
    if (id > 0 && lo !== undefined && lo <= id - 1) return id - 1;
    return this.#hi[at - 1];
  }

  *[Symbol.iterator](): Iterator<number> {
    for (const [lo, hi] of this.ranges()) {
      for (let id = lo; id <= hi; id++) yield id;
    }
  }

  /** The ranges, ascending, both ends included. The set must not change meanwhile. */
  *ranges(): IterableIterator<[lo: number, hi: number]> {
    for (let i = 0; i < this.#lo.length; i++) yield [this.#lo[i] ?? 0, this.#hi[i] ?? 0];
  }

  toArray(): number[] {
    return [...this];
  }

  clone(): IdSet {
    const copy = new IdSet();
    copy.#lo = [...this.#lo];
    copy.#hi = [...this.#hi];
    copy.#count = this.#count;
    return copy;
  }

  union(other: IdSet): IdSet {
    const [big, small] = this.#lo.length >= other.#lo.length ? [this, other] : [other, this];
    const result = big.clone();
    for (const [lo, hi] of small.ranges()) result.addRange(lo, hi);
    return result;
  }

  intersect(other: IdSet): IdSet {
    const result = new IdSet();
    let i = 0;
    let j = 0;
    while (i < this.#lo.length && j < other.#lo.length) {
      const lo = Math.max(this.#lo[i] ?? 0, other.#lo[j] ?? 0);
      const myEnd = this.#hi[i] ?? 0;
      const itsEnd = other.#hi[j] ?? 0;
      const hi = Math.min(myEnd, itsEnd);
      if (lo <= hi) result.addRange(lo, hi);
      if (myEnd <= itsEnd) i++;
      else j++;
    }
    return result;
  }

  subtract(other: IdSet): IdSet {
    const result = this.clone();
    for (const [lo, hi] of other.ranges()) result.removeRange(lo, hi);
    return result;
  }

  /** Whether the sets have an id in common. */
  intersects(other: IdSet): boolean {
    let i = 0;
    let j = 0;
    while (i < this.#lo.length && j < other.#lo.length) {
      const myEnd = this.#hi[i] ?? 0;
      const itsEnd = other.#hi[j] ?? 0;
      if (Math.max(this.#lo[i] ?? 0, other.#lo[j] ?? 0) <= Math.min(myEnd, itsEnd)) return true;
      if (myEnd <= itsEnd) i++;
      else j++;
    }
    return false;
  }

  /** Whether every id of `other` is in this set. */
  contains(other: IdSet): boolean {
    for (const [lo, hi] of other.ranges()) {
      const at = this.#search(lo);
      const mine = this.#lo[at];
      if (mine === undefined || mine > lo || (this.#hi[at] ?? 0) < hi) return false;
    }
    return true;
  }

  equals(other: IdSet): boolean {
    return (
      this.#count === other.#count &&
      this.#lo.length === other.#lo.length &&
      this.#lo.every((lo, i) => lo === other.#lo[i]) &&
      this.#hi.every((hi, i) => hi === other.#hi[i])
    );
  }

  /** "0-3,5"; with `brackets`, "[0-3,5]" when there is more than one id. The empty set is "". */
  toString(options?: { readonly brackets?: boolean }): string {
    let text = "";
    for (let i = 0; i < this.#lo.length; i++) {
      const lo = this.#lo[i];
      const hi = this.#hi[i];
      text += `${i > 0 ? "," : ""}${lo}${lo === hi ? "" : `-${hi}`}`;
    }
    return options?.brackets === true && this.#count > 1 ? `[${text}]` : text;
  }
}
