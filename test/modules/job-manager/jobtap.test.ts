// Plugins of the job manager: what they are told and what they may decide; the builtin ones, by stock Flux's words.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { STATE } from "../../../src/client/jobs.ts";
import type { JobId } from "../../../src/formats/fluid.ts";
import { jobKvsPath } from "../../../src/formats/fluid.ts";
import type { JsonObject } from "../../../src/formats/json.ts";
import { errno } from "../../../src/message/errno.ts";
import { type Rig, type RigOptions, startRig } from "./fakes.ts";

let rig: Rig;
let toStop: Rig[] = [];
let folder: string;
const start = async (options?: RigOptions): Promise<Rig> => {
  rig = await startRig(options);
  toStop.push(rig);
  return rig;
};
beforeEach(() => {
  toStop = [];
  folder = mkdtempSync(join(tmpdir(), "jobtap-"));
});
afterEach(async () => {
  for (const item of toStop) await item.stop();
  rmSync(folder, { recursive: true, force: true });
});

const contextOf = (id: JobId, name: string): JsonObject | undefined => rig.kvs.eventlog(id).findLast((event) => event.name === name)?.context;

/** Writes a plugin whose callbacks are this text; `seen` is a list that its query shows. */
function plugin(name: string, callbacks: string): string {
  const path = join(folder, name);
  writeFileSync(path, `const seen = [];\nexport default { start(tap) { return { "plugin.query": () => ({ seen }), ${callbacks} }; } };\n`);
  return path;
}

const load = (path: string, conf?: JsonObject): Promise<JsonObject> => rig.h.rpc("job-manager.jobtap", { load: path, ...(conf === undefined ? {} : { conf }) });
const seenBy = async (name: string): Promise<unknown> => (await rig.h.rpc("job-manager.jobtap-query", { name }))["seen"];

const BUILTINS = [
  ".priority-default", ".limit-job-size", ".limit-duration", ".dependency-after", ".dependency-singleton", ".begin-time",
  ".validate-duration", ".update-duration", ".history", ".post-event", ".update-queue",
];

describe("loading", () => {
  test("lists, queries, removes by name, pattern and all; builtin ones have a dot and stay", async () => {
    await start();
    const list = async (): Promise<unknown> => (await rig.h.rpc("job-manager.jobtap", { query_only: true }))["plugins"];
    expect(await list()).toEqual(BUILTINS);
    const path = plugin("mine.js", "");
    await load(path);
    await load("alloc-bypass.so");
    expect(await list()).toEqual([...BUILTINS, "mine.js", "alloc-bypass.so"]);
    expect(await rig.h.rpc("job-manager.jobtap-query", { name: "mine.js" })).toEqual({ name: "mine.js", path, seen: [] });
    expect(await rig.h.rpc("job-manager.jobtap-query", { name: ".dependency-after" })).toEqual({ name: ".dependency-after", path: "builtin", dependencies: [] });
    await expect(load(path)).rejects.toMatchObject({ errno: errno.EEXIST, message: "mine.js already loaded" });
    await expect(load("/no/such.js")).rejects.toMatchObject({ errno: errno.ENOENT });
    await expect(rig.h.rpc("job-manager.jobtap-query", { name: "none" })).rejects.toMatchObject({ message: "none: plugin not found" });
    await expect(rig.h.rpc("job-manager.jobtap", { remove: "none" })).rejects.toMatchObject({ errno: errno.ENOENT });
    await rig.h.rpc("job-manager.jobtap", { remove: "mi*" });
    expect(await list()).toEqual([...BUILTINS, "alloc-bypass.so"]);
    await rig.h.rpc("job-manager.jobtap", { remove: "all" });
    expect(await list()).toEqual(BUILTINS);
    await rig.h.rpc("job-manager.jobtap", { remove: ".begin*" });
    expect(await list()).not.toContain(".begin-time");
    await expect(rig.submit({ system: { dependencies: [{ scheme: "begin-time", value: "1" }] } })).rejects.toMatchObject({
      message: 'dependency scheme "begin-time" not supported',
    });
  });

  test("a file that is no plugin, or whose configuration is refused, isn't loaded", async () => {
    await start();
    const path = join(folder, "broken.js");
    writeFileSync(path, "export default 5;");
    await expect(load(path)).rejects.toMatchObject({ message: `${path}: the default export is not a jobtap plugin (see defineJobtap)` });
    const inC = join(folder, "priority.so");
    writeFileSync(inC, "\x7fELF");
    await expect(load(inC)).rejects.toMatchObject({ message: `${inC}: plugins are written in JavaScript or TypeScript here: flux-jobtap-plugins(7)` });
    const picky = plugin("picky.js", `"conf.update": () => { throw new Error("I need more"); }`);
    await expect(load(picky)).rejects.toMatchObject({ errno: errno.EINVAL, message: "I need more" });
  });

  test("the configuration loads and removes", async () => {
    const path = plugin("conf.js", `"job.validate": () => { throw new Error("no: " + tap.conf.why); }`);
    await start({ config: { "job-manager": { plugins: [{ remove: ".history", load: path, conf: { why: "closed" } }] } } });
    await expect(rig.submit()).rejects.toMatchObject({ message: "no: closed" });
    await expect(rig.h.rpc("job-manager.history.get", { slice: "0:1" })).rejects.toMatchObject({ errno: errno.ENOSYS });
  });
});

describe("callbacks", () => {
  test("see a job's whole life in order", async () => {
    await start({ status: 0 });
    const see = (topic: string): string => `"${topic}": (job) => { tap.subscribe && job.topic === "job.new" && tap.subscribe(job.id); seen.push(job.topic.slice(4) + (job.prev_state ? ":" + job.prev_state + ">" + job.state : "")); }`;
    await load(plugin("see.js", ["job.create", "job.validate", "job.new", "job.state.*", "job.event.*", "job.destroy", "job.inactive-add"].map(see).join(", ")));
    const id = await rig.submit();
    await rig.inactive(id);
    const { NEW, DEPEND, PRIORITY, SCHED, RUN, CLEANUP, INACTIVE } = STATE;
    expect(await seenBy("see.js")).toEqual([
      "create", "validate", "new",
      "event.validate", `state.depend:${NEW}>${DEPEND}`,
      "event.depend", `state.priority:${PRIORITY}>${PRIORITY}`,
      "event.priority", `state.sched:${PRIORITY}>${SCHED}`,
      "event.annotations", "event.alloc", `state.run:${SCHED}>${RUN}`,
      "event.start",
      "event.finish", `state.cleanup:${RUN}>${CLEANUP}`,
      "event.release", "event.free",
      "event.clean", `state.inactive:${CLEANUP}>${INACTIVE}`,
      "inactive-add", "destroy",
    ]);
  });

  test("priorities: set, held back until there is one, and recalculated; hold is stronger", async () => {
    await start({ cores: 0 });
    await load(plugin("prio.js", `
      "job.state.priority": ({ userid, urgency }) => ({ priority: tap.conf.ready === undefined && urgency === 20 ? "unavailable" : 1000 + urgency }),
      "job.priority.get": ({ urgency }) => ({ priority: 2000 + urgency })`));
    const id = await rig.submit();
    expect(contextOf(id, "priority")).toEqual({ priority: 1016 });
    const late = await rig.submit({ urgency: 20 });
    const held = await rig.submit({ urgency: 0 });
    expect(contextOf(held, "priority")).toEqual({ priority: 0 });
    expect(rig.kvs.names(late).at(-1)).toBe("depend");
    await load(plugin("again.js", ""));
    await rig.until(() => contextOf(late, "priority")?.["priority"] === 2020 && contextOf(id, "priority")?.["priority"] === 2016);
    expect(contextOf(held, "priority")).toEqual({ priority: 0 });
    await rig.until(() => rig.sched.waiting.has(late) && !rig.sched.waiting.has(held));
  });

  test("a dependency of its own scheme holds the job until the plugin takes it away", async () => {
    await start();
    await load(plugin("dep.js", `
      "job.dependency.moon": ({ id, dependency }) => {
        if (dependency.value !== "full") throw new Error("only a full moon will do");
        seen.push(tap.addDependency(id, "moon=full"), tap.addDependency(id, "moon=full"));
      },
      "job.new": ({ id }) => { tap.aux(id).set("known", true); },
      "job.state.depend": ({ id }) => { seen.push(tap.aux(id).get("known")); tap.serve("rise", (req) => tap.removeDependency(BigInt(req.payload.id), "moon=full")); }`));
    await expect(rig.submit({ system: { dependencies: [{ scheme: "moon", value: "half" }] } })).rejects.toMatchObject({ message: "only a full moon will do" });
    const id = await rig.submit({ system: { dependencies: [{ scheme: "moon", value: "full" }] } });
    expect(await seenBy("dep.js")).toEqual([true, false, true]);
    expect(rig.kvs.names(id)).toEqual(["submit", "dependency-add", "validate"]);
    await rig.h.rpc("job-manager.dep.rise", { id });
    await rig.until(() => rig.exec.running.has(id));
    await rig.h.rpc("job-manager.jobtap", { remove: "dep.js" });
    await expect(rig.h.rpc("job-manager.dep.rise", { id })).rejects.toMatchObject({ errno: errno.ENOSYS });
  });

  test("prologs and epilogs of plugins delay start and release", async () => {
    await start();
    await load(plugin("log.js", `
      "job.state.run": ({ id }) => { tap.startProlog(id, "warm-up"); tap.serve("go", (req) => tap.finishProlog(BigInt(req.payload.id), "warm-up", 0)); },
      "job.state.cleanup": ({ id }) => { tap.startEpilog(id, "cool-down"); tap.serve("end", (req) => tap.finishEpilog(BigInt(req.payload.id), "cool-down", 0)); }`));
    const id = await rig.submit();
    await rig.until(() => rig.kvs.names(id).includes("prolog-start"));
    expect(rig.exec.running.has(id)).toBe(false);
    await rig.h.rpc("job-manager.log.go", { id });
    await rig.until(() => rig.exec.running.has(id));
    rig.exec.end(id, 0);
    await rig.until(() => rig.kvs.names(id).includes("release"));
    expect(rig.kvs.names(id)).not.toContain("free");
    await rig.h.rpc("job-manager.log.end", { id });
    expect((await rig.inactive(id)).slice(-4)).toEqual(["release", "epilog-finish", "free", "clean"]);
    expect(contextOf(id, "epilog-finish")).toEqual({ description: "cool-down", status: 0 });
  });

  test("one that throws where nothing can be refused hurts nobody", async () => {
    await start({ status: 0 });
    await load(plugin("bad.js", `"job.state.*": () => { throw new Error("oops"); }, "job.new": () => { throw new Error("oops"); }`));
    await load(plugin("prio.js", `"job.state.priority": () => ({ priority: 5 })`));
    await rig.h.rpc("job-manager.jobtap", { remove: "bad.js" });
    const id = await rig.submit();
    expect((await rig.inactive(id)).at(-1)).toBe("clean");
  });

  test("annotations from job.new and later", async () => {
    await start({ cores: 0 });
    await load(plugin("note.js", `"job.new": () => ({ annotations: { note: { a: 1 } } }), "job.state.depend": () => ({ annotations: { note: { b: 2 } } })`));
    const id = await rig.submit();
    const { jobs } = await rig.h.rpc("job-manager.list", { max_entries: 0 });
    expect(jobs).toMatchObject([{ id, annotations: { note: { a: 1, b: 2 } } }]);
  });
});

describe("limits", () => {
  const config = {
    queues: { batch: {}, debug: { policy: { limits: { duration: "30m", "job-size": { max: { nnodes: 2, ncores: 8 }, min: { ncores: 2 } } } } } },
    policy: { limits: { duration: "8h", "job-size": { max: { ncores: 4, ngpus: 0 } } } },
  };
  const sized = (ncores: number, system: JsonObject): JsonObject => ({
    version: 1,
    resources: [{ type: "slot", count: ncores, label: "task", with: [{ type: "core", count: 1 }] }],
    tasks: [{ command: ["true"], slot: "task", count: { per_slot: 1 } }],
    attributes: { system: { cwd: "/", ...system } },
  });

  test("of duration and size, global and per queue, in the words of stock Flux", async () => {
    await start({ config });
    const cases: [number, JsonObject, string | undefined][] = [
      [1, { queue: "batch", duration: 36000 }, "requested duration (10h) exceeds policy limit of 8h for queue batch"],
      [1, { queue: "batch", duration: 0 }, "requested duration (unlimited) exceeds policy limit of 8h for queue batch"],
      [8, { queue: "batch", duration: 60 }, "requested ncores (8) exceeds policy limit of 4 for queue batch"],
      [8, { queue: "debug", duration: 60 }, undefined],
      [1, { queue: "debug", duration: 60 }, "requested ncores (1) is under policy limit of 2 for queue debug"],
      [2, { queue: "debug", duration: 3600 }, "requested duration (1h) exceeds policy limit of 30m for queue debug"],
      [4, { queue: "batch", duration: 28800 }, undefined],
    ];
    for (const [ncores, system, message] of cases) {
      const submitted = rig.submit({ jobspec: sized(ncores, system) });
      if (message === undefined) await submitted;
      else await expect(submitted).rejects.toMatchObject({ errno: errno.EINVAL, message });
    }
  });

  test("take effect when the configuration changes; wrong ones are refused and change nothing", async () => {
    await start();
    await rig.submit({ jobspec: sized(3, { duration: 0 }) });
    await rig.h.rpc("job-manager.config-reload", { policy: { limits: { "job-size": { max: { ncores: 2 } } } } });
    await expect(rig.submit({ jobspec: sized(3, { duration: 0 }) })).rejects.toMatchObject({ message: "requested ncores (3) exceeds policy limit of 2" });
    const wrong: [JsonObject, string][] = [
      [{ policy: { limits: { duration: "x" } } }, "error parsing [policy.limits] config table: 'duration' is not a valid FSD"],
      [{ policy: { limits: { "job-size": { max: { nnodes: -2 } } } } }, "error parsing [policy.limits.max] config table: values must be >= -1"],
      [{ policy: { jobspec: { defaults: { system: { queue: "q" } } } } }, "the [policy] config table defines a default queue q that is not in [queues] table"],
      [{ queues: { q: { requires: ["a b"] } } }, "error parsing [queues.q] config table: 'requires' must be an array of property strings (RFC 20)"],
    ];
    for (const [table, message] of wrong) await expect(rig.h.rpc("job-manager.config-reload", table)).rejects.toMatchObject({ errno: errno.EINVAL, message });
    await expect(rig.submit({ jobspec: sized(3, { duration: 0 }) })).rejects.toMatchObject({ message: "requested ncores (3) exceeds policy limit of 2" });
  });
});

describe("updates", () => {
  const update = (id: JobId, updates: JsonObject): Promise<JsonObject> => rig.h.rpc("job-manager.update", { id, updates });

  test("a queue's constraints go with it; the update is refused as stock Flux does", async () => {
    await start({ cores: 0, config: { queues: { a: { requires: ["x"] }, b: { requires: ["y"] }, c: {} } } });
    const id = await rig.submit({ system: { queue: "a" } });
    await expect(update(id, { "attributes.system.queue": "a" })).rejects.toMatchObject({ message: "job queue is already set to a" });
    await expect(update(id, { "attributes.system.queue": "z" })).rejects.toMatchObject({ message: "'z' is not a valid queue" });
    await rig.h.rpc("job-manager.queue-enable", { name: "c", enable: false, reason: "r", all: false });
    await expect(update(id, { "attributes.system.queue": "c" })).rejects.toMatchObject({ message: "queue c is currently disabled" });
    // Nobody offers feasibility.check here.
    await expect(update(id, { "attributes.system.queue": "b" })).rejects.toMatchObject({ errno: errno.ENOSYS });
    await expect(update(id, { "attributes.system.job.name": "n" })).rejects.toMatchObject({ message: "update of attributes.system.job.name not supported" });
    await expect(update(id, { "resources.x": 1 })).rejects.toMatchObject({ message: "one or more jobspec updates are invalid" });
    const other = await rig.submit({ system: { queue: "a", constraints: { properties: ["z"] } } });
    await expect(update(other, { "attributes.system.queue": "b" })).rejects.toMatchObject({ message: "job appears to have non-queue constraints, unable to update queue to a" });
  });

  test("the owner may pass limits, others not; a plugin allows names", async () => {
    await start({ cores: 0, config: { policy: { limits: { duration: "1h" } } } });
    const id = await rig.submit({ system: { duration: 60 } });
    await update(id, { "attributes.system.duration": 7200 });
    await rig.h.rpc("job-manager.jobtap", { remove: ".update-duration", load: ".update-duration", conf: { "owner-allow-any": 0 } });
    await expect(update(id, { "attributes.system.duration": 7300 })).rejects.toMatchObject({ message: "requested duration (2h) exceeds policy limit of 1h" });
    await load("update-attributes");
    await update(id, { "attributes.system.job.name": "new", "attributes.system.duration": 600 });
    await rig.until(() => contextOf(id, "jobspec-update")?.["attributes.system.duration"] === 600);
    expect(contextOf(id, "jobspec-update")).toEqual({ "attributes.system.job.name": "new", "attributes.system.duration": 600 });
  });
});

test("alloc-bypass runs the owner's job on R of its own, without the scheduler", async () => {
  await start({ cores: 0 });
  await load("alloc-bypass.so");
  const R = { version: 1, execution: { R_lite: [{ rank: "0", children: { core: "0" } }], starttime: 0, expiration: 0, nodelist: ["test0"] } };
  await expect(rig.submit({ system: { "alloc-bypass": { R: { version: 9 } } } })).rejects.toMatchObject({ errno: errno.EINVAL });
  const id = await rig.submit({ system: { "alloc-bypass": { R } } });
  await rig.until(() => rig.exec.running.has(id));
  expect(contextOf(id, "alloc")).toEqual({ bypass: true });
  expect(contextOf(id, "set-flags")).toEqual({ flags: ["alloc-bypass"] });
  expect(JSON.parse(rig.kvs.values.get(jobKvsPath(id, "R")) ?? "")).toEqual(R);
  rig.exec.end(id, 0);
  await rig.inactive(id);
  expect(rig.sched.free).toBe(0);
});

test("a fatal exception that a plugin raises with the resources keeps the job from starting", async () => {
  await start();
  await load(plugin("refuse.js", '"job.new": ({ id }) => tap.subscribe(id), "job.event.alloc": ({ id }) => tap.raise(id, "refused", 0, "not here")'));
  const id = await rig.submit();
  expect(await rig.inactive(id)).toEqual(["submit", "validate", "depend", "priority", "alloc", "exception", "free", "clean"]);
  expect(rig.exec.running.has(id)).toBe(false);
  expect(rig.sched.free).toBe(1);
});

test("submit-hold holds every job; alloc-check ends who is given another's resources", async () => {
  await start({ cores: 2 });
  await load("alloc-check");
  const [a, b] = [await rig.submit(), await rig.submit()];
  await rig.until(() => rig.kvs.names(b).includes("exception") || rig.kvs.names(a).includes("exception"));
  expect([contextOf(a, "exception"), contextOf(b, "exception")].find((context) => context !== undefined)).toMatchObject({ type: "alloc-check", severity: 0, note: "resources already allocated" });
  await load("submit-hold.so");
  const held = await rig.submit();
  await rig.until(() => rig.kvs.names(held).includes("priority"));
  expect(contextOf(held, "priority")).toEqual({ priority: 0 });
});
