import { afterEach, expect, test } from "bun:test";
import * as fc from "fast-check";

import { RESULT, STATE } from "../../../src/client/jobs.ts";
import { defineModule } from "../../../src/client/module.ts";
import { DEFERRED, type Request } from "../../../src/client/request.ts";
import { jobKvsPath } from "../../../src/formats/fluid.ts";
import type { Json, JsonObject } from "../../../src/formats/json.ts";
import { errno, type FluxError } from "../../../src/message/errno.ts";
import { Archive } from "../../../src/modules/job-list/archive.ts";
import { compileJobConstraint } from "../../../src/modules/job-list/constraint.ts";
import { attributeOf, isAttribute, type Job, newJob } from "../../../src/modules/job-list/job.ts";
import jobList from "../../../src/modules/job-list/job-list.ts";
import { type Cluster, startCluster } from "../../support/cluster.ts";
import { fakeKvs, until } from "../resource/fakes.ts";

const FIRST_ID = 2n ** 61n;

let cluster: Cluster | undefined;
afterEach(async () => {
  await cluster?.stop();
  cluster = undefined;
});

/** A job manager that tells its journal what the test says. */
function fakeJournal() {
  let listener: Request | undefined;
  const backlog: JsonObject[] = [];
  return {
    module: defineModule({
      name: "job-manager",
      async start(h) {
        await h.serve("job-manager", {
          "events-journal": (req) => {
            listener = req;
            for (const record of backlog) req.respond(record);
            req.respond({ id: -1, events: [] });
            return DEFERRED;
          },
        });
      },
    }),
    tell(record: JsonObject): void {
      if (listener === undefined) backlog.push(record);
      else listener.respond(record);
    },
  };
}

interface Spec {
  readonly id: bigint;
  readonly userid?: number;
  readonly name?: string;
  readonly queue?: string;
  readonly priority?: number;
  readonly until?: "depend" | "sched" | "run" | "inactive";
  readonly status?: number;
  readonly t?: number;
}

/** Journal records of a job up to a state. Its events are a second apart. */
function* life({ id, userid = 100, name = "app", queue, priority = 16, until: end = "inactive", status = 0, t = 1000 }: Spec): Generator<JsonObject> {
  const jobspec = {
    version: 1,
    resources: [{ type: "node", count: 2, with: [{ type: "slot", count: 2, label: "task", with: [{ type: "core", count: 1 }] }] }],
    tasks: [{ command: [`/bin/${name}`], slot: "task", count: { per_slot: 1 } }],
    attributes: { system: { duration: 60, cwd: "/tmp", ...(queue !== undefined && { queue }) } },
  };
  const R = { version: 1, execution: { R_lite: [{ rank: "0-1", children: { core: "0-1" } }], starttime: t, expiration: t + 60, nodelist: ["n[0-1]"] } };
  const record = (eventName: string, at: number, context?: JsonObject, extra: JsonObject = {}): JsonObject => ({
    id,
    events: [{ timestamp: t + at, name: eventName, ...(context !== undefined && { context }) }],
    ...extra,
  });
  yield record("submit", 0, { userid, urgency: 16, flags: 0, version: 1 }, { jobspec });
  yield record("validate", 1);
  if (end === "depend") return;
  yield record("depend", 2);
  yield record("priority", 3, { priority });
  if (end === "sched") return;
  yield record("annotations", 4, { annotations: { sched: { resource_summary: "rank[0-1]/core[0-1]" } } });
  yield record("alloc", 5, undefined, { R });
  yield record("start", 6);
  if (end === "run") return;
  yield record("finish", 7, { status });
  yield record("release", 8, { ranks: "all", final: true });
  yield record("free", 9);
  yield record("clean", 10);
}

async function start(specs: readonly Spec[], config: JsonObject = {}) {
  const journal = fakeJournal();
  for (const spec of specs) for (const record of life(spec)) journal.tell(record);
  const kvs = fakeKvs();
  cluster = await startCluster({ rank0: [kvs, journal.module, jobList], config });
  const h = cluster.open();
  const list = async (payload: JsonObject = {}): Promise<JsonObject[]> => {
    const jobs: JsonObject[] = [];
    for await (const part of h.stream("job-list.list", { max_entries: 0, attrs: ["all"], ...payload })) jobs.push(...(part["jobs"] as JsonObject[]));
    return jobs;
  };
  return { h, list, journal, kvs };
}

const ids = (jobs: readonly JsonObject[]): number[] => jobs.map(({ id }) => Number((id as bigint) - FIRST_ID));

test("pending by priority, running and inactive newest first, with their attributes", async () => {
  const { list } = await start([
    { id: FIRST_ID, t: 10 },
    { id: FIRST_ID + 1n, t: 20, status: 256 },
    { id: FIRST_ID + 2n, until: "run", t: 30 },
    { id: FIRST_ID + 3n, until: "run", t: 40 },
    { id: FIRST_ID + 4n, until: "sched", priority: 16 },
    { id: FIRST_ID + 5n, until: "sched", priority: 20 },
    { id: FIRST_ID + 6n, until: "depend" },
  ]);
  const jobs = await list();
  expect(ids(jobs)).toEqual([5, 4, 6, 3, 2, 1, 0]);
  expect(jobs[6]).toEqual({
    id: FIRST_ID, userid: 100, urgency: 16, priority: 16, t_submit: 10, t_depend: 11, t_priority: 12, t_sched: 13, t_run: 15, t_cleanup: 17, t_inactive: 20,
    state: STATE.INACTIVE, name: "app", cwd: "/tmp", ntasks: 4, ncores: 4, duration: 60, nnodes: 2, ranks: "[0-1]", nodelist: "n[0-1]",
    success: true, exception_occurred: false, result: RESULT.COMPLETED, expiration: 70, annotations: { sched: { resource_summary: "rank[0-1]/core[0-1]" } }, waitstatus: 0,
  });
  expect(jobs[5]).toMatchObject({ result: RESULT.FAILED, success: false, waitstatus: 256 });
  expect(jobs[2]).not.toHaveProperty("priority");
  expect(ids(await list({ max_entries: 3 }))).toEqual([5, 4, 6]);
  expect(ids(await list({ since: 20, constraint: { states: ["inactive"] } }))).toEqual([1]);
});

test("constraints", async () => {
  const { list } = await start([
    { id: FIRST_ID, name: "a", t: 10 },
    { id: FIRST_ID + 1n, name: "b", userid: 200, queue: "debug", t: 20, status: 256 },
    { id: FIRST_ID + 2n, name: "c", until: "run", t: 30 },
    { id: FIRST_ID + 3n, name: "d", until: "sched", t: 40 },
  ]);
  const found = async (constraint: JsonObject) => ids(await list({ constraint }));
  expect(await found({ userid: [200] })).toEqual([1]);
  expect(await found({ name: ["a", "d"] })).toEqual([3, 0]);
  expect(await found({ queue: ["debug"] })).toEqual([1]);
  expect(await found({ states: ["running", STATE.SCHED] })).toEqual([3, 2]);
  expect(await found({ results: ["failed"] })).toEqual([1]);
  expect(await found({ hostlist: ["n1"] })).toEqual([2, 1, 0]);
  expect(await found({ ranks: ["2-5"] })).toEqual([]);
  expect(await found({ t_submit: [">=30"] })).toEqual([3, 2]);
  expect(await found({ and: [{ states: ["inactive"] }, { not: [{ userid: [200] }] }] })).toEqual([0]);
  expect(await found({ or: [{ name: ["a"] }, { states: ["pending"] }] })).toEqual([3, 0]);
  expect(await found({ not: [{ states: ["inactive"] }] })).toEqual([3, 2]);
  for (const [constraint, text] of [
    [{ foo: [1] }, "unknown constraint operator: foo"],
    [{ userid: ["x"] }, "userid value must be an integer"],
    [{ states: ["nope"] }, "invalid states value 'nope' specified"],
    [{ t_run: ["5"] }, "timestamp comparison operator not specified"],
    [{ name: "a" }, "operator name values not an array"],
    [{ hostlist: ["a["] }, "host value not in valid Hostlist format"],
  ] as const) {
    await expect(list({ constraint })).rejects.toMatchObject({ errno: errno.EPROTO, message: `invalid payload: constraint object invalid: ${text}` });
  }
});

test("events after the backlog move jobs; wrong requests are told so", async () => {
  const { h, list, journal } = await start([]);
  const records = [...life({ id: FIRST_ID })];
  for (const record of records.slice(0, 4)) journal.tell(record);
  await until(async () => ids(await list({ constraint: { states: ["sched"] } })).length === 1, "the job waits for resources");
  journal.tell({ id: FIRST_ID, events: [{ timestamp: 1003.5, name: "urgency", context: { urgency: 31, userid: 0 } }, { timestamp: 1003.6, name: "priority", context: { priority: 31 } }] });
  journal.tell({ id: FIRST_ID, events: [{ timestamp: 1003.7, name: "jobspec-update", context: { "attributes.system.duration": 5, "attributes.system.queue": "debug" } }] });
  journal.tell({ id: FIRST_ID, events: [{ timestamp: 1003.7, name: "memo", context: { note: "x" } }, { timestamp: 1003.8, name: "dependency-add", context: { description: "after=1" } }] });
  await until(async () => (await list())[0]?.["dependencies"] !== undefined, "all is known");
  expect((await list())[0]).toMatchObject({ urgency: 31, duration: 5, queue: "debug", annotations: { user: { note: "x" } }, dependencies: ["after=1"], state: STATE.PRIORITY });
  journal.tell({ id: FIRST_ID, events: [{ timestamp: 1004, name: "exception", context: { type: "cancel", severity: 0, note: "why", userid: 0 } }, { timestamp: 1005, name: "clean" }] });
  await until(async () => (await list())[0]?.["state"] === STATE.INACTIVE, "it is over");
  expect((await list())[0]).toMatchObject({ result: RESULT.CANCELED, exception_type: "cancel", exception_note: "why", exception_severity: 0 });
  await expect(list({ max_entries: -1 })).rejects.toMatchObject({ errno: errno.EPROTO, message: "invalid payload: max_entries < 0 not allowed" });
  await expect(list({ attrs: ["nope"] })).rejects.toMatchObject({ errno: errno.EINVAL, message: "nope is not a valid attribute" });
  expect(await h.rpc("job-list.list-attrs")).toMatchObject({ attrs: expect.arrayContaining(["userid", "all"]) });
});

test("list-id waits for a job that exists, and for a state", async () => {
  const { h, journal, kvs } = await start([{ id: FIRST_ID }]);
  expect(await h.rpc("job-list.list-id", { id: FIRST_ID, attrs: ["name"] })).toEqual({ job: { id: FIRST_ID, name: "app" } });
  await expect(h.rpc("job-list.list-id", { id: 5, attrs: [] })).rejects.toMatchObject({ errno: errno.ENOENT });
  const id = FIRST_ID + 1n;
  kvs.values.set(jobKvsPath(id, "eventlog"), "there");
  const known = h.rpc("job-list.list-id", { id, attrs: ["state"] });
  const running = h.rpc("job-list.list-id", { id, attrs: ["state"], state: STATE.RUN });
  await until(async () => (await h.rpc("job-list.stats-get"))["idsync"] !== undefined, "asked");
  for (const record of life({ id, until: "run" })) journal.tell(record);
  expect(await known).toMatchObject({ job: { id } });
  expect(await running).toEqual({ job: { id, state: STATE.RUN } });
});

test("who waits for a job that is never accepted is told so, and nobody is waited for then", async () => {
  const { h, journal, list } = await start([]);
  await list();
  const [submit] = [...life({ id: FIRST_ID })];
  journal.tell(submit ?? {});
  const waits = async (): Promise<unknown> => ((await h.rpc("job-list.stats-get"))["idsync"] as JsonObject)["waits"];
  await h.rpc("job-list.job-stats");
  const asked = [1, 2].map(() => h.rpc("job-list.list-id", { id: FIRST_ID, attrs: ["name"] }).catch((err: FluxError) => err.errno));
  await until(async () => (await waits()) === 1, "they wait");
  journal.tell({ id: FIRST_ID, events: [{ timestamp: 2, name: "invalidate" }] });
  expect(await Promise.all(asked)).toEqual([errno.ENOENT, errno.ENOENT]);
  expect(await waits()).toBe(0);
});

test("statistics by state, result and queue, and what is purged", async () => {
  const { h, list, journal } = await start([{ id: FIRST_ID, queue: "batch" }, { id: FIRST_ID + 1n, status: 256 }, { id: FIRST_ID + 2n, until: "run", queue: "debug" }], { queues: { batch: {}, empty: {} } });
  await list();
  const stats = await h.rpc("job-list.job-stats");
  expect(stats).toMatchObject({ job_states: { run: 1, inactive: 2, total: 3, depend: 0 }, successful: 1, failed: 1, canceled: 0, timeout: 0, inactive_purged: 0 });
  expect(stats["queues"]).toMatchObject([{ name: "batch", successful: 1 }, { name: "empty" }, { name: "debug", job_states: { run: 1 } }]);
  const watch = h.stream("job-list.job-stats");
  expect((await watch.next()).value).toEqual(stats);
  h.publish("job-purge-inactive", { jobs: [FIRST_ID] });
  expect((await watch.next()).value).toMatchObject({ inactive_purged: 1, successful: 0, job_states: { inactive: 1 } });
  expect(ids(await list({ constraint: { states: ["inactive"] } }))).toEqual([1]);
  await watch.return();
  await h.rpc("job-list.job-state-pause");
  for (const record of life({ id: FIRST_ID + 9n })) journal.tell(record);
  expect(ids(await list({ constraint: { states: ["inactive"] } }))).toEqual([1]);
  await h.rpc("job-list.job-state-unpause");
  await until(async () => (await list({ constraint: { states: ["inactive"] } })).length === 2, "the journal goes on");
});

test("a pause ends when more waits than it may hold back, and nothing is lost", async () => {
  const { h, list, journal, kvs } = await start([]);
  await list();
  kvs.values.set(jobKvsPath(FIRST_ID, "eventlog"), "there");
  const job = h.rpc("job-list.list-id", { id: FIRST_ID, attrs: ["state"], state: STATE.INACTIVE });
  await h.rpc("job-list.job-state-pause");
  for (const record of life({ id: FIRST_ID })) journal.tell(record);
  for (let i = 0; i < 100_000; i++) journal.tell({ id: FIRST_ID + 1n, events: [] });
  expect(await job).toEqual({ job: { id: FIRST_ID, state: STATE.INACTIVE } });
  expect(cluster?.brokers[0]?.log.filter((line) => line.includes("the journal is read again")).length).toBe(1);
});

function finished(id: bigint, t_inactive: number): Job {
  const job = newJob(id);
  return Object.assign(job, { state: STATE.INACTIVE, states: 127, t_inactive, name: `job${id}`, success: true });
}

test("the archive keeps order and content over additions and purges", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), fc.nat({ max: 400 }), fc.nat({ max: 50 })), { maxLength: 1200 }), (steps) => {
      const archive = new Archive();
      const model = new Map<bigint, number>();
      for (const [add, n, t] of steps) {
        const id = FIRST_ID + BigInt(n);
        if (add && !model.has(id)) {
          archive.add(finished(id, t));
          model.set(id, t);
        } else if (!add) expect(archive.purge(id) !== undefined).toBe(model.delete(id));
      }
      const expected = [...model].sort(([a, t_a], [b, t_b]) => t_b - t_a || (a > b ? -1 : 1)).filter(([, t]) => t > 10);
      expect([...archive.newestFirst(10)].map((job) => [job.id, job.get("t_inactive")])).toEqual(expected);
      for (const [id] of model) expect(archive.get(id)?.get("name")).toBe(`job${id}`);
      expect(archive.count).toBe(model.size);
    }),
    { numRuns: 60 },
  );
});

test("a constraint never leaves out a list that has matches", () => {
  const leaf = fc.oneof(
    fc.constantFrom<JsonObject>({ states: ["pending"] }, { states: ["running"] }, { states: ["inactive"] }, { results: ["completed"] }, { t_run: [">0"] }, { t_inactive: [">0"] }, { userid: [0] }, { name: ["x"] }),
  );
  const tree = fc.letrec<{ node: JsonObject }>((tie) => ({
    node: fc.oneof({ maxDepth: 4 }, leaf, fc.tuple(fc.constantFrom("and", "or", "not"), fc.array(tie("node"), { maxLength: 3 })).map(([op, parts]): JsonObject => ({ [op]: parts as Json[] }))),
  })).node;
  fc.assert(
    fc.property(tree, fc.constantFrom(STATE.DEPEND, STATE.SCHED, STATE.RUN, STATE.CLEANUP, STATE.INACTIVE), (constraint, state) => {
      const job = Object.assign(newJob(FIRST_ID), { state, states: 2 * state - 1, t_run: 5, t_inactive: 6, success: true });
      const compiled = compileJobConstraint(constraint, 0);
      if (compiled.match({ get: (name) => (isAttribute(name) ? attributeOf(job, name) : undefined) })) expect(compiled.states & state).not.toBe(0);
    }),
  );
});

test("64 000 inactive jobs are listed in time that grows with what is listed", () => {
  const archive = new Archive();
  for (let i = 0; i < 64_000; i++) archive.add(finished(FIRST_ID + BigInt(i), i + 1));
  const start_ms = performance.now();
  let seen = 0;
  for (const job of archive.newestFirst(0)) {
    job.get("name");
    if (++seen === 1000) break;
  }
  expect(performance.now() - start_ms).toBeLessThan(100);
  expect(archive.get(FIRST_ID)?.get("name")).toBe(`job${FIRST_ID}`);
});
