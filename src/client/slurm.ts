// An instance in a Slurm job ends when the job does: the time limit of the job is the expiration of the resources.
import { parseSlurmTime } from "../formats/slurm-time.ts";
import { errno, FluxError, isErrno, toFluxError } from "../message/errno.ts";
import { collectOutput } from "../os/spawn.ts";
import type { Flux } from "./flux.ts";

/** Of squeue, which waits for a controller that may be down. */
const SQUEUE_TIMEOUT_MS = 10_000;
/** What a squeue that was killed has started may hold its output so long. */
const LINGER_MS = 500;

/** When the job ends, in seconds since the epoch; 0: it may run for ever. Rejects with FluxError. */
export async function slurmExpiration_s(jobid: number): Promise<number> {
  const argv = ["squeue", "--noheader", `--job=${jobid}`, "-o", "%L"];
  try {
    const { status, stdout, stderr } = await collectOutput({ argv, timeout_ms: SQUEUE_TIMEOUT_MS, linger_ms: LINGER_MS });
    if (status !== 0) throw new FluxError(errno.EIO, `squeue failed: ${stderr.trim()}`);
    const left_s = parseSlurmTime(stdout.trim());
    return left_s === undefined ? 0 : Date.now() / 1000 + left_s;
  } catch (err) {
    throw isErrno(err, errno.ENOENT) ? new FluxError(errno.ENOENT, "squeue not found in PATH", { cause: err }) : toFluxError(err);
  }
}

export async function updateExpiration(h: Flux, expiration_s: number): Promise<void> {
  await h.rpc("resource.expiration-update", { expiration: expiration_s }, { nodeid: 0 });
}
