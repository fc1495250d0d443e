// Jobs, as clients see them: submit, signal, cancel, wait, watch events; names of states and results (RFC 21).
// A typed face of the services job-ingest, job-manager and job-info.
import { EVENTLOG_WATCH } from "./job-info.ts";
import { type EventlogEntry, parseEventlog } from "../formats/eventlog.ts";
import { type JobId } from "../formats/fluid.ts";
import { encodeJson, isJsonObject, type Json, type JsonObject } from "../formats/json.ts";
import type { Jobspec } from "../formats/jobspec.ts";
import { wrapNone } from "../formats/signature.ts";
import { shellExitCode } from "../formats/waitstatus.ts";
import { errno, FluxError } from "../message/errno.ts";
import { bool, int, jobid, str, unpack } from "../message/unpack.ts";
import type { Flux } from "./flux.ts";

// ---- numbers and names

/** Job states (RFC 21); one bit each, so that sets of states are sums. */
export const STATE = { NEW: 1, DEPEND: 2, PRIORITY: 4, SCHED: 8, RUN: 16, CLEANUP: 32, INACTIVE: 64 } as const;
export type JobState = (typeof STATE)[keyof typeof STATE];

/** Virtual states: sets of states. */
export const PENDING = STATE.DEPEND | STATE.PRIORITY | STATE.SCHED;
export const RUNNING = STATE.RUN | STATE.CLEANUP;
export const ACTIVE = PENDING | RUNNING;

export const RESULT = { COMPLETED: 1, FAILED: 2, CANCELED: 4, TIMEOUT: 8 } as const;
export type JobResult = (typeof RESULT)[keyof typeof RESULT];

/** Flags of a submission. */
export const FLAG = { DEBUG: 2, WAITABLE: 4, NOVALIDATE: 8 } as const;

export const URGENCY = { MIN: 0, HOLD: 0, DEFAULT: 16, EXPEDITE: 31, MAX: 31 } as const;
export const PRIORITY = { MIN: 0, MAX: 4294967295 } as const;

/** Stands for "any job" in requests to wait, and for "the backlog ends here" in the events journal; -1 in messages. */
export const JOBID_ANY: JobId = 0xffff_ffff_ffff_ffffn;
/** Stands for "every user" in requests of the instance owner. */
export const USERID_ANY = 0xffff_ffff;

const ABBREVIATIONS: Readonly<Record<string, string>> = {
  NEW: "N", DEPEND: "D", PRIORITY: "P", SCHED: "S", RUN: "R", CLEANUP: "C", INACTIVE: "I",
  COMPLETED: "CD", FAILED: "F", CANCELED: "CA", TIMEOUT: "TO",
};
const STATE_NAMES = new Map<number, string>(Object.entries(STATE).map(([name, bit]) => [bit, name]));
const RESULT_NAMES = new Map<number, string>(Object.entries(RESULT).map(([name, bit]) => [bit, name]));
const STATE_SETS: Readonly<Record<string, number>> = { ...STATE, PENDING, RUNNING, ACTIVE };

/** "SCHED" of 8; "(unknown)" for what is no state. */
export function stateName(state: number): string {
  return STATE_NAMES.get(state) ?? "(unknown)";
}

/** "S" of 8. */
export function stateAbbreviation(state: number): string {
  return ABBREVIATIONS[stateName(state)] ?? "(unknown)";
}

/** "COMPLETED" of 1. */
export function resultName(result: number): string {
  return RESULT_NAMES.get(result) ?? "(unknown)";
}

/** "CD" of 1. */
export function resultAbbreviation(result: number): string {
  return ABBREVIATIONS[resultName(result)] ?? "(unknown)";
}

/** The bits of a state or virtual state by its name or abbreviation, in any case; undefined when it is neither. */
export function statesByName(text: string): number | undefined {
  return byName(STATE_SETS, text);
}

/** A result by its name or abbreviation, in any case; undefined when it is neither. */
export function resultByName(text: string): number | undefined {
  return byName(RESULT, text);
}

function byName(table: Readonly<Record<string, number>>, text: string): number | undefined {
  const wanted = text.toUpperCase();
  for (const name of Object.keys(table)) if (name === wanted || ABBREVIATIONS[name] === wanted) return table[name];
  return undefined;
}

// ---- what a job's eventlog says about how it ended

export interface Outcome {
  readonly result: JobResult;
  /** Wait status of the finish event; undefined when the job never ran. */
  readonly status: number | undefined;
  /** Exit code as `flux job attach` reports it: of the tasks, or 1 when the job never ran. */
  readonly exitCode: number;
  /** The first exception of severity 0. */
  readonly exception: JsonObject | undefined;
}

/** How a job ended, from its main eventlog (all of it, or all of it but what follows the finish event). */
export function outcomeOf(events: Iterable<EventlogEntry>): Outcome {
  let status: number | undefined;
  let exception: JsonObject | undefined;
  for (const { name, context } of events) {
    if (name === "finish" && typeof context?.["status"] === "number") status = context["status"];
    else if (name === "exception" && context?.["severity"] === 0) exception ??= context;
  }
  const exitCode = status === undefined ? 1 : shellExitCode(status);
  return { result: resultOf(status, exception?.["type"]), status, exitCode, exception };
}

/** Result of a job from its wait status (if it ran) and the type of its first fatal exception (if any). */
export function resultOf(status: number | undefined, exceptionType: Json | undefined): JobResult {
  if (status === 0) return RESULT.COMPLETED;
  if (exceptionType === "cancel") return RESULT.CANCELED;
  if (exceptionType === "timeout") return RESULT.TIMEOUT;
  return RESULT.FAILED;
}

// ---- requests

export interface SubmitOptions {
  /** 0 (held) to 31 (expedited); above 16 only for the instance owner. */
  readonly urgency?: number;
  /** Sum of FLAG bits. */
  readonly flags?: number;
  /** Who signs; default: the user of this process. */
  readonly userid?: number;
}

/** Submits a jobspec (RFC 14). Resolves to the id once the job is in the KVS; throws FluxError EINVAL and others saying why not. */
export async function submitJob(h: Flux, jobspec: Jobspec | JsonObject | string, options: SubmitOptions = {}): Promise<JobId> {
  const text = typeof jobspec === "string" ? jobspec : encodeJson(jobspec);
  const userid = options.userid ?? process.getuid?.() ?? 0;
  return submitSigned(h, wrapNone(userid, text), options);
}

/** The same for a jobspec that is signed already (RFC 39). */
export async function submitSigned(h: Flux, J: string, options: SubmitOptions = {}): Promise<JobId> {
  const payload = { J, urgency: options.urgency ?? URGENCY.DEFAULT, flags: options.flags ?? 0 };
  return unpack(await h.rpc("job-ingest.submit", payload), { id: jobid }).id;
}

/** Raises an exception: severity 0 ends the job. Throws ENOENT for a job that is unknown or inactive, EPERM for another's. */
export async function raiseException(h: Flux, id: JobId, type: string, severity: number, note?: string): Promise<void> {
  await h.rpc("job-manager.raise", { id, type, severity, ...(note === undefined ? {} : { note }) });
}

export function cancelJob(h: Flux, id: JobId, note?: string): Promise<void> {
  return raiseException(h, id, "cancel", 0, note);
}

/** Sends a signal to all tasks of a running job. */
export async function killJob(h: Flux, id: JobId, signum: number): Promise<void> {
  await h.rpc("job-manager.kill", { id, signum });
}

/** Changes a pending job's urgency; resolves to the one it had. */
export async function setUrgency(h: Flux, id: JobId, urgency: number): Promise<number> {
  return unpack(await h.rpc("job-manager.urgency", { id, urgency }), { old_urgency: int }).old_urgency;
}

export interface WaitResult {
  readonly id: JobId;
  readonly success: boolean;
  /** What went wrong, "" on success. */
  readonly errstr: string;
}

/** Waits for a job submitted with FLAG.WAITABLE, or for any such job; each can be waited for once. Throws ECHILD when there is none. */
export async function waitJob(h: Flux, id: JobId = JOBID_ANY): Promise<WaitResult> {
  return unpack(await h.rpc("job-manager.wait", { id: id === JOBID_ANY ? -1 : id }), { id: jobid, success: bool, errstr: str });
}

export interface WatchOptions {
  /** Eventlog under the job's directory: "eventlog" (default), "guest.exec.eventlog", "guest.output", …. */
  readonly path?: string;
  /** Wait for the eventlog to come into being instead of throwing ENOENT. */
  readonly waitCreate?: boolean;
}

/** Every entry of a job's eventlog, and new ones as they come, until it is complete. Leaving the loop ends the watch. */
export async function* watchEventlog(h: Flux, id: JobId, options: WatchOptions = {}): AsyncGenerator<EventlogEntry, void, undefined> {
  const request = { id, path: options.path ?? "eventlog", flags: options.waitCreate ? EVENTLOG_WATCH.WAITCREATE : 0 };
  for await (const item of h.stream("job-info.eventlog-watch", request, { cancelTopic: "job-info.eventlog-watch-cancel" })) {
    yield* parseEventlog(unpack(item, { event: str }).event);
  }
}

/** Resolves to the first event of that name; throws ENODATA when the eventlog ends without it. */
export async function waitEvent(h: Flux, id: JobId, name: string, options: WatchOptions = {}): Promise<EventlogEntry> {
  for await (const event of watchEventlog(h, id, options)) if (event.name === name) return event;
  throw new FluxError(errno.ENODATA, `event '${name}' never came`);
}

/** Resolves when the job is inactive. */
export async function waitInactive(h: Flux, id: JobId): Promise<Outcome> {
  const events: EventlogEntry[] = [];
  for await (const event of watchEventlog(h, id)) {
    events.push(event);
    if (event.name === "clean") break;
  }
  return outcomeOf(events);
}

// ---- the events journal

export interface JournalItem {
  readonly id: JobId;
  readonly events: readonly EventlogEntry[];
  /** Without its environment: with the submit event. */
  readonly jobspec?: JsonObject;
  /** Without scheduling: with the alloc event. */
  readonly R?: JsonObject;
}

/** Every event of every job (instance owner only), first of those that are there, up to an item with JOBID_ANY, then as they happen. */
export async function* watchJournal(h: Flux, options: { readonly full?: boolean } = {}): AsyncGenerator<JournalItem, void, undefined> {
  const stream = h.stream("job-manager.events-journal", { full: options.full ?? false }, { cancelTopic: "job-manager.events-journal-cancel" });
  for await (const item of stream) {
    const id = item["id"] === -1 ? JOBID_ANY : unpack(item, { id: jobid }).id;
    const events = item["events"] as readonly JsonObject[] as readonly object[] as readonly EventlogEntry[];
    const { jobspec, R } = item;
    yield { id, events, ...(isJsonObject(jobspec) ? { jobspec } : {}), ...(isJsonObject(R) ? { R } : {}) };
  }
}
