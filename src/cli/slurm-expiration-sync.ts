// flux slurm-expiration-sync: keeps the expiration of an instance's resources that of the Slurm job around it. rc1 starts one.
import type { Flux } from "../client/flux.ts";
import { slurmExpiration_s, updateExpiration } from "../client/slurm.ts";
import { toFluxError } from "../message/errno.ts";
import { defineCommand, flag, text, UsageError, valueOr } from "./command.ts";
import { withFlux } from "./connect.ts";
import { seconds } from "./options.ts";
import { printError } from "./output.ts";

const POLL_INTERVAL_S = 60;
/** squeue tells whole seconds, and late: less is no change. */
const THRESHOLD_S = 5;

export default defineCommand({
  name: "slurm-expiration-sync",
  style: "argparse",
  summary: "keep the instance's expiration that of a Slurm job",
  usage: "--jobid=JOBID [--poll-interval=SECONDS] [-v]",
  details: `Ask squeue for the time that is left to a Slurm job, and make it that of the instance's resources, again and again:
jobs without a time limit of their own end with it, and flux job timeleft tells it. An instance that is started in a Slurm job
runs this command by itself.`,
  options: {
    jobid: text("-j, --jobid JOBID", "the Slurm job"),
    pollInterval: valueOr("--poll-interval SECONDS", `ask so often (default ${POLL_INTERVAL_S})`, seconds, POLL_INTERVAL_S),
    verbose: flag("-v, --verbose", "say when the expiration changes"),
  },
  run({ options }) {
    const { jobid, pollInterval, verbose } = options;
    if (jobid === undefined || !/^\d+$/.test(jobid)) throw new UsageError("Invalid or missing --jobid");
    const say = verbose ? printError : (): void => {};
    return withFlux((h) => follow(h, Number(jobid), pollInterval * 1000, say));
  },
});

/** Until we are told to end, or the broker ends. Rejects with FluxError when squeue can't be asked even once. */
async function follow(h: Flux, jobid: number, interval_ms: number, say: (text: string) => void): Promise<number> {
  let told_s = await tell(h, jobid, undefined, say);
  const { promise: end, resolve } = Promise.withResolvers<number>();
  const poll = async (): Promise<void> => {
    try {
      told_s = await tell(h, jobid, told_s, say);
    } catch (err) {
      printError(`slurm-expiration-sync: WARNING: ${toFluxError(err).message}`);
    }
  };
  let polling = false;
  const timer = setInterval(() => {
    if (polling) return;
    polling = true;
    void poll().then(() => (polling = false));
  }, interval_ms);
  process.once("SIGTERM", () => resolve(0)).once("SIGINT", () => resolve(0));
  h.onClose(() => resolve(0));
  const code = await end;
  clearInterval(timer);
  return code;
}

/** Resolves to what the instance knows now. */
async function tell(h: Flux, jobid: number, told_s: number | undefined, say: (text: string) => void): Promise<number> {
  const expiration_s = await slurmExpiration_s(jobid);
  if (told_s !== undefined && Math.abs(expiration_s - told_s) <= THRESHOLD_S) return told_s;
  await updateExpiration(h, expiration_s);
  say(`slurm-expiration-sync: expiration is ${expiration_s === 0 ? "unlimited" : expiration_s.toFixed(3)}`);
  return expiration_s;
}
