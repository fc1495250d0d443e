// job-exec: runs jobs (RFC 32). On every rank it keeps shell processes and runs them for rank 0; on rank 0 it serves the job-manager.
//
//   start {id, userid, jobspec, R, reattach}      from the job-manager: responses start, finish, release, exception
//   critical-ranks {id, ranks}, expiration {id, expiration}, override {event, jobid, status}
//   shell-start, shell-control, shell-wait, shell-report      among ourselves and our shells: shells.ts
//   event job-exception, shell-ID.kill
import { availableParallelism } from "node:os";
import type { Flux } from "../../client/flux.ts";
import { defineModule, type ModuleContext, type ModuleDefinition } from "../../client/module.ts";
import { DEFERRED, type Request } from "../../client/request.ts";
import { allowUser, type Methods } from "../../client/service.ts";
import { blobrefOf, isHashName } from "../../formats/blobref.ts";
import { formatJobId } from "../../formats/fluid.ts";
import { IdSet } from "../../formats/idset.ts";
import type { JsonObject } from "../../formats/json.ts";
import { Rset } from "../../formats/rset.ts";
import { dirObject, encodeTreeobj } from "../../formats/treeobj.ts";
import { errno, FluxError, toFluxError } from "../../message/errno.ts";
import { bool, def, int, jobid, num, obj, opt, str, uint } from "../../message/unpack.ts";
import { selfCommand } from "../../os/self.ts";
import { spawnProcess } from "../../os/spawn.ts";
import { bulkExecution } from "./bulkexec.ts";
import { describeConfig, type ExecConfig, parseExecConfig, vainSettings } from "./config.ts";
import { openGuest, primaryWriter } from "./guest.ts";
import { type ActiveJob, beginJob, describeJob, type ExecContext, jobException, jobLogged, leaveJob, newJob, updateExpiration } from "./job.ts";
import type { StartShell } from "./pool.ts";
import { startShells, type Shells } from "./shells.ts";
import { simulatedGuest, testConfig, testExecution, type TestExecution } from "./testexec.ts";

/** Brokers of small instances start a shell before there is a job, this long after the module was loaded. */
const WARM_MS = 250;
const WARM_SIZE_MAX = 8;

export interface JobExecOptions {
  /** How a shell process is started; default: ourselves, `flux shell`. */
  readonly startShell?: (h: Flux) => Promise<StartShell>;
}

export function createJobExec(options: JobExecOptions = {}): ModuleDefinition {
  return defineModule({
    name: "job-exec",
    async start(h, context) {
      let config = parseExecConfig(context.config, context.args);
      const warnOfVain = (table: JsonObject): void => {
        // The others have the same configuration.
        if (context.rank === 0) for (const text of vainSettings(table)) h.log(4, text);
      };
      warnOfVain(context.config);
      const keep = (): number => config.poolSize ?? Math.max(2, availableParallelism());
      const shells = await startShells(h, {
        clock: context.clock,
        start: await (options.startShell ?? ownShell)(h),
        keep,
        jobsMax: () => config.shellJobsMax,
        log: (level, text) => h.log(level, text),
      });
      const leader = context.rank === 0 ? await startLeader(h, context, config) : undefined;
      await h.serve("job-exec", { ...shells.methods, ...leader?.methods });
      if (leader !== undefined) {
        await h.rpc("job-manager.exec-hello", { service: "job-exec" });
        // Jobs that ran before came with the answer: whoever finds this module loaded finds them running.
        await leader.begun();
      }
      const warm = context.size <= WARM_SIZE_MAX && config.poolSize !== 0;
      const timer = warm ? context.clock.setTimer(WARM_MS, () => shells.pool.warm(1)).unref() : undefined;
      return {
        async stop() {
          context.clock.clear(timer);
          await leader?.stop();
          await shells.stop();
        },
        stats: () => ({ ...describeConfig(config), jobs: leader?.describeJobs() ?? {}, pool: shells.pool.stats, "bulk-exec": describeShells(shells) }),
        reconfigure(table) {
          config = parseExecConfig(table, context.args);
          warnOfVain(table);
          leader?.reconfigure(config);
        },
      };
    },
  });
}

export default createJobExec();

function describeShells(shells: Shells): JsonObject {
  return { active: shells.active };
}

/** `flux shell` with the broker's environment, its socket, and nothing else. */
async function ownShell(h: Flux): Promise<StartShell> {
  const uri = (await h.optionalAttr("local-uri")) ?? "";
  return () => spawnProcess({ argv: [...selfCommand(), "shell"], env: { ...process.env, FLUX_URI: uri }, cwd: "/", stdin: "null", stdout: "inherit", stderr: "inherit", newSession: true });
}

/** `flux module debug --set 1 job-exec`, for tests: expirations of jobs can't be changed. */
const DEBUG_FAIL_EXPIRATION = 1;

interface Leader {
  readonly methods: Methods;
  /** Resolves when all jobs that are there now have been started, or refused. */
  begun(): Promise<void>;
  describeJobs(): JsonObject;
  reconfigure(config: ExecConfig): void;
  stop(): Promise<void>;
}

/** Rank 0's part: the jobs of the instance. */
async function startLeader(h: Flux, moduleContext: ModuleContext, config: ExecConfig): Promise<Leader> {
  const hash = (await h.optionalAttr("content.hash")) ?? "sha1";
  const context: ExecContext = {
    h,
    clock: moduleContext.clock,
    debugFlags: moduleContext.debugFlags,
    owner: moduleContext.owner,
    config,
    primary: primaryWriter(h),
    emptyRoot: blobrefOf(Buffer.from(encodeTreeobj(dirObject())), isHashName(hash) ? hash : "sha1"),
    jobs: new Map(),
    beginning: new Set(),
  };
  const subscription = await h.subscribe("job-exception", ({ payload }) => {
    const { id, severity, wait_status } = readException(payload);
    const job = context.jobs.get(id);
    if (severity === 0 && job !== undefined) jobException(job, wait_status);
  });
  return {
    methods: leaderMethods(context),
    async begun() {
      await Promise.all(context.beginning);
    },
    describeJobs: () => Object.fromEntries([...context.jobs.values()].map((job) => [formatJobId(job.id, "f58"), describeJob(job)])),
    reconfigure(changed) {
      context.config = changed;
    },
    async stop() {
      await subscription.unsubscribe();
      await Promise.all([...context.jobs.values()].map(leaveJob));
    },
  };
}

function readException(payload: JsonObject): { id: bigint; severity: number; wait_status: number | undefined } {
  return { id: jobid(payload["id"], "id"), severity: int(payload["severity"], "severity"), wait_status: opt(int)(payload["wait_status"], "wait_status") };
}

function leaderMethods(context: ExecContext): Methods {
  return {
    start: (request) => start(context, request),
    "critical-ranks": allowUser((request) => {
      const { id, ranks } = request.unpack({ id: jobid, ranks: str });
      const job = jobOf(context, id);
      request.requireOwnerOrUser(job.userid);
      job.critical = parseRanks(ranks);
    }),
    expiration(request) {
      const { id, expiration } = request.unpack({ id: jobid, expiration: num });
      if ((context.debugFlags() & DEBUG_FAIL_EXPIRATION) !== 0) throw new FluxError(errno.EINVAL, "the time limit is not changed: module debug flag 1 is set");
      updateExpiration(jobOf(context, id), expiration);
      context.h.log(7, `updated expiration of ${formatJobId(id, "f58")} to ${expiration.toFixed(2)}`);
    },
    override: allowUser((request) => {
      const { event, jobid: id, status } = request.unpack({ event: str, jobid: jobid, status: def(int, 0) });
      const job = context.jobs.get(id);
      if (job === undefined || job.execution.name !== "testexec") throw new FluxError(errno.ENOENT, "Job not found");
      if (request.userid !== job.userid) throw new FluxError(errno.EPERM, "Permission denied");
      (job.execution as TestExecution).override(event, status);
    }),
  };
}

function jobOf(context: ExecContext, id: bigint): ActiveJob {
  const job = context.jobs.get(id);
  if (job === undefined) throw new FluxError(errno.ENOENT);
  return job;
}

function parseRanks(ranks: string): IdSet {
  try {
    return IdSet.parse(ranks);
  } catch (err) {
    throw new FluxError(errno.EINVAL, toFluxError(err).message);
  }
}

function start(context: ExecContext, request: Request): typeof DEFERRED {
  const { id, userid, jobspec, R, reattach } = request.unpack({ id: jobid, userid: uint, jobspec: obj, R: obj, reattach: def(bool, false) });
  const known = context.jobs.get(id);
  if (known !== undefined) return resume(known, request, reattach);
  try {
    const job = makeJob(context, request, { id, userid, jobspec, R, reattach });
    context.jobs.set(id, job);
    const beginning = beginJob(job).catch((err: unknown) => context.h.log(3, `job ${formatJobId(id, "f58")}: ${toFluxError(err).message}`));
    context.beginning.add(beginning);
    void beginning.finally(() => context.beginning.delete(beginning));
  } catch (err) {
    // Only this job is at fault: an error response would end the whole protocol.
    refuse(request, id, toFluxError(err).message);
  }
  return DEFERRED;
}

function refuse(request: Request, id: bigint, note: string): void {
  request.respond({ id, type: "exception", data: { severity: 0, type: "exec", note } });
  request.respond({ id, type: "release", data: { ranks: "all", final: true } });
  request.cancel(false);
}

/** The job-manager was reloaded and asks again for a job that we still run. */
function resume(job: ActiveJob, request: Request, reattach: boolean): typeof DEFERRED {
  if (!reattach) throw new FluxError(errno.EEXIST, `job ${formatJobId(job.id, "f58")} is started already`);
  job.request = request;
  if (job.running) request.respond({ id: job.id, type: "reattached", data: {} });
  return DEFERRED;
}

function makeJob(context: ExecContext, request: Request, what: { id: bigint; userid: number; jobspec: JsonObject; R: JsonObject; reattach: boolean }): ActiveJob {
  const { id, userid, jobspec, reattach } = what;
  const resources = Rset.parse(what.R);
  const test = testConfig(jobspec);
  const onError = (err: unknown): void => context.h.log(3, `job ${formatJobId(id, "f58")}: ${toFluxError(err).message}`);
  const onLogged = (): void => {
    const job = context.jobs.get(id);
    if (job !== undefined) jobLogged(job);
  };
  if (test !== undefined) {
    if (userid !== context.owner && !context.config.testexecGuests) throw new FluxError(errno.EPERM, "guests may not use test exec implementation");
    const guest = simulatedGuest(what, context.primary, context.clock, { error: onError, logged: onLogged });
    return newJob(context, request, { ...what, resources, guest }, (job) => testExecution(job, test));
  }
  if (userid !== context.owner) throw new FluxError(errno.EPERM, "jobs of guests need a privileged helper (exec.imp), which is not configured");
  if (reattach) throw new FluxError(errno.ENOSYS, "reattach to running job is not implemented: its shells ended with the job-exec that started them");
  const { h, clock, primary, emptyRoot } = context;
  const guest = openGuest({ h, clock, id, userid, primary, emptyRoot, onError, onLogged });
  return newJob(context, request, { ...what, resources, guest }, bulkExecution);
}
