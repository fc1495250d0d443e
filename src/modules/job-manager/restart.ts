// Restart: brings the jobs in the KVS back by replaying their eventlogs. Inactive ones are remembered; pending ones go
// on where they were; running ones get a start request with reattach once there is an execution system. A job whose
// eventlog can't be replayed is reported and left where it is.
import type { Flux } from "../../client/flux.ts";
import { STATE } from "../../client/jobs.ts";
import { parseEventlog } from "../../formats/eventlog.ts";
import { formatJobId, type JobId } from "../../formats/fluid.ts";
import { toFluxError } from "../../message/errno.ts";
import type { Core } from "./core.ts";
import { type Job, jobspecOf, newJob, queueOf } from "./job.ts";
import { type Facts, replay } from "./state.ts";
import { allJobs, type Checkpoint, readCheckpoint, readJob } from "./store.ts";
import { nextTurn } from "./turn.ts";

export interface RestartPorts {
  readonly h: Flux;
  readonly core: Core;
  /** A job that is active again; its facts are complete. */
  readonly added: (job: Job) => void;
  /** A job that was inactive already. */
  readonly remembered: (id: JobId, facts: Facts) => void;
}

/** Lookups under way at once. */
const WINDOW = 64;

/** Loads everything; resolves to the checkpoint. */
export async function restart(ports: RestartPorts): Promise<Checkpoint | undefined> {
  const { h, core } = ports;
  let count = 0;
  let window: JobId[] = [];
  const load = async (): Promise<void> => {
    const ids = window;
    window = [];
    const loaded = await Promise.all(ids.map((id) => loadJob(ports, id)));
    count += loaded.filter(Boolean).length;
    await nextTurn();
  };
  for await (const id of allJobs(h)) {
    window.push(id);
    if (window.length >= WINDOW) await load();
  }
  await load();
  if (count > 0) h.log(6, `restart: ${count} jobs`);
  const checkpoint = await readCheckpoint(h);
  if (checkpoint !== undefined && checkpoint.maxJobid > core.maxJobid) core.maxJobid = checkpoint.maxJobid;
  for (const job of [...core.active.values()]) resume(ports, job);
  if (core.running > 0) h.log(6, `restart: ${core.running} running jobs`);
  return checkpoint;
}

async function loadJob({ h, core, remembered }: RestartPorts, id: JobId): Promise<boolean> {
  try {
    const stored = await readJob(h, id);
    if (stored === undefined) throw new Error("it has no eventlog or no jobspec");
    const facts = replay(parseEventlog(stored.eventlog), stored.jobspec, stored.R);
    if (id > core.maxJobid) core.maxJobid = id;
    if (facts.state === STATE.INACTIVE) {
      core.inactive.add(id, facts);
      remembered(id, facts);
      return true;
    }
    const job = newJob(id, facts);
    job.eventlog = stored.eventlog;
    job.queue = queueOf(jobspecOf(job));
    core.add(job);
    return true;
  } catch (err) {
    h.log(3, `job ${formatJobId(id, "f58")} not replayed: ${toFluxError(err).message}`);
    return false;
  }
}

function resume({ h, core, added }: RestartPorts, job: Job): void {
  try {
    added(job);
    if (job.facts.state === STATE.SCHED) core.post(job, "flux-restart");
    else core.act(job);
  } catch (err) {
    h.log(3, `job ${formatJobId(job.id, "f58")} could not go on: ${toFluxError(err).message}`);
  }
}
