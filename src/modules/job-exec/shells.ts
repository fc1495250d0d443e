// Shells: job-exec's work on each rank: it runs a shell for rank 0 (job-exec.shell-start), carries its reports up and orders down.
//
//   job-exec.shell-start {id, userid, shell_rank, namespace, jobspec, R}   streaming; a response for each report (shell/protocol.ts),
//        the last has phase "exited"; an error response when no shell could be started
//   job-exec.shell-control {id, type, …}    an order for the job's shell on this rank; "kill-shell" {signum} is for the process itself
//   job-exec.shell-wait, shell-report       from the shell processes
//   event shell-ID.kill {signum}            signals the tasks of job ID
import type { Flux } from "../../client/flux.ts";
import { DEFERRED, type Request } from "../../client/request.ts";
import type { Methods } from "../../client/service.ts";
import type { JobId } from "../../formats/fluid.ts";
import type { JsonObject } from "../../formats/json.ts";
import { isSignal } from "../../formats/signal.ts";
import { termSignal } from "../../formats/waitstatus.ts";
import { errno, FluxError, toFluxError } from "../../message/errno.ts";
import { int, jobid, str, uint } from "../../message/unpack.ts";
import { sendSignal } from "../../os/spawn.ts";
import { jobOrderSpec, reportSpec } from "../../shell/protocol.ts";
import { type Lease, Pool, signalGroups, type PoolOptions } from "./pool.ts";
import { Sweeper } from "./sweeper.ts";

interface ActiveShell {
  readonly id: JobId;
  readonly shellRank: number;
  readonly namespace: string;
  readonly request: Request;
  lease: Lease | undefined;
  /** Sender of the reports about it. */
  sender: string;
  /** Process groups of its tasks. */
  pids: readonly number[];
}

export interface Shells {
  readonly methods: Methods;
  readonly pool: Pool;
  /** Jobs with a shell here. */
  readonly active: number;
  stop(): Promise<void>;
}

const SIGKILL = 9;
const SIGTERM = 15;
/** After a shell was killed, its processes are looked for at once and after each of these times, though none was there. */
const SWEEPS_MS = [20, 100];
/** As long as there are some that were asked to end, they are looked for every so often, and then killed. */
const SWEEP_MS = 100;
const ASKED_MS = 5000;
const SHELL_EVENT = /^shell-(\d+)\.kill$/;

export async function startShells(h: Flux, options: PoolOptions): Promise<Shells> {
  const pool = new Pool(options);
  // What the shells give their tasks: see worker.ts.
  const sweeper = new Sweeper((await h.optionalAttr("local-uri")) ?? "");
  const active = new Map<string, ActiveShell>();

  const end = (shell: ActiveShell, report: JsonObject): void => {
    active.delete(String(shell.id));
    shell.request.respond(report);
    shell.request.finish();
  };

  const killLeft = async (namespace: string): Promise<void> => {
    for (const pid of await sweeper.find(namespace)) sendSignal(pid, SIGKILL);
  };
  const cannotSweep = (id: JobId, err: unknown): void => options.log(3, `job ${id}: cannot look for what is left of it: ${toFluxError(err).message}`);

  /**
   * Ends what the tasks of a killed shell are: it told of some, and the others are known by their environment, which one
   * that was being started gets a little later. They are asked first: a broker among them has directories to remove.
   */
  const sweep = async ({ pids, namespace }: ActiveShell): Promise<void> => {
    const { clock } = options;
    const end_ms = clock.monotonic_ms() + ASKED_MS;
    const asked = new Set<number>();
    signalGroups(pids, SIGTERM);
    for (let round = 0; clock.monotonic_ms() < end_ms; round++) {
      const left = await sweeper.find(namespace);
      if (left.length === 0 && round >= SWEEPS_MS.length) break;
      for (const pid of left) if (!asked.has(pid)) sendSignal(pid, SIGTERM);
      for (const pid of left) asked.add(pid);
      await clock.sleep(SWEEPS_MS[round] ?? SWEEP_MS);
    }
    signalGroups(pids, SIGKILL);
    await killLeft(namespace);
  };

  const start = (request: Request): typeof DEFERRED => {
    const { id, shell_rank, namespace } = request.unpack(jobOrderSpec);
    request.requireStreaming();
    if (active.has(String(id))) throw new FluxError(errno.EEXIST, `job ${id} has a shell here already`);
    const shell: ActiveShell = { id, shellRank: shell_rank, namespace, request, lease: undefined, sender: "", pids: [] };
    active.set(String(id), shell);
    request.onCancel(() => abandon(shell));
    shell.lease = pool.lease(
      { ...request.payload, type: "job" },
      {
        taken: (sender) => (shell.sender = sender),
        failed(error) {
          active.delete(String(id));
          request.fail(error);
        },
        lost(status) {
          sweep(shell)
            .catch((err: unknown) => cannotSweep(id, err))
            .finally(() => end(shell, { id, shell_rank, phase: "exited", status: termSignal(status) ?? status, lost: true }));
        },
      },
    );
    return DEFERRED;
  };

  /** Rank 0 is gone, or wants the job no more. */
  const abandon = (shell: ActiveShell): void => {
    active.delete(String(shell.id));
    if (shell.lease?.cancel() === false) shell.lease.kill(shell.pids, SIGKILL);
  };

  const signalShell = (shell: ActiveShell, signum: number): void => {
    // Before it begins, a signal is the end of it.
    if (shell.lease?.cancel() === true) end(shell, { id: shell.id, shell_rank: shell.shellRank, phase: "exited", status: (128 + signum) << 8 });
    else shell.lease?.order({ type: "kill", id: shell.id, signum });
  };

  const control = (request: Request): void => {
    const { id, type } = request.unpack({ id: jobid, type: str });
    const shell = active.get(String(id));
    if (shell === undefined) return;
    if (type === "kill") {
      const { signum } = request.unpack({ signum: int });
      signalShell(shell, signum);
      // The last means: it is for all of the job, also for what has left its task's process group and holds its output.
      if (signum === SIGKILL) killLeft(shell.namespace).catch((err: unknown) => cannotSweep(id, err));
    } else if (type === "kill-shell") {
      if (shell.lease?.cancel() === true) end(shell, { id, shell_rank: shell.shellRank, phase: "exited", status: 9 });
      else shell.lease?.kill(shell.pids, request.unpack({ signum: int }).signum);
    } else shell.lease?.order(request.payload);
  };

  const report = (request: Request): void => {
    const { id, pids, phase, last } = request.unpack(reportSpec);
    const shell = active.get(String(id));
    if (shell === undefined || shell.sender !== request.sender) return; // the job was given up meanwhile
    if (pids !== undefined) shell.pids = pids;
    if (phase !== "exited") return shell.request.respond(request.payload);
    end(shell, request.payload);
    shell.lease?.release(!last);
  };

  const wait = (request: Request): typeof DEFERRED => {
    request.requireStreaming();
    pool.join(request, request.unpack({ pid: uint }).pid);
    return DEFERRED;
  };

  const subscription = await h.subscribe("shell-", ({ topic, payload }) => {
    const id = SHELL_EVENT.exec(topic)?.[1];
    const shell = id === undefined ? undefined : active.get(id);
    if (shell === undefined) return;
    const { signum } = payload;
    const number = typeof signum === "number" && Number.isInteger(signum) ? signum : undefined;
    if (number !== undefined && isSignal(number)) signalShell(shell, number);
    // The shell tells the job what is wrong with it.
    else shell.lease?.order({ type: "kill", id: shell.id, ...(number !== undefined && { signum: number }) });
  });

  return {
    methods: { "shell-start": start, "shell-control": control, "shell-wait": wait, "shell-report": report },
    pool,
    get active() {
      return active.size;
    },
    async stop() {
      subscription.unsubscribe().catch(() => undefined);
      await pool.stop();
      const left = [...active.values()];
      active.clear();
      await Promise.all(left.map(sweep));
    },
  };
}
