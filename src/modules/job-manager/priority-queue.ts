// PriorityQueue: jobs in the order of `before`, as a binary heap; each job knows its place, so that taking any job out
// costs no search. A job is in one queue at most.
import { before as priorityOrder, type Job } from "./job.ts";

export class PriorityQueue {
  #heap: Job[] = [];
  readonly #before: (a: Job, b: Job) => boolean;

  constructor(before: (a: Job, b: Job) => boolean = priorityOrder) {
    this.#before = before;
  }

  get size(): number {
    return this.#heap.length;
  }

  first(): Job | undefined {
    return this.#heap[0];
  }

  insert(job: Job): void {
    job.place = this.#heap.length;
    this.#heap.push(job);
    this.#up(job);
  }

  remove(job: Job): void {
    const hole = job.place;
    if (this.#heap[hole] !== job) return;
    const last = this.#heap.pop() as Job;
    job.place = -1;
    if (last === job) return;
    this.#put(last, hole);
    this.#up(last);
    this.#down(last);
  }

  /** The job's priority changed. */
  moved(job: Job): void {
    if (this.#heap[job.place] !== job) return;
    this.#up(job);
    this.#down(job);
  }

  /** All jobs in order. */
  sorted(): Job[] {
    return [...this.#heap].sort((a, b) => (this.#before(a, b) ? -1 : 1));
  }

  [Symbol.iterator](): Iterator<Job> {
    return this.#heap[Symbol.iterator]();
  }

  #put(job: Job, place: number): void {
    this.#heap[place] = job;
    job.place = place;
  }

  #up(job: Job): void {
    while (job.place > 0) {
      const parent = this.#heap[(job.place - 1) >> 1] as Job;
      if (!this.#before(job, parent)) return;
      const free = parent.place;
      this.#put(parent, job.place);
      this.#put(job, free);
    }
  }

  #down(job: Job): void {
    for (;;) {
      const left = this.#heap[2 * job.place + 1];
      const right = this.#heap[2 * job.place + 2];
      const child = left !== undefined && right !== undefined && this.#before(right, left) ? right : left;
      if (child === undefined || !this.#before(child, job)) return;
      const free = child.place;
      this.#put(child, job.place);
      this.#put(job, free);
    }
  }
}
