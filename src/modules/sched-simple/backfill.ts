// Backfill: a lane whose first jobs get a reservation when they can't start, and whose other jobs start at once wherever
// they delay none of these. How many get one is the policy: one is EASY, some are "hybrid", all are conservative.
//
// A reservation names nodes and how much of each, from when until when, and is entered in the timeline like a running job.
// So a job may start if what it takes is free in the timeline for all of its time; nothing else has to be compared. A
// reservation moves only to an earlier time, unless what it was built on changes: nodes go down, jobs stay longer than
// they said, or a more urgent job comes, before which only those above it in the order keep theirs.
import type { JobId } from "../../formats/fluid.ts";
import { encodeJson } from "../../formats/json.ts";
import { earliest, fitsUpNodes, type Planned } from "./earliest.ts";
import { type Decision, expectedDuration, failure, type Lane, type Starter, type WaitingJob } from "./lane.ts";
import type { Future } from "./future.ts";
import { type Entry, isBefore, Ordered } from "./ordered.ts";
import { INSUFFICIENT } from "./pool.ts";
import type { ResourceRequest } from "./request.ts";

/** What jobs with equal requests have in common: what failed for one needs no trial for the others. */
interface Shape {
  /** Of the round in which a job of this shape last failed, and the shortest that did. */
  round: number;
  failed_s: number;
  /** The round in which there was no room even without reservations. */
  noRoom: number;
}

interface Candidate<T> extends Entry<T> {
  readonly shape: Shape;
  /** It can be served at all. */
  checked: boolean;
  reservation: Planned | undefined;
}

/** Shapes that are remembered. */
const SHAPES_MAX = 10_000;
/** Jobs that are passed over between two places to pause. */
const PAUSE_AFTER = 64;
/** With more reservations than this, moving them all forward waits for COMPRESS_INTERVAL_S. */
const COMPRESS_AT_ONCE = 8;
const COMPRESS_INTERVAL_S = 5;
/** And for so long more for each node and reservation: that takes some ten times as long as the work. */
const COMPRESS_PAUSE_S = 1e-6;

type Outcome<T> = Decision<T> | "waits" | "blocks";

export class BackfillLane<T extends WaitingJob> implements Lane<T> {
  readonly #starter: Starter<T> & { readonly future: Future };
  readonly #depth: number;
  readonly #order = new Ordered<Candidate<T>>();
  readonly #shapes = new Map<string, Shape>();
  /** Those with reservations, in order. */
  #reserved: Candidate<T>[] = [];
  /** All are to be looked at again; otherwise only those that came. */
  #again = true;
  /** Reservations may move forward. */
  #early = false;
  /** Jobs may be able to start before their reservation: something came free that it did not count with. */
  #unforeseen = false;
  #compressAfter = -Infinity;
  /** A job that can't be planned makes those behind it wait: nobody is looked at until something changes. */
  #blocked = false;
  #round = 0;
  /** The last job was more than a look at what is known: a place to pause. */
  #tried = false;

  constructor(starter: Starter<T> & { readonly future: Future }, depth: number) {
    this.#starter = starter;
    this.#depth = depth;
  }

  get size(): number {
    return this.#order.size;
  }

  get reserved(): number {
    return this.#reserved.length;
  }

  get hasWork(): boolean {
    return this.#order.size > 0 && (this.#again || this.#order.hasNew);
  }

  get mustRestart(): boolean {
    return this.#again;
  }

  get(id: JobId): T | undefined {
    return this.#order.get(id)?.job;
  }

  add(job: T): void {
    const shape = this.#shapeOf(job.request);
    this.#order.add({ id: job.id, priority: job.priority, job, gone: false, shape, checked: false, reservation: undefined });
  }

  remove(id: JobId): T | undefined {
    const entry = this.#order.remove(id);
    if (entry === undefined) return undefined;
    if (entry.reservation !== undefined || this.#blocked) this.improved(true);
    this.#cancel(entry);
    return entry.job;
  }

  setPriority(id: JobId, priority: number): void {
    const entry = this.#order.get(id);
    if (entry === undefined || entry.priority === priority) return;
    this.remove(id);
    entry.job.priority = priority;
    this.add(entry.job);
    this.#again = true;
  }

  *jobs(): IterableIterator<T> {
    for (const { job } of this.#order.values()) yield job;
  }

  unplanned(): readonly T[] {
    return []; // those without a reservation start when there is room
  }

  improved(early: boolean): void {
    this.#again = true;
    this.#early ||= early;
    this.#unforeseen ||= early;
  }

  worsened(nodes: ReadonlySet<number>): void {
    if (nodes.size === 0) return;
    const first = this.#reserved.findIndex(({ reservation }) => reservation?.shares.some(({ node }) => nodes.has(node)) ?? false);
    if (first >= 0) this.#dropFrom(first);
    this.#again = true;
  }

  *estimates(): IterableIterator<readonly [T, number]> {
    for (const { job, reservation } of this.#reserved) if (reservation !== undefined) yield [job, reservation.start];
  }

  #shapeOf(request: ResourceRequest): Shape {
    const { nodes, slots, coresPerSlot, gpusPerSlot, exclusive, constraint } = request;
    const counts = [request.totalSlots, nodes?.min, nodes?.max, slots.min, slots.max, coresPerSlot, gpusPerSlot, exclusive];
    const key = `${counts.join(",")} ${constraint === undefined ? "" : encodeJson(constraint)}`;
    let shape = this.#shapes.get(key);
    if (shape !== undefined) return shape;
    if (this.#shapes.size >= SHAPES_MAX) this.#shapes.clear();
    this.#shapes.set(key, (shape = { round: -1, failed_s: Infinity, noRoom: -1 }));
    return shape;
  }

  // ---- a pass

  *pass(now: () => number): Generator<Decision<T> | undefined, void, undefined> {
    const added = this.#order.merge();
    this.#yieldToUrgent(added);
    const all = this.#again;
    this.#again = false;
    this.#blocked = false;
    this.#round++;
    let looked = 0;
    for (const entry of all ? this.#order.sorted : added) {
      if (this.#tried || ++looked % PAUSE_AFTER === 0) yield undefined;
      this.#tried = false;
      if (entry.gone) continue;
      if (!this.#starter.pool.hasFree && this.#reserved.length >= this.#depth) break; // nothing is left to give or to promise
      const outcome = this.#consider(entry, now());
      if (outcome === "blocks") {
        this.#blocked = true;
        return;
      }
      if (outcome !== "waits") {
        this.#order.remove(entry.id);
        yield outcome;
      }
    }
    if (!all) return;
    this.#unforeseen = false;
    yield* this.#compress(now);
  }

  /** Only those above a new job in the order keep their reservations. */
  #yieldToUrgent(added: readonly Candidate<T>[]): void {
    const urgent = added[0];
    if (urgent === undefined) return;
    const first = this.#reserved.findIndex((entry) => isBefore(urgent, entry));
    if (first < 0 && !this.#blocked) return;
    if (first >= 0) this.#dropFrom(first);
    this.#again = true;
  }

  #dropFrom(first: number): void {
    for (const entry of this.#reserved.splice(first)) this.#release(entry);
    this.#again = true;
  }

  /** Takes a reservation out of the timeline. */
  #release(entry: Candidate<T>): void {
    const { reservation } = entry;
    if (reservation === undefined) return;
    entry.reservation = undefined;
    this.#starter.future.timeline.give(reservation.shares, reservation.start, reservation.end);
  }

  /** Enters a reservation in the timeline. */
  #hold(entry: Candidate<T>, planned: Planned): void {
    entry.reservation = planned;
    this.#starter.future.timeline.take(planned.shares, planned.start, planned.end);
  }

  #cancel(entry: Candidate<T>): void {
    const at = entry.reservation === undefined ? -1 : this.#reserved.indexOf(entry);
    if (at >= 0) this.#reserved.splice(at, 1);
    this.#release(entry);
  }

  #reserve(entry: Candidate<T>, planned: Planned): void {
    this.#hold(entry, planned);
    let at = this.#reserved.length;
    for (let last = this.#reserved[at - 1]; last !== undefined && isBefore(entry, last); last = this.#reserved[at - 1]) at--;
    this.#reserved.splice(at, 0, entry);
  }

  /** True when one more may have a reservation, if need be in the place of the last. */
  #mayReserve(entry: Candidate<T>): boolean {
    if (this.#reserved.length < this.#depth) return true;
    const last = this.#reserved.at(-1);
    if (last === undefined || !isBefore(entry, last)) return false;
    this.#cancel(last);
    return true;
  }

  #consider(entry: Candidate<T>, now: number): Outcome<T> {
    const { pool, future } = this.#starter;
    const { job, shape } = entry;
    const { request } = job;
    try {
      if (!entry.checked) pool.inventory.checkFeasible(request);
      entry.checked = true;
      if (entry.reservation !== undefined) return this.#considerReserved(entry, entry.reservation, now);
      const duration = expectedDuration(request, pool, now);
      if (!(shape.round === this.#round && duration >= shape.failed_s)) {
        const started = pool.hasFree ? this.#startNow(entry, now, duration) : undefined;
        if (started !== undefined) return started;
        this.#failed(shape, duration);
      }
      if (!this.#mayReserve(entry)) return "waits";
      this.#tried = true;
      const planned = earliest(pool, future.timeline, request, pool.inventory.eligible(request.constraint), now, duration);
      if (planned === undefined) {
        // Nodes that are down hold nobody else up. Jobs without an end do: else this one might never have its turn.
        return fitsUpNodes(pool, request, pool.inventory.eligible(request.constraint)) ? "blocks" : "waits";
      }
      this.#reserve(entry, planned);
      return "waits";
    } catch (err) {
      this.#release(entry);
      this.#reserved = this.#reserved.filter((other) => other !== entry);
      return failure(job, err);
    }
  }

  #failed(shape: Shape, duration: number): void {
    shape.failed_s = shape.round === this.#round ? Math.min(shape.failed_s, duration) : duration;
    shape.round = this.#round;
  }

  #startNow(entry: Candidate<T>, now: number, duration: number): Decision<T> | undefined {
    const { pool, future } = this.#starter;
    const { timeline } = future;
    const { job } = entry;
    this.#tried = true;
    const R = pool.alloc(job.id, job.request, timeline.window(now, now + duration));
    if (R === INSUFFICIENT) return undefined;
    const head = this.#reserved[0];
    return { job, R: this.#starter.started(job, R, now), backfilled: head !== undefined && isBefore(head, entry) ? head.id : undefined };
  }

  #considerReserved(entry: Candidate<T>, reservation: Planned, now: number): Outcome<T> {
    const { pool } = this.#starter;
    const { job, shape } = entry;
    if (!pool.hasFree || shape.noRoom === this.#round) return "waits";
    if (reservation.start <= now) {
      const R = pool.allocPlanned(job.id, reservation.shares, reservation.nslots);
      if (R !== INSUFFICIENT) {
        this.#cancel(entry);
        return { job, R: this.#starter.started(job, R, now) };
      }
    }
    if (!this.#unforeseen && reservation.start > now) return "waits";
    this.#tried = true;
    if (!pool.hasRoom(job.request)) {
      shape.noRoom = this.#round;
      return "waits";
    }
    const duration = expectedDuration(job.request, pool, now);
    if (shape.round === this.#round && duration >= shape.failed_s) return "waits";
    this.#release(entry);
    const started = this.#startNow(entry, now, duration);
    if (started === undefined) {
      this.#hold(entry, reservation);
      this.#failed(shape, duration);
      return "waits";
    }
    this.#reserved.splice(this.#reserved.indexOf(entry), 1);
    // What it had reserved is free for others, also for some that were passed over.
    this.#again = true;
    this.#unforeseen = true;
    this.#early = true;
    return started;
  }

  /** Moves reservations forward, in order, each around all others. */
  *#compress(now: () => number): Generator<undefined, void, undefined> {
    if (!this.#early) return;
    if (this.#reserved.length > COMPRESS_AT_ONCE && now() < this.#compressAfter) return;
    this.#early = false;
    const { pool, future } = this.#starter;
    this.#compressAfter = now() + COMPRESS_INTERVAL_S + this.#reserved.length * pool.size * COMPRESS_PAUSE_S;
    for (const entry of [...this.#reserved]) {
      const before = entry.reservation;
      if (before === undefined || entry.gone) continue;
      const at = now();
      const { request } = entry.job;
      this.#release(entry);
      const planned = earliest(pool, future.timeline, request, pool.inventory.eligible(request.constraint), at, expectedDuration(request, pool, at));
      this.#hold(entry, planned !== undefined && planned.start < before.start ? planned : before);
      yield undefined;
    }
  }
}
