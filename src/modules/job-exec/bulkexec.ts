// Bulkexec: a job as shells, one on each of its nodes, started by the job-exec of that node's broker (shells.ts).
import type { Stream } from "../../client/stream.ts";
import { kvsGetText } from "../../client/kvs.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { IdSet } from "../../formats/idset.ts";
import { formatDuration } from "../../formats/fsd.ts";
import { formatJobId, jobKvsPath } from "../../formats/fluid.ts";
import { decodeJsonObject, isJsonObject, type JsonObject } from "../../formats/json.ts";
import { describeSignal } from "../../formats/signal.ts";
import { unwrap } from "../../formats/signature.ts";
import { shellExitCode, termSignal } from "../../formats/waitstatus.ts";
import { errno, FluxError, toFluxError } from "../../message/errno.ts";
import { def, num, obj, problemOf, unpack } from "../../message/unpack.ts";
import type { Timer } from "../../os/clock.ts";
import { reportSpec } from "../../shell/protocol.ts";
import { type ActiveJob, drain, type Execution, fatal, jobComplete, jobStarted, postEvent, raise } from "./job.ts";

interface JobShell {
  readonly shellRank: number;
  readonly brokerRank: number;
  readonly host: string;
  stream: Stream | undefined;
  ready: boolean;
  running: boolean;
  /** Wait status, when it is gone. */
  status: number | undefined;
}

export function bulkExecution(job: ActiveJob): Execution {
  const { h, clock } = job.context;
  const settings = jobSettings(job);
  const shells: JobShell[] = job.nodes.map((node, shellRank) => ({
    shellRank,
    brokerRank: node.brokerRank,
    host: node.host,
    stream: undefined,
    ready: false,
    running: false,
    status: undefined,
  }));
  const many = shells.length > 1;
  let nReady = 0;
  let nRunning = 0;
  let nGone = 0;
  /** The first that was gone before all were ready, when nobody had ended the job. */
  let culprit: JobShell | undefined;
  /** One was gone before all were ready: the others have been told to end. */
  let isEnding = false;
  let atStart: string | undefined;
  let barrierTimer: Timer | undefined;
  let exitTimer: Timer | undefined;

  const order = (shell: JobShell, what: JsonObject): void => {
    if (shell.status === undefined) h.notify("job-exec.shell-control", { id: job.id, ...what }, { nodeid: shell.brokerRank });
  };

  const ready = (shell: JobShell): void => {
    if (shell.ready) return;
    shell.ready = true;
    if (++nReady === 1 && many) startBarrierTimer();
    if (nReady < shells.length) {
      if (isEnding) order(shell, { type: "go" });
      return;
    }
    clock.clear(barrierTimer);
    jobStarted(job);
    if (many) for (const each of shells) order(each, { type: "go" });
  };

  const startBarrierTimer = (): void => {
    const { barrierTimeout_s } = settings;
    if (barrierTimeout_s > 0) barrierTimer = clock.setTimer(barrierTimeout_s * 1000, () => barrierExpired(job, shells));
  };

  const running = (shell: JobShell): void => {
    if (shell.running) return;
    shell.running = true;
    ready(shell);
    if (++nRunning === shells.length && atStart !== undefined) job.guest.append("exec.eventlog", atStart);
  };

  const gone = (shell: JobShell, status: number): void => {
    if (shell.status !== undefined) return;
    shell.status = status;
    nGone++;
    if (shell.shellRank === 0) leaderGone(shell, status);
    if (many && nReady < shells.length) beforeBarrier(shell);
    const signum = termSignal(status);
    if (signum !== undefined) processGone(shell, describeSignal(signum));
    if (nGone < shells.length) return;
    clock.clear(barrierTimer);
    clock.clear(exitTimer);
    jobComplete(job, endStatus());
  };

  /** The highest; but when not all were ready, those that were ended because another failed have nothing to say. */
  const endStatus = (): number => {
    const failures = shells.filter((shell) => shell === culprit || (nReady < shells.length && shellExitCode(shell.status ?? 0) <= ENDED_BY_SIGNAL));
    const highest = (some: readonly JobShell[]): number => some.reduce((most, { status = 0 }) => Math.max(most, status), 0);
    return highest(failures) || highest(shells);
  };

  const leaderGone = (shell: JobShell, status: number): void => {
    const active = activeRanks();
    const more = active.isEmpty ? {} : { active_ranks: active.toString() };
    postEvent(job, "shell-exit", { rank: shell.brokerRank, wait_status: status, ...more });
    const timeout_s = job.context.config.shellExitTimeout_s;
    if (active.isEmpty || timeout_s <= 0 || job.exceptionInProgress) return;
    exitTimer = clock.setTimer(timeout_s * 1000, () => {
      const left = activeRanks();
      const what = `rank${left.count > 1 ? "s" : ""} ${left.toString()}`;
      fatal(job, `job shells still active on ${hostsOf(shells, left)} (${what}) ${formatDuration(timeout_s)} after leader shell exit`);
    });
  };

  /** A shell that ends before all are ready would let the others wait for ever. Those that will be ready get their go then. */
  const beforeBarrier = (shell: JobShell): void => {
    if (isEnding) return;
    isEnding = true;
    if (!job.exceptionInProgress) {
      culprit = shell;
      fatal(job, `${shell.host} (ranks ${shell.brokerRank}) terminated before first barrier`);
    }
    for (const each of shells) order(each, { type: "kill", signum: job.context.config.termSignal });
    for (const each of shells) if (each.ready && !each.running) order(each, { type: "go" });
  };

  const processGone = (shell: JobShell, how: string): void => {
    const text = `shell rank ${shell.shellRank} (on ${shell.host}): ${how}`;
    if (shell.shellRank === 0) fatal(job, text);
    else lost(shell, text);
  };

  /** A shell process that ends by itself has said how its job went: only what runs in it can end it before. */
  const exited = (shell: JobShell, status: number): void => {
    processGone(shell, `its process ended with exit code ${shellExitCode(status)} before the job was over: a file that runs in it (userrc, initrc) must not call process.exit()`);
    gone(shell, status === 0 ? 1 << 8 : status);
  };

  /** The leader must know, since it waits for what this shell would have said. */
  const lost = (shell: JobShell, text: string): void => {
    const critical = job.critical.has(shell.shellRank);
    if (!critical) raise(job, "node-failure", SEVERITY_CRIT, text);
    const leader = shells[0];
    const severity = critical ? 0 : SEVERITY_CRIT;
    if (leader !== undefined) order(leader, { type: "lost-shell", shell_rank: shell.shellRank, severity, message: critical ? text : "" });
  };

  const failed = (shell: JobShell, error: FluxError): void => {
    const { host, brokerRank, shellRank } = shell;
    if (error.errno === errno.EHOSTUNREACH) {
      const critical = job.critical.has(shellRank);
      if (shellRank !== 0) lost(shell, `node failure on ${host} (shell rank ${shellRank})`);
      if (critical || shellRank === 0) fatal(job, `node failure on ${host} (rank ${brokerRank})`);
    } else if (error.errno === errno.ENOSYS) fatal(job, `job-exec service is not loaded on ${host} (rank ${brokerRank})`);
    else fatal(job, `job shell exec error on broker ${host} (rank ${brokerRank}): ${error.message}`);
    gone(shell, 1 << 8);
  };

  const report = (shell: JobShell, payload: JsonObject): void => {
    const { phase, status = 0, append, at_start, lost: isLost } = unpack(payload, reportSpec);
    if (at_start !== undefined) atStart = at_start;
    for (const key of ["exec.eventlog", "output", "input"] as const) {
      const text = append?.[key];
      if (text !== undefined && phase !== "exited") job.guest.append(key, text);
    }
    if (phase === "ready") ready(shell);
    else if (phase === "running") running(shell);
    for (const key of ["exec.eventlog", "output", "input"] as const) {
      const text = append?.[key];
      if (text !== undefined && phase === "exited") job.guest.append(key, text);
    }
    if (phase !== "exited") return;
    if (!many && nReady === 0) ready(shell);
    if (isLost && termSignal(status) === undefined) exited(shell, status);
    else gone(shell, status);
  };

  const activeRanks = (): IdSet => IdSet.from(shells.filter((shell) => shell.status === undefined).map((shell) => shell.brokerRank));

  const follow = async (shell: JobShell, stream: Stream): Promise<void> => {
    try {
      for await (const payload of stream) report(shell, payload);
      if (shell.status === undefined) gone(shell, 1 << 8);
    } catch (err) {
      if (shell.status === undefined) failed(shell, toFluxError(err));
    }
  };

  let jobspec = job.jobspec;

  return {
    name: "bulk-exec",
    async prepare() {
      jobspec = await withEnvironment(job);
    },
    start() {
      const { id, userid, R } = job;
      for (const shell of shells) {
        const payload = { id, userid, shell_rank: shell.shellRank, namespace: job.guest.namespace, jobspec, R };
        shell.stream = h.stream("job-exec.shell-start", payload, { nodeid: shell.brokerRank });
        follow(shell, shell.stream).catch((err: unknown) => h.log(3, `job ${job.id}: ${toFluxError(err).message}`));
      }
    },
    kill(signum) {
      for (const shell of shells) order(shell, { type: "kill", signum });
    },
    leave() {
      this.killShells(SIGKILL);
      return false;
    },
    killShells(signum) {
      for (const shell of shells) order(shell, { type: "kill-shell", signum });
    },
    expiration(expiration) {
      for (const shell of shells) order(shell, { type: "expiration", expiration });
    },
    logged() {
      const [leader] = shells;
      if (leader !== undefined) order(leader, { type: "logged" });
    },
    activeRanks,
    get stats() {
      return { total_shells: shells.length, active_shells: shells.length - nGone, active_ranks: activeRanks().toString() };
    },
  };
}

/** What attributes.system.exec.bulkexec of the jobspec sets. Throws FluxError EINVAL. */
function jobSettings(job: ActiveJob): { barrierTimeout_s: number } {
  const exec = systemOf(job.jobspec)["exec"];
  const table = isJsonObject(exec) ? (exec["bulkexec"] ?? {}) : {};
  try {
    const known = obj(table, "bulkexec");
    const unknown = Object.keys(known).find((key) => !SETTINGS.includes(key));
    if (unknown !== undefined) throw new FluxError(errno.EINVAL, `there is no setting ${unknown}`);
    return { barrierTimeout_s: unpack(known, { "barrier-timeout": def(num, job.context.config.barrierTimeout_s) })["barrier-timeout"] };
  } catch (err) {
    throw new FluxError(errno.EINVAL, `failed to unpack system.exec.bulkexec: ${problemOf(err)}`, { cause: err });
  }
}

/** flux-core takes "service", too, and makes nothing of it; its others are for tests of its own. */
const SETTINGS = ["barrier-timeout", "service"];

/** The jobspec with its environment, which only the submission as it was signed holds (RFC 16: J). */
async function withEnvironment(job: ActiveJob): Promise<JsonObject> {
  const signed = unwrap(await kvsGetText(job.context.h, jobKvsPath(job.id, "J")));
  const environment = systemOf(decodeJsonObject(Buffer.from(signed.payload).toString()))["environment"];
  if (environment === undefined) return job.jobspec;
  const attributes = { ...attributesOf(job.jobspec), system: { ...systemOf(job.jobspec), environment } };
  return { ...job.jobspec, attributes };
}

function attributesOf(jobspec: JsonObject): JsonObject {
  const attributes = jobspec["attributes"];
  return isJsonObject(attributes) ? attributes : {};
}

function systemOf(jobspec: JsonObject): JsonObject {
  const system = attributesOf(jobspec)["system"];
  return isJsonObject(system) ? system : {};
}

const SIGKILL = 9;
/** Exit codes above this are 128 and the number of a signal. */
const ENDED_BY_SIGNAL = 128;
/** Severity of an exception that is critical but not fatal. */
const SEVERITY_CRIT = 2;

function hostsOf(shells: readonly JobShell[], ranks: IdSet): string {
  return Hostlist.from(shells.filter((shell) => ranks.has(shell.brokerRank)).map((shell) => shell.host)).toString();
}

/** A node that starts no shell while others do may hang. */
function barrierExpired(job: ActiveJob, shells: readonly JobShell[]): void {
  const late = IdSet.from(shells.filter((shell) => !shell.ready).map((shell) => shell.brokerRank));
  const id = formatJobId(job.id, "f58");
  drain(job, late, `job ${id} start timeout: possible node hang`).catch((err: unknown) =>
    job.context.h.log(3, `failed to drain ranks ${late.toString()} for ${id}: ${toFluxError(err).message}`),
  );
  fatal(job, `start barrier timeout waiting for ${late.count}/${shells.length} nodes (rank${late.count > 1 ? "s" : ""} ${late.toString()})`);
}
