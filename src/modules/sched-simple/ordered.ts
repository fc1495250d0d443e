// Ordered: jobs that wait, to be gone through from the most urgent to the least: higher priority, then lower id. What is
// added or removed while somebody goes through it takes effect at the next merge(), so that large queues cost little to keep.
import type { JobId } from "../../formats/fluid.ts";

export interface Entry<T> {
  readonly id: JobId;
  readonly priority: number;
  readonly job: T;
  /** Removed: pass it over. */
  gone: boolean;
}

export class Ordered<E extends Entry<unknown>> {
  #sorted: E[] = [];
  #incoming: E[] = [];
  #gone = 0;
  readonly #byId = new Map<JobId, E>();

  get size(): number {
    return this.#byId.size;
  }

  get(id: JobId): E | undefined {
    return this.#byId.get(id);
  }

  add(entry: E): void {
    if (this.#byId.has(entry.id)) throw new Error(`job ${entry.id} is queued already`);
    this.#byId.set(entry.id, entry);
    this.#incoming.push(entry);
  }

  remove(id: JobId): E | undefined {
    const entry = this.#byId.get(id);
    if (entry === undefined) return undefined;
    this.#byId.delete(id);
    entry.gone = true;
    this.#gone++;
    return entry;
  }

  get hasNew(): boolean {
    return this.#incoming.length > 0;
  }

  /** In no order. */
  values(): IterableIterator<E> {
    return this.#byId.values();
  }

  /** Those in order as of the last merge; some may be gone. */
  get sorted(): readonly E[] {
    return this.#sorted;
  }

  /** Takes up what was added; returns it, in order. */
  merge(): readonly E[] {
    const added = this.#incoming.filter(({ gone }) => !gone).sort(compare);
    this.#incoming = [];
    if (this.#gone > 1000 || this.#gone > this.#sorted.length / 2) {
      this.#sorted = this.#sorted.filter(({ gone }) => !gone);
      this.#gone = 0;
    }
    const last = this.#sorted.at(-1);
    const first = added[0];
    if (first === undefined) return added;
    if (last === undefined || isBefore(last, first)) for (const entry of added) this.#sorted.push(entry);
    else this.#sorted = mergeSorted(this.#sorted, added);
    return added;
  }
}

export function isBefore(a: Entry<unknown>, b: Entry<unknown>): boolean {
  return a.priority !== b.priority ? a.priority > b.priority : a.id < b.id;
}

function compare(a: Entry<unknown>, b: Entry<unknown>): number {
  return isBefore(a, b) ? -1 : 1;
}

function mergeSorted<E extends Entry<unknown>>(a: readonly E[], b: readonly E[]): E[] {
  const result: E[] = [];
  let i = 0;
  for (const entry of b) {
    for (let other = a[i]; other !== undefined && isBefore(other, entry); other = a[++i]) result.push(other);
    result.push(entry);
  }
  while (i < a.length) result.push(a[i++] as E);
  return result;
}
