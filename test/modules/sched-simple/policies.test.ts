// The promises of the policies, on random clusters and random jobs.
import { expect, test } from "bun:test";
import * as fc from "fast-check";

import { IdSet } from "../../../src/formats/idset.ts";
import type { Rset } from "../../../src/formats/rset.ts";
import { BitSet } from "../../../src/modules/sched-simple/bitset.ts";
import { earliest } from "../../../src/modules/sched-simple/earliest.ts";
import { Engine } from "../../../src/modules/sched-simple/engine.ts";
import { forecast } from "../../../src/modules/sched-simple/forecast.ts";
import { parsePlacement } from "../../../src/modules/sched-simple/placement.ts";
import { INSUFFICIENT, Pool } from "../../../src/modules/sched-simple/pool.ts";
import { Timeline } from "../../../src/modules/sched-simple/timeline.ts";
import { clusterR, exactly, FIRST_ID, request, type SimJob, simulate, upPool } from "./simulate.ts";

const CONSERVATIVE = 100_000;

interface Scene {
  readonly nodes: number;
  readonly cores: number;
  readonly gpus: number;
  readonly placement: string;
  readonly jobs: readonly SimJob[];
}

/** Clusters of a few nodes; all jobs can be served. `early`: jobs may end before their time. */
function scenes(options: { early?: boolean; together?: boolean; priorities?: boolean } = {}): fc.Arbitrary<Scene> {
  const job = fc.record({
    wait: options.together === true ? fc.constant(0) : fc.integer({ min: 0, max: 20 }),
    nodes: fc.integer({ min: 0, max: 4 }),
    slots: fc.integer({ min: 1, max: 3 }),
    cores: fc.integer({ min: 1, max: 2 }),
    gpus: fc.integer({ min: 0, max: 1 }),
    exclusive: fc.boolean(),
    duration: fc.integer({ min: 1, max: 50 }),
    share: fc.integer({ min: 1, max: 100 }),
    priority: options.priorities === true ? fc.integer({ min: 1, max: 31 }) : fc.constant(16),
  });
  const shape = fc.record({ nodes: fc.integer({ min: 4, max: 7 }), cores: fc.integer({ min: 6, max: 8 }), gpus: fc.constantFrom(0, 3) });
  return fc
    .tuple(shape, fc.constantFrom("worst-fit", "best-fit", "first-fit", "last-fit", "core:best-fit,gpu:worst-fit"), fc.array(job, { minLength: 1, maxLength: 40 }))
    .map(([cluster, placement, drafts]) => {
      let submit = 0;
      const jobs = drafts.map((draft, i): SimJob => {
        submit += draft.wait;
        const asked = request({
          nodes: draft.nodes === 0 ? undefined : exactly(draft.nodes),
          slots: exactly(draft.slots),
          coresPerSlot: draft.cores,
          gpusPerSlot: cluster.gpus === 0 ? 0 : draft.gpus,
          exclusive: draft.exclusive && draft.nodes > 0,
          duration_s: draft.duration,
        });
        const runs = options.early === true ? Math.max(1, Math.ceil((draft.duration * draft.share) / 100)) : draft.duration;
        return { id: FIRST_ID + BigInt(i), priority: draft.priority, request: asked, queue: undefined, submit, runs };
      });
      return { ...cluster, placement, jobs };
    });
}

function poolOf({ nodes, cores, gpus, placement }: Scene): Pool {
  const pool = upPool(clusterR(nodes, cores, gpus));
  pool.placement = parsePlacement(placement);
  return pool;
}

/** Throws when two jobs have the same core or GPU at the same time. */
function ledger(): { readonly start: (job: SimJob, now: number, R: Rset) => void } {
  const until = new Map<string, number>();
  return {
    start(job, now, R) {
      for (const { rank, cores, gpus } of R.nodes()) {
        for (const [kind, ids] of [["core", cores], ["gpu", gpus]] as const) {
          for (const i of ids) {
            const key = `${kind} ${rank}/${i}`;
            if ((until.get(key) ?? 0) > now) throw new Error(`${key} was given twice`);
            until.set(key, now + (job.runs ?? 0));
          }
        }
      }
    },
  };
}

test.each([["fcfs", 0], ["easy", 1], ["hybrid", 3], ["conservative", CONSERVATIVE]])("%s: all jobs run, nothing is given twice", (_name, depth) => {
  fc.assert(
    fc.property(scenes({ early: true, priorities: true }), fc.boolean(), (scene, sliced) => {
      const book = ledger();
      simulate(poolOf(scene), scene.jobs, { depth, onStart: book.start, isSpent: () => sliced });
    }),
    { numRuns: 150 },
  );
});

test.each([["easy", 1], ["hybrid", 3], ["conservative", CONSERVATIVE]])("%s: a reservation is never delayed", (_name, depth) => {
  fc.assert(
    fc.property(scenes({ early: true }), (scene) => {
      const promised = new Map<bigint, number>();
      const starts = simulate(poolOf(scene), scene.jobs, {
        depth,
        onStep({ engine }) {
          for (const [job, start] of engine.estimates()) {
            const before = promised.get(job.id);
            if (before !== undefined && start > before) throw new Error(`the reservation of job ${job.id} moved from ${before} to ${start}`);
            promised.set(job.id, start);
          }
        },
      });
      for (const [id, start] of promised) expect(starts.get(id)).toBeLessThanOrEqual(start);
    }),
    { numRuns: 200 },
  );
});

test("conservative: every job that waits has a reservation, and it is exact when durations are", () => {
  fc.assert(
    fc.property(scenes(), (scene) => {
      const first = new Map<bigint, number>();
      const starts = simulate(poolOf(scene), scene.jobs, {
        depth: CONSERVATIVE,
        onStep({ engine }) {
          let known = 0;
          for (const [job, start] of engine.estimates()) {
            known++;
            if (!first.has(job.id)) first.set(job.id, start);
          }
          if (known !== engine.waiting) throw new Error(`${engine.waiting - known} jobs have no reservation`);
        },
      });
      for (const [id, start] of first) expect(starts.get(id)).toBe(start);
    }),
    { numRuns: 200 },
  );
});

test("fcfs: the forecast holds when durations are exact, and nobody overtakes", () => {
  fc.assert(
    fc.property(scenes({ together: true }), (scene) => {
      const expected: (readonly [SimJob, number | undefined])[] = [];
      for (const item of forecast(poolOf(scene), scene.jobs, 0, Infinity)) if (item !== undefined) expected.push(item);
      const starts = simulate(poolOf(scene), scene.jobs, { depth: 0 });
      for (const [job, start] of expected) expect(starts.get(job.id)).toBe(start as number);
      const inOrder = scene.jobs.map(({ id }) => starts.get(id) ?? 0);
      expect(inOrder).toEqual([...inOrder].sort((a, b) => a - b));
    }),
    { numRuns: 200 },
  );
});

test("the timeline is what a list of spans says", () => {
  const span = fc.record({ from: fc.integer({ min: 0, max: 50 }), length: fc.integer({ min: 1, max: 30 }), cores: fc.integer({ min: 1, max: 4 }), endless: fc.boolean() });
  fc.assert(
    fc.property(fc.array(fc.tuple(span, fc.boolean()), { maxLength: 30 }), fc.integer({ min: 0, max: 60 }), fc.integer({ min: 1, max: 40 }), (spans, from, length) => {
      const timeline = new Timeline(1, () => 100, () => 2);
      const kept: { from: number; to: number; cores: number }[] = [];
      for (const [{ from: start, length: long, cores, endless }, keep] of spans) {
        const to = endless ? Infinity : start + long;
        timeline.take([{ node: 0, cores, gpus: 1 }], start, to);
        if (keep) kept.push({ from: start, to, cores });
        else timeline.give([{ node: 0, cores, gpus: 1 }], start, to);
      }
      const freeAt = (t: number) => 100 - kept.reduce((sum, s) => sum + (s.from <= t && t < s.to ? s.cores : 0), 0);
      let least = Infinity;
      for (let t = from; t < from + length; t++) least = Math.min(least, freeAt(t));
      expect(timeline.leastCores(0, from, from + length)).toBe(least);
      const possible: number[] = [];
      timeline.starts(0, 97, -Infinity, from, length, (a, b) => {
        for (let t = a; t <= Math.min(b, 200); t++) possible.push(t);
        return true;
      });
      const wanted: number[] = [];
      for (let t = from; t <= 200; t++) {
        let fits = true;
        for (let u = t; u < t + length; u++) fits &&= freeAt(u) >= 97;
        if (fits) wanted.push(t);
      }
      expect(possible).toEqual(wanted);
    }),
  );
});

test("earliest finds the first moment for nodes", () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ node: fc.nat(3), from: fc.nat(40), length: fc.integer({ min: 1, max: 20 }), cores: fc.integer({ min: 1, max: 2 }) }), { maxLength: 12 }),
      fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 30 }),
      (spans, nodes, cores, duration) => {
        const pool = upPool(clusterR(4, 4));
        const timeline = new Timeline(4, () => 4, () => 0);
        const free = Array.from({ length: 4 }, () => Array.from({ length: 200 }, () => 4));
        for (const { node, from, length, cores: used } of spans) {
          const row = free[node] as number[];
          if (row.slice(from, from + length).some((n) => n < used)) continue;
          timeline.take([{ node, cores: used, gpus: 0 }], from, from + length);
          for (let t = from; t < from + length; t++) row[t] = (row[t] ?? 0) - used;
        }
        const planned = earliest(pool, timeline, request({ nodes: exactly(nodes), coresPerSlot: cores }), undefined, 0, duration);
        const fits = (t: number) => free.filter((row) => row.slice(t, t + duration).every((n) => n >= cores)).length >= nodes;
        let first = 0;
        while (!fits(first)) first++;
        expect(planned?.start).toBe(first);
        for (const { node } of planned?.shares ?? []) expect((free[node] as number[]).slice(first, first + duration).every((n) => n >= cores)).toBe(true);
      },
    ),
  );
});

interface Bench {
  readonly engine: Engine<SimJob>;
  readonly add: (id: number, fields: Parameters<typeof request>[0], priority?: number) => void;
  /** Decides; which jobs started. */
  readonly run: (now: number) => string[];
  readonly planned: () => Record<string, number>;
}

function engineOn(pool: Pool, depth: number): Bench {
  const engine = new Engine<SimJob>(pool, [{ queues: [undefined], reservationDepth: depth }], 0);
  return {
    engine,
    add: (id, fields, priority = 16) => engine.add({ id: FIRST_ID + BigInt(id), priority, request: request(fields), queue: undefined, submit: 0 }),
    run(now) {
      const said: string[] = [];
      while (engine.hasWork) {
        for (const decision of engine.step(() => now, () => false)) {
          const id = Number(decision.job.id - FIRST_ID);
          if ("defect" in decision) said.push(`${id} ${String(decision.defect)}`);
          else said.push("denied" in decision ? `${id} denied` : `${id}${decision.backfilled === undefined ? "" : ` before ${Number(decision.backfilled - FIRST_ID)}`}`);
        }
      }
      return said;
    },
    planned: () => Object.fromEntries([...engine.estimates()].map(([job, start]) => [Number(job.id - FIRST_ID), start])),
  };
}

test("easy: short jobs pass, long ones only on nodes that the first does not need", () => {
  const { engine, add, run, planned } = engineOn(upPool(clusterR(4, 1)), 1);
  add(0, { slots: exactly(2), duration_s: 100 });
  expect(run(0)).toEqual(["0"]);
  add(1, { slots: exactly(3), duration_s: 100 });
  add(2, { duration_s: 200 });
  add(3, { duration_s: 200 });
  add(4, { duration_s: 100 });
  add(5, { duration_s: 10 });
  expect(run(0)).toEqual(["2 before 1", "4 before 1"]);
  expect(planned()).toEqual({ 1: 100 });
  engine.free(FIRST_ID, undefined, true, 30);
  expect(run(30)).toEqual(["5 before 1"]); // 1 must wait for 4 until 100; there is room for one that ends before
  engine.free(FIRST_ID + 4n, undefined, true, 100);
  engine.free(FIRST_ID + 5n, undefined, true, 40);
  expect(run(100)).toEqual(["1"]);
});

test("a job without an end is no backfill, and one that waits for such a job lets nobody pass", () => {
  const { engine, add, run, planned } = engineOn(upPool(clusterR(4, 1)), 1);
  add(0, { slots: exactly(2), duration_s: 0 });
  expect(run(0)).toEqual(["0"]);
  add(1, { slots: exactly(3), duration_s: 10 });
  add(2, { duration_s: 1 });
  expect(run(0)).toEqual([]);
  expect(planned()).toEqual({});
  engine.setEnd(FIRST_ID, 50, 1); // its duration was updated
  add(3, { duration_s: 0 });
  expect(run(1)).toEqual(["2 before 1", "3 before 1"]);
  expect(planned()).toEqual({ 1: 50 });
});

test("nodes that are down hold up nobody but those who need them; reservations move off a node that is drained", () => {
  const pool = upPool(clusterR(4, 1));
  const { engine, add, run, planned } = engineOn(pool, 1);
  engine.markDown(IdSet.of(3));
  add(0, { nodes: exactly(4), duration_s: 10 });
  add(1, { nodes: exactly(2), duration_s: 10 });
  expect(run(0)).toEqual(["1"]);
  add(2, { nodes: exactly(2), duration_s: 10 });
  expect(run(0)).toEqual([]);
  expect(planned()).toEqual({ 2: 10 });
  engine.markDown(IdSet.of(2));
  run(0);
  expect(planned()).toEqual({ 2: 10 });
  engine.markUp(IdSet.parse("2-3"));
  expect(run(0)).toEqual(["2 before 0"]);
  expect(planned()).toEqual({ 0: 10 });
  engine.removeNodes(IdSet.of(3));
  add(3, { nodes: exactly(4), duration_s: 1 });
  expect(run(3)).toEqual(["3 denied"]);
});

test.each([0, 2])("a defect is no reason to deny a job, nor to hold up the others (depth %d)", (depth) => {
  const pool = upPool(clusterR(2, 1));
  const alloc = pool.alloc.bind(pool);
  pool.alloc = (id, asked, window) => {
    if (id === FIRST_ID) throw new Error("resources are given twice");
    return alloc(id, asked, window);
  };
  const { add, run } = engineOn(pool, depth);
  add(0, { duration_s: 10 });
  add(1, { duration_s: 10, constraint: { properties: ["a/b"], not: [] } });
  add(2, { duration_s: 10 });
  expect(run(0)).toEqual(["0 Error: resources are given twice", "1 denied", "2"]);
});

test("an urgent job comes before the reservations of others; running longer moves them", () => {
  const { engine, add, run, planned } = engineOn(upPool(clusterR(2, 1)), CONSERVATIVE);
  add(0, { nodes: exactly(2), duration_s: 100 });
  expect(run(0)).toEqual(["0"]);
  add(1, { nodes: exactly(2), duration_s: 100 });
  add(2, { nodes: exactly(1), duration_s: 100 });
  run(0);
  expect(planned()).toEqual({ 1: 100, 2: 200 });
  add(3, { nodes: exactly(2), duration_s: 50 }, 31);
  run(1);
  expect(planned()).toEqual({ 3: 100, 1: 150, 2: 250 });
  engine.setEnd(FIRST_ID, 130, 2);
  run(2);
  expect(planned()).toEqual({ 3: 130, 1: 180, 2: 280 });
  engine.remove(FIRST_ID + 3n);
  run(3);
  expect(planned()).toEqual({ 1: 130, 2: 230 });
  run(131); // overdue, but not by much
  expect(planned()).toEqual({ 1: 130, 2: 230 });
  engine.setPriority(FIRST_ID + 2n, 20);
  run(140); // by much: it may well take as long again
  expect(planned()["2"]).toBeGreaterThan(140);
  engine.free(FIRST_ID, undefined, true, 141);
  expect(run(141)).toEqual(["2"]);
});

test("queues with nodes of their own don't wait for each other", () => {
  const R = clusterR(4, 1);
  R.setProperty("batch", IdSet.parse("0-1"));
  R.setProperty("debug", IdSet.parse("2-3"));
  const pool = upPool(R);
  const engine = new Engine<SimJob>(pool, [{ queues: ["batch"], reservationDepth: 0 }, { queues: ["debug"], reservationDepth: 1 }], 0);
  const add = (id: number, queue: string, nodes: number, duration_s: number) =>
    engine.add({ id: FIRST_ID + BigInt(id), priority: 16, queue, submit: 0, request: request({ nodes: exactly(nodes), duration_s, constraint: { properties: [queue] } }) });
  add(0, "batch", 1, 10);
  add(1, "batch", 2, 10);
  add(2, "batch", 1, 10);
  add(3, "debug", 1, 10);
  add(4, "debug", 2, 10);
  add(5, "debug", 1, 10);
  const started = engine.step(() => 0, () => false).map(({ job }) => Number(job.id - FIRST_ID));
  expect(started.sort((a, b) => a - b)).toEqual([0, 3, 5]);
  expect([...engine.estimates()].map(([job, start]) => [Number(job.id - FIRST_ID), start])).toEqual([[4, 10]]);
});

test("placements", () => {
  const given = (placement: string, gpusPerSlot = 0): string => {
    const R = clusterR(2, 4);
    R.add(2, { host: "n2", cores: IdSet.parse("0-3"), gpus: IdSet.parse("0-1") });
    const pool = upPool(R);
    pool.alloc(FIRST_ID, request({ constraint: { ranks: ["1"] } }));
    pool.placement = parsePlacement(placement);
    const got = pool.alloc(FIRST_ID + 1n, request({ coresPerSlot: 2, gpusPerSlot }));
    return got === INSUFFICIENT ? "none" : got.ranks.toString();
  };
  expect(["worst-fit", "best-fit", "first", "hinode", "core:worst-fit,gpu:best-fit", "core:best-fit,gpu:best-fit"].map((name) => given(name))).toEqual(["2", "1", "0", "2", "0", "1"]);
  expect(given("best-fit", 1)).toBe("2");
  expect(parsePlacement("lonodex")).toMatchObject({ byRank: "up", exclusive: true });
  expect(() => parsePlacement("middle")).toThrow("unknown placement 'middle'");
});

test("properties that come and go", () => {
  const pool = upPool(clusterR(4, 1));
  const wants = request({ constraint: { properties: ["big"] } });
  expect(() => pool.inventory.checkFeasible(wants)).toThrow("unsatisfiable");
  pool.inventory.changeProperties(new Map([["big", IdSet.parse("1-2")]]), new Map());
  pool.inventory.changeProperties(new Map(), new Map([["big", IdSet.parse("1")]]));
  const got = pool.alloc(FIRST_ID, wants);
  expect(got === INSUFFICIENT ? "" : got.ranks.toString()).toBe("2");
  expect(pool.inventory.eligible({ properties: ["big"] }) instanceof BitSet).toBe(true);
});
