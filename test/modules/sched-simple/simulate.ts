// A simulated cluster for schedulers: jobs come, run for as long as they do, and end, in virtual time; the engine decides.
import { IdSet } from "../../../src/formats/idset.ts";
import { Rset } from "../../../src/formats/rset.ts";
import { Engine } from "../../../src/modules/sched-simple/engine.ts";
import type { WaitingJob } from "../../../src/modules/sched-simple/lane.ts";
import { Pool } from "../../../src/modules/sched-simple/pool.ts";
import { Queue } from "../../../src/modules/sched-simple/queue.ts";
import type { ResourceRequest } from "../../../src/modules/sched-simple/request.ts";

export const FIRST_ID = 2n ** 55n;

export function clusterR(nodes: number, cores: number, gpus = 0): Rset {
  const R = new Rset();
  const coreIds = IdSet.range(0, cores - 1);
  const gpuIds = gpus === 0 ? new IdSet() : IdSet.range(0, gpus - 1);
  for (let rank = 0; rank < nodes; rank++) R.add(rank, { host: `n${rank}`, cores: coreIds, gpus: gpuIds });
  return R;
}

export function upPool(R: Rset): Pool {
  const pool = new Pool(R);
  pool.markUp(R.ranks);
  return pool;
}

export const exactly = (n: number) => ({ min: n, max: n });

export function request(fields: Partial<ResourceRequest> = {}): ResourceRequest {
  return { nodes: undefined, slots: exactly(1), coresPerSlot: 1, gpusPerSlot: 0, exclusive: false, duration_s: 0, constraint: undefined, unsupported: undefined, ...fields };
}

export interface SimJob extends WaitingJob {
  readonly submit: number;
  /** How long it really runs; by default as long as it says. */
  readonly runs?: number;
}

export interface Step {
  readonly now: number;
  readonly engine: Engine<SimJob>;
}

export interface Options {
  readonly depth: number;
  /** Called when a job starts. */
  readonly onStart?: (job: SimJob, now: number, R: Rset) => void;
  /** Called after each moment in which something happened. */
  readonly onStep?: (step: Step) => void;
  readonly isSpent?: () => boolean;
}

/** Runs all jobs to their end; returns when each started. Throws when some never do. */
export function simulate(pool: Pool, jobs: readonly SimJob[], options: Options): Map<bigint, number> {
  const arrivals = [...jobs].sort((a, b) => a.submit - b.submit);
  const ends = new Queue<{ id: bigint; priority: number }>();
  const starts = new Map<bigint, number>();
  let now = 0;
  const engine = new Engine<SimJob>(pool, [{ queues: [undefined], reservationDepth: options.depth }], now);
  let arrived = 0;
  while (arrived < arrivals.length || ends.size > 0 || engine.reserved > 0) {
    const nextEnd = ends.first === undefined ? Infinity : -ends.first.priority;
    now = Math.min(nextEnd, arrivals[arrived]?.submit ?? Infinity, engine.nextWake(now));
    engine.wake();
    for (let first = ends.first; first !== undefined && -first.priority <= now; first = ends.first) {
      ends.remove(first.id);
      engine.free(first.id, undefined, true, now);
    }
    for (let job = arrivals[arrived]; job !== undefined && job.submit <= now; job = arrivals[++arrived]) engine.add(job);
    while (engine.hasWork) {
      for (const decision of engine.step(() => now, options.isSpent ?? (() => false))) {
        if ("denied" in decision) throw new Error(`job ${decision.job.id} was denied: ${decision.denied}`);
        if ("defect" in decision) throw decision.defect;
        const { job, R } = decision;
        starts.set(job.id, now);
        ends.add({ id: job.id, priority: -(now + (job.runs ?? job.request.duration_s)) });
        options.onStart?.(job, now, R);
      }
    }
    options.onStep?.({ now, engine });
  }
  if (starts.size < jobs.length) throw new Error(`${jobs.length - starts.size} jobs never started`);
  return starts;
}
