// Queue: jobs that wait for resources, most urgent first: higher priority, then lower id. A binary heap that knows where
// each job is, so that cancelling and re-ordering cost O(log n).
import type { JobId } from "../../formats/fluid.ts";

export interface Waiting {
  readonly id: JobId;
  priority: number;
}

export class Queue<T extends Waiting> {
  readonly #heap: T[] = [];
  readonly #at = new Map<JobId, number>();

  get size(): number {
    return this.#heap.length;
  }

  get first(): T | undefined {
    return this.#heap[0];
  }

  get(id: JobId): T | undefined {
    const at = this.#at.get(id);
    return at === undefined ? undefined : this.#heap[at];
  }

  add(job: T): void {
    if (this.#at.has(job.id)) throw new Error(`job ${job.id} is queued already`);
    this.#place(job, this.#heap.length);
    this.#up(this.#heap.length - 1);
  }

  remove(id: JobId): T | undefined {
    const at = this.#at.get(id);
    if (at === undefined) return undefined;
    const job = this.#heap[at] as T;
    this.#at.delete(id);
    const last = this.#heap.pop() as T;
    if (last !== job) {
      this.#place(last, at);
      this.#up(at);
      this.#down(this.#at.get(last.id) ?? at);
    }
    return job;
  }

  setPriority(id: JobId, priority: number): void {
    const job = this.get(id);
    if (job === undefined) return;
    job.priority = priority;
    this.#up(this.#at.get(id) ?? 0);
    this.#down(this.#at.get(id) ?? 0);
  }

  /** The first `count`, in order. */
  firsts(count: number): T[] {
    const result: T[] = [];
    // Places in the heap whose parents were taken: the next is one of them.
    const edge = this.#heap.length === 0 ? [] : [0];
    while (edge.length > 0 && result.length < count) {
      let best = 0;
      for (let i = 1; i < edge.length; i++) if (before(this.#heap[edge[i] ?? 0] as T, this.#heap[edge[best] ?? 0] as T)) best = i;
      const at = edge[best] ?? 0;
      edge[best] = edge.at(-1) ?? 0;
      edge.pop();
      result.push(this.#heap[at] as T);
      for (const child of [2 * at + 1, 2 * at + 2]) if (child < this.#heap.length) edge.push(child);
    }
    return result;
  }

  /** In no order. */
  values(): IterableIterator<T> {
    return this.#heap.values();
  }

  #place(job: T, at: number): void {
    this.#heap[at] = job;
    this.#at.set(job.id, at);
  }

  #up(start: number): void {
    const job = this.#heap[start] as T;
    let at = start;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const other = this.#heap[parent] as T;
      if (!before(job, other)) break;
      this.#place(other, at);
      at = parent;
    }
    this.#place(job, at);
  }

  #down(start: number): void {
    const job = this.#heap[start] as T;
    let at = start;
    for (;;) {
      let child = 2 * at + 1;
      const left = this.#heap[child];
      if (left === undefined) break;
      const right = this.#heap[child + 1];
      const best = right !== undefined && before(right, left) ? right : left;
      if (best === right) child++;
      if (!before(best, job)) break;
      this.#place(best, at);
      at = child;
    }
    this.#place(job, at);
  }
}

function before(a: Waiting, b: Waiting): boolean {
  return a.priority !== b.priority ? a.priority > b.priority : a.id < b.id;
}
