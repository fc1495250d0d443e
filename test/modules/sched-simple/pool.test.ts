import { expect, test } from "bun:test";
import * as fc from "fast-check";

import { IdSet } from "../../../src/formats/idset.ts";
import { Rset, rsetShort } from "../../../src/formats/rset.ts";
import { BitSet } from "../../../src/modules/sched-simple/bitset.ts";
import { INSUFFICIENT, Pool } from "../../../src/modules/sched-simple/pool.ts";
import { Queue } from "../../../src/modules/sched-simple/queue.ts";
import type { ResourceRequest } from "../../../src/modules/sched-simple/request.ts";
import { parseRequest } from "../../../src/modules/sched-simple/request.ts";

const FIRST_ID = 2n ** 55n;

function cluster(nodes: number, cores: number, gpus = 0): Rset {
  const R = new Rset();
  const coreIds = IdSet.range(0, cores - 1);
  const gpuIds = gpus === 0 ? new IdSet() : IdSet.range(0, gpus - 1);
  for (let rank = 0; rank < nodes; rank++) R.add(rank, { host: `n${rank}`, cores: coreIds, gpus: gpuIds });
  return R;
}

function upPool(R: Rset): Pool {
  const pool = new Pool(R);
  pool.markUp(R.ranks);
  return pool;
}

function request(fields: Partial<ResourceRequest> = {}): ResourceRequest {
  return { nodes: undefined, slots: count(1), coresPerSlot: 1, gpusPerSlot: 0, exclusive: false, duration_s: 0, constraint: undefined, unsupported: undefined, ...fields };
}

const count = (n: number) => ({ min: n, max: n });

function short(result: Rset | typeof INSUFFICIENT): string {
  return result === INSUFFICIENT ? "insufficient" : rsetShort(result);
}

test("nodes with most free cores come first, then the lowest rank, then the lowest core", () => {
  const pool = upPool(cluster(4, 2));
  let id = FIRST_ID;
  const run = (fields: Partial<ResourceRequest> = {}) => short(pool.alloc(id++, request(fields)));
  expect(run()).toBe("rank0/core0");
  expect(run()).toBe("rank1/core0");
  expect(run({ slots: count(3) })).toBe("rank2/core[0-1] rank3/core0");
  expect(run({ nodes: count(2) })).toBe("rank[0-1]/core1");
  expect(run({ nodes: count(1), exclusive: true })).toBe("insufficient");
  expect(run()).toBe("rank3/core1");
  expect(run()).toBe("insufficient");
  pool.free(FIRST_ID + 2n, undefined, true);
  expect(run({ nodes: count(1), exclusive: true })).toBe("rank2/core[0-1]");
});

test("GPUs, constraints and ranges", () => {
  const R = cluster(4, 4, 2);
  R.setProperty("big", IdSet.parse("2-3"));
  const pool = upPool(R);
  let id = FIRST_ID;
  const run = (fields: Partial<ResourceRequest>) => short(pool.alloc(id++, request(fields)));
  expect(run({ gpusPerSlot: 1, slots: count(2) })).toBe("rank0/core[0-1],gpu[0-1]");
  expect(run({ constraint: { properties: ["big"] } })).toBe("rank2/core0");
  expect(run({ constraint: { hostlist: ["n3"] }, nodes: count(1), slots: count(2) })).toBe("rank3/core[0-1]");
  expect(run({ constraint: { not: [{ properties: ["big"] }] }, nodes: { min: 1, max: Infinity } })).toBe("rank0/core2 rank1/core0");
  expect(run({ slots: { min: 2, max: 5 }, coresPerSlot: 2 })).toBe("rank[1-2]/core[1-2] rank3/core[2-3]");
});

test("what can never be is refused in the words that scripts know", () => {
  const pool = upPool(cluster(4, 2));
  const refused = (fields: Partial<ResourceRequest>) => () => pool.alloc(FIRST_ID, request(fields));
  expect(refused({ nodes: count(100), exclusive: true })).toThrow("unsatisfiable request: need 100 exclusive node(s), only 4 eligible");
  expect(refused({ slots: count(100) })).toThrow("unsatisfiable request: need 100 slot(s) of 1 core(s), only 8 such slot(s) available (total cores: 8)");
  expect(refused({ coresPerSlot: 100 })).toThrow("unsatisfiable request: need 1 slot(s) of 100 core(s), only 0 such slot(s) available (total cores: 8)");
  expect(refused({ gpusPerSlot: 1 })).toThrow("unsatisfiable request: need 1 slot(s) with 1 GPU(s) each, only 0 available (total GPUs: 0)");
  expect(refused({ nodes: count(1), slots: count(3) })).toThrow("unsatisfiable request: need 1 node(s) with 3 cores each, only 0 eligible");
  expect(refused({ constraint: { properties: ["no"] } })).toThrow("only 0 such slot(s) available (total cores: 0)");
  pool.markDown(IdSet.parse("0-3"));
  expect(pool.alloc(FIRST_ID, request({ slots: count(8) }))).toBe(INSUFFICIENT);
  pool.remove(IdSet.parse("3"));
  expect(refused({ slots: count(8) })).toThrow("only 6 such");
});

test("partial and final free", () => {
  const pool = upPool(cluster(3, 2));
  const R = pool.alloc(FIRST_ID, request({ nodes: count(3), slots: count(2) })) as Rset;
  pool.free(FIRST_ID, R.slice(IdSet.of(1)), false);
  expect(rsetShort(pool.allocated)).toBe("rank[0,2]/core[0-1]");
  expect(() => pool.free(FIRST_ID, R, true)).toThrow("not in job allocation: 1");
  pool.free(FIRST_ID, R.slice(IdSet.parse("0,2")), true);
  expect(pool.allocated.isEmpty).toBe(true);
  pool.free(FIRST_ID, R, true); // nobody's: without effect
});

test("resources of jobs that run already", () => {
  const pool = upPool(cluster(2, 2));
  const R = Rset.parse({ version: 1, execution: { R_lite: [{ rank: "0", children: { core: "1" } }] } });
  pool.adopt(FIRST_ID, R);
  expect(() => pool.adopt(FIRST_ID + 1n, R)).toThrow("in use by another job");
  expect(() => pool.adopt(FIRST_ID + 1n, cluster(3, 1))).toThrow("not in resource pool: 2");
  expect(short(pool.alloc(FIRST_ID + 2n, request({ slots: count(3) })))).toBe("rank0/core0 rank1/core[0-1]");
});

interface Model {
  readonly taken: Map<string, bigint>;
  readonly up: Set<number>;
}

test("nothing is given twice, and all comes back", () => {
  const node = fc.record({ cores: fc.integer({ min: 1, max: 70 }), gpus: fc.integer({ min: 0, max: 3 }) });
  const step = fc.oneof(
    fc.record({ do: fc.constant("alloc" as const), nodes: fc.integer({ min: 0, max: 4 }), slots: fc.integer({ min: 1, max: 6 }), cores: fc.integer({ min: 1, max: 8 }), gpus: fc.integer({ min: 0, max: 1 }), exclusive: fc.boolean() }),
    fc.record({ do: fc.constant("free" as const), which: fc.nat() }),
    fc.record({ do: fc.constantFrom("up" as const, "down" as const), rank: fc.nat({ max: 9 }) }),
  );
  fc.assert(
    fc.property(fc.array(node, { minLength: 1, maxLength: 10 }), fc.array(step, { maxLength: 80 }), (nodes, steps) => {
      const R = new Rset();
      nodes.forEach(({ cores, gpus }, rank) => R.add(rank, { host: `n${rank}`, cores: IdSet.range(0, cores - 1), gpus: gpus === 0 ? new IdSet() : IdSet.range(0, gpus - 1) }));
      const pool = upPool(R);
      const model: Model = { taken: new Map(), up: new Set(nodes.keys()) };
      const jobs = new Map<bigint, Rset>();
      let id = FIRST_ID;
      for (const it of steps) {
        if (it.do === "alloc") {
          const asked = request({ nodes: it.nodes === 0 ? undefined : count(it.nodes), slots: count(it.slots), coresPerSlot: it.cores, gpusPerSlot: it.gpus, exclusive: it.exclusive && it.nodes > 0 });
          id++;
          let got: Rset | typeof INSUFFICIENT;
          try {
            got = pool.alloc(id, asked);
          } catch {
            continue;
          }
          if (got === INSUFFICIENT) continue;
          take(model, id, got);
          jobs.set(id, got);
          if (asked.nodes !== undefined) expect(got.nnodes).toBe(it.nodes);
          if (!asked.exclusive) expect(got.ncores).toBe((asked.nodes?.min ?? 1) * it.slots * it.cores);
        } else if (it.do === "free") {
          const victim = [...jobs.keys()][it.which % Math.max(1, jobs.size)];
          if (victim === undefined) continue;
          pool.free(victim, jobs.get(victim), true);
          for (const [key, owner] of model.taken) if (owner === victim) model.taken.delete(key);
          jobs.delete(victim);
        } else if (it.do === "up") {
          pool.markUp(IdSet.of(it.rank));
          model.up.add(it.rank);
        } else {
          pool.markDown(IdSet.of(it.rank));
          model.up.delete(it.rank);
        }
      }
      expect(pool.allocated.ncores).toBe([...model.taken.keys()].filter((key) => key.startsWith("core")).length);
      for (const [job, its] of jobs) pool.free(job, its, true);
      expect(pool.allocated.isEmpty).toBe(true);
      pool.markUp(R.ranks);
      const everything = pool.alloc(id + 1n, request({ slots: { min: 1, max: Infinity } }));
      expect(everything === INSUFFICIENT ? 0 : everything.ncores).toBe(R.ncores);
    }),
    { numRuns: 300 },
  );
});

function take(model: Model, id: bigint, R: Rset): void {
  for (const { rank, cores, gpus } of R.nodes()) {
    if (!model.up.has(rank)) throw new Error(`rank ${rank} is down`);
    for (const [kind, ids] of [["core", cores], ["gpu", gpus]] as const) {
      for (const i of ids) {
        const key = `${kind} ${rank}/${i}`;
        if (model.taken.has(key)) throw new Error(`${key} was given twice`);
        model.taken.set(key, id);
      }
    }
  }
}

test("a BitSet is a set", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 3000 }), fc.array(fc.tuple(fc.boolean(), fc.nat())), (size, changes) => {
      const bits = new BitSet(size);
      const set = new Set<number>();
      for (const [add, n] of changes) {
        const i = n % size;
        if (add) {
          bits.add(i);
          set.add(i);
        } else {
          bits.delete(i);
          set.delete(i);
        }
      }
      const sorted = [...set].sort((a, b) => a - b);
      const forward: number[] = [];
      for (let i = bits.next(0); i >= 0; i = bits.next(i + 1)) forward.push(i);
      const backward: number[] = [];
      for (let i = bits.previous(size - 1); i >= 0; i = i === 0 ? -1 : bits.previous(i - 1)) backward.push(i);
      expect(forward).toEqual(sorted);
      expect(backward).toEqual(sorted.reverse());
      expect(bits.count).toBe(set.size);
    }),
  );
});

test("the queue gives the most urgent, then the oldest", () => {
  const step = fc.oneof(fc.tuple(fc.constant("add" as const), fc.nat({ max: 31 })), fc.tuple(fc.constantFrom("remove" as const, "first" as const, "raise" as const), fc.nat()));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const queue = new Queue<{ id: bigint; priority: number }>();
      const model: { id: bigint; priority: number }[] = [];
      let id = FIRST_ID;
      for (const [what, n] of steps) {
        const victim = model[n % Math.max(1, model.length)];
        if (what === "add") {
          queue.add({ id: ++id, priority: n });
          model.push({ id, priority: n });
        } else if (victim === undefined) continue;
        else if (what === "remove") {
          queue.remove(victim.id);
          model.splice(model.indexOf(victim), 1);
        } else if (what === "raise") {
          victim.priority = n % 32;
          queue.setPriority(victim.id, victim.priority);
        }
        model.sort((a, b) => b.priority - a.priority || (a.id < b.id ? -1 : 1));
        expect(queue.first?.id).toBe(model[0]?.id);
        expect(queue.size).toBe(model.length);
      }
    }),
  );
});

test("what a jobspec asks for", () => {
  const jobspec = (resources: object[], system: object = { duration: 0 }) => ({ version: 1, resources, tasks: [], attributes: { system } }) as object as Parameters<typeof parseRequest>[0];
  const slot = (n: unknown, ...children: object[]) => ({ type: "slot", count: n, label: "task", with: children });
  const core = (n: number) => ({ type: "core", count: n });
  expect(parseRequest(jobspec([{ type: "node", count: 2, with: [slot(3, core(4), { type: "gpu", count: 1 })] }], { duration: 60 }))).toMatchObject({ nodes: count(2), slots: count(3), coresPerSlot: 4, gpusPerSlot: 1, duration_s: 60, exclusive: false });
  expect(parseRequest(jobspec([{ type: "node", count: 1, exclusive: true, with: [slot(1, core(1))] }]))).toMatchObject({ exclusive: true });
  expect(parseRequest(jobspec([{ type: "socket", count: 2, with: [{ type: "node", count: 2, with: [slot(1, core(1))] }] }]))).toMatchObject({ nodes: count(4) });
  expect(parseRequest(jobspec([slot("2-8", core(1))]))).toMatchObject({ slots: { min: 2, max: 8 }, unsupported: undefined });
  expect(parseRequest(jobspec([slot("2+", core(1))]))).toMatchObject({ slots: { min: 2, max: Infinity } });
  expect(parseRequest(jobspec([slot("2-8:2:*", core(1))])).unsupported).toContain("slot count specifies discrete valid values");
  expect(() => parseRequest(jobspec([core(1)]))).toThrow("Unable to determine slot count");
  expect(() => parseRequest(jobspec([slot(1, core(1))], {}))).toThrow("getting duration: Object item not found: duration");
});

test("10 000 nodes and 64 000 jobs: what is not touched costs nothing", () => {
  const pool = upPool(cluster(10_000, 64, 4));
  const start = performance.now();
  for (let i = 0; i < 64_000; i++) if (pool.alloc(FIRST_ID + BigInt(i), request()) === INSUFFICIENT) throw new Error("insufficient");
  for (let i = 0; i < 64_000; i++) pool.free(FIRST_ID + BigInt(i), undefined, true);
  expect(performance.now() - start).toBeLessThan(5000);
  expect(pool.allocated.isEmpty).toBe(true);
});
