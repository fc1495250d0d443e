import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { cancelJob, FLAG, killJob, setUrgency, STATE, waitJob } from "../../../src/client/jobs.ts";
import type { JobId } from "../../../src/formats/fluid.ts";
import { jobKvsPath } from "../../../src/formats/fluid.ts";
import type { JsonObject } from "../../../src/formats/json.ts";
import { errno, FluxError } from "../../../src/message/errno.ts";
import { checkPolicies } from "../../../src/modules/job-manager/policy.ts";
import { FakeKvs, FakeScheduler, type Rig, type RigOptions, startRig } from "./fakes.ts";

let rig: Rig;
let toStop: Rig[] = [];
const start = async (options?: RigOptions): Promise<Rig> => {
  rig = await startRig(options);
  toStop.push(rig);
  return rig;
};
beforeEach(() => {
  toStop = [];
});
afterEach(async () => {
  for (const item of toStop) await item.stop();
});

const contextOf = (id: JobId, name: string): JsonObject | undefined => rig.kvs.eventlog(id).find((event) => event.name === name)?.context;

const WHOLE_LIFE = ["submit", "validate", "depend", "priority", "alloc", "start", "finish", "release", "free", "clean"];

const eventually = (check: () => boolean): Promise<void> => rig.until(check);

const at = (items: readonly JsonObject[], i: number): JsonObject => items[i] ?? {};

describe("a job's life", () => {
  test("has the events of RFC 21 with their contexts, and leaves its data in the KVS", async () => {
    await start({ status: 0 });
    const id = await rig.submit();
    expect(id > 2n ** 53n).toBe(true);
    expect(await rig.inactive(id)).toEqual(WHOLE_LIFE);
    expect(contextOf(id, "submit")).toEqual({ userid: process.getuid?.() ?? 0, urgency: 16, flags: 0, version: 1 });
    expect(contextOf(id, "validate")).toBeUndefined();
    expect(contextOf(id, "priority")).toEqual({ priority: 16 });
    expect(contextOf(id, "alloc")).toEqual({ annotations: { sched: { resource_summary: "rank0/core0" } } });
    expect(contextOf(id, "finish")).toEqual({ status: 0 });
    expect(contextOf(id, "release")).toEqual({ ranks: "all", final: true });
    expect(JSON.parse(rig.kvs.values.get(jobKvsPath(id, "jobspec")) ?? "").attributes.system).toEqual({ duration: 0, cwd: "/" });
    expect(rig.kvs.values.get(jobKvsPath(id, "J"))).toEndWith(".none");
    expect(rig.sched.free).toBe(1);
  });

  test("goes on with the next job when one ends, the more urgent first", async () => {
    await start({ mode: { mode: "limited", limit: 1 } });
    const first = await rig.submit();
    const second = await rig.submit();
    const urgent = await rig.submit({ urgency: 20 });
    await eventually(() => rig.exec.running.has(first) && rig.sched.waiting.has(urgent));
    expect(rig.sched.cancels).toBe(1);
    rig.exec.end(first, 0);
    await eventually(() => rig.exec.running.has(urgent));
    rig.exec.end(urgent, 0);
    await eventually(() => rig.exec.running.has(second));
    expect(rig.sched.order).toEqual([first, urgent, second]);
  });

  test("two urgent jobs take the places of two others at a scheduler with a limit", async () => {
    await start({ cores: 0, mode: { mode: "limited", limit: 3 } });
    const others = await Promise.all([1, 2, 3].map(() => rig.submit()));
    await eventually(() => others.every((id) => rig.sched.waiting.has(id)));
    const urgent = await Promise.all([1, 2].map(() => rig.submit({ urgency: 20 })));
    await eventually(() => urgent.every((id) => rig.sched.waiting.has(id)) && rig.sched.waiting.size === 3);
    expect(rig.sched.waiting.has(others[0] as JobId)).toBe(true);
    expect(rig.sched.cancels).toBe(2);
  });

  test("answers queries about active and inactive jobs", async () => {
    await start();
    const done = await rig.submit();
    await eventually(() => rig.exec.running.has(done));
    rig.exec.end(done, 256);
    await rig.inactive(done);
    const running = await rig.submit();
    const waiting = await rig.submit();
    await eventually(() => rig.exec.running.has(running) && rig.sched.waiting.has(waiting));
    const { jobs } = await rig.h.rpc("job-manager.list", { max_entries: 0 });
    expect((jobs as JsonObject[]).map(({ id, state }) => [id, state])).toEqual([[running, STATE.RUN], [waiting, STATE.SCHED]]);
    for (const id of [done, running]) {
      const attrs = await rig.h.rpc("job-manager.getattr", { id, attrs: ["jobspec", "R", "eventlog"] });
      expect(Object.keys(attrs)).toEqual(["jobspec", "R", "eventlog"]);
      expect((attrs["eventlog"] as JsonObject[])[0]?.["name"]).toBe("submit");
    }
    expect(await rig.h.rpc("job-manager.getinfo")).toEqual({ max_jobid: waiting });
    expect(await rig.h.rpc("job-manager.alloc-query")).toEqual({ queue_length: 0, alloc_pending: 1, running: 1 });
    const { allocated } = await rig.h.rpc("job-manager.resource-status");
    expect((allocated as { execution: { R_lite: unknown } }).execution.R_lite).toEqual([{ rank: "0", children: { core: "0" } }]);
    expect(await rig.h.rpc("job-manager.history.get", { slice: "[:2]" })).toEqual({ jobs: [waiting, running] });
    expect(await rig.h.rpc("job-manager.history.get", { slice: "-1:" })).toEqual({ jobs: [done] });
    await expect(rig.h.rpc("job-manager.getattr", { id: 1, attrs: ["R"] })).rejects.toMatchObject({ errno: errno.EINVAL, message: "unknown job" });
  });
});

describe("exceptions", () => {
  test("cancel a pending job: the scheduler gets no answerless request", async () => {
    await start({ cores: 0 });
    const id = await rig.submit();
    await eventually(() => rig.sched.waiting.has(id));
    await cancelJob(rig.h, id, "enough");
    expect(await rig.inactive(id)).toEqual(["submit", "validate", "depend", "priority", "exception", "clean"]);
    expect(contextOf(id, "exception")).toEqual({ type: "cancel", severity: 0, note: "enough", userid: process.getuid?.() ?? 0 });
    expect(rig.sched.waiting.size).toBe(0);
    await expect(cancelJob(rig.h, id)).rejects.toMatchObject({ errno: errno.ENOENT, message: "job is inactive" });
    await expect(cancelJob(rig.h, 7n)).rejects.toMatchObject({ errno: errno.ENOENT, message: "unknown job id" });
  });

  test("cancel a running job: its resources are free after its tasks have ended", async () => {
    await start();
    const id = await rig.submit();
    await eventually(() => rig.exec.running.has(id));
    await cancelJob(rig.h, id);
    const names = await rig.inactive(id);
    expect(names).toEqual(["submit", "validate", "depend", "priority", "alloc", "start", "exception", "finish", "release", "free", "clean"]);
    expect(rig.sched.free).toBe(1);
  });

  test("of the scheduler and the execution system reach the eventlog", async () => {
    await start({ cores: 0 });
    const denied = await rig.submit();
    await eventually(() => rig.sched.waiting.has(denied));
    rig.sched.deny(denied, "unsatisfiable request");
    await rig.inactive(denied);
    expect(contextOf(denied, "exception")).toEqual({ type: "alloc", severity: 0, note: "unsatisfiable request", userid: process.getuid?.() ?? 0 });
    rig.sched.free = 1;
    const failed = await rig.submit();
    await eventually(() => rig.exec.running.has(failed));
    rig.exec.exception(failed, 0, "exec", "no such program");
    rig.exec.end(failed, 127 << 8);
    const names = await rig.inactive(failed);
    expect(names.slice(5)).toEqual(["start", "exception", "finish", "release", "free", "clean"]);
  });

  test("of lesser severity change nothing; wrong ones are refused", async () => {
    await start({ cores: 0 });
    const id = await rig.submit();
    await rig.h.rpc("job-manager.raise", { id, severity: 3, type: "warning", note: "x" });
    await eventually(() => rig.sched.waiting.has(id));
    for (const [severity, type] of [[8, "a"], [-1, "a"], [0, ""], [0, "a b"], [0, "a=b"]] as const) {
      await expect(rig.h.rpc("job-manager.raise", { id, severity, type })).rejects.toMatchObject({ errno: errno.EPROTO });
    }
  });

  test("raiseall takes jobs by state and user", async () => {
    await start();
    const ids = await Promise.all(Array.from({ length: 10 }, () => rig.submit()));
    await eventually(() => rig.exec.running.size === 1);
    const all = { dry_run: false, userid: -1, states: STATE.SCHED, severity: 0, type: "cancel" };
    expect(await rig.h.rpc("job-manager.raiseall", { ...all, dry_run: true })).toEqual({ count: 9, errors: 0 });
    expect(await rig.h.rpc("job-manager.raiseall", all)).toEqual({ count: 9, errors: 0 });
    expect(await rig.h.rpc("job-manager.raiseall", { ...all, states: 62 })).toEqual({ count: 1, errors: 0 });
    await rig.h.rpc("job-manager.drain");
    for (const id of ids) expect(rig.kvs.names(id).at(-1)).toBe("clean");
  });
});

describe("guests", () => {
  test("act on their own jobs only", async () => {
    await start({ cores: 0 });
    const id = await rig.submit();
    const guest = { userid: 12345, rolemask: 2 };
    const asGuest = async (topic: string, payload: JsonObject): Promise<unknown> => {
      const { requestMessage } = await import("../../../src/message/message.ts");
      const { promise, resolve } = Promise.withResolvers<unknown>();
      rig.cluster.brokers[0]?.router.addEndpoint({ id: "guest", name: "guest", mayVanish: true, ...guest, failed: () => undefined, send: (m) => resolve(m.errnum) });
      const message = requestMessage(topic, payload);
      Object.assign(message, guest);
      rig.cluster.brokers[0]?.router.fromEndpoint("guest", message);
      const answer = await promise;
      rig.cluster.brokers[0]?.router.removeEndpoint("guest");
      return answer;
    };
    expect(await asGuest("job-manager.raise", { id, severity: 0, type: "cancel" })).toBe(errno.EPERM);
    expect(await asGuest("job-manager.urgency", { id, urgency: 1 })).toBe(errno.EPERM);
    expect(await asGuest("job-manager.kill", { id, signum: 1 })).toBe(errno.EPERM);
    expect(await asGuest("job-manager.memo", { id, memo: { a: 1 } })).toBe(errno.EPERM);
    expect(await asGuest("job-manager.getattr", { id, attrs: [] })).toBe(errno.EPERM);
    expect(await asGuest("job-manager.raiseall", { dry_run: true, userid: -1, states: 62, severity: 0, type: "x" })).toBe(errno.EPERM);
    expect(await asGuest("job-manager.raiseall", { dry_run: true, userid: 12345, states: 62, severity: 0, type: "x" })).toBe(0);
    expect(await asGuest("job-manager.wait", { id })).toBe(errno.EPERM);
    expect(await asGuest("job-manager.queue-start", { start: false })).toBe(errno.EPERM);
    expect(await asGuest("job-manager.getinfo", {})).toBe(0);
  });
});

describe("urgency", () => {
  test("holds, releases, expedites and reorders", async () => {
    await start({ cores: 0 });
    const held = await rig.submit({ urgency: 0 });
    const other = await rig.submit();
    await eventually(() => rig.sched.waiting.has(other));
    expect(rig.sched.waiting.has(held)).toBe(false);
    expect(await setUrgency(rig.h, held, 31)).toBe(0);
    await eventually(() => rig.sched.waiting.has(held));
    expect(rig.sched.waiting.get(held)?.priority).toBe(4294967295);
    expect(await setUrgency(rig.h, other, 0)).toBe(16);
    await eventually(() => !rig.sched.waiting.has(other));
    await expect(setUrgency(rig.h, other, 32)).rejects.toMatchObject({ errno: errno.EINVAL });
    expect(contextOf(held, "urgency")).toEqual({ userid: process.getuid?.() ?? 0, urgency: 31 });
  });

  test("can't change once there are resources", async () => {
    await start();
    const id = await rig.submit();
    await eventually(() => rig.exec.running.has(id));
    await expect(setUrgency(rig.h, id, 3)).rejects.toMatchObject({ errno: errno.EINVAL });
  });
});

test("kill tells the job's shells by an event, and only when it runs", async () => {
  await start();
  const id = await rig.submit();
  await eventually(() => rig.exec.running.has(id));
  const { promise, resolve } = Promise.withResolvers<JsonObject>();
  await rig.h.subscribe(`shell-${id}.kill`, ({ payload }) => resolve(payload));
  await killJob(rig.h, id, 10);
  expect(await promise).toEqual({ signum: 10 });
  expect(await rig.h.rpc("job-manager.killall", { dry_run: true, userid: -1, signum: 15 })).toEqual({ count: 1, errors: 0 });
  await expect(killJob(rig.h, id, 65)).rejects.toMatchObject({ errno: errno.EINVAL });
  const pending = await rig.submit();
  await expect(killJob(rig.h, pending, 10)).rejects.toMatchObject({ message: "job is not running" });
});

describe("wait", () => {
  test("is answered once for each waitable job", async () => {
    await start();
    const [a, b] = [await rig.submit({ flags: FLAG.WAITABLE }), await rig.submit({ flags: FLAG.WAITABLE })];
    const plain = await rig.submit();
    await expect(waitJob(rig.h, plain)).rejects.toMatchObject({ errno: errno.ECHILD });
    const forA = waitJob(rig.h, a);
    await expect(waitJob(rig.h, a)).rejects.toMatchObject({ errno: errno.ECHILD });
    const forAny = waitJob(rig.h);
    await expect(waitJob(rig.h)).rejects.toMatchObject({ errno: errno.ECHILD, message: "there are no more waitable jobs" });
    await eventually(() => rig.exec.running.has(a));
    rig.exec.end(a, 0);
    expect(await forA).toEqual({ id: a, success: true, errstr: "" });
    await eventually(() => rig.exec.running.has(b));
    rig.exec.end(b, 3 << 8);
    expect(await forAny).toEqual({ id: b, success: false, errstr: "task(s) exited with exit code 3" });
    await expect(waitJob(rig.h, a)).rejects.toMatchObject({ errno: errno.ECHILD });
  });

  test("finds jobs that are over already", async () => {
    await start({ cores: 0 });
    const id = await rig.submit({ flags: FLAG.WAITABLE });
    await cancelJob(rig.h, id, "no");
    await rig.inactive(id);
    expect(await waitJob(rig.h)).toEqual({ id, success: false, errstr: "Fatal exception type=cancel no" });
  });
});

describe("queues", () => {
  test("stopping takes requests back from the scheduler, starting sends them again", async () => {
    await start({ cores: 0 });
    const id = await rig.submit();
    await eventually(() => rig.sched.waiting.has(id));
    await rig.h.rpc("job-manager.queue-start", { start: false, all: true, reason: "maintenance" });
    expect(await rig.h.rpc("job-manager.queue-status", {})).toEqual({ enable: true, start: false, stop_reason: "maintenance" });
    expect(await rig.h.rpc("job-manager.idle")).toEqual({ pending: 1 });
    expect(rig.sched.waiting.size).toBe(0);
    // The fake scheduler looks at what is free when a request comes.
    rig.sched.free = 1;
    await rig.h.rpc("job-manager.queue-start", { start: true, all: true });
    expect(await rig.h.rpc("job-manager.queue-status", {})).toEqual({ enable: true, start: true });
    await eventually(() => rig.exec.running.has(id));
  });

  test("disabling refuses submissions with the reason and leaves nothing in the KVS", async () => {
    await start();
    await expect(rig.h.rpc("job-manager.queue-enable", { enable: false, all: true })).rejects.toMatchObject({ message: "reason is required for disable" });
    await rig.h.rpc("job-manager.queue-enable", { enable: false, all: true, reason: "going home" });
    await expect(rig.submit()).rejects.toMatchObject({ errno: errno.EINVAL, message: "job submission is disabled: going home" });
    await rig.h.rpc("job-manager.queue-enable", { enable: true, all: true });
    await rig.submit();
    expect([...rig.kvs.values.keys()].filter((key) => key.endsWith(".J"))).toHaveLength(1);
  });

  test("that are configured have names, begin stopped, and jobs need one", async () => {
    await start({ config: { queues: { batch: { requires: ["fast"] }, debug: {} } } });
    expect(await rig.h.rpc("job-manager.queue-list")).toEqual({ queues: ["batch", "debug"] });
    await expect(rig.submit()).rejects.toMatchObject({ message: "no queue specified" });
    await expect(rig.submit({ system: { queue: "none" } })).rejects.toMatchObject({ message: "Invalid queue 'none' specified" });
    const id = await rig.submit({ system: { queue: "batch" } });
    expect(JSON.parse(rig.kvs.values.get(jobKvsPath(id, "jobspec")) ?? "").attributes.system.constraints).toEqual({ properties: ["fast"] });
    await rig.h.rpc("job-manager.queue-start", { name: "batch", start: true, all: false });
    await eventually(() => rig.exec.running.has(id));
    await expect(rig.h.rpc("job-manager.queue-start", { start: true, all: false })).rejects.toMatchObject({ message: "Use --all to apply this command to all queues" });
    await expect(rig.h.rpc("job-manager.queue-status", { name: "x" })).rejects.toMatchObject({ message: "'x' is not a valid queue" });
  });
});

describe("dependencies", () => {
  test("afterok waits for success and fails on failure", async () => {
    await start({ cores: 2 });
    const first = await rig.submit();
    const good = await rig.submit({ system: { dependencies: [{ scheme: "afterok", value: String(first) }] } });
    const bad = await rig.submit({ system: { dependencies: [{ scheme: "afternotok", value: String(first) }] } });
    const started = await rig.submit({ system: { dependencies: [{ scheme: "afterstart", value: String(first) }] } });
    await eventually(() => rig.exec.running.has(first) && rig.exec.running.has(started));
    expect(contextOf(good, "dependency-add")).toEqual({ description: `after-success=${first}` });
    rig.exec.end(first, 0);
    await eventually(() => rig.exec.running.has(good));
    await rig.inactive(bad);
    expect(contextOf(bad, "exception")).toEqual({ type: "dependency", severity: 0, note: `dependency after-failure=${first} can never be satisfied`, userid: process.getuid?.() ?? 0 });
    const late = await rig.submit({ system: { dependencies: [{ scheme: "afterany", value: String(first) }] } });
    expect(rig.kvs.names(late).slice(0, 3)).toEqual(["submit", "dependency-add", "dependency-remove"]);
    await expect(rig.submit({ system: { dependencies: [{ scheme: "afternotok", value: String(first) }] } })).rejects.toMatchObject({
      message: `dependency: afternotok: job ${first} succeeded`.replace(": job", ": job"),
    });
  });

  test("unknown schemes and wrong values are refused", async () => {
    await start();
    const cases: [string, string, string][] = [
      ["moon", "full", 'dependency scheme "moon" not supported'],
      ["afterok", "nojob", 'dependency: afterok: "nojob" is not a valid jobid'],
      ["afterok", "123", "dependency: afterok: id 123: job not found"],
      ["begin-time", "soon", "Invalid begin-time=soon"],
      ["singleton", "", "singleton jobs require a job name"],
    ];
    for (const [scheme, value, message] of cases) {
      await expect(rig.submit({ system: { dependencies: [{ scheme, value }] } })).rejects.toMatchObject({ errno: errno.EINVAL, message });
    }
    expect(await rig.h.rpc("job-manager.list", { max_entries: 0 })).toEqual({ jobs: [] });
  });

  test("singleton jobs of one name run one at a time; begin-time in the past is no hindrance", async () => {
    await start({ cores: 3 });
    const single = { job: { name: "one" }, dependencies: [{ scheme: "singleton", value: "" }] };
    const a = await rig.submit({ system: single });
    const b = await rig.submit({ system: single });
    const past = await rig.submit({ system: { dependencies: [{ scheme: "begin-time", value: "1.5" }] } });
    await eventually(() => rig.exec.running.has(a) && rig.exec.running.has(past));
    expect(contextOf(past, "dependency-add")).toEqual({ description: "begin-time=1.500" });
    expect(rig.exec.running.has(b)).toBe(false);
    rig.exec.end(a, 0);
    await eventually(() => rig.exec.running.has(b));
  });
});

describe("journal", () => {
  test("gives active jobs, a mark, and then what happens; with full also inactive jobs", async () => {
    await start();
    const done = await rig.submit();
    await eventually(() => rig.exec.running.has(done));
    rig.exec.end(done, 0);
    await rig.inactive(done);
    const running = await rig.submit();
    await eventually(() => rig.exec.running.has(running));
    const read = async (request: JsonObject, until: number): Promise<JsonObject[]> => {
      const items: JsonObject[] = [];
      for await (const item of rig.h.stream("job-manager.events-journal", request, { cancelTopic: "job-manager.events-journal-cancel" })) {
        items.push(item);
        if (items.length === until) break;
      }
      return items;
    };
    const full = await read({ full: true }, 3);
    expect(full.map(({ id }) => id)).toEqual([done, running, -1]);
    expect((at(full, 0)["events"] as JsonObject[]).map(({ name }) => name)).toEqual(WHOLE_LIFE);
    expect(at(full, 0)["jobspec"]).toBeDefined();
    expect(at(full, 0)["R"]).not.toHaveProperty("scheduling");
    const active = await read({ allow: { submit: 1, alloc: 1 }, deny: { alloc: 1 } }, 2);
    expect(active.map(({ id, events }) => [id, (events as JsonObject[]).map(({ name }) => name)])).toEqual([[running, ["submit"]], [-1, []]]);
    await expect(rig.h.rpc("job-manager.events-journal", {})).rejects.toMatchObject({ errno: errno.EPROTO });
  });

  test("tells annotations that are not in the eventlog", async () => {
    await start({ cores: 0 });
    const id = await rig.submit();
    await eventually(() => rig.sched.waiting.has(id));
    rig.sched.annotate(id, { sched: { t_estimate: 5 }, user: null });
    rig.sched.annotate(id, { sched: { reason_pending: "none free" } });
    await rig.h.rpc("job-manager.memo", { id, memo: { colour: "red" } });
    await eventually(() => rig.kvs.names(id).includes("memo"));
    const { jobs } = await rig.h.rpc("job-manager.list", { max_entries: 1 });
    expect((jobs as JsonObject[])[0]?.["annotations"]).toEqual({ sched: { t_estimate: 5, reason_pending: "none free" }, user: { colour: "red" } });
    expect(rig.kvs.names(id)).not.toContain("annotations");
  });
});

describe("partners come and go", () => {
  test("requests go to the next scheduler, which hears of jobs with resources", async () => {
    await start();
    const running = await rig.submit();
    const waiting = await rig.submit();
    await eventually(() => rig.exec.running.has(running) && rig.sched.waiting.has(waiting));
    await rig.cluster.brokers[0]?.host.remove("sched-fake");
    await rig.h.rpc("job-manager.getinfo");
    expect(await rig.h.rpc("job-manager.queue-status", {})).toEqual({ enable: true, start: false, blocked: "scheduler", stop_reason: "Scheduler is offline" });
    const next = new FakeScheduler(1, rig.kvs);
    await rig.cluster.brokers[0]?.host.load(next.module);
    expect(next.hello).toEqual([running]);
    await eventually(() => rig.exec.running.has(waiting));
  });

  test("a job whose execution system is gone is reattached by the next", async () => {
    await start();
    const id = await rig.submit();
    await eventually(() => rig.exec.running.has(id));
    await rig.cluster.brokers[0]?.host.remove("exec-fake");
    await rig.cluster.brokers[0]?.host.load(rig.exec.module);
    await rig.h.rpc("job-manager.getinfo");
    expect(rig.exec.reattached).toEqual([id]);
    rig.exec.end(id, 0);
    expect(await rig.inactive(id)).toEqual(WHOLE_LIFE);
  });

  test("a KVS that can't commit fails the submission; nothing of the job is left", async () => {
    await start();
    rig.kvs.failure = new FluxError(errno.ENOSPC);
    await expect(rig.submit()).rejects.toMatchObject({ errno: errno.ENOSPC });
    rig.kvs.failure = undefined;
    expect(await rig.h.rpc("job-manager.list", { max_entries: 0 })).toEqual({ jobs: [] });
  });
});

describe("restart", () => {
  test("brings back pending, running and inactive jobs, queues and the highest id", async () => {
    await start();
    const kvs: FakeKvs = rig.kvs;
    const done = await rig.submit({ flags: FLAG.WAITABLE });
    await eventually(() => rig.exec.running.has(done));
    rig.exec.end(done, 0);
    await rig.inactive(done);
    const running = await rig.submit();
    await eventually(() => rig.exec.running.has(running));
    const pending = await rig.submit({ urgency: 17 });
    await eventually(() => rig.sched.waiting.has(pending));
    await rig.h.rpc("job-manager.queue-enable", { enable: false, all: true, reason: "later" });
    await rig.h.rpc("job-manager.queue-start", { start: false, all: true });
    await rig.stop();
    toStop = [];

    await start({ kvs, cores: 0 });
    expect(rig.sched.hello).toEqual([running]);
    await eventually(() => rig.exec.running.has(running));
    expect(rig.exec.reattached).toEqual([running]);
    expect(await rig.h.rpc("job-manager.queue-status", {})).toEqual({ enable: false, start: false, disable_reason: "later" });
    await rig.h.rpc("job-manager.queue-start", { start: true, all: true });
    await eventually(() => rig.sched.waiting.has(pending));
    await rig.h.rpc("job-manager.queue-enable", { enable: true, all: true });
    const next = await rig.submit();
    expect(next > pending).toBe(true);
    expect(kvs.names(pending)).toContain("flux-restart");
    expect(await rig.h.rpc("job-manager.history.get", { slice: ":" })).toEqual({ jobs: [next, pending, running, done] });
    expect(await waitJob(rig.h)).toEqual({ id: done, success: true, errstr: "" });
    rig.exec.end(running, 0);
    await rig.inactive(running);
    await expect(cancelJob(rig.h, done)).rejects.toMatchObject({ message: "job is inactive" });
  });

  test("doesn't start with a configuration that is no table", async () => {
    await expect(start({ config: { "job-manager": 1 } })).rejects.toThrow("error reading [job-manager] config table: it must be a table");
  });

  test("stops queues that were started when the configuration says so", async () => {
    const kvs = new FakeKvs();
    const queues = { a: {}, b: {} };
    const first = await start({ kvs, config: { queues } });
    await first.h.rpc("job-manager.queue-start", { name: "a", start: true, all: false });
    await first.h.rpc("job-manager.queue-start", { name: "b", start: false, reason: "broken", all: false });
    await first.stop();
    toStop = [];
    await start({ kvs, config: { queues, "job-manager": { "stop-queues-on-restart": true } } });
    const status = (name: string): Promise<JsonObject> => rig.h.rpc("job-manager.queue-status", { name });
    expect(await status("a")).toEqual({ enable: true, start: false, stop_reason: "Automatically stopped due to restart" });
    expect(await status("b")).toEqual({ enable: true, start: false, stop_reason: "broken" });
  });
});

describe("virtual queues", () => {
  test("jobs are allocated while both the queue and its parent are started", async () => {
    await start({ config: { queues: { batch: {}, expedite: { parent: "batch" } } } });
    const turn = (name: string, on: boolean): Promise<JsonObject> => rig.h.rpc("job-manager.queue-start", { name, start: on, all: false, reason: "no" });
    const status = (): Promise<JsonObject> => rig.h.rpc("job-manager.queue-status", { name: "expedite" });
    expect(await status()).toEqual({ enable: true, start: false, parent: "batch" });
    await turn("expedite", true);
    expect(await status()).toEqual({ enable: true, start: false, blocked: "parent", stop_reason: "parent queue 'batch' is stopped", parent: "batch" });
    const id = await rig.submit({ system: { queue: "expedite" } });
    await rig.h.rpc("job-manager.getattr", { id, attrs: ["jobspec"] });
    expect(rig.sched.waiting.has(id) || rig.exec.running.has(id)).toBe(false);
    await turn("batch", true);
    await eventually(() => rig.exec.running.has(id));
    expect(await status()).toEqual({ enable: true, start: true, parent: "batch" });
    await turn("expedite", false);
    expect(await status()).toEqual({ enable: true, start: false, stop_reason: "no", parent: "batch" });
  });

  test("a parent that stops takes the jobs of its virtual queues back from the scheduler", async () => {
    await start({ cores: 0, config: { queues: { batch: {}, expedite: { parent: "batch" } } } });
    await rig.h.rpc("job-manager.queue-start", { start: true, all: true });
    const id = await rig.submit({ system: { queue: "expedite" } });
    await eventually(() => rig.sched.waiting.has(id));
    await rig.h.rpc("job-manager.queue-start", { name: "batch", start: false, all: false, reason: "no" });
    await eventually(() => !rig.sched.waiting.has(id));
  });

  test.each([
    [{ q: { parent: 42 } }, "'parent' must be a string"],
    [{ q: { parent: "nope" } }, "parent queue 'nope' is not configured"],
    [{ q: { parent: "q" } }, "parent queue is itself"],
    [{ q: { parent: "v" }, v: { parent: "batch" } }, "parent queue 'v' is itself a virtual queue"],
    [{ q: { parent: "batch", requires: ["a"] } }, "a virtual queue must not set 'requires'"],
    [{ q: { parent: "batch", policy: { scheduler: {} } } }, "a virtual queue must not set 'policy.scheduler'"],
  ] as [JsonObject, string][])("%j is refused", (queues, problem) => {
    expect(() => checkPolicies({ queues: { batch: {}, ...queues } })).toThrow(`error parsing [queues.q] config table: ${problem}`);
  });
});

describe("update and purge", () => {
  test("a pending job's duration changes, and it is offered to the scheduler anew", async () => {
    await start({ cores: 0 });
    const id = await rig.submit();
    await eventually(() => rig.sched.waiting.has(id));
    await rig.h.rpc("job-manager.update", { id, updates: { "attributes.system.duration": 60 } });
    await eventually(() => rig.kvs.names(id).includes("jobspec-update") && rig.sched.waiting.has(id));
    const { jobspec } = await rig.h.rpc("job-manager.getattr", { id, attrs: ["jobspec"] });
    expect((jobspec as { attributes: { system: { duration: number } } }).attributes.system.duration).toBe(60);
    for (const updates of [{}, { tasks: 1 }, { "attributes.system.cwd": "/x" }, { "attributes.system.duration": -1 }] as JsonObject[]) {
      await expect(rig.h.rpc("job-manager.update", { id, updates })).rejects.toMatchObject({ errno: errno.EINVAL });
    }
  });

  test("purged jobs are gone from the KVS and everyone is told", async () => {
    await start({ status: 0 });
    const ids = [await rig.submit(), await rig.submit(), await rig.submit()];
    await rig.h.rpc("job-manager.drain");
    const { promise, resolve } = Promise.withResolvers<unknown>();
    await rig.h.subscribe("job-purge-inactive", ({ payload }) => resolve(payload["jobs"]));
    const limits = { age_limit: -1.0, num_limit: 1, batch: 100 };
    expect(await rig.h.rpc("job-manager.purge", { ...limits, force: false })).toEqual({ count: 2 });
    expect(await rig.h.rpc("job-manager.purge", { ...limits, force: true })).toEqual({ count: 2 });
    expect(await promise).toEqual(ids.slice(0, 2));
    expect([...rig.kvs.values.keys()].filter((key) => key.endsWith(".J"))).toEqual([jobKvsPath(ids[2] as JobId, "J")]);
    expect(await rig.h.rpc("job-manager.history.get", { slice: ":" })).toEqual({ jobs: [ids[2] as JobId] });
    expect(await rig.h.rpc("job-manager.purge-id", { id: ids[2] as JobId, force: 1 })).toEqual({ count: 1 });
    await expect(rig.h.rpc("job-manager.purge-id", { id: ids[2] as JobId, force: true })).rejects.toMatchObject({ errno: errno.ENOENT });
  });

  test("a job that the KVS could not forget is known and can be purged again", async () => {
    await start({ status: 0 });
    const id = await rig.submit();
    await rig.h.rpc("job-manager.drain");
    const told: unknown[] = [];
    await rig.h.subscribe("job-purge-inactive", ({ payload }) => void told.push(payload["jobs"]));
    const all = { age_limit: -1.0, num_limit: 0, batch: 100, force: true };
    rig.kvs.failure = new FluxError(errno.ENOSPC, "the disk is full");
    await expect(rig.h.rpc("job-manager.purge", all)).rejects.toMatchObject({ errno: errno.ENOSPC });
    await expect(rig.h.rpc("job-manager.purge-id", { id, force: true })).rejects.toMatchObject({ errno: errno.ENOSPC });
    expect(await rig.h.rpc("job-manager.history.get", { slice: ":" })).toEqual({ jobs: [id] });
    rig.kvs.failure = undefined;
    expect(await rig.h.rpc("job-manager.purge", all)).toEqual({ count: 1 });
    expect([...rig.kvs.values.keys()].filter((key) => key.endsWith(".J"))).toEqual([]);
    expect(await rig.h.rpc("job-manager.history.get", { slice: ":" })).toEqual({ jobs: [] });
    expect(told).toEqual([[id]]);
  });

  test("of several purges at once each takes what those before it have left", async () => {
    await start({ status: 0 });
    const ids = [await rig.submit(), await rig.submit(), await rig.submit()];
    await rig.h.rpc("job-manager.drain");
    const told: unknown[] = [];
    await rig.h.subscribe("job-purge-inactive", ({ payload }) => void told.push(payload["jobs"]));
    const two = { age_limit: -1.0, num_limit: 0, batch: 2, force: true };
    const id = ids[2] as JobId;
    const answers = await Promise.allSettled([
      rig.h.rpc("job-manager.purge", two),
      rig.h.rpc("job-manager.purge", two),
      rig.h.rpc("job-manager.purge-id", { id, force: true }),
      rig.h.rpc("job-manager.purge", two),
    ]);
    const values = answers.map((answer) => (answer.status === "fulfilled" ? answer.value : (answer.reason as FluxError).errno));
    expect(values).toEqual([{ count: 2 }, { count: 1 }, errno.ENOENT, { count: 0 }]);
    expect(told).toEqual([ids.slice(0, 2), [id]]);
  });
});

test("any event can be posted by the owner, if it is possible", async () => {
  await start();
  const id = await rig.submit();
  await rig.h.rpc("job-manager.post-event.post", { id, name: "prolog-start", context: { description: "p" } });
  await expect(rig.h.rpc("job-manager.post-event.post", { id, name: "clean" })).rejects.toMatchObject({ errno: errno.EINVAL });
  await expect(rig.h.rpc("job-manager.post-event.post", { id: 5, name: "x" })).rejects.toMatchObject({ errno: errno.ENOENT });
});
