// OrderedJobs: active jobs in the order in which they are listed. It is put in order when somebody looks, which for a list
// that has changed little costs about one pass; jobs that have left are dropped in passing.
import type { Job } from "./job.ts";

export class OrderedJobs {
  readonly #members = new Set<Job>();
  readonly #before: (a: Job, b: Job) => number;
  #order: Job[] = [];
  /** Members since the last look. */
  #added: Job[] = [];
  #changed = false;

  constructor(before: (a: Job, b: Job) => number) {
    this.#before = before;
  }

  get count(): number {
    return this.#members.size;
  }

  add(job: Job): void {
    this.#members.add(job);
    this.#added.push(job);
    if (this.#added.length > 1024 && this.#added.length > 2 * this.#members.size) this.#clean();
  }

  delete(job: Job): void {
    if (!this.#members.delete(job)) return;
    this.#changed = true;
    if (this.#order.length > 1024 && this.#order.length > 2 * this.#members.size) this.#clean();
  }

  /** What the order depends on has changed. */
  touch(): void {
    this.#changed = true;
  }

  #clean(): void {
    this.#order = [...this.#members];
    this.#added = [];
    this.#changed = true;
  }

  /** The jobs in order. The array is not changed later. */
  list(): readonly Job[] {
    if (!this.#changed && this.#added.length === 0) return this.#order;
    const known = this.#order.filter((job) => this.#members.has(job));
    const seen = new Set(known);
    const added = this.#added.filter((job) => this.#members.has(job) && !seen.has(job));
    this.#order = [...known, ...new Set(added)].sort(this.#before);
    this.#added = [];
    this.#changed = false;
    return this.#order;
  }
}
