// The state machine of RFC 21 as a pure function: what is known of a job, and an event → what is known afterwards.
// Nothing here sends, stores or waits; replaying a job's eventlog through apply() gives the job back.
//
//   NEW → DEPEND → PRIORITY ⇄ SCHED → RUN → CLEANUP → INACTIVE
//   a fatal exception leads from any active state to CLEANUP
import { type JobState, STATE } from "../../client/jobs.ts";
import type { EventlogEntry } from "../../formats/eventlog.ts";
import { decodeJsonObject, encodeJson, isJsonObject, type Json, type JsonObject } from "../../formats/json.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { arr, bool, def, int, num, obj, str, uint, unpack } from "../../message/unpack.ts";

export interface Facts {
  readonly state: JobState;
  readonly userid: number;
  readonly urgency: number;
  /** Sum of FLAG bits, as submitted or set by set-flags. */
  readonly flags: number;
  readonly t_submit: number;
  /** -1 before the first priority event. */
  readonly priority: number;
  /** Descriptions of dependencies that are not removed yet. */
  readonly dependencies: readonly string[];
  /** Prologs and epilogs that run. */
  readonly perilogs: number;
  readonly hasResources: boolean;
  /** An alloc event was seen: the job entered RUN. */
  readonly allocated: boolean;
  readonly started: boolean;
  /** The event that led to CLEANUP. */
  readonly end: EventlogEntry | undefined;
  /** Wait status of the finish event. */
  readonly status: number | undefined;
  /** 0 until the clean event. */
  readonly t_clean: number;
  /** Resources bypass the scheduler. */
  readonly allocBypass: boolean;
  /** Only the instance owner may update the job any more. */
  readonly immutable: boolean;
  /** No event may follow: the job is inactive or was refused. */
  readonly closed: boolean;
  /** The jobspec without environment, as text: a pending job must not be a tree of objects. "" when it isn't known. */
  readonly jobspec: string;
  /** Resource set without scheduling; undefined before it is allocated. */
  readonly R: JsonObject | undefined;
  readonly annotations: JsonObject | undefined;
}

export const NEW_JOB: Facts = Object.freeze({
  state: STATE.NEW,
  userid: 0,
  urgency: 0,
  flags: 0,
  t_submit: 0,
  priority: -1,
  dependencies: [],
  perilogs: 0,
  hasResources: false,
  allocated: false,
  started: false,
  end: undefined,
  status: undefined,
  t_clean: 0,
  allocBypass: false,
  immutable: false,
  closed: false,
  jobspec: "",
  R: undefined,
  annotations: undefined,
});

/** Version of the eventlog format that this understands (RFC 21). */
export const EVENTLOG_VERSION = 1;
const PERILOGS_MAX = 255;
const FLAG_DEBUG = 2;
const SEVERITY_MAX = 7;

type Step = (job: Facts, context: JsonObject, event: EventlogEntry) => Facts;

/**
 * The job after `event`. Events whose names RFC 21 does not define change nothing.
 * Throws FluxError EPROTO for a context that lacks what RFC 21 requires, EINVAL for an event that can't happen to this job.
 */
export function apply(job: Facts, event: EventlogEntry): Facts {
  if (job.closed) throw new FluxError(errno.EINVAL, `event '${event.name}' after the end of the job`);
  const step = Object.hasOwn(STEPS, event.name) ? STEPS[event.name] : undefined;
  return step === undefined ? job : step(job, event.context ?? {}, event);
}

const STEPS: Readonly<Record<string, Step>> = {
  submit(job, context, { timestamp }) {
    if (job.state !== STATE.NEW) throw impossible("submit", job);
    const { userid, urgency, flags, version } = unpack(context, { userid: uint, urgency: uint, flags: uint, version: def(uint, EVENTLOG_VERSION) });
    if (version !== EVENTLOG_VERSION) throw new FluxError(errno.EINVAL, `eventlog v${version} is unsupported`);
    return { ...job, t_submit: timestamp, userid, urgency, flags };
  },
  validate(job) {
    if (job.state !== STATE.NEW) throw impossible("validate", job);
    return { ...job, state: STATE.DEPEND };
  },
  invalidate(job) {
    if (job.state !== STATE.NEW) throw impossible("invalidate", job);
    return { ...job, closed: true };
  },
  "jobspec-update"(job, context) {
    if (Object.keys(context).length === 0) throw new FluxError(errno.EPROTO, "a jobspec-update changes nothing");
    return { ...job, jobspec: updatedJobspec(job.jobspec, context), state: job.state === STATE.SCHED ? STATE.PRIORITY : job.state };
  },
  "resource-update"(job, context) {
    const { expiration } = unpack(context, { expiration: num });
    if (job.R === undefined) throw impossible("resource-update", job);
    const execution = isJsonObject(job.R["execution"]) ? job.R["execution"] : {};
    return { ...job, R: { ...job.R, execution: { ...execution, expiration } } };
  },
  "dependency-add"(job, context) {
    const { description } = unpack(context, { description: str });
    if (job.state !== STATE.DEPEND && job.state !== STATE.NEW) return job;
    if (job.dependencies.includes(description)) throw new FluxError(errno.EEXIST, `dependency ${description} is there already`);
    return { ...job, dependencies: [...job.dependencies, description] };
  },
  "dependency-remove"(job, context) {
    const { description } = unpack(context, { description: str });
    if (job.state !== STATE.DEPEND && job.state !== STATE.NEW) return job;
    if (!job.dependencies.includes(description)) throw new FluxError(errno.ENOENT, `there is no dependency ${description}`);
    return { ...job, dependencies: job.dependencies.filter((other) => other !== description) };
  },
  "set-flags"(job, context) {
    const { flags } = unpack(context, { flags: arr(str) });
    return flags.reduce(withFlag, job);
  },
  memo(job, context) {
    return { ...job, annotations: mergeAnnotations(job.annotations, { user: context }) };
  },
  annotations(job, context) {
    const { annotations } = context;
    return { ...job, annotations: isJsonObject(annotations) ? annotations : undefined };
  },
  depend(job) {
    if (job.state !== STATE.DEPEND) return job;
    if (job.dependencies.length > 0) throw impossible("depend", job);
    return { ...job, state: STATE.PRIORITY };
  },
  priority(job, context) {
    const { priority } = unpack(context, { priority: uint });
    if (job.state !== STATE.PRIORITY && job.state !== STATE.SCHED) return job;
    return { ...job, priority, state: STATE.SCHED };
  },
  urgency(job, context) {
    const { urgency } = unpack(context, { urgency: uint });
    return { ...job, urgency, state: job.state === STATE.SCHED ? STATE.PRIORITY : job.state };
  },
  exception(job, context, event) {
    const { severity, type } = unpack(context, { severity: int, type: str });
    if (severity < 0 || severity > SEVERITY_MAX) throw new FluxError(errno.EPROTO, "invalid exception severity");
    if (severity !== 0) return job;
    if (job.state === STATE.NEW) throw new FluxError(errno.EINVAL, "a fatal exception in state NEW");
    // The scheduler could not give the job its resources back after a restart: nothing is left to free.
    const hasResources = job.hasResources && type !== "scheduler-restart";
    return { ...job, hasResources, end: job.end ?? event, state: STATE.CLEANUP };
  },
  alloc(job) {
    if (job.hasResources) throw new FluxError(errno.EEXIST, "the job has resources already");
    if (job.state !== STATE.SCHED) throw impossible("alloc", job);
    return { ...job, hasResources: true, allocated: true, state: STATE.RUN };
  },
  start(job) {
    return { ...job, started: true };
  },
  finish(job, context, event) {
    const { status } = unpack(context, { status: int });
    if (job.state !== STATE.RUN) return { ...job, status };
    return { ...job, status, end: job.end ?? event, state: STATE.CLEANUP };
  },
  release(job, context) {
    unpack(context, { ranks: str, final: bool });
    return job;
  },
  free(job) {
    return { ...job, hasResources: false };
  },
  clean(job, _context, { timestamp }) {
    if (job.state !== STATE.CLEANUP || job.hasResources) throw impossible("clean", job);
    return { ...job, t_clean: timestamp, closed: true, state: STATE.INACTIVE };
  },
  "prolog-start": perilogStarted,
  "prolog-finish": perilogFinished,
  "epilog-start": (job, context) => (job.state === STATE.CLEANUP ? perilogStarted(job, context) : job),
  "epilog-finish": (job, context) => (job.state === STATE.CLEANUP ? perilogFinished(job, context) : job),
  "flux-restart"(job) {
    return job.state === STATE.SCHED ? { ...job, state: STATE.PRIORITY } : job;
  },
};

function perilogStarted(job: Facts, context: JsonObject): Facts {
  unpack(context, { description: str });
  if (job.perilogs >= PERILOGS_MAX) throw new FluxError(errno.EOVERFLOW, `more than ${PERILOGS_MAX} prologs and epilogs at once`);
  return { ...job, perilogs: job.perilogs + 1 };
}

function perilogFinished(job: Facts, context: JsonObject): Facts {
  unpack(context, { description: str });
  return { ...job, perilogs: Math.max(0, job.perilogs - 1) };
}

function withFlag(job: Facts, name: string): Facts {
  switch (name) {
    case "debug":
      return { ...job, flags: job.flags | FLAG_DEBUG };
    case "immutable":
      return { ...job, immutable: true };
    case "alloc-bypass":
      return { ...job, allocBypass: true };
    default:
      throw new FluxError(errno.EPROTO, `unknown job flag '${name}'`);
  }
}

function impossible(event: string, job: Facts): FluxError {
  return new FluxError(errno.EINVAL, `event '${event}' in state ${Object.entries(STATE).find(([, bit]) => bit === job.state)?.[0]}`);
}

/** A jobspec's text with updates {"attributes.system.duration": 60, …} applied. Throws FluxError EINVAL for a key that can't be set. */
export function updatedJobspec(jobspec: string, updates: JsonObject): string {
  let root: JsonObject = jobspec === "" ? {} : decodeJsonObject(jobspec);
  for (const [key, value] of Object.entries(updates)) root = withValue(root, key.split("."), value, key);
  return encodeJson(root);
}

function withValue(object: JsonObject, names: readonly string[], value: Json, key: string): JsonObject {
  const [name, ...rest] = names;
  if (name === undefined || name === "") throw new FluxError(errno.EINVAL, `invalid jobspec update '${key}'`);
  if (rest.length === 0) return { ...object, [name]: value };
  const before = object[name] ?? {};
  if (!isJsonObject(before)) throw new FluxError(errno.EINVAL, `invalid jobspec update '${key}': '${name}' is not an object`);
  return { ...object, [name]: withValue(before, rest, value, key) };
}

/** Annotations changed as RFC 27 says: objects are merged, null removes a key. undefined when nothing is left. */
export function mergeAnnotations(before: JsonObject | undefined, change: JsonObject): JsonObject | undefined {
  const merged: Record<string, Json> = { ...before };
  for (const [key, value] of Object.entries(change)) {
    const old = merged[key];
    const next = isJsonObject(value) ? mergeAnnotations(isJsonObject(old) ? old : undefined, value) : value;
    if (next === null || next === undefined) delete merged[key];
    else merged[key] = next;
  }
  return Object.keys(merged).length === 0 ? undefined : merged;
}

/** A job from its eventlog. Throws FluxError when the eventlog breaks RFC 21. */
export function replay(events: Iterable<EventlogEntry>, jobspec: string, R: JsonObject | undefined): Facts {
  let job: Facts = { ...NEW_JOB, jobspec, R };
  for (const event of events) {
    if (job.t_submit === 0 && event.name !== "submit") throw new FluxError(errno.EINVAL, "the first event is not submit");
    job = apply(job, event);
  }
  if (job.state === STATE.NEW) throw new FluxError(errno.EINVAL, "the job state (NEW) is invalid after replay");
  return job;
}

/** The object that a context must be, for callers that have any JSON. */
export function contextOf(value: Json | undefined): JsonObject | undefined {
  return value === undefined || value === null ? undefined : obj(value, "context");
}
