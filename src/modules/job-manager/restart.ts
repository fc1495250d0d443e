// Restart: brings the jobs in the KVS back. Those that the index has as inactive are remembered as they are; the others
// are replayed from their eventlogs: pending ones go on where they were, running ones get a start request with reattach
// once there is an execution system. A job whose eventlog can't be replayed is reported and left where it is.
import type { Flux } from "../../client/flux.ts";
import { FLAG, STATE } from "../../client/jobs.ts";
import { formatEventlogEntry, parseEventlog } from "../../formats/eventlog.ts";
import { formatJobId, type JobId } from "../../formats/fluid.ts";
import { toFluxError } from "../../message/errno.ts";
import type { Core } from "./core.ts";
import { type InactiveRow, inactiveRow } from "./inactive.ts";
import type { JobIndex } from "./job-index.ts";
import { type Job, jobspecOf, newJob, queueOf } from "./job.ts";
import { type Facts, replay } from "./state.ts";
import { allJobs, type Checkpoint, readCheckpoint, readJob } from "./store.ts";
import { nextTurn } from "./turn.ts";

export interface RestartPorts {
  readonly h: Flux;
  readonly core: Core;
  /** undefined where nothing outlasts the instance. */
  readonly index: { readonly index: JobIndex; readonly isValid: boolean } | undefined;
  /** What the last run saved of itself, before any job goes on. */
  readonly checkpoint: (checkpoint: Checkpoint) => void;
  /** Appends to the job's eventlog in the KVS. */
  readonly append: (id: JobId, line: string) => void;
  /** A job that is active again; its facts are complete. */
  readonly added: (job: Job) => void;
  /** A job that was inactive already. */
  readonly remembered: (id: JobId, facts: Facts) => void;
  /** The same, of which only the index was read. */
  readonly indexed: (row: InactiveRow) => void;
}

/** Lookups under way at once. */
const WINDOW = 64;

/** Loads everything, and lets the jobs go on. */
export async function restart(ports: RestartPorts): Promise<void> {
  const { h, core, index } = ports;
  const begin_ms = performance.now();
  const ids = index?.isValid ? await readIndex(ports, index.index) : allJobs(h);
  let count = core.inactive.size;
  let window: JobId[] = [];
  const load = async (): Promise<void> => {
    const loaded = await Promise.all(window.map((id) => loadJob(ports, id)));
    window = [];
    count += loaded.filter(Boolean).length;
    await nextTurn();
  };
  for await (const id of ids) {
    window.push(id);
    if (window.length >= WINDOW) await load();
  }
  await load();
  index?.index.flush();
  if (count > 0) h.log(6, `restart: ${count} jobs in ${((performance.now() - begin_ms) / 1000).toFixed(2)}s`);
  const checkpoint = await readCheckpoint(h);
  if (checkpoint !== undefined) {
    if (checkpoint.maxJobid > core.maxJobid) core.maxJobid = checkpoint.maxJobid;
    ports.checkpoint(checkpoint);
  }
  for (const job of [...core.active.values()]) resume(ports, job);
  if (core.running > 0) h.log(6, `restart: ${core.running} running jobs`);
}

/** Resolves to the ids of the jobs whose eventlogs must be read. */
function readIndex({ core, indexed }: RestartPorts, index: JobIndex): Promise<JobId[]> {
  return index.read((row) => {
    if (row.id > core.maxJobid) core.maxJobid = row.id;
    core.inactive.addRow(row);
    indexed(row);
  });
}

async function loadJob({ h, core, index, remembered, append }: RestartPorts, id: JobId): Promise<boolean> {
  try {
    const stored = await readJob(h, id);
    if (id > core.maxJobid) core.maxJobid = id;
    if (stored === undefined) {
      // A crash came between the index and the KVS: nobody was told of this job.
      index?.index.correct(id, undefined);
      if (index?.isValid) return false;
      throw new Error("it has no eventlog or no jobspec");
    }
    const events = parseEventlog(stored.eventlog);
    // A job is acknowledged when its submit event is stored: a crash may have come before the next one was.
    const { timestamp = 0 } = events.at(-1) ?? {};
    const missing = events.some(({ name }) => name === "validate") ? [] : [{ timestamp, name: "validate" }];
    const facts = replay([...events, ...missing], stored.jobspec, stored.R);
    if (facts.state === STATE.INACTIVE) {
      core.inactive.add(id, facts);
      remembered(id, facts);
      if ((facts.flags & FLAG.WAITABLE) === 0) index?.index.correct(id, inactiveRow(id, facts));
      else index?.index.submitted(id);
      return true;
    }
    index?.index.submitted(id);
    const job = newJob(id, facts);
    job.eventlog = stored.eventlog;
    for (const event of missing) {
      const line = formatEventlogEntry(event);
      job.eventlog += line;
      append(id, line);
    }
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
