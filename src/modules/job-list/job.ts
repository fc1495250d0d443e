// One job as job-list knows it: what its events (RFC 21) say, kept as the attributes that lists show, and no more: the jobspec
// and R themselves are not kept.
import { formatJobId, type JobId } from "../../formats/fluid.ts";
import { type Jobspec, jobspecCounts } from "../../formats/jobspec.ts";
import { isJsonObject, type Json, type JsonObject } from "../../formats/json.ts";
import { Rset } from "../../formats/rset.ts";
import type { EventlogEntry } from "../../formats/eventlog.ts";
import { RESULT, type JobResult, type JobState, STATE } from "../../client/jobs.ts";

/** Every attribute, in the order in which list-attrs tells them. */
export const ATTRIBUTES = [
  "userid", "urgency", "priority", "t_submit", "t_depend", "t_priority", "t_sched", "t_run", "t_cleanup", "t_inactive",
  "state", "name", "cwd", "queue", "project", "bank", "ntasks", "ncores", "duration", "nnodes", "ranks", "nodelist",
  "success", "exception_occurred", "exception_type", "exception_severity", "exception_note", "result", "expiration",
  "annotations", "waitstatus", "dependencies",
] as const;
export type Attribute = (typeof ATTRIBUTES)[number];

const attributes = new Set<string>(ATTRIBUTES);

export function isAttribute(name: string): name is Attribute {
  return attributes.has(name);
}

interface JobException {
  readonly type: string;
  readonly severity: number;
  readonly note: string;
}

export interface Job {
  readonly id: JobId;
  userid: number;
  urgency: number;
  priority: number;
  state: JobState;
  /** Sum of the states that the job has been in. */
  states: number;
  t_submit: number;
  t_depend: number;
  t_priority: number;
  t_sched: number;
  t_run: number;
  t_cleanup: number;
  t_inactive: number;
  name: string | undefined;
  cwd: string | undefined;
  queue: string | undefined;
  project: string | undefined;
  bank: string | undefined;
  ntasks: number | undefined;
  ncores: number | undefined;
  nnodes: number | undefined;
  duration: number | undefined;
  ranks: string | undefined;
  nodelist: string | undefined;
  expiration: number | undefined;
  waitstatus: number | undefined;
  success: boolean;
  exception: JobException | undefined;
  annotations: JsonObject | undefined;
  dependencies: string[] | undefined;
  /** Tasks per node or core, where only R tells how many there are. */
  tasksPer: { readonly type: "node" | "core"; readonly count: number } | undefined;
}

export function newJob(id: JobId): Job {
  return {
    id, userid: 0, urgency: 16, priority: 0, state: STATE.NEW, states: STATE.NEW,
    t_submit: 0, t_depend: 0, t_priority: 0, t_sched: 0, t_run: 0, t_cleanup: 0, t_inactive: 0,
    name: undefined, cwd: undefined, queue: undefined, project: undefined, bank: undefined,
    ntasks: undefined, ncores: undefined, nnodes: undefined, duration: undefined, ranks: undefined, nodelist: undefined,
    expiration: undefined, waitstatus: undefined, success: false, exception: undefined, annotations: undefined,
    dependencies: undefined, tasksPer: undefined,
  };
}

export function resultOf(job: Job): JobResult {
  if (job.success) return RESULT.COMPLETED;
  if (job.exception?.type === "cancel") return RESULT.CANCELED;
  if (job.exception?.type === "timeout") return RESULT.TIMEOUT;
  return RESULT.FAILED;
}

/** Value of an attribute; undefined while the job has none. */
export function attributeOf(job: Job, name: Attribute): Json | undefined {
  const been = (state: number): boolean => (job.states & state) !== 0;
  const over = job.state === STATE.INACTIVE;
  switch (name) {
    case "priority": return been(STATE.SCHED) ? job.priority : undefined;
    case "t_depend": return been(STATE.DEPEND) ? job.t_depend : undefined;
    case "t_priority": return job.t_priority || undefined;
    case "t_sched": return job.t_sched || undefined;
    case "t_run": return been(STATE.RUN) ? job.t_run : undefined;
    case "t_cleanup": return been(STATE.CLEANUP) ? job.t_cleanup : undefined;
    case "t_inactive": return over ? job.t_inactive : undefined;
    case "ranks": case "nodelist": case "expiration": return been(STATE.RUN) ? job[name] : undefined;
    case "success": return over ? job.success : undefined;
    case "result": return over ? resultOf(job) : undefined;
    case "exception_occurred": return over ? job.exception !== undefined : undefined;
    case "exception_type": return over ? job.exception?.type : undefined;
    case "exception_severity": return over ? job.exception?.severity : undefined;
    case "exception_note": return over ? job.exception?.note : undefined;
    default: return job[name];
  }
}

// ---- what events change

/** States in the order in which a job goes through them are ascending numbers. True when `state` is new for the job. */
export function advance(job: Job, state: JobState, timestamp: number): boolean {
  if (job.state >= state) return false;
  enter(job, state, timestamp);
  return true;
}

/** Back to PRIORITY, to get another priority. True when the job was in SCHED. */
export function revert(job: Job, timestamp: number): boolean {
  if (job.state !== STATE.SCHED) return false;
  job.states &= ~(STATE.SCHED | STATE.PRIORITY);
  enter(job, STATE.PRIORITY, timestamp);
  return true;
}

function enter(job: Job, state: JobState, timestamp: number): void {
  job.state = state;
  job.states |= state;
  switch (state) {
    case STATE.DEPEND: job.t_depend = timestamp; break;
    case STATE.PRIORITY: job.t_priority ||= timestamp; break;
    case STATE.SCHED: job.t_sched ||= timestamp; break;
    case STATE.RUN: job.t_run = timestamp; break;
    case STATE.CLEANUP: job.t_cleanup = timestamp; break;
    case STATE.INACTIVE: job.t_inactive = timestamp; break;
    default: break;
  }
}

const text = (value: Json | undefined): string | undefined => (typeof value === "string" ? value : undefined);
const number = (value: Json | undefined): number | undefined => (typeof value === "number" ? value : undefined);
const object = (value: Json | undefined): JsonObject => (isJsonObject(value) ? value : {});

/** The attributes that a jobspec gives. Parts that make no sense are left unknown: the job is listed all the same. */
export function takeJobspec(job: Job, jobspec: JsonObject): void {
  const system = object(object(jobspec["attributes"])["system"]);
  job.cwd = text(system["cwd"]);
  job.queue = text(system["queue"]);
  job.project = text(system["project"]);
  job.bank = text(system["bank"]);
  job.duration = number(system["duration"]);
  job.name = text(object(system["job"])["name"]) ?? nameOf(jobspec);
  takeCounts(job, jobspec, object(object(object(system["shell"])["options"])["per-resource"]));
}

/** Base name of the command. */
function nameOf(jobspec: JsonObject): string | undefined {
  const { tasks } = jobspec;
  const command = Array.isArray(tasks) ? object(tasks[0] as Json)["command"] : undefined;
  const first = Array.isArray(command) ? text(command[0] as Json) : undefined;
  const base = first?.slice(first.lastIndexOf("/") + 1);
  return base === "" ? first : base;
}

function takeCounts(job: Job, jobspec: JsonObject, perResource: JsonObject): void {
  try {
    const counts = jobspecCounts(jobspec as object as Jobspec);
    const { nnodes, nslots, coresPerSlot, exclusive, ntasks } = counts;
    job.nnodes = nnodes > 0 ? nnodes : undefined;
    job.ncores = nnodes > 0 && exclusive ? undefined : nslots * coresPerSlot;
    job.ntasks = ntasks > 0 ? ntasks : undefined;
    const { type, count } = perResource;
    job.tasksPer = (type === "node" || type === "core") && ntasks === 0 ? { type, count: number(count) ?? 1 } : undefined;
  } catch {
    job.nnodes = job.ncores = job.ntasks = undefined; // a shape that this version does not count
  }
}

/** The attributes that an allocation gives. */
export function takeR(job: Job, value: JsonObject): void {
  let R: Rset;
  try {
    R = Rset.parse(value);
  } catch {
    return; // not R: what it would tell stays unknown
  }
  job.expiration = R.expiration;
  job.nnodes = R.nnodes;
  job.ncores = R.ncores;
  job.ranks = R.ranks.toString({ brackets: true });
  job.nodelist = R.hosts.toString();
  if (job.tasksPer !== undefined) job.ntasks = job.tasksPer.count * (job.tasksPer.type === "node" ? job.nnodes : job.ncores);
}

/** Updates of a jobspec by path. True when it changed what can only be counted from the whole jobspec. */
export function takeJobspecUpdate(job: Job, updates: JsonObject): boolean {
  let recount = false;
  for (const [path, value] of Object.entries(updates)) {
    switch (path) {
      case "attributes.system.duration": job.duration = number(value); break;
      case "attributes.system.queue": job.queue = text(value); break;
      case "attributes.system.cwd": job.cwd = text(value); break;
      case "attributes.system.project": job.project = text(value); break;
      case "attributes.system.bank": job.bank = text(value); break;
      case "attributes.system.job.name": job.name = text(value); break;
      // Other attributes don't change what is counted.
      default: recount ||= !path.startsWith("attributes.") || path.startsWith("attributes.system.shell");
    }
  }
  return recount;
}

export function takeException(job: Job, { context }: EventlogEntry): void {
  const { type, severity, note } = context ?? {};
  const level = number(severity) ?? 0;
  if (job.exception !== undefined && level >= job.exception.severity) return;
  job.exception = { type: text(type) ?? "", severity: level, note: text(note) ?? "" };
}

export function takeDependency(job: Job, action: string, description: string): void {
  const others = (job.dependencies ?? []).filter((known) => known !== description);
  if (action === "add") others.push(description);
  job.dependencies = others.length === 0 ? undefined : others;
}

/** A memo is kept as the annotations of the user; null removes. */
export function takeMemo(job: Job, memo: JsonObject): void {
  const user = merged(object(job.annotations?.["user"]), memo);
  const annotations = { ...job.annotations, user };
  const kept = Object.fromEntries(Object.entries(annotations).filter(([, value]) => !isEmpty(value)));
  job.annotations = isEmpty(kept) ? undefined : kept;
}

function isEmpty(value: Json): boolean {
  return value === null || (isJsonObject(value) && Object.keys(value).length === 0);
}

function merged(into: JsonObject, from: JsonObject): JsonObject {
  const result: Record<string, Json> = { ...into };
  for (const [key, value] of Object.entries(from)) {
    const before = result[key];
    if (value === null) delete result[key];
    else result[key] = isJsonObject(value) && isJsonObject(before) ? merged(before, value) : value;
  }
  return result;
}

/** The job's attributes as an object: all, or those named. `get` reads one. */
export function pick(id: JobId, names: readonly Attribute[], get: (name: Attribute) => Json | undefined): JsonObject {
  const result: Record<string, Json> = { id };
  for (const name of names) {
    const value = get(name);
    if (value !== undefined) result[name] = value;
  }
  return result;
}

export function describe(id: JobId): string {
  return formatJobId(id, "f58");
}
