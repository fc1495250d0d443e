// History: job-manager.history.get {slice} → {jobs}: ids of the caller's jobs, active and inactive, the latest first, cut
// by a Python slice ("0:1", "[:5]", "-1").
import type { JobId } from "../../formats/fluid.ts";
import { errno, FluxError } from "../../message/errno.ts";

/** A user's jobs by time of submission, the oldest first. */
interface Column {
  ids: BigUint64Array<ArrayBuffer>;
  times: Float64Array<ArrayBuffer>;
  length: number;
  /** Entries whose job has been purged. */
  gone: number;
}

/** Columns with so many times the room that they need are made smaller. */
const SPARE = 8;

export class History {
  readonly #users = new Map<number, Column>();
  readonly #isKnown: (id: JobId) => boolean;

  constructor(isKnown: (id: JobId) => boolean) {
    this.#isKnown = isKnown;
  }

  add(userid: number, id: JobId, t_submit: number): void {
    let column = this.#users.get(userid);
    if (column === undefined) {
      this.#users.set(userid, (column = { ids: new BigUint64Array(64), times: new Float64Array(64), length: 0, gone: 0 }));
    }
    if (column.length === column.ids.length) resize(column, column.length * 2);
    let at = column.length++;
    // Jobs come nearly in order.
    for (; at > 0 && (column.times[at - 1] ?? 0) > t_submit; at--) {
      column.ids[at] = column.ids[at - 1] ?? 0n;
      column.times[at] = column.times[at - 1] ?? 0;
    }
    column.ids[at] = id;
    column.times[at] = t_submit;
  }

  /** A job of this user has been purged. */
  removed(userid: number): void {
    const column = this.#users.get(userid);
    if (column !== undefined && ++column.gone > column.length / 2) this.#compact(userid, column);
  }

  /** Throws FluxError EINVAL for what is no slice. */
  slice(userid: number, text: string): JobId[] {
    const column = this.#users.get(userid);
    if (column !== undefined && column.gone > 0) this.#compact(userid, column);
    const length = column?.length ?? 0;
    return sliceIndexes(text, length).map((i) => column?.ids[length - 1 - i] ?? 0n);
  }

  #compact(userid: number, column: Column): void {
    let kept = 0;
    for (let i = 0; i < column.length; i++) {
      const id = column.ids[i] ?? 0n;
      if (!this.#isKnown(id)) continue;
      column.ids[kept] = id;
      column.times[kept++] = column.times[i] ?? 0;
    }
    column.length = kept;
    column.gone = 0;
    if (kept === 0) this.#users.delete(userid);
    else if (kept < column.ids.length / SPARE) resize(column, kept * 2);
  }
}

function resize(column: Column, capacity: number): void {
  const ids = new BigUint64Array(capacity);
  const times = new Float64Array(capacity);
  ids.set(column.ids.subarray(0, column.length));
  times.set(column.times.subarray(0, column.length));
  column.ids = ids;
  column.times = times;
}

/** Indexes that a Python slice with or without brackets takes from a list of that length. Throws FluxError EINVAL. */
export function sliceIndexes(text: string, length: number): number[] {
  const wrong = new FluxError(errno.EINVAL, "could not parse python-style slice expression");
  const parts = text.replace(/^\[(.*)\]$/, "$1").split(":");
  if (parts.length > 3) throw wrong;
  const numbers = parts.map((part) => {
    const trimmed = part.trim();
    if (trimmed === "") return undefined;
    if (!/^[+-]?\d{1,15}$/.test(trimmed)) throw wrong;
    return Number(trimmed);
  });
  const wrap = (n: number): number => (n < 0 ? n + length : n);
  if (parts.length === 1) {
    const [index] = numbers;
    if (index === undefined) throw wrong;
    const i = wrap(index);
    return i >= 0 && i < length ? [i] : [];
  }
  const step = numbers[2] ?? 1;
  if (step === 0) throw wrong;
  const [low, high] = step > 0 ? [0, length] : [-1, length - 1];
  const clamp = (n: number | undefined, otherwise: number): number => (n === undefined ? otherwise : Math.max(low, Math.min(high, wrap(n))));
  const start = clamp(numbers[0], step > 0 ? 0 : length - 1);
  const stop = clamp(numbers[1], step > 0 ? length : -1);
  const indexes: number[] = [];
  for (let i = start; step > 0 ? i < stop : i > stop; i += step) indexes.push(i);
  return indexes;
}
