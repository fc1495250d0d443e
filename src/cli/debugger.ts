// Parallel debuggers: `flux run` and `flux job attach` are the process in which they look for a job's tasks (MPIR), and run a debugger's
// own program on each node of the job (through SERVICE.rexec).
import { basename } from "node:path";
import type { Flux } from "../client/flux.ts";
import { killJob, STATE } from "../client/jobs.ts";
import { startSubprocess } from "../client/subprocess.ts";
import type { JobId } from "../formats/fluid.ts";
import { decodeProctable } from "../formats/proctable.ts";
import { describeSignal } from "../formats/signal.ts";
import { exitCode, termSignal } from "../formats/waitstatus.ts";
import { errno, isErrno, toFluxError } from "../message/errno.ts";
import { fields, int, opt, str, unpack } from "../message/unpack.ts";
import { openMpir } from "../os/mpir.ts";
import { UsageError } from "./command.ts";
import { printError } from "./output.ts";

export interface DebugRequest {
  /** Nobody is there to let the tasks go on. */
  readonly emulate: boolean;
}

/** Tells a debugger that looks, or will look, that we take part. Throws FluxError ENOENT when we can't. */
export function requestDebugging(emulate: boolean): DebugRequest {
  openMpir().setDebugged();
  return { emulate };
}

/** Whether a debugger has said that it is there. */
export function isBeingDebugged(): boolean {
  try {
    return openMpir().isDebugged;
  } catch {
    return false; // built without the interface
  }
}

/** Throws UsageError for a job that is over. */
export async function requireDebuggable(h: Flux, id: JobId, word: string): Promise<void> {
  let answer;
  try {
    answer = await h.rpc("job-list.list-id", { id, attrs: ["state", "exception_note"] });
  } catch (err) {
    throw isErrno(err, errno.ENOENT) ? new UsageError(`Failed to attach to ${word}: No such job`) : err;
  }
  const { state, exception_note } = unpack(answer, { job: fields({ state: int, exception_note: opt(str) }) }).job;
  if (state <= STATE.RUN) return;
  if (exception_note !== undefined) printError(`flux-job: job.exception ${word}: ${exception_note}`);
  throw new UsageError("cannot debug job that has finished running");
}

export interface StartedTasks {
  readonly service: string;
  readonly leaderRank: number;
  /** They wait for SIGCONT. */
  readonly stopped: boolean;
}

/** All tasks run: a debugger gets their table, and its program on each node if it has one. */
export async function showTasks(h: Flux, id: JobId, { service, leaderRank, stopped }: StartedTasks, { emulate }: DebugRequest): Promise<void> {
  const table = decodeProctable(await h.rpc(`${service}.proctable`, {}, { nodeid: leaderRank }));
  const mpir = openMpir();
  if (mpir.tool !== undefined) for (const rank of new Set(table.map((entry) => entry.rank))) launchTool(h, service, rank, mpir.tool);
  mpir.show(String(id), table);
  // A debugger ignores it for those to which it has attached; the others may go on.
  if (stopped || emulate) await killJob(h, id, SIGCONT);
}

const SIGCONT = 18;

function launchTool(h: Flux, service: string, rank: number, argv: readonly string[]): void {
  const say = (text: string): void => printError(`flux-job: MPIR: rank ${rank}: ${basename(argv[0] ?? "")}: ${text}`);
  const lines =
    (stream: string) =>
    (data: Uint8Array): void => {
      for (const line of Buffer.from(data).toString().split("\n")) if (line !== "") say(`${stream}: ${line}`);
    };
  const { FLUX_PROXY_REMOTE: _, ...env } = process.env as Record<string, string>;
  const tool = startSubprocess(h, { argv, env, cwd: process.cwd(), rank, service: `${service}.rexec`, onStdout: lines("stdout"), onStderr: lines("stderr") });
  tool.exited.then(
    (status) => {
      const signal = termSignal(status);
      if (signal !== undefined) say(describeSignal(signal));
      else if (status !== 0) say(`Exit ${exitCode(status)}`);
    },
    (err: unknown) => say(toFluxError(err).message),
  );
}
