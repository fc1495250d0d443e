// Update: job-manager.update {id, updates: {"attributes.system.duration": 60, …}} changes the jobspec of a job that is not
// over: its duration and its queue. A running job's expiration changes with its duration, if the scheduler agrees.
import type { Flux } from "../../client/flux.ts";
import type { Request } from "../../client/request.ts";
import { RUNNING } from "../../client/jobs.ts";
import { isJsonObject, type Json, type JsonObject } from "../../formats/json.ts";
import { errno, FluxError, isErrno } from "../../message/errno.ts";
import { jobid, obj } from "../../message/unpack.ts";
import type { Core } from "./core.ts";
import { type Job, jobspecOf, queueOf, systemAttribute } from "./job.ts";
import type { Queues } from "./queues.ts";
import { updatedJobspec } from "./state.ts";
import { decodeJsonObject } from "../../formats/json.ts";

export interface UpdatePorts {
  readonly h: Flux;
  readonly core: Core;
  readonly queues: Queues;
  readonly now_s: () => number;
}

const DURATION = "attributes.system.duration";
const QUEUE = "attributes.system.queue";
const CONSTRAINTS = "attributes.system.constraints";

export async function updateJob(ports: UpdatePorts, request: Request): Promise<void> {
  const { id, updates } = request.unpack({ id: jobid, updates: obj });
  if (Object.keys(updates).length === 0 || !Object.keys(updates).every((key) => /^attributes(\.[^.]+)+$/.test(key))) {
    throw new FluxError(errno.EINVAL, "one or more jobspec updates are invalid");
  }
  const job = ports.core.active.get(id);
  if (job === undefined) {
    if (ports.core.inactive.has(id)) throw new FluxError(errno.EINVAL, "job is inactive");
    throw new FluxError(errno.ENOENT, "unknown job id");
  }
  if (!request.isOwner && request.userid !== job.facts.userid) throw new FluxError(errno.EPERM, "guests may only update their own jobs");
  if (job.facts.immutable && !request.isOwner) throw new FluxError(errno.EPERM, "job is immutable due to previous instance owner update");
  const changes: Record<string, Json> = {};
  let feasibility = false;
  for (const [key, value] of Object.entries(updates)) {
    changes[key] = value;
    if (key === DURATION) checkDuration(job, request, value);
    else if (key === QUEUE) {
      Object.assign(changes, queueChange(ports.queues, job, value));
      feasibility = true;
    } else throw new FluxError(errno.EINVAL, `update of ${key} not supported`);
  }
  if (feasibility) await checkFeasibility(ports.h, job, changes);
  else if ((job.facts.state & RUNNING) !== 0) await askScheduler(ports, job, changes);
  if (job.facts.closed) throw new FluxError(errno.EINVAL, "job is inactive");
  apply(ports, job, request, changes);
}

function apply(ports: UpdatePorts, job: Job, request: Request, changes: JsonObject): void {
  if (request.isOwner && request.userid !== job.facts.userid) ports.core.post(job, "set-flags", { flags: ["immutable"] });
  ports.core.post(job, "jobspec-update", changes);
  const duration = changes[DURATION];
  if ((job.facts.state & RUNNING) !== 0 && typeof duration === "number") {
    ports.core.post(job, "resource-update", { expiration: expirationOf(job, duration, ports.now_s()) });
  }
}

function checkDuration(job: Job, request: Request, value: Json): void {
  if (typeof value !== "number") throw new FluxError(errno.EINVAL, "duration must be a number of seconds");
  if (value < 0) throw new FluxError(errno.EINVAL, "duration must not be negative");
  if ((job.facts.state & RUNNING) !== 0 && !request.isOwner) {
    throw new FluxError(errno.EINVAL, "duration update of running job requires instance owner privileges");
  }
}

/** What else changes with a job's queue: its constraints are those of the queue. */
function queueChange(queues: Queues, job: Job, value: Json): JsonObject {
  if ((job.facts.state & RUNNING) !== 0) throw new FluxError(errno.EINVAL, "update of queue for running job not supported");
  if (typeof value !== "string") throw new FluxError(errno.EINVAL, "queue must be a string");
  const jobspec = jobspecOf(job);
  const current = queueOf(jobspec);
  if (current === value) throw new FluxError(errno.EINVAL, `job queue is already set to ${value}`);
  const queue = queues.find(value);
  if (!queue.enabled) throw new FluxError(errno.EINVAL, `queue ${value} is currently disabled`);
  const constraints = systemAttribute(jobspec, "constraints");
  const expected = properties(queues.find(current).requires);
  if (JSON.stringify(isJsonObject(constraints) ? constraints : {}) !== JSON.stringify(expected)) {
    throw new FluxError(errno.EINVAL, `job appears to have non-queue constraints, unable to update queue to ${String(current)}`);
  }
  return { [CONSTRAINTS]: properties(queue.requires) };
}

const properties = (requires: readonly string[]): JsonObject => (requires.length === 0 ? {} : { properties: requires });

async function checkFeasibility(h: Flux, job: Job, changes: JsonObject): Promise<void> {
  const jobspec = decodeJsonObject(updatedJobspec(job.facts.jobspec, changes));
  await h.rpc("feasibility.check", { jobspec }, { nodeid: 0 });
}

async function askScheduler(ports: UpdatePorts, job: Job, changes: JsonObject): Promise<void> {
  const duration = changes[DURATION];
  if (typeof duration !== "number") return;
  const expiration = expirationOf(job, duration, ports.now_s());
  try {
    await ports.h.rpc("sched.expiration", { id: job.id, expiration }, { nodeid: 0 });
  } catch (err) {
    if (!isErrno(err, errno.ENOSYS)) throw new FluxError(errno.EINVAL, "scheduler refused expiration update", { cause: err });
  }
}

function expirationOf(job: Job, duration_s: number, now_s: number): number {
  if (duration_s === 0) return 0;
  const execution = job.facts.R?.["execution"];
  const starttime = isJsonObject(execution) ? execution["starttime"] : undefined;
  if (typeof starttime !== "number" || starttime <= 0) throw new FluxError(errno.EINVAL, "unable to get job starttime");
  if (starttime + duration_s <= now_s) throw new FluxError(errno.EINVAL, "requested duration places job expiration in the past");
  return starttime + duration_s;
}
