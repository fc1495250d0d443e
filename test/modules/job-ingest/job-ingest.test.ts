import { afterEach, expect, test } from "bun:test";
import { FLAG, submitJob, submitSigned } from "../../../src/client/jobs.ts";
import { fluidTimestamp_ms, jobKvsPath } from "../../../src/formats/fluid.ts";
import { Hostlist } from "../../../src/formats/hostlist.ts";
import type { JsonObject } from "../../../src/formats/json.ts";
import { wrapNone } from "../../../src/formats/signature.ts";
import { errno, FluxError } from "../../../src/message/errno.ts";
import jobIngest from "../../../src/modules/job-ingest/job-ingest.ts";
import { createConstraints, createDefaults, withoutEnvironment } from "../../../src/modules/job-ingest/defaults.ts";
import { checkSubmission, validateJobspec } from "../../../src/modules/job-ingest/submission.ts";
import { jobspec, type Rig, startRig } from "../job-manager/fakes.ts";

let rig: Rig | undefined;
afterEach(async () => {
  await rig?.stop();
  rig = undefined;
});

const rules = { owner: 1000, allowRoot: false };
const validate = (payload: JsonObject, hosts?: Hostlist): void => validateJobspec(checkSubmission(payload, owner, rules).jobspec, { version: 1, hosts });
const owner = { userid: 1000, isOwner: true };
const request = (change: JsonObject = {}, spec: unknown = jobspec(), userid = 1000): JsonObject => ({ J: wrapNone(userid, JSON.stringify(spec)), urgency: 16, flags: 0, ...change });

test("what was signed is taken apart", () => {
  const { userid, urgency, flags, jobspec: spec } = checkSubmission(request({ urgency: 31, flags: FLAG.WAITABLE }), owner, rules);
  expect([userid, urgency, flags]).toEqual([1000, 31, 4]);
  expect(spec).toEqual(jobspec());
});

test("wrong submissions are refused in the words that users know", () => {
  const guest = { userid: 2000, isOwner: false };
  const J = wrapNone(2000, "{}");
  const cases: [JsonObject, typeof owner, number, string | RegExp][] = [
    [request({ flags: 64 }), owner, errno.EPROTO, "invalid job flags"],
    [request({ urgency: 32 }), owner, errno.EINVAL, "urgency range is [0:31]"],
    [request({}, jobspec(), 1), owner, errno.EPERM, "signer=1 != requestor=1000"],
    [request({ J: "x.y" }), owner, errno.EINVAL, /^could not unwrap jobspec/],
    [request({}, "no object"), owner, errno.EINVAL, "jobspec: must be an object"],
    [{ urgency: 16, flags: 0 }, owner, errno.EPROTO, /'J' is missing/],
    [request({ J, urgency: 17 }), guest, errno.EINVAL, "only the instance owner can submit with urgency >16"],
    [request({ J, flags: FLAG.NOVALIDATE }), guest, errno.EPERM, "only the instance owner can submit with FLUX_JOB_NOVALIDATE"],
    [request({ J, flags: FLAG.WAITABLE }), guest, errno.EINVAL, "only the instance owner can submit with FLUX_JOB_WAITABLE"],
    [request({ J }), guest, errno.EPERM, "only instance owner can use sign-type=none"],
  ];
  for (const [payload, from, code, message] of cases) {
    const check = (): unknown => checkSubmission(payload, from, rules);
    expect(check, String(message)).toThrow(typeof message === "string" ? message : message);
    try {
      check();
    } catch (err) {
      expect((err as { errno: number }).errno, String(message)).toBe(code);
    }
  }
});

/** A jobspec that may be spoilt. */
interface Loose {
  version: number;
  resources: JsonObject[];
  tasks?: JsonObject[];
  attributes: { system: JsonObject };
}

test("errors in a jobspec name the field", () => {
  const broken = (change: (spec: Loose) => void): JsonObject => {
    const spec: Loose = structuredClone(jobspec()) as object as Loose;
    change(spec);
    return request({}, spec);
  };
  const cases: [JsonObject, string][] = [
    [broken((spec) => delete spec.tasks), "tasks"],
    [broken((spec) => (spec.tasks = [{ ...spec.tasks?.[0], command: "x" }])), "tasks[0].command"],
    [broken((spec) => (spec.resources = [{ ...spec.resources[0], count: 0 }])), "resources[0].count"],
    [broken((spec) => (spec.attributes.system = { duration: -1 })), "attributes.system.duration"],
    [broken((spec) => (spec.version = 999)), "version"],
    [broken((spec) => (spec.attributes.system = { duration: 0, constraints: { nope: [] } })), "attributes.system.constraints"],
  ];
  for (const [payload, field] of cases) expect(() => validate(payload)).toThrow(field);
});

test("defaults of the configuration fill what a jobspec lacks", () => {
  expect(createDefaults({})).toBeUndefined();
  const config: JsonObject = {
    policy: { jobspec: { defaults: { system: { duration: "1m", queue: "batch", bank: "b" } } } },
    queues: { batch: { requires: ["x"] }, debug: { policy: { jobspec: { defaults: { system: { duration: "5s" } } } } } },
  };
  const [fill, require] = [createDefaults(config), createConstraints(config)];
  const apply = (spec: JsonObject): JsonObject => require!(fill!(spec));
  const system = (spec: JsonObject): unknown => (apply(spec) as { attributes: { system: unknown } }).attributes.system;
  const base = { cwd: "/", environment: { HOME: "/" } };
  expect(system(jobspec())).toEqual({ ...base, duration: 60, queue: "batch", bank: "b", constraints: { properties: ["x"] } });
  expect(system(jobspec({ queue: "debug", bank: "c" }))).toEqual({ ...base, duration: 5, queue: "debug", bank: "c" });
  expect(system(jobspec({ duration: 9, constraints: { not: [{ properties: ["y"] }] } }))).toMatchObject({
    duration: 9, constraints: { and: [{ not: [{ properties: ["y"] }] }, { properties: ["x"] }] },
  });
  expect(() => apply(jobspec({ queue: "none" }))).toThrow("Invalid queue 'none' specified");
  expect(() => createDefaults({ policy: { jobspec: { defaults: { system: { duration: "x" } } } } })).toThrow("invalid duration");
  expect(() => createDefaults({ policy: { jobspec: { defaults: { system: { queue: "x" } } } } })).toThrow("must be in [queues]");
  expect(withoutEnvironment(jobspec())).toEqual({ ...jobspec(), attributes: { system: { duration: 0, cwd: "/" } } });
});

test("submissions that come together are stored together, each with an id of its own", async () => {
  rig = await startRig({ cores: 0 });
  const { h, kvs } = rig;
  const ids = await Promise.all(Array.from({ length: 100 }, () => submitJob(h, jobspec())));
  expect(new Set(ids).size).toBe(100);
  expect(kvs.commits).toBeLessThan(10);
  const stats = await h.rpc("job-ingest.stats-get");
  expect(stats["jobs"]).toBe(100);
  const signed = wrapNone(process.getuid?.() ?? 0, JSON.stringify(jobspec()));
  const id = await submitSigned(h, signed);
  expect(kvs.values.get(jobKvsPath(id, "J"))).toBe(signed);
});

test("every rank takes jobs in and makes ids of its own, beyond 2^53", async () => {
  rig = await startRig({ size: 3, cores: 0 });
  for (const rank of [1, 2]) await rig.cluster.brokers[rank]?.host.load(jobIngest);
  const ids = await Promise.all([0, 1, 2].map((rank) => submitJob(rig!.cluster.open(rank), jobspec())));
  expect(ids.map((id) => Number((id >> 10n) & 0x3fffn))).toEqual([0, 1, 2]);
  for (const id of ids) {
    expect(id > 2n ** 53n).toBe(true);
    expect(fluidTimestamp_ms(id)).toBeGreaterThanOrEqual(1_000_000_000);
  }
});

test("arguments and an unknown one", async () => {
  rig = await startRig({ cores: 0 });
  await rig.cluster.brokers[0]?.host.remove("job-ingest");
  await expect(rig.cluster.brokers[0]?.host.load(jobIngest, ["nonsense=1"])).rejects.toMatchObject({ errno: errno.EINVAL, message: "Invalid option: nonsense=1" });
  await rig.cluster.brokers[0]?.host.load(jobIngest, ["disable-validator"]);
  await submitJob(rig.h, { ...jobspec(), extra: 1 });
});

test("a host that the instance does not have is refused at once", () => {
  const hosts = Hostlist.parse("node[0-3]");
  const asking = (constraints: JsonObject): JsonObject => {
    const spec = structuredClone(jobspec()) as object as Loose;
    spec.attributes.system = { duration: 0, constraints };
    return request({}, spec);
  };
  const check = (constraints: JsonObject): unknown => validate(asking(constraints), hosts);
  const refusal = "host constraint contains invalid hosts: host 'node7' not found";
  expect(() => check({ hostlist: ["node[0-2,7]"] })).toThrow(refusal);
  expect(() => check({ and: [{ properties: ["big"] }, { not: [{ hostlist: ["node1", "node7"] }] }] })).toThrow(refusal);
  check({ or: [{ hostlist: ["node[0-1]"] }, { hostlist: ["node3"] }, { ranks: ["7"] }, { properties: ["node7"] }] });
  validate(asking({ hostlist: ["node7"] }));
});

test("a disk that fails after the job manager has taken a job costs the answer, never the job", async () => {
  rig = await startRig({ cores: 0 });
  const { kvs, h } = rig;
  kvs.diskFailure = new FluxError(errno.ENOSPC);
  await expect(rig.submit()).rejects.toMatchObject({ errno: errno.ENOSPC });
  const { jobs } = (await h.rpc("job-manager.list", { max_entries: 0 })) as { jobs: { id: bigint | number }[] };
  expect(jobs).toHaveLength(1);
  expect(kvs.values.has(jobKvsPath(BigInt(jobs[0]?.id ?? 0), "J"))).toBe(true);
});
