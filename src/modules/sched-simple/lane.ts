// Lane: jobs that wait for resources together, in the order of their urgency, and the policy by which they start. What the
// policies (fifo.ts, backfill.ts) and the engine that runs them agree on.
import { FormatError } from "../../formats/error.ts";
import type { JobId } from "../../formats/fluid.ts";
import type { Rset } from "../../formats/rset.ts";
import { errno, isErrno, toFluxError } from "../../message/errno.ts";
import type { Future } from "./future.ts";
import type { Pool } from "./pool.ts";
import type { ResourceRequest } from "./request.ts";

export interface WaitingJob {
  readonly id: JobId;
  priority: number;
  readonly request: ResourceRequest;
  /** Name of its queue; undefined: the anonymous one. */
  readonly queue: string | undefined;
}

export type Decision<T> =
  | { readonly job: T; readonly R: Rset; readonly backfilled?: JobId | undefined }
  | { readonly job: T; readonly denied: string }
  /** The scheduler failed at it, which is no fault of the job. */
  | { readonly job: T; readonly defect: unknown };

export interface Lane<T> {
  readonly size: number;
  /** Something happened that may let jobs start. */
  readonly hasWork: boolean;
  /** A pass that is under way is to begin anew. */
  readonly mustRestart: boolean;
  readonly reserved: number;
  get(id: JobId): T | undefined;
  add(job: T): void;
  remove(id: JobId): T | undefined;
  setPriority(id: JobId, priority: number): void;
  jobs(): Iterable<T>;
  /** The first `count` of a lane without reservations, in order. */
  unplanned(count: number): readonly T[];
  /** Resources were freed or came up: `early`, that is before the timeline said so. */
  improved(early: boolean): void;
  /** These nodes are gone, or taken for longer: reservations on them don't hold. */
  worsened(nodes: ReadonlySet<number>): void;
  /** Goes through what waits, with a pause wherever it yields. */
  pass(now: () => number): Generator<Decision<T> | undefined, void, undefined>;
  /** Where the lane knows them: when jobs will start. */
  estimates(): Iterable<readonly [T, number]>;
}

/** What lanes start jobs with. */
export interface Starter<T> {
  readonly pool: Pool;
  readonly future: Future | undefined;
  /** R has its times; the timeline knows. */
  started(job: T, R: Rset, now: number): Rset;
}

/** About a job that could not be placed: it is denied when its request can't be served. */
export function failure<T>(job: T, err: unknown): Decision<T> {
  const isRequest = err instanceof FormatError || isErrno(err, errno.EOVERFLOW) || isErrno(err, errno.EINVAL);
  return isRequest ? { job, denied: toFluxError(err).message } : { job, defect: err };
}

/** Seconds that a job will have its resources for, as far as one knows. */
export function expectedDuration(request: ResourceRequest, pool: Pool, now: number): number {
  if (request.duration_s > 0) return request.duration_s;
  return pool.expiration_s > now ? pool.expiration_s - now : Infinity;
}
