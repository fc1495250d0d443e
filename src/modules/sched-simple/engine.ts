// Engine: decides which of the waiting jobs start, by the policy of their queue. Pure: the caller tells it what happens and
// what time it is, and gets decisions; it sends nothing and waits for nothing.
//
//   engine.add(job); engine.free(id, R, true, now); …
//   while (engine.hasWork) for (const decision of engine.step(now, isSpent)) …
//
// Queues whose nodes are disjoint have a lane each, so that one never waits for the other; lanes share the pool and the
// timeline. A lane is first come, first served (fifo.ts), or one with reservations (backfill.ts).
import type { JobId } from "../../formats/fluid.ts";
import type { IdSet } from "../../formats/idset.ts";
import type { Rset } from "../../formats/rset.ts";
import { BackfillLane } from "./backfill.ts";
import { FifoLane } from "./fifo.ts";
import { Future, OVERDUE_S } from "./future.ts";
import type { Decision, Lane, Starter, WaitingJob } from "./lane.ts";
import type { Pool } from "./pool.ts";
import { Timeline } from "./timeline.ts";

export interface LaneSettings {
  /** Queues of the lane; a job of any other is in the first lane. */
  readonly queues: readonly (string | undefined)[];
  /** Jobs that get a reservation when they must wait; 0: first come, first served. */
  readonly reservationDepth: number;
}

export class Engine<T extends WaitingJob> {
  readonly pool: Pool;
  #future: Future | undefined;
  #lanes: readonly Lane<T>[] = [];
  #laneOf = new Map<string | undefined, Lane<T>>();
  #turn = 0;
  #current: { lane: Lane<T>; steps: Generator<Decision<T> | undefined, void, undefined> } | undefined;

  constructor(pool: Pool, lanes: readonly LaneSettings[], now: number) {
    this.pool = pool;
    this.configure(lanes, now);
  }

  /** Other policies: jobs wait on, reservations are made anew. */
  configure(lanes: readonly LaneSettings[], now: number): void {
    const waiting = this.#lanes.flatMap((lane) => [...lane.jobs()]);
    const { pool } = this;
    this.#future = lanes.some(({ reservationDepth }) => reservationDepth > 0)
      ? new Future(new Timeline(pool.size, (node) => pool.coresOf(node), (node) => pool.gpusOf(node)))
      : undefined;
    if (this.#future !== undefined) for (const [id, end] of pool.endTimes()) this.#future.started(id, pool.sharesOf(id), -Infinity, endOrNever(end, now));
    const starter: Starter<T> = { pool, future: this.#future, started: (job, R, at) => this.#started(job, R, at) };
    const future = this.#future;
    this.#lanes = lanes.map(({ reservationDepth }) =>
      reservationDepth > 0 && future !== undefined ? new BackfillLane<T>({ ...starter, future }, reservationDepth) : new FifoLane<T>(starter));
    this.#laneOf = new Map();
    lanes.forEach(({ queues }, i) => {
      for (const queue of queues) this.#laneOf.set(queue, this.#lanes[i] as Lane<T>);
    });
    this.#current = undefined;
    for (const job of waiting) this.add(job);
  }

  get waiting(): number {
    let count = 0;
    for (const lane of this.#lanes) count += lane.size;
    return count;
  }

  get reserved(): number {
    let count = 0;
    for (const lane of this.#lanes) count += lane.reserved;
    return count;
  }

  get(id: JobId): T | undefined {
    for (const lane of this.#lanes) {
      const job = lane.get(id);
      if (job !== undefined) return job;
    }
    return undefined;
  }

  add(job: T): void {
    (this.#laneOf.get(job.queue) ?? this.#lanes[0])?.add(job);
  }

  remove(id: JobId): T | undefined {
    for (const lane of this.#lanes) {
      const job = lane.remove(id);
      if (job !== undefined) return job;
    }
    return undefined;
  }

  setPriority(id: JobId, priority: number): void {
    for (const lane of this.#lanes) lane.setPriority(id, priority);
  }

  // ---- what happens to resources

  /** A job that has resources already. Throws what Pool.adopt() throws. */
  adopt(id: JobId, R: Rset, now: number): void {
    this.pool.adopt(id, R);
    this.#future?.started(id, this.pool.sharesOf(id), -Infinity, endOrNever(R.expiration, now));
  }

  /** Throws what Pool.free() throws. */
  free(id: JobId, R: Rset | undefined, final: boolean, now: number): void {
    const before = this.#future === undefined ? [] : this.pool.sharesOf(id);
    this.pool.free(id, R, final);
    let early = false;
    if (this.#future !== undefined) {
      const kept = new Set(this.pool.sharesOf(id).map(({ node }) => node));
      const gone = new Set(before.map(({ node }) => node).filter((node) => !kept.has(node)));
      early = this.#future.freed(id, now, kept.size === 0 ? undefined : gone);
    }
    this.#improved(early);
  }

  /** A running job will end at `end` (seconds since the epoch, 0: unknown). */
  setEnd(id: JobId, end: number, now: number): void {
    this.pool.setEnd(id, end);
    const result = this.#future?.setEnd(id, endOrNever(end, now));
    if (result?.change === "earlier") this.#improved(true);
    else if (result?.change === "later") this.#worsened(result.nodes);
  }

  markUp(ranks: IdSet): void {
    this.pool.markUp(ranks);
    this.#improved(true);
  }

  markDown(ranks: IdSet): void {
    this.pool.markDown(ranks);
    this.#lostNodes();
  }

  removeNodes(ranks: IdSet): void {
    this.pool.remove(ranks);
    this.#lostNodes();
  }

  /** What the jobs' constraints select may be something else now. */
  nodesChanged(): void {
    this.#lostNodes();
    this.#improved(true);
  }

  #lostNodes(): void {
    if (this.#future === undefined) return;
    const down = new Set<number>();
    for (let node = 0; node < this.pool.size; node++) if (!this.pool.isUp(node)) down.add(node);
    this.#worsened(down);
  }

  #improved(early: boolean): void {
    for (const lane of this.#lanes) lane.improved(early);
  }

  #worsened(nodes: ReadonlySet<number>): void {
    for (const lane of this.#lanes) lane.worsened(nodes);
  }

  // ---- decisions

  get hasWork(): boolean {
    return this.#current !== undefined || this.#lanes.some((lane) => lane.hasWork);
  }

  /** Decides until all is decided, or `isSpent()` says that it is time to pause. */
  step(now: () => number, isSpent: () => boolean): Decision<T>[] {
    const decisions: Decision<T>[] = [];
    if (this.#future !== undefined) {
      this.#future.timeline.trim(now());
      const nodes = this.#future.overdue(now());
      if (nodes.size > 0) this.#worsened(nodes);
    }
    while (this.hasWork) {
      const steps = this.#nextSteps(now);
      if (steps === undefined) break;
      const { done, value } = steps.next();
      if (done === true) this.#current = undefined;
      else if (value !== undefined) decisions.push(value);
      if (isSpent()) break;
    }
    return decisions;
  }

  #nextSteps(now: () => number): Generator<Decision<T> | undefined, void, undefined> | undefined {
    // What happened since a pass began may make it begin anew: the most urgent come first.
    if (this.#current?.lane.mustRestart === true) this.#current = undefined;
    if (this.#current === undefined) {
      const lane = this.#nextLane();
      if (lane === undefined) return undefined;
      this.#current = { lane, steps: lane.pass(now) };
    }
    return this.#current.steps;
  }

  /** The next lane with work: each in its turn. */
  #nextLane(): Lane<T> | undefined {
    for (let i = 1; i <= this.#lanes.length; i++) {
      const at = (this.#turn + i) % this.#lanes.length;
      if (this.#lanes[at]?.hasWork !== true) continue;
      this.#turn = at;
      return this.#lanes[at];
    }
    return undefined;
  }

  /** Jobs of which it is known when they will start: all that have a reservation. */
  *estimates(): IterableIterator<readonly [T, number]> {
    for (const lane of this.#lanes) yield* lane.estimates();
  }

  /**
   * When to call wake(), should nothing happen until then: somebody's reservation begins, or has begun and those who hold
   * the nodes are over their time. Infinity: never.
   */
  nextWake(now: number): number {
    let next = Infinity;
    for (const [, start] of this.estimates()) next = Math.min(next, start > now ? start : now + OVERDUE_S);
    return next;
  }

  wake(): void {
    this.#improved(false);
  }

  /** All jobs that wait, in the order of their priorities. */
  inOrder(): T[] {
    return this.#lanes.flatMap((lane) => [...lane.jobs()]).sort((a, b) => b.priority - a.priority || (a.id < b.id ? -1 : 1));
  }

  /** The first `count` waiting jobs of each lane without reservations, in order. */
  unplanned(count: number): (readonly T[])[] {
    return this.#lanes.map((lane) => lane.unplanned(count)).filter((jobs) => jobs.length > 0);
  }

  #started(job: T, R: Rset, now: number): Rset {
    R.starttime = now;
    const { duration_s } = job.request;
    R.expiration = duration_s > 0 ? now + duration_s : this.pool.expiration_s;
    this.pool.setEnd(job.id, R.expiration);
    this.#future?.started(job.id, this.pool.sharesOf(job.id), now, endOrNever(R.expiration, now));
    return R;
  }
}

function endOrNever(end_s: number, now: number): number {
  if (end_s <= 0) return Infinity;
  return Math.max(end_s, now);
}
