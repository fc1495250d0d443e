import { afterEach, expect, spyOn, test } from "bun:test";

import type { Flux } from "../../../src/client/flux.ts";
import { defineModule } from "../../../src/client/module.ts";
import { formatJobId, jobKvsPath } from "../../../src/formats/fluid.ts";
import { IdSet } from "../../../src/formats/idset.ts";
import type { JsonObject } from "../../../src/formats/json.ts";
import { Rset } from "../../../src/formats/rset.ts";
import { errno } from "../../../src/message/errno.ts";
import { jobid } from "../../../src/message/unpack.ts";
import resource from "../../../src/modules/resource/resource.ts";
import { Pool } from "../../../src/modules/sched-simple/pool.ts";
import sched from "../../../src/modules/sched-simple/sched-simple.ts";
import { depthOf, parseSettings } from "../../../src/modules/sched-simple/settings.ts";
import { type Cluster, startCluster } from "../../support/cluster.ts";
import { fakeGroups, fakeKvs, member, until } from "../resource/fakes.ts";

const FIRST_ID = 2n ** 60n;
const CONFIG = { resource: { noverify: true, config: [{ hosts: "test[0-3]", cores: "0-1" }] } };

let cluster: Cluster | undefined;
afterEach(async () => {
  await cluster?.stop();
  cluster = undefined;
});

/** A job manager that knows `running` and takes note of what the scheduler says. */
function fakeManager(running: readonly JsonObject[] = []) {
  const said = new Map<bigint, JsonObject[]>();
  const raised: JsonObject[] = [];
  let ready: JsonObject | undefined;
  let handle: Flux | undefined;
  const module = defineModule({
    name: "job-manager",
    async start(h) {
      handle = h;
      h.onUntagged("sched.alloc", (response) => {
        if (response.errnum !== 0) return;
        const id = jobid(response.payload["id"], "id");
        said.set(id, [...(said.get(id) ?? []), response.payload]);
      });
      await h.serve("job-manager", {
        // oxlint-disable-next-line require-await
        "sched-hello": async function* () {
          yield* running;
        },
        "sched-ready": (req) => {
          ready = req.payload;
          return { count: 0 };
        },
        "resource-status": () => ({ allocated: new Rset().encode() }),
        raise: (req) => void raised.push(req.payload),
      });
    },
  });
  return {
    module,
    said,
    raised,
    ready: () => ready,
    alloc(id: bigint, slots: number, options: { priority?: number; duration?: number; nodes?: number } = {}) {
      const slot = { type: "slot", count: slots, label: "task", with: [{ type: "core", count: 1 }] };
      const resources = options.nodes === undefined ? [slot] : [{ type: "node", count: options.nodes, with: [slot] }];
      const jobspec = { version: 1, resources, tasks: [], attributes: { system: { duration: options.duration ?? 0 } } };
      handle?.sendUntagged("sched.alloc", { id, priority: options.priority ?? 16, userid: 0, t_submit: 1.5, jobspec });
    },
    notify: (topic: string, payload: JsonObject) => handle?.notify(topic, payload),
  };
}

async function start(options: { args?: string[]; running?: JsonObject[]; values?: Map<string, string> } = {}) {
  const kvs = fakeKvs(options.values);
  const groups = fakeGroups();
  groups.set("broker.online", "0-3");
  const manager = fakeManager(options.running);
  cluster = await startCluster({ size: 4, rank0: [kvs, groups, [resource], manager.module, [sched, ...(options.args ?? [])]], config: CONFIG });
  const h = cluster.open();
  await until(() => manager.ready() !== undefined, "the scheduler is ready");
  const answer = async (id: bigint): Promise<JsonObject | undefined> => {
    await until(() => manager.said.has(id), `job ${id} is answered`);
    return manager.said.get(id)?.at(-1);
  };
  return { h, kvs, manager, answer, cluster };
}

test("a job gets resources, R is stored first, and they come back", async () => {
  const { h, kvs, manager, answer } = await start();
  expect(manager.ready()).toEqual({ mode: "limited", limit: 8 });
  manager.alloc(FIRST_ID, 3, { duration: 60 });
  const given = await answer(FIRST_ID);
  expect(given).toMatchObject({ id: FIRST_ID, type: 0, annotations: { sched: { resource_summary: "rank0/core[0-1] rank1/core0" } } });
  const R = Rset.parse(kvs.values.get(jobKvsPath(FIRST_ID, "R")));
  expect(R.nslots).toBe(3);
  expect(R.expiration - R.starttime).toBeCloseTo(60, 3);
  expect(Rset.parse((await h.rpc("sched.resource-status"))["allocated"]).ncores).toBe(3);
  manager.notify("sched.free", { id: FIRST_ID, R: R.encode(), final: true });
  await until(async () => Rset.parse((await h.rpc("sched.resource-status"))["allocated"]).isEmpty, "all is free");
});

test("the first that does not fit makes the others wait; priority and cancel change the order", async () => {
  const { h, manager, answer } = await start({ args: ["queue-depth=unlimited"] });
  expect(manager.ready()).toEqual({ mode: "unlimited" });
  manager.alloc(FIRST_ID, 7);
  const { R } = (await answer(FIRST_ID)) ?? {};
  manager.alloc(FIRST_ID + 1n, 8);
  manager.alloc(FIRST_ID + 2n, 1);
  await until(async () => (await h.rpc("sched-simple.stats-get"))["pending_jobs"] === 2, "two wait");
  manager.notify("sched.prioritize", { jobs: [[FIRST_ID + 2n, 31]] });
  expect(await answer(FIRST_ID + 2n)).toMatchObject({ type: 0 });
  manager.notify("sched.cancel", { id: FIRST_ID + 1n });
  expect(await answer(FIRST_ID + 1n)).toEqual({ id: FIRST_ID + 1n, type: 3 });
  manager.alloc(FIRST_ID + 3n, 2);
  manager.notify("sched.free", { id: FIRST_ID, R: R ?? {}, final: true });
  expect(await answer(FIRST_ID + 3n)).toMatchObject({ type: 0 });
});

test("what can never run is denied, and feasibility says so before", async () => {
  const { h, manager, answer } = await start();
  manager.alloc(FIRST_ID, 100);
  const note = "unsatisfiable request: need 100 slot(s) of 1 core(s), only 8 such slot(s) available (total cores: 8)";
  expect(await answer(FIRST_ID)).toEqual({ id: FIRST_ID, type: 2, note });
  const jobspec = { version: 1, resources: [{ type: "slot", count: 100, label: "t", with: [{ type: "core", count: 1 }] }], tasks: [], attributes: { system: { duration: 0 } } };
  await expect(h.rpc("feasibility.check", { jobspec })).rejects.toMatchObject({ errno: errno.EOVERFLOW, message: note });
  await expect(h.rpc("feasibility.check", { jobspec: { version: 1, resources: [] } })).rejects.toMatchObject({ errno: errno.EINVAL });
});

test("a job that the scheduler fails at waits, which is logged, and can be cancelled", async () => {
  const { h, manager, answer, cluster: { brokers } } = await start();
  const defect = spyOn(Pool.prototype, "alloc").mockImplementation(() => {
    throw new Error("node 0: resources are given twice");
  });
  const pending = async (): Promise<unknown> => (await h.rpc("sched-simple.stats-get"))["pending_jobs"];
  manager.alloc(FIRST_ID, 1);
  manager.alloc(FIRST_ID + 1n, 1);
  const told = (id: bigint): number => (brokers[0]?.log ?? []).filter((line) => line.includes(`${formatJobId(id, "f58")}: a defect of the scheduler`) && line.includes("given twice")).length;
  await until(() => told(FIRST_ID) === 1 && told(FIRST_ID + 1n) === 1, "it is logged");
  defect.mockRestore();
  manager.alloc(FIRST_ID + 2n, 1);
  expect(await answer(FIRST_ID + 2n)).toMatchObject({ type: 0 });
  expect(await pending()).toBe(2);
  expect(manager.said.has(FIRST_ID)).toBe(false);
  manager.notify("sched.cancel", { id: FIRST_ID });
  expect(await answer(FIRST_ID)).toEqual({ id: FIRST_ID, type: 3 });
  expect(await pending()).toBe(1);
  // Other settings may do better.
  await h.rpc("sched-simple.config-reload", CONFIG);
  expect(await answer(FIRST_ID + 1n)).toMatchObject({ type: 0 });
});

test("a drained node gets no job until it is undrained", async () => {
  const { h, manager, answer } = await start();
  await h.rpc("resource.drain", { targets: "0-3" });
  manager.alloc(FIRST_ID, 1);
  await until(async () => (await h.rpc("sched-simple.stats-get"))["pending_jobs"] === 1, "the job waits");
  await h.rpc("resource.undrain", { targets: "2" });
  expect(await answer(FIRST_ID)).toMatchObject({ annotations: { sched: { resource_summary: "rank2/core0" } } });
});

test("jobs that run already keep what they have; one whose R is lost is killed", async () => {
  const R = Rset.parse({ version: 1, execution: { R_lite: [{ rank: "0-1", children: { core: "0-1" } }], starttime: 1, expiration: 0, nodelist: ["test[0-1]"] } });
  const values = new Map([[jobKvsPath(FIRST_ID, "R"), R.toString()]]);
  const job = { priority: 16, userid: 0, t_submit: 1.5 };
  const running = [{ id: FIRST_ID, ...job, free: "1" }, { id: FIRST_ID + 1n, ...job }];
  const { h, manager } = await start({ running, values });
  await until(() => manager.raised.length === 1, "an exception is raised");
  expect(manager.raised[0]).toMatchObject({ id: FIRST_ID + 1n, type: "scheduler-restart", severity: 0 });
  expect(Rset.parse((await h.rpc("sched.resource-status"))["allocated"]).ranks.toString()).toBe("0");
});

test("jobs that wait are told when they will start, and told again when that changes", async () => {
  const { h, manager, answer } = await start({ args: ["queue-policy=conservative"] });
  expect(manager.ready()).toEqual({ mode: "limited", limit: 1000 });
  manager.alloc(FIRST_ID, 7, { duration: 1000 });
  const { R } = (await answer(FIRST_ID)) ?? {};
  manager.alloc(FIRST_ID + 1n, 8, { duration: 60 });
  manager.alloc(FIRST_ID + 2n, 1, { duration: 5000 });
  manager.alloc(FIRST_ID + 3n, 1, { duration: 10 });
  expect(await answer(FIRST_ID + 3n)).toMatchObject({ type: 0, annotations: { sched: { backfill: formatJobId(FIRST_ID + 1n, "f58") } } });
  const { starttime } = Rset.parse(R);
  const estimate = async (id: bigint, expected: number): Promise<void> =>
    until(() => Math.abs(Number(member(manager.said.get(id)?.at(-1), "annotations", "sched", "t_estimate")) - expected) < 1, `job ${id} is expected at ${expected}`);
  await estimate(FIRST_ID + 1n, starttime + 1000);
  await estimate(FIRST_ID + 2n, starttime + 1060);
  await h.rpc("sched.expiration", { id: FIRST_ID, expiration: starttime + 3000 });
  await estimate(FIRST_ID + 1n, starttime + 3000);
  manager.notify("sched.free", { id: FIRST_ID, R: R ?? {}, final: true });
  manager.notify("sched.cancel", { id: FIRST_ID + 1n });
  await until(() => manager.said.get(FIRST_ID + 2n)?.at(-1)?.["type"] === 0, "the last one starts");
  expect(member(manager.said.get(FIRST_ID + 2n)?.at(-1), "annotations", "sched", "t_estimate")).toBe(null);
});

test("flags of flux module debug: why jobs wait, no more changes of expirations, no more allocations", async () => {
  const { h, manager, answer } = await start();
  await h.rpc("sched-simple.debug", { op: "setbit", flags: 2 });
  manager.alloc(FIRST_ID, 8, {});
  const { R } = (await answer(FIRST_ID)) ?? {};
  for (const i of [1n, 2n]) manager.alloc(FIRST_ID + i, 8, {});
  const ahead = (id: bigint): unknown => member(manager.said.get(id)?.at(-1), "annotations", "sched", "jobs_ahead");
  await until(() => ahead(FIRST_ID + 1n) === 0 && ahead(FIRST_ID + 2n) === 1, "both know how many are before them");
  expect(member(manager.said.get(FIRST_ID + 2n)?.at(-1), "annotations", "sched", "reason_pending")).toBe("insufficient resources");
  manager.notify("sched.free", { id: FIRST_ID, R: R ?? {}, final: true });
  await until(() => manager.said.get(FIRST_ID + 1n)?.at(-1)?.["type"] === 0, "the next starts");
  expect(manager.said.get(FIRST_ID + 1n)?.at(-1)).toMatchObject({ annotations: { sched: { reason_pending: null, jobs_ahead: null } } });
  await until(() => ahead(FIRST_ID + 2n) === 0, "the last is the first now");
  await h.rpc("sched-simple.debug", { op: "setbit", flags: 5 });
  await expect(h.rpc("sched.expiration", { id: FIRST_ID + 1n, expiration: 1e10 })).rejects.toThrow("Rejecting");
  manager.alloc(FIRST_ID + 3n, 1, {});
  expect(await answer(FIRST_ID + 3n)).toMatchObject({ type: 2, note: "DEBUG_FAIL_ALLOC" });
});

test("a job that gives back its nodes one by one", async () => {
  const { h, manager, answer } = await start({ args: ["queue-policy=easy"] });
  manager.alloc(FIRST_ID, 2, { nodes: 4, duration: 1000 });
  const R = Rset.parse(((await answer(FIRST_ID)) ?? {})["R"]);
  manager.alloc(FIRST_ID + 1n, 2, { nodes: 2, duration: 10 });
  manager.notify("sched.free", { id: FIRST_ID, R: R.slice(IdSet.of(1)).encode(), final: false });
  manager.notify("sched.free", { id: FIRST_ID, R: R.slice(IdSet.of(3)).encode() });
  expect(await answer(FIRST_ID + 1n)).toMatchObject({ type: 0, annotations: { sched: { resource_summary: "rank[1,3]/core[0-1]" } } });
  manager.notify("sched.free", { id: FIRST_ID, R: R.slice(IdSet.parse("0,2")).encode(), final: true });
  await until(async () => Rset.parse((await h.rpc("sched.resource-status"))["allocated"]).ranks.toString() === "1,3", "the rest is free");
});

test("another policy comes with another configuration, while jobs wait", async () => {
  const { h, manager, answer } = await start();
  manager.alloc(FIRST_ID, 7, { duration: 1000 });
  await answer(FIRST_ID);
  manager.alloc(FIRST_ID + 1n, 8, { duration: 60 });
  manager.alloc(FIRST_ID + 2n, 1, { duration: 60 });
  await until(async () => (await h.rpc("sched-simple.stats-get"))["pending_jobs"] === 2, "both wait");
  await expect(h.rpc("sched-simple.config-reload", { "sched-simple": { "queue-policy": "sjf" } })).rejects.toThrow("queue-policy=sjf is invalid");
  await h.rpc("sched-simple.config-reload", { "sched-simple": { "queue-policy": "easy" } });
  expect(await answer(FIRST_ID + 2n)).toMatchObject({ type: 0 });
  expect(manager.ready()).toEqual({ mode: "limited", limit: 1000 });
});

test("module arguments and configuration", () => {
  expect(parseSettings(["mode=limited=4"]).depth).toBe(4);
  expect(parseSettings(["mode=unlimited"]).depth).toBe(Infinity);
  expect(() => parseSettings(["queue-depth=0"])).toThrow("positive integer");
  expect(() => parseSettings(["nope"])).toThrow("unknown argument 'nope'");
  expect(() => parseSettings(["queue-policy=lifo"])).toThrow("expected one of fcfs, easy, hybrid, conservative");
  expect(() => parseSettings([], { "sched-simple": { "queue-polciy": "easy" } })).toThrow("unknown key 'queue-polciy'");
  const fluxion = { "sched-fluxion-qmanager": { "queue-policy": "hybrid", "policy-params": { "reservation-depth": 5 }, "queue-params": "queue-depth=200,max-queue-depth=1000" }, "sched-fluxion-resource": { "match-policy": "lonodex" } };
  expect(parseSettings([], fluxion)).toMatchObject({ policy: "hybrid", reservationDepth: 5, depth: 200, placement: { byRank: "up", exclusive: true } });
  expect(parseSettings(["queue-policy=fcfs"], { ...fluxion, "sched-simple": { "queue-policy": "easy", placement: "best-fit" } })).toMatchObject({ policy: "fcfs", reservationDepth: 0, placement: { mostCores: false } });
  expect(parseSettings([], { "sched-simple": { "queue-policy": "conservative" } }).reservationDepth).toBe(100_000);
  const perQueue = parseSettings([], { "sched-fluxion-qmanager": { "queue-policy-per-queue": "batch:easy debug:fcfs" } }).perQueue;
  expect([...perQueue]).toEqual([["batch", 1], ["debug", 0]]);
  const settings = parseSettings(["queue-policy=easy"]);
  expect(depthOf(settings, [{ queues: [undefined], reservationDepth: 1 }])).toBe(1000);
  expect(depthOf(parseSettings([]), [{ queues: [undefined], reservationDepth: 0 }])).toBe(8);
});
