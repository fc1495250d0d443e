// FIFO: first come, first served. The first job that does not fit makes all others wait, so that a large one gets its turn.
import type { JobId } from "../../formats/fluid.ts";
import { type Decision, expectedDuration, failure, type Lane, type Starter, type WaitingJob } from "./lane.ts";
import { INSUFFICIENT } from "./pool.ts";
import { Queue } from "./queue.ts";

export class FifoLane<T extends WaitingJob> implements Lane<T> {
  readonly reserved = 0;
  readonly #queue = new Queue<T>();
  readonly #starter: Starter<T>;
  #dirty = false;

  constructor(starter: Starter<T>) {
    this.#starter = starter;
  }

  get size(): number {
    return this.#queue.size;
  }

  get hasWork(): boolean {
    return this.#dirty && this.#queue.size > 0;
  }

  /** A pass looks at whoever is first. */
  get mustRestart(): boolean {
    return false;
  }

  get(id: JobId): T | undefined {
    return this.#queue.get(id);
  }

  add(job: T): void {
    this.#queue.add(job);
    this.#dirty = true;
  }

  remove(id: JobId): T | undefined {
    const job = this.#queue.remove(id);
    if (job !== undefined) this.#dirty = true;
    return job;
  }

  setPriority(id: JobId, priority: number): void {
    this.#queue.setPriority(id, priority);
    this.#dirty = true;
  }

  jobs(): Iterable<T> {
    return this.#queue.values();
  }

  unplanned(count: number): readonly T[] {
    return this.#queue.firsts(count);
  }

  improved(): void {
    this.#dirty = true;
  }

  worsened(): void {
    // There are no promises to break.
  }

  *estimates(): IterableIterator<readonly [T, number]> {
    // None without looking ahead: see forecast.ts.
  }

  *pass(now: () => number): Generator<Decision<T> | undefined, void, undefined> {
    this.#dirty = false;
    for (let job = this.#queue.first; job !== undefined; job = this.#queue.first) {
      const decision = this.#decide(job, now());
      if (decision === undefined) return;
      this.#queue.remove(job.id);
      yield decision;
    }
  }

  #decide(job: T, now: number): Decision<T> | undefined {
    const { pool, future } = this.#starter;
    try {
      const duration = expectedDuration(job.request, pool, now);
      // Where queues with reservations share the timeline, theirs are respected.
      const window = future?.timeline.window(now, now + duration);
      const R = pool.alloc(job.id, job.request, window);
      return R === INSUFFICIENT ? undefined : { job, R: this.#starter.started(job, R, now) };
    } catch (err) {
      return failure(job, err);
    }
  }
}
