// The scheduler's policies on a simulated cluster: 10 000 nodes of 64 cores, 100 000 pending jobs of mixed sizes and times.
//
//   bun bench/sched.ts [--nodes N] [--jobs N] [--queue-depth N] [--only POLICY]
//
// All jobs are there at once; of these the scheduler is shown --queue-depth, as the job manager does it. Simulated time goes from one end of a job to the next. Work is done in slices as the module
// does it, and the longest is what the event loop would have stood still for. Prints a Markdown table.
import { parseArgs } from "node:util";
import { IdSet } from "../src/formats/idset.ts";
import { Rset } from "../src/formats/rset.ts";
import { Engine } from "../src/modules/sched-simple/engine.ts";
import type { WaitingJob } from "../src/modules/sched-simple/lane.ts";
import { Pool } from "../src/modules/sched-simple/pool.ts";
import { Queue } from "../src/modules/sched-simple/queue.ts";

const { values: options } = parseArgs({
  options: { nodes: { type: "string", default: "10000" }, jobs: { type: "string", default: "100000" }, only: { type: "string" }, "queue-depth": { type: "string", default: "1000" } },
});
const NODES = Number(options.nodes);
const JOBS = Number(options.jobs);
const CORES = 64;
const DEPTH = options["queue-depth"] === "unlimited" ? Infinity : Number(options["queue-depth"]);
const FIRST_ID = 2n ** 55n;
/** As in the module. */
const SLICE_MS = 10;

/** Numbers that look random and are the same each time (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface SimJob extends WaitingJob {
  readonly runs: number;
}

/** Half are a few cores, most others some whole nodes, one in a hundred a large part of the machine. */
function makeJobs(): SimJob[] {
  const random = randomFrom(1);
  const upTo = (n: number): number => 1 + Math.floor(random() * n);
  const exactly = (n: number) => ({ min: n, max: n });
  return Array.from({ length: JOBS }, (_, i) => {
    const kind = random();
    const duration_s = 60 * upTo(kind < 0.5 ? 60 : 480);
    const common = { gpusPerSlot: 0, duration_s, constraint: undefined, unsupported: undefined };
    const request =
      kind < 0.5
        ? { ...common, nodes: undefined, slots: exactly(upTo(16)), coresPerSlot: upTo(4), exclusive: false }
        : { ...common, nodes: exactly(kind < 0.99 ? Math.ceil(2 ** (random() * 7)) : Math.ceil((NODES / 4) * random())), slots: exactly(1), coresPerSlot: 1, exclusive: true };
    return { id: FIRST_ID + BigInt(i), priority: 16, queue: undefined, request, runs: duration_s };
  });
}

function newPool(): Pool {
  const R = new Rset();
  const cores = IdSet.range(0, CORES - 1);
  for (let rank = 0; rank < NODES; rank++) R.add(rank, { host: `n${rank}`, cores });
  const pool = new Pool(R);
  pool.markUp(R.ranks);
  return pool;
}

interface Figures {
  readonly first_s: number;
  readonly total_s: number;
  readonly longest_ms: number;
  readonly backfilled: number;
  readonly makespan_h: number;
  readonly used: number;
  readonly meanWait_h: number;
}

function run(depth: number): Figures {
  const jobs = makeJobs();
  const pool = newPool();
  const ends = new Queue<{ readonly id: bigint; priority: number }>();
  const engine = new Engine<SimJob>(pool, [{ queues: [undefined], reservationDepth: depth }], 0);
  let now = 0;
  let started = 0;
  let longest_ms = 0;
  let busy_ms = 0;
  let backfilled = 0;
  let waited = 0;
  let first_s = 0;
  let coreSeconds = 0;
  const timed = (work: () => void): void => {
    const begin = performance.now();
    work();
    const ms = performance.now() - begin;
    busy_ms += ms;
    longest_ms = Math.max(longest_ms, ms);
  };
  const slice = (): void => {
    const until = performance.now() + SLICE_MS;
    for (const decision of engine.step(() => now, () => performance.now() >= until)) {
      if ("denied" in decision) throw new Error(decision.denied);
      if ("defect" in decision) throw decision.defect;
      const { job, R } = decision;
      R.encode();
      ends.add({ id: job.id, priority: -(now + job.runs) });
      if (decision.backfilled !== undefined) backfilled++;
      waited += now;
      coreSeconds += R.ncores * job.runs;
      started++;
    }
  };
  let sent = 0;
  /** At most so many in one turn, as the job manager sends them. */
  const send = (): void => {
    for (let n = 0; n < 500 && sent < jobs.length && engine.waiting < DEPTH; n++) engine.add(jobs[sent++] as SimJob);
  };
  for (;;) {
    do {
      timed(send);
      if (engine.hasWork) timed(slice);
    } while (engine.hasWork || (sent < jobs.length && engine.waiting < DEPTH));
    if (first_s === 0) first_s = busy_ms / 1000;
    if (ends.first === undefined) break;
    now = -ends.first.priority;
    for (let first = ends.first; first !== undefined && -first.priority <= now; first = ends.first) {
      const { id } = first;
      ends.remove(id);
      timed(() => engine.free(id, undefined, true, now));
    }
  }
  if (started < jobs.length) throw new Error(`${jobs.length - started} jobs never started`);
  return { first_s, total_s: busy_ms / 1000, longest_ms, backfilled, makespan_h: now / 3600, used: coreSeconds / (now * NODES * CORES), meanWait_h: waited / started / 3600 };
}

const POLICIES: Readonly<Record<string, number>> = { fcfs: 0, easy: 1, hybrid: 64, conservative: 100_000 };

console.log(`${NODES} nodes × ${CORES} cores, ${JOBS} jobs, queue-depth ${DEPTH}\n`);
console.log("| policy | allocations/s | first pass | longest slice | backfilled | makespan | use of cores | mean wait |\n| --- | --- | --- | --- | --- | --- | --- | --- |");
for (const [policy, depth] of Object.entries(POLICIES)) {
  if (options.only !== undefined && options.only !== policy) continue;
  const f = run(depth);
  const cells = [
    policy, (JOBS / f.total_s).toFixed(0), `${f.first_s.toFixed(2)} s`, `${f.longest_ms.toFixed(0)} ms`, f.backfilled, `${f.makespan_h.toFixed(0)} h`,
    `${(100 * f.used).toFixed(0)} %`, `${f.meanWait_h.toFixed(1)} h`,
  ];
  console.log(`| ${cells.join(" | ")} |`);
}
