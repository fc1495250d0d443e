import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { outcomeOf, RESULT, STATE, stateAbbreviation, statesByName } from "../../../src/client/jobs.ts";
import { type EventlogEntry, parseEventlog } from "../../../src/formats/eventlog.ts";
import type { Json, JsonObject } from "../../../src/formats/json.ts";
import { apply, type Facts, mergeAnnotations, NEW_JOB, replay } from "../../../src/modules/job-manager/state.ts";
import { Core } from "../../../src/modules/job-manager/core.ts";
import { before, type Job, newJob, priorityOf } from "../../../src/modules/job-manager/job.ts";
import { PriorityQueue } from "../../../src/modules/job-manager/priority-queue.ts";
import { checkEventlog } from "./rfc21.ts";

const submit: EventlogEntry = { timestamp: 1, name: "submit", context: { userid: 5588, urgency: 16, flags: 0, version: 1 } };
let clock = 1;
const event = (name: string, context?: JsonObject): EventlogEntry => ({ timestamp: ++clock, name, ...(context === undefined ? {} : { context }) });
const after = (...events: EventlogEntry[]): Facts => replay([submit, event("validate"), ...events], "{}", undefined);
const toSched = [event("depend"), event("priority", { priority: 16 })];
const fatal = event("exception", { type: "cancel", severity: 0, note: "" });

describe("sequences of RFC 21", () => {
  test("each event leads where it should", () => {
    expect(after().state).toBe(STATE.DEPEND);
    expect(after(event("depend")).state).toBe(STATE.PRIORITY);
    expect(after(...toSched)).toMatchObject({ state: STATE.SCHED, priority: 16, userid: 5588, urgency: 16, t_submit: 1 });
    expect(after(...toSched, event("alloc"))).toMatchObject({ state: STATE.RUN, hasResources: true, allocated: true });
    expect(after(...toSched, event("alloc"), event("start"))).toMatchObject({ state: STATE.RUN, started: true });
    const finished = [...toSched, event("alloc"), event("start"), event("finish", { status: 256 })];
    expect(after(...finished)).toMatchObject({ state: STATE.CLEANUP, status: 256, hasResources: true });
    expect(after(...finished).end?.name).toBe("finish");
    const clean = event("clean");
    const over = after(...finished, event("release", { ranks: "all", final: true }), event("free"), clean);
    expect(over).toMatchObject({ state: STATE.INACTIVE, closed: true, t_clean: clean.timestamp });
  });

  test("a fatal exception leads from every active state to CLEANUP, the first is the cause", () => {
    for (const events of [[], [event("depend")], toSched, [...toSched, event("alloc")]]) {
      const facts = after(...events, fatal, event("exception", { type: "other", severity: 0, note: "" }));
      expect(facts.state).toBe(STATE.CLEANUP);
      expect(facts.end?.context?.["type"]).toBe("cancel");
    }
    expect(after(event("exception", { type: "x", severity: 1, note: "" })).state).toBe(STATE.DEPEND);
    expect(() => apply(apply(NEW_JOB, submit), fatal)).toThrow("NEW");
    expect(after(...toSched, event("alloc"), event("exception", { type: "scheduler-restart", severity: 0, note: "" })).hasResources).toBe(false);
  });

  test("urgency, jobspec updates and a restart lead back from SCHED to PRIORITY", () => {
    for (const back of [event("urgency", { urgency: 31, userid: 1 }), event("jobspec-update", { "attributes.system.duration": 1 }), event("flux-restart")]) {
      expect(after(...toSched, back).state).toBe(STATE.PRIORITY);
      expect(after(event("depend"), back).state).toBe(STATE.PRIORITY);
      expect(after(...toSched, event("alloc"), back).state).toBe(STATE.RUN);
    }
    expect(JSON.parse(after(event("jobspec-update", { "attributes.system.duration": 3600 })).jobspec)).toEqual({ attributes: { system: { duration: 3600 } } });
  });

  test("dependencies hold the job back", () => {
    const add = event("dependency-add", { description: "begin-time=1" });
    expect(after(add).dependencies).toEqual(["begin-time=1"]);
    expect(() => after(add, event("depend"))).toThrow();
    expect(() => after(add, add)).toThrow("already");
    expect(() => after(event("dependency-remove", { description: "x" }))).toThrow("no dependency");
    expect(after(add, event("dependency-remove", { description: "begin-time=1" }), event("depend")).state).toBe(STATE.PRIORITY);
  });

  test("what RFC 21 does not allow is refused", () => {
    const refused: [string, EventlogEntry[]][] = [
      ["events before submit", [event("validate")]],
      ["two submissions", [submit, submit]],
      ["a submission without user", [{ ...submit, context: { urgency: 1, flags: 0 } }]],
      ["an eventlog of a later version", [{ ...submit, context: { ...submit.context, version: 2 } }]],
      ["an end in NEW", [submit]],
      ["events after the end", [submit, event("validate"), fatal, event("clean"), event("memo", { a: 1 })]],
      ["clean with resources", [submit, event("validate"), ...toSched, event("alloc"), fatal, event("clean")]],
      ["clean while pending", [submit, event("validate"), event("clean")]],
      ["two allocations", [submit, event("validate"), ...toSched, event("alloc"), event("alloc")]],
      ["an allocation before its time", [submit, event("validate"), event("alloc")]],
      ["a severity of 8", [submit, event("validate"), event("exception", { type: "x", severity: 8 })]],
      ["an exception without type", [submit, event("validate"), event("exception", { severity: 0 })]],
      ["an unknown flag", [submit, event("validate"), event("set-flags", { flags: ["x"] })]],
      ["an update of nothing", [submit, event("validate"), event("jobspec-update", {})]],
    ];
    for (const [what, events] of refused) expect(() => replay(events, "{}", undefined), what).toThrow();
  });

  test("prologs and epilogs are counted; flags and annotations are kept", () => {
    const facts = after(event("prolog-start", { description: "p" }), event("set-flags", { flags: ["debug", "immutable"] }), event("memo", { a: 1, b: 2 }), event("memo", { b: null }));
    expect(facts).toMatchObject({ perilogs: 1, flags: 2, immutable: true, annotations: { user: { a: 1 } } });
    expect(after(event("prolog-start", { description: "p" }), event("prolog-finish", { description: "p", status: 0 })).perilogs).toBe(0);
    expect(after(event("epilog-start", { description: "e" })).perilogs).toBe(0);
    expect(after(fatal, event("epilog-start", { description: "e" })).perilogs).toBe(1);
  });
});

test("annotations merge as RFC 27 says", () => {
  expect(mergeAnnotations({ a: { b: 1, c: 2 }, d: 3 }, { a: { b: null, e: 4 }, d: { f: 5 }, g: null })).toEqual({ a: { c: 2, e: 4 }, d: { f: 5 } });
  expect(mergeAnnotations({ a: { b: 1 } }, { a: { b: null } })).toBeUndefined();
  expect(mergeAnnotations(undefined, {})).toBeUndefined();
});

test("outcomes and names", () => {
  const finish = (status: number): EventlogEntry => event("finish", { status });
  const raised = (type: string): EventlogEntry => event("exception", { type, severity: 0, note: "" });
  const cases: [EventlogEntry[], number, number][] = [
    [[finish(0)], RESULT.COMPLETED, 0],
    [[finish(3 << 8)], RESULT.FAILED, 3],
    [[finish(9)], RESULT.FAILED, 137],
    [[raised("cancel")], RESULT.CANCELED, 1],
    [[raised("timeout"), finish(15)], RESULT.TIMEOUT, 143],
    [[raised("alloc")], RESULT.FAILED, 1],
  ];
  for (const [events, result, exitCode] of cases) expect(outcomeOf(events)).toMatchObject({ result, exitCode });
  expect([statesByName("pending"), statesByName("S"), statesByName("nope")]).toEqual([14, 8, undefined]);
  expect(stateAbbreviation(STATE.INACTIVE)).toBe("I");
});

/** Edges of the state diagram. */
const EDGES = new Set([
  "1-2", "2-4", "4-8", "8-4", "8-16", "16-32", "32-64", "2-32", "4-32", "8-32",
]);

const anyContext: fc.Arbitrary<JsonObject> = fc.record(
  {
    userid: fc.nat(), urgency: fc.integer({ min: 0, max: 31 }), flags: fc.constantFrom<Json>(0, ["debug"], ["x"]), version: fc.constant(1), priority: fc.nat(),
    severity: fc.integer({ min: 0, max: 8 }), type: fc.constantFrom("cancel", "timeout", "scheduler-restart"), note: fc.constant(""), status: fc.nat(255),
    ranks: fc.constant("all"), final: fc.boolean(), description: fc.constantFrom("a", "b"), expiration: fc.nat(), annotations: fc.constantFrom<Json>(null, { a: 1 }),
  },
  { requiredKeys: ["severity", "type", "priority", "description", "status", "ranks", "final", "urgency"] },
) as fc.Arbitrary<JsonObject>;
const NAMES = [
  "submit", "validate", "invalidate", "dependency-add", "dependency-remove", "depend", "priority", "urgency", "alloc", "start", "finish", "release",
  "free", "clean", "exception", "memo", "annotations", "jobspec-update", "resource-update", "flux-restart", "set-flags", "prolog-start",
  "prolog-finish", "epilog-start", "epilog-finish", "debug.free-request", "constructor", "toString",
];
const anyEvent = fc.record({ name: fc.constantFrom(...NAMES), context: anyContext, timestamp: fc.constant(5) });

test("no sequence of events leaves the state diagram, and a refused event changes nothing", () => {
  fc.assert(
    fc.property(fc.array(anyEvent, { maxLength: 60 }), (events) => {
      let facts: Facts = apply({ ...NEW_JOB, jobspec: "{}" }, submit);
      const accepted: EventlogEntry[] = [submit];
      for (const next of events) {
        const frozen = Object.freeze({ ...facts });
        let result: Facts;
        try {
          result = apply(frozen, next);
        } catch {
          continue;
        }
        accepted.push(next);
        if (result.state !== facts.state) expect(EDGES.has(`${facts.state}-${result.state}`)).toBe(true);
        expect(facts.closed).toBe(false);
        if (result.hasResources) expect([STATE.RUN, STATE.CLEANUP] as number[]).toContain(result.state);
        if (result.state === STATE.RUN) expect(result.allocated).toBe(true);
        if (result.state === STATE.INACTIVE) expect(result.closed && !result.hasResources && result.end !== undefined).toBe(true);
        if (result.state === STATE.SCHED) expect(result.priority).toBeGreaterThanOrEqual(0);
        facts = result;
      }
      if (facts.state !== STATE.NEW) expect(replay(accepted, "{}", undefined)).toEqual(facts);
    }),
    { numRuns: 500 },
  );
});

test("whatever a job's partners and users do, its eventlog obeys RFC 21 and it comes to its end", () => {
  const step = fc.constantFrom("cancel", "urgency", "hold", "update", "alloc", "alloc-late", "denied", "start", "finish", "release", "taken-back", "memo", "prolog", "prolog-end");
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const { core, job } = newCore();
      core.post(job, "submit", submit.context);
      core.post(job, "validate");
      for (const name of steps) act(core, job, name);
      for (let i = 0; i < 8 && !job.facts.closed; i++) for (const name of ["cancel", "prolog-end", "finish", "release"]) act(core, job, name);
      const events = parseEventlog(job.eventlog);
      expect(checkEventlog(events, true)).toBe("");
      expect(core.active.size).toBe(0);
      expect(core.inactive.has(job.id)).toBe(true);
      expect(core.running).toBe(0);
    }),
    { numRuns: 500 },
  );
});

/** A core whose scheduler and execution system are played by act(). */
function newCore(): { core: Core; job: Job } {
  let time_s = 0;
  const core: Core = new Core({
    now_s: () => ++time_s,
    log: () => undefined,
    journal: () => undefined,
    append: () => undefined,
    priority: (job) => priorityOf(job.facts),
    observe: () => undefined,
    retired: () => undefined,
    perform(need, job) {
      if (need === "alloc") job.alloc = "sent";
      else if (need === "cancel-alloc") job.cancelling = true;
      else if (need === "drop-alloc" || need === "leave-queue") job.alloc = "none";
      else if (need === "start") job.startPending = true;
      else if (need === "free") {
        job.freePosted = true;
        core.post(job, "free");
      }
    },
  });
  const job = newJob(2n ** 60n, { ...NEW_JOB, jobspec: "{}" });
  core.add(job);
  return { core, job };
}

/** One thing that a partner or user may do now; nothing when it may not. */
function act(core: Core, job: Job, step: string): void {
  if (job.facts.closed) return;
  switch (step) {
    case "cancel":
      return core.post(job, "exception", { type: "cancel", severity: 0, note: "" });
    case "urgency":
    case "hold":
      return job.facts.hasResources ? undefined : core.post(job, "urgency", { userid: 0, urgency: step === "hold" ? 0 : 20 });
    case "update":
      return core.post(job, "jobspec-update", { "attributes.system.duration": 1 });
    case "memo":
      return core.post(job, "memo", { a: 1 });
    case "alloc":
    case "alloc-late":
      if (job.alloc !== "sent") return;
      job.alloc = "none";
      job.cancelling = false;
      return core.post(job, "alloc");
    case "denied":
      if (job.alloc !== "sent") return;
      job.alloc = "none";
      return core.post(job, "exception", { type: "alloc", severity: 0, note: "no" });
    case "taken-back":
      if (job.alloc !== "sent" || !job.cancelling) return;
      job.alloc = "none";
      job.cancelling = false;
      return core.act(job);
    case "start":
      return job.startPending && !job.facts.started && job.facts.status === undefined ? core.post(job, "start") : undefined;
    case "finish":
      return job.startPending && job.facts.status === undefined ? core.post(job, "finish", { status: 0 }) : undefined;
    case "release":
      if (!job.startPending || (job.facts.started && job.facts.status === undefined)) return;
      job.startPending = false;
      return core.post(job, "release", { ranks: "all", final: true });
    case "prolog":
      return job.startPending ? undefined : core.post(job, "prolog-start", { description: "p" });
    case "prolog-end":
      return job.facts.perilogs > 0 ? core.post(job, "prolog-finish", { description: "p", status: 0 }) : undefined;
  }
}

test("the priority queue gives jobs in order, whatever is put in and taken out", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(3), fc.nat(40), fc.nat(5)), { maxLength: 200 }), (commands) => {
      const queue = new PriorityQueue();
      const jobs = Array.from({ length: 41 }, (_, i) => newJob(BigInt(i), NEW_JOB));
      const inside = new Set<Job>();
      for (const [command, which, priority] of commands) {
        const job = jobs[which] as Job;
        if (command === 0 && inside.delete(job)) queue.remove(job);
        else if (!inside.has(job)) {
          job.facts = { ...job.facts, priority };
          inside.add(job);
          queue.insert(job);
        } else {
          job.facts = { ...job.facts, priority };
          queue.moved(job);
        }
        const wanted = [...inside].sort((a, b) => (before(a, b) ? -1 : 1));
        expect(queue.first()).toBe(wanted[0] as Job);
        expect(queue.sorted().map(({ id }) => id)).toEqual(wanted.map(({ id }) => id));
      }
    }),
  );
});
