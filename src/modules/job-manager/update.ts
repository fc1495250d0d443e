// Update: job-manager.update {id, updates: {"attributes.system.duration": 60, …}} changes the jobspec of a job that is not
// over. Plugins say which keys may be changed (job.update.KEY: jobtap/durations.ts, jobtap/update-queue.ts); the changed jobspec is
// checked like a new one unless they answer for it. A running job's expiration changes with its duration, if the
// scheduler agrees.
import type { Flux } from "../../client/flux.ts";
import type { Request } from "../../client/request.ts";
import { RUNNING } from "../../client/jobs.ts";
import { decodeJsonObject, isJsonObject, type Json, type JsonObject } from "../../formats/json.ts";
import { errno, FluxError, isErrno } from "../../message/errno.ts";
import { jobid, obj } from "../../message/unpack.ts";
import type { Job } from "./job.ts";
import type { JobManager } from "./job-manager.ts";
import { updatedJobspec } from "./state.ts";
import { nextTurn } from "./turn.ts";

const DURATION = "attributes.system.duration";
const KEY = /^attributes(\.[^.]+)+$/;
/** Keys that one request may change. */
const KEYS_MAX = 100;

export async function updateJob(m: JobManager, request: Request): Promise<void> {
  const { id, updates } = request.unpack({ id: jobid, updates: obj });
  const keys = Object.keys(updates);
  if (keys.length === 0 || keys.length > KEYS_MAX || !keys.every((key) => KEY.test(key))) {
    throw new FluxError(errno.EINVAL, "one or more jobspec updates are invalid");
  }
  const job = m.core.active.get(id);
  if (job === undefined) {
    if (m.core.inactive.has(id)) throw new FluxError(errno.EINVAL, "job is inactive");
    throw new FluxError(errno.ENOENT, "unknown job id");
  }
  if (!request.isOwner && request.userid !== job.facts.userid) throw new FluxError(errno.EPERM, "guests may only update their own jobs");
  if (job.facts.immutable && !request.isOwner) throw new FluxError(errno.EPERM, "job is immutable due to previous instance owner update");
  const { changes, isValidated, feasibility } = permitted(m, job, request, updates);
  const changed = (): JsonObject => decodeJsonObject(updatedJobspec(job.facts.jobspec, changes));
  if (!isValidated) m.jobtap.validate(job, changed());
  if (feasibility) await m.h.rpc("feasibility.check", { jobspec: changed() }, { nodeid: 0 });
  else if ((job.facts.state & RUNNING) !== 0) await askScheduler(m.h, job, changes[DURATION], m.context.clock.now_s());
  if (job.facts.closed) throw new FluxError(errno.EINVAL, "job is inactive");
  apply(m, job, request, changes, isValidated);
  // Whoever asks job-list next is to see the change.
  await nextTurn();
}

interface Permitted {
  /** What was asked for and what goes with it. */
  readonly changes: JsonObject;
  /** The plugins answer for all of it. */
  readonly isValidated: boolean;
  readonly feasibility: boolean;
}

function permitted({ jobtap }: JobManager, job: Job, { userid, rolemask }: Request, updates: JsonObject): Permitted {
  let further: Record<string, Json> = {};
  let isValidated = true;
  let feasibility = false;
  for (const [key, value] of Object.entries(updates)) {
    const answer = jobtap.update(job, key, value, { userid, rolemask });
    if (answer === undefined) throw new FluxError(errno.EINVAL, `update of ${key} not supported`);
    if (answer.validated !== true) isValidated = false;
    if (answer.feasibility === true) feasibility = true;
    further = { ...further, ...answer.updates };
  }
  return { changes: { ...updates, ...further }, isValidated, feasibility };
}

/** Who was given more than the limits allow must not change it any more: further changes would be checked against them. */
function apply(m: JobManager, job: Job, request: Request, changes: JsonObject, isValidated: boolean): void {
  if (isValidated && request.isOwner && request.userid !== job.facts.userid) m.core.post(job, "set-flags", { flags: ["immutable"] });
  m.core.post(job, "jobspec-update", changes);
  const duration = changes[DURATION];
  if ((job.facts.state & RUNNING) !== 0 && typeof duration === "number") {
    m.core.post(job, "resource-update", { expiration: expirationOf(job, duration, m.context.clock.now_s()) });
  }
}

async function askScheduler(h: Flux, job: Job, duration: Json | undefined, now_s: number): Promise<void> {
  if (typeof duration !== "number") return;
  const expiration = expirationOf(job, duration, now_s);
  try {
    await h.rpc("sched.expiration", { id: job.id, expiration }, { nodeid: 0 });
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
