// JobSignals: what signals and keys of a terminal mean while we are attached to a job.
import type { Flux } from "../client/flux.ts";
import { cancelJob, killJob } from "../client/jobs.ts";
import type { JobId } from "../formats/fluid.ts";
import { errno, isErrno, toFluxError } from "../message/errno.ts";

/** How long a second ctrl-C or a ctrl-Z belongs to the first ctrl-C. */
const CTRL_C_WINDOW_MS = 2000;
/** Who sends one of these wants an end, also when the job has no tasks yet that get it. */
const ENDING_SIGNALS = { SIGTERM: 15, SIGHUP: 1, SIGALRM: 14 } as const;
const OTHER_SIGNALS = { SIGUSR1: 10, SIGUSR2: 12 } as const;

/**
 * Our signals become the job's; while it waits, one that is ours is canceled, and another left alone. Ctrl-C twice cancels it,
 * ctrl-C and ctrl-Z leaves it alone. Returns how to undo this.
 */
export function catchSignals(h: Flux, id: JobId, say: (text: string) => void, detach: () => void, isOurs: boolean): () => void {
  let interrupted_ms = Number.NEGATIVE_INFINITY;
  const handlers = new Map<NodeJS.Signals, () => void>();
  const on = (signal: NodeJS.Signals, run: () => void): void => {
    handlers.set(signal, run);
    process.on(signal, run);
  };
  const off = (signal: NodeJS.Signals): void => {
    const run = handlers.get(signal);
    if (run !== undefined) process.off(signal, run);
    handlers.delete(signal);
  };
  const report = (what: string) => (err: unknown) => say(`flux-job: ${what}: ${toFluxError(err).message}`);
  const onStop = (): void => {
    if (performance.now() - interrupted_ms <= CTRL_C_WINDOW_MS) return detach();
    off("SIGTSTP");
    say("flux-job: one more ctrl-Z to suspend");
  };
  on("SIGINT", () => {
    if (performance.now() - interrupted_ms <= CTRL_C_WINDOW_MS) {
      cancelJob(h, id, "interrupted by ctrl-C").catch(report("cancel"));
      return;
    }
    interrupted_ms = performance.now();
    if (!handlers.has("SIGTSTP")) on("SIGTSTP", onStop);
    say("flux-job: one more ctrl-C within 2s to cancel or ctrl-Z to detach");
  });
  const end = async (signal: string, signum: number): Promise<void> => {
    try {
      await killJob(h, id, signum);
    } catch (err) {
      if (!isErrno(err, errno.EINVAL)) throw err;
      if (!isOurs) return detach();
      await cancelJob(h, id, `interrupted by ${signal}`);
    }
  };
  for (const [signal, signum] of Object.entries(ENDING_SIGNALS)) on(signal as NodeJS.Signals, () => void end(signal, signum).catch(report("kill")));
  for (const [signal, signum] of Object.entries(OTHER_SIGNALS)) on(signal as NodeJS.Signals, () => void killJob(h, id, signum).catch(report("kill")));
  return () => {
    for (const signal of [...handlers.keys()]) off(signal);
  };
}
