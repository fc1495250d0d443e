// ActiveJob: one job between the job-manager's start request and the release of its resources (RFC 32), on rank 0.
//
//   start → guest namespace, exec eventlog "init", "starting" → execution (shells, or a simulation) → started → … → complete:
//   exec eventlog "complete", response "finish" → "done", guest namespace into the primary one → response "release"
import type { Flux } from "../../client/flux.ts";
import type { Request } from "../../client/request.ts";
import { formatJobId, type JobId } from "../../formats/fluid.ts";
import { IdSet } from "../../formats/idset.ts";
import type { JsonObject } from "../../formats/json.ts";
import type { Rset } from "../../formats/rset.ts";
import { signalName } from "../../formats/signal.ts";
import { shellExitCode } from "../../formats/waitstatus.ts";
import { errno, FluxError, toFluxError } from "../../message/errno.ts";
import type { Clock, Timer } from "../../os/clock.ts";
import { jobNodes, type JobNode } from "../../shell/layout.ts";
import { eventLine } from "../../shell/protocol.ts";
import { type ExecConfig, nextKillWait_s } from "./config.ts";
import type { Guest, PrimaryWriter } from "./guest.ts";

/** How a job's tasks come about: shells on its nodes, or a simulation. */
export interface Execution {
  readonly name: "bulk-exec" | "testexec";
  /** What must be known before start(), while the namespace is made. */
  prepare?(): Promise<void>;
  start(): void;
  /** Signals all tasks. */
  kill(signum: number): void;
  /** Signals the shell processes and the process groups of their tasks. */
  killShells(signum: number): void;
  /** The module goes, and the job may be met again: true when something of it goes on meanwhile, false when it was killed. */
  leave(): boolean;
  /** Broker ranks that still have something running. */
  activeRanks(): IdSet;
  expiration?(expiration: number): void;
  /** The exec eventlog and what the shells reported first are in the KVS. */
  logged?(): void;
  readonly stats?: JsonObject;
}

export interface ExecContext {
  readonly h: Flux;
  readonly clock: Clock;
  readonly owner: number;
  /** Of `flux module debug`. */
  readonly debugFlags: () => number;
  config: ExecConfig;
  readonly primary: PrimaryWriter;
  /** Blobref of an empty directory. */
  readonly emptyRoot: string;
  readonly jobs: Map<JobId, ActiveJob>;
  /** Jobs that are being started; none rejects. */
  readonly beginning: Set<Promise<void>>;
}

export interface ActiveJob {
  readonly id: JobId;
  readonly userid: number;
  readonly jobspec: JsonObject;
  readonly R: JsonObject;
  readonly nodes: readonly JobNode[];
  readonly context: ExecContext;
  readonly reattach: boolean;
  /** When the start request came, seconds since the epoch. */
  readonly t0: number;
  readonly starttime: number;
  expirationTime: number;
  /** Shell ranks that the job cannot do without. */
  critical: IdSet;
  request: Request;
  /** Responses that wait for the exec eventlog to be in the KVS: whoever sees "start" may read it. */
  unsaid: [type: string, data: JsonObject][] | undefined;
  execution: Execution;
  guest: Guest;
  hasNamespace: boolean;
  started: boolean;
  running: boolean;
  finalizing: boolean;
  exceptionInProgress: boolean;
  /** Status that the exception says the job has. */
  exceptionStatus: number | undefined;
  waitStatus: number;
  killTimeout_s: number;
  killCount: number;
  killShellCount: number;
  timers: { expiration?: Timer | undefined; kill?: Timer | undefined; killShell?: Timer | undefined; maxKill?: Timer | undefined };
}

export function newJob(
  context: ExecContext,
  request: Request,
  what: Pick<ActiveJob, "id" | "userid" | "jobspec" | "reattach"> & { R: JsonObject; resources: Rset; guest: Guest },
  execution: (job: ActiveJob) => Execution,
): ActiveJob {
  const nodes = jobNodes(what.resources);
  const job: ActiveJob = {
    id: what.id,
    userid: what.userid,
    jobspec: what.jobspec,
    reattach: what.reattach,
    R: what.R,
    nodes,
    context,
    t0: context.clock.now_s(),
    starttime: what.resources.starttime,
    expirationTime: what.resources.expiration,
    critical: nodes.length === 0 ? new IdSet() : IdSet.range(0, nodes.length - 1),
    request,
    unsaid: [],
    execution: NOT_YET,
    guest: what.guest,
    hasNamespace: false,
    started: false,
    running: false,
    finalizing: false,
    exceptionInProgress: false,
    exceptionStatus: undefined,
    waitStatus: 0,
    killTimeout_s: context.config.killTimeout_s,
    killCount: 0,
    killShellCount: 0,
    timers: {},
  };
  job.execution = execution(job);
  return job;
}

const NOT_YET: Execution = { name: "bulk-exec", start: () => undefined, kill: () => undefined, killShells: () => undefined, leave: () => false, activeRanks: () => new IdSet() };

/** Makes the namespace, says "init" and "starting", and lets the execution begin. */
export async function beginJob(job: ActiveJob): Promise<void> {
  try {
    const prepared = job.execution.prepare?.();
    await job.guest.create();
    job.hasNamespace = true;
    await prepared;
  } catch (err) {
    const what = job.hasNamespace ? "failed to read the job's environment" : "failed to create guest namespace";
    return fatal(job, `${what}: ${toFluxError(err).message}`);
  }
  if (job.finalizing || job.exceptionInProgress) return finalize(job);
  postEvent(job, "init");
  postEvent(job, "starting");
  job.started = true;
  // A shell that hangs before its tasks run must not outlast the time limit.
  setExpiration(job);
  job.execution.start();
}

/** Adds an event to the exec eventlog. */
export function postEvent(job: ActiveJob, name: string, context?: JsonObject): void {
  job.guest.append("exec.eventlog", eventLine(job.context.clock.now_s(), name, context));
}

/** Everything runs. */
export function jobStarted(job: ActiveJob): void {
  job.running = true;
  job.guest.open();
  respond(job, job.reattach ? "reattached" : "start", {});
}

/** Nothing runs any more: `status` is the greatest wait status. */
export function jobComplete(job: ActiveJob, status: number): void {
  if (job.finalizing) return;
  job.waitStatus = Math.max(job.waitStatus, status);
  if (job.exceptionInProgress) {
    if (job.exceptionStatus !== undefined) job.waitStatus = job.exceptionStatus;
    else if (job.waitStatus === 0) job.waitStatus = 1 << 8;
  }
  job.running = false;
  postEvent(job, "complete", { status: job.waitStatus });
  respond(job, "finish", { status: job.waitStatus });
  finalize(job);
}

/** The last steps; also of a job that never started. */
function finalize(job: ActiveJob): void {
  if (job.finalizing) return;
  job.finalizing = true;
  const { clock, jobs, h } = job.context;
  for (const timer of Object.values(job.timers)) clock.clear(timer);
  const release = (): void => {
    sayAll(job);
    jobs.delete(job.id);
    respond(job, "release", { ranks: "all", final: true });
    // The job-manager takes the final release as the end of the stream.
    job.request.cancel(false);
  };
  if (!job.hasNamespace) return release();
  if (job.started) postEvent(job, "done");
  job.guest.finish().then(release, (err: unknown) => {
    h.log(3, `job ${formatJobId(job.id, "f58")}: guest namespace: ${toFluxError(err).message}`);
    release();
  });
}

/**
 * The module goes without an end of the job, which its successor is asked to reattach to. What the job has logged is kept, unless
 * it goes on.
 */
export async function leaveJob(job: ActiveJob): Promise<void> {
  const { clock, h } = job.context;
  if (job.finalizing) return;
  job.finalizing = true;
  for (const timer of Object.values(job.timers)) clock.clear(timer);
  if (job.execution.leave() || !job.hasNamespace) return;
  await job.guest.finish().catch((err: unknown) => h.log(3, `job ${formatJobId(job.id, "f58")}: guest namespace: ${toFluxError(err).message}`));
}

function respond(job: ActiveJob, type: string, data: JsonObject): void {
  if (job.unsaid !== undefined && (type === "start" || job.unsaid.length > 0)) job.unsaid.push([type, data]);
  else job.request.respond({ id: job.id, type, data });
}

function sayAll(job: ActiveJob): void {
  const { unsaid } = job;
  job.unsaid = undefined;
  for (const [type, data] of unsaid ?? []) job.request.respond({ id: job.id, type, data });
}

/** The exec eventlog is in the KVS. */
export function jobLogged(job: ActiveJob): void {
  sayAll(job);
  if (!job.finalizing) job.execution.logged?.();
}

export function raise(job: ActiveJob, type: string, severity: number, note: string): void {
  respond(job, "exception", { severity, type, note });
}

/** The job cannot go on: an exception unless there is one, and everything is killed. */
export function fatal(job: ActiveJob, note: string): void {
  if (!job.exceptionInProgress) {
    job.exceptionInProgress = true;
    raise(job, "exec", 0, note);
  }
  if (job.started) return cancelJob(job);
  finalize(job);
}

/** A severity 0 exception was raised by somebody. */
export function jobException(job: ActiveJob, waitStatus: number | undefined): void {
  if (job.finalizing) return;
  if (job.exceptionInProgress) return job.execution.kill(job.context.config.termSignal);
  job.exceptionInProgress = true;
  if (waitStatus !== undefined && waitStatus >= 0) job.exceptionStatus = shellExitCode(waitStatus) << 8;
  if (job.started) cancelJob(job);
  else if (job.hasNamespace) finalize(job);
}

function cancelJob(job: ActiveJob): void {
  if (job.timers.kill !== undefined || job.finalizing) return;
  job.execution.kill(job.context.config.termSignal);
  if (!job.finalizing) startKillTimers(job);
}

/** The kill signal to the tasks again and again; later to the shells, with growing waits; at last the nodes are given up. */
function startKillTimers(job: ActiveJob): void {
  const { clock, config } = job.context;
  const wait_ms = job.killTimeout_s * 1000;
  const killTasks = (): void => {
    job.context.h.log(7, `Sending ${signalName(config.killSignal)} to job ${formatJobId(job.id, "f58")}`);
    job.execution.kill(config.killSignal);
    job.killCount++;
    if (!job.finalizing) job.timers.kill = clock.setTimer(wait_ms, killTasks);
  };
  job.timers.kill ??= clock.setTimer(wait_ms, killTasks);
  job.timers.killShell ??= clock.setTimer(wait_ms * 5, () => killShells(job));
  if (config.maxKillTimeout_s > 0) job.timers.maxKill ??= clock.setTimer(config.maxKillTimeout_s * 1000, () => giveUp(job, "max-kill-timeout"));
}

function killShells(job: ActiveJob): void {
  const { clock, config, h } = job.context;
  h.log(7, `Sending ${signalName(config.killSignal)} to job shell for job ${formatJobId(job.id, "f58")}`);
  job.execution.killShells(config.killSignal);
  job.killShellCount++;
  clock.clear(job.timers.kill);
  if (job.finalizing) return;
  job.timers.killShell = clock.setTimer(job.killTimeout_s * 1000, () => killShells(job));
  job.killTimeout_s = nextKillWait_s(job.killTimeout_s);
  if (job.timers.maxKill === undefined && job.killShellCount >= config.maxKillCount) giveUp(job, "max kill count");
}

/** What runs cannot be ended: its nodes are drained, and the job ends without them. */
function giveUp(job: ActiveJob, limit: string): void {
  const ranks = job.execution.activeRanks();
  if (ranks.isEmpty) return;
  const id = formatJobId(job.id, "f58");
  job.context.h.log(7, `job ${id} exceeded ${limit}. Draining active ranks`);
  drain(job, ranks, `unkillable user processes for job ${id}`)
    .then(() => jobComplete(job, 1))
    .catch((err: unknown) => job.context.h.log(3, `failed to drain active ranks for ${id}: ${toFluxError(err).message}`));
}

/** Nodes that something is wrong with get no more jobs. */
export async function drain(job: ActiveJob, ranks: IdSet, reason: string): Promise<void> {
  await job.context.h.rpc("resource.drain", { targets: ranks.toString(), reason, mode: "update" }, { nodeid: 0 });
}

/** (Re)sets the timer of the time limit. */
export function setExpiration(job: ActiveJob): void {
  const { clock, config } = job.context;
  clock.clear(job.timers.expiration);
  job.timers.expiration = undefined;
  if (job.expirationTime <= 0) return;
  const lost_s = job.t0 - job.starttime;
  const late = job.starttime > 0 && (lost_s / (job.expirationTime - job.starttime)) * 100 > config.maxStartDelay_percent;
  const end = late ? job.expirationTime + lost_s : job.expirationTime;
  job.timers.expiration = clock.setTimer(Math.max(0, end - clock.now_s()) * 1000, () => {
    raise(job, "timeout", 0, "resource allocation expired");
    job.exceptionInProgress = true;
    job.execution.kill(SIGALRM);
    if (!job.finalizing) startKillTimers(job);
  });
}

const SIGALRM = 14;

/** "job-exec.expiration": EINVAL for what is no time. */
export function updateExpiration(job: ActiveJob, expiration: number): void {
  if (!(expiration >= 0)) throw new FluxError(errno.EINVAL, `invalid expiration ${expiration}`);
  job.expirationTime = expiration;
  if (job.started) setExpiration(job);
  job.execution.expiration?.(expiration);
}

/** One job in "job-exec.stats-get". */
export function describeJob(job: ActiveJob): JsonObject {
  return {
    implementation: job.execution.name,
    ns: job.guest.namespace,
    critical_ranks: job.critical.toString(),
    multiuser: job.userid === job.context.owner ? 0 : 1,
    has_namespace: job.hasNamespace ? 1 : 0,
    exception_in_progress: job.exceptionInProgress ? 1 : 0,
    started: job.started ? 1 : 0,
    running: job.running ? 1 : 0,
    finalizing: job.finalizing ? 1 : 0,
    expiration: job.expirationTime,
    kill_timeout: job.killTimeout_s,
    kill_count: job.killCount,
    kill_shell_count: job.killShellCount,
    ...job.execution.stats,
  };
}
