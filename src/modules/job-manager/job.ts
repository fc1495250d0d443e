// An active job: what its eventlog says (state.ts), and what the job manager does for it at this moment.
import type { Request } from "../../client/request.ts";
import { FLAG, PRIORITY, STATE, URGENCY } from "../../client/jobs.ts";
import type { EventlogEntry } from "../../formats/eventlog.ts";
import type { JobId } from "../../formats/fluid.ts";
import { decodeJsonObject, isJsonObject, type JsonObject } from "../../formats/json.ts";
import type { Facts } from "./state.ts";

/** An event that waits its turn. Volatile events go to the journal only, not into the eventlog. */
export interface Posted {
  readonly entry: EventlogEntry;
  readonly volatile: boolean;
}

export interface Job {
  readonly id: JobId;
  facts: Facts;
  /** Encoded eventlog. */
  eventlog: string;
  /** Events posted and not applied; the first is being applied. */
  inbox: Posted[];
  /** Events wait: the submission is not in the KVS yet. */
  held: boolean;
  /** Where its allocation request is: in our queue, at the scheduler, answered this very moment, or nowhere. */
  alloc: "none" | "queued" | "sent" | "answered";
  /** The scheduler was asked to give the request back. */
  cancelling: boolean;
  /** The execution system has its start request and has not released everything. */
  startPending: boolean;
  /** A start request was sent by this job manager. */
  startSent: boolean;
  dependPosted: boolean;
  freePosted: boolean;
  cleanPosted: boolean;
  /** Its priority was asked for since it entered PRIORITY. */
  priorityAsked: boolean;
  /** Place in the priority queue it is in; -1 in none. */
  place: number;
  /** Who waits for it to become inactive. */
  waiter: Request | undefined;
  /** Name of its queue; undefined is the anonymous one. */
  queue: string | undefined;
  /** The jobspec's object while it is needed often. */
  decoded: JsonObject | undefined;
}

export function newJob(id: JobId, facts: Facts, queue?: string, decoded?: JsonObject): Job {
  return {
    id,
    facts,
    eventlog: "",
    inbox: [],
    held: false,
    alloc: "none",
    cancelling: false,
    startPending: false,
    startSent: false,
    dependPosted: false,
    freePosted: false,
    cleanPosted: false,
    priorityAsked: false,
    place: -1,
    waiter: undefined,
    queue,
    decoded,
  };
}

export const isWaitable = (job: Job): boolean => (job.facts.flags & FLAG.WAITABLE) !== 0;
export const isDebug = (job: Job): boolean => (job.facts.flags & FLAG.DEBUG) !== 0;

export function jobspecOf(job: Job): JsonObject {
  return job.decoded ?? decodeJsonObject(job.facts.jobspec);
}

/** A member of attributes.system; undefined where there is none. */
export function systemAttribute(jobspec: JsonObject, name: string): unknown {
  const attributes = jobspec["attributes"];
  const system = isJsonObject(attributes) ? attributes["system"] : undefined;
  return isJsonObject(system) ? system[name] : undefined;
}

export function queueOf(jobspec: JsonObject): string | undefined {
  const queue = systemAttribute(jobspec, "queue");
  return typeof queue === "string" ? queue : undefined;
}

/** The priority that a job should have: its urgency, but hold and expedite are the ends of the scale. */
export function priorityOf(facts: Facts): number {
  return priorityFromUrgency(facts.urgency);
}

export function priorityFromUrgency(urgency: number): number {
  if (urgency === URGENCY.HOLD) return PRIORITY.MIN;
  if (urgency === URGENCY.EXPEDITE) return PRIORITY.MAX;
  return urgency;
}

/** Order of allocation: higher priority first, then the older job. */
export function before(a: Job, b: Job): boolean {
  return a.facts.priority !== b.facts.priority ? a.facts.priority > b.facts.priority : a.id < b.id;
}

/** What a job needs done, given its state. A job that was asked about before may be asked about again: nothing happens twice. */
export type Need = "depend" | "priority" | "leave-queue" | "cancel-alloc" | "drop-alloc" | "alloc" | "start" | "free" | "clean" | "retire";

export function needsOf(job: Job): Need[] {
  const { facts } = job;
  switch (facts.state) {
    case STATE.DEPEND:
      return facts.dependencies.length === 0 && !job.dependPosted && !isQueued(job, "dependency-add") ? ["depend"] : [];
    case STATE.PRIORITY: {
      const needs: Need[] = job.alloc === "sent" && !job.cancelling ? ["cancel-alloc"] : job.alloc === "queued" ? ["leave-queue"] : [];
      if (!job.priorityAsked && !isQueued(job, "priority")) needs.push("priority");
      return needs;
    }
    case STATE.SCHED:
      return job.alloc === "none" && !facts.allocBypass && facts.priority !== PRIORITY.MIN ? ["alloc"] : [];
    case STATE.RUN:
      return facts.perilogs === 0 && !job.startPending && !isQueued(job, "prolog-start") ? ["start"] : [];
    case STATE.CLEANUP:
      return cleanupNeeds(job);
    case STATE.INACTIVE:
      return ["retire"];
    default:
      return [];
  }
}

function cleanupNeeds(job: Job): Need[] {
  const { facts } = job;
  if (job.alloc === "sent") return ["drop-alloc"];
  if (job.alloc === "queued") return ["leave-queue"];
  if (job.startPending || facts.perilogs > 0 || isQueued(job, "epilog-start")) return [];
  if (facts.hasResources) return job.freePosted ? [] : ["free"];
  return job.cleanPosted ? [] : ["clean"];
}

/** Whether an event of that name waits behind the one that is being applied. */
function isQueued(job: Job, name: string): boolean {
  for (let i = 1; i < job.inbox.length; i++) if (job.inbox[i]?.entry.name === name) return true;
  return false;
}
