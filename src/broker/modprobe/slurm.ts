// An instance that is started in a Slurm job takes over its time limit, and follows it (flux-slurm-expiration-sync(1)).
import { type ModprobeContext, task } from "../../client/modprobe.ts";
import { slurmExpiration_s, updateExpiration } from "../../client/slurm.ts";
import { startInBackground } from "../../client/subprocess.ts";
import { toFluxError } from "../../message/errno.ts";
import { selfCommand } from "../../os/self.ts";
import { writeStderr } from "../../os/stderr.ts";

/** Instances in jobs of an instance have their job's expiration. */
export const slurmExpiration = task(
  "slurm-expiration-sync",
  { ranks: "0", after: ["resource"], needsEnv: ["SLURM_JOB_ID"], needsAttrs: ["!jobid"] },
  async (context) => {
    const jobid = (await context.getenv("SLURM_JOB_ID")) ?? "";
    if (!/^\d+$/.test(jobid)) return writeStderr("invalid SLURM_JOB_ID. Skipping expiration sync\n");
    // libyogrt asks Slurm otherwise.
    await context.setenv({ YOGRT_BACKEND: "flux" });
    await setFirst(context, Number(jobid));
    await startInBackground(context.handle, {
      argv: [...selfCommand(), "slurm-expiration-sync", `--jobid=${jobid}`],
      label: "slurm-sync",
    });
  },
);

/** Before jobs come: newer versions of Slurm tell us the end of the job, others must be asked. */
async function setFirst(context: ModprobeContext, jobid: number): Promise<void> {
  const end_s = Number(await context.getenv("SLURM_JOB_END_TIME"));
  try {
    await updateExpiration(context.handle, end_s > 0 ? end_s : await slurmExpiration_s(jobid));
  } catch (err) {
    context.handle.log(4, `expiration of Slurm job ${jobid}: ${toFluxError(err).message}`);
  }
}
