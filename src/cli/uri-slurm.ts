// The instance that a Slurm job runs: the scheme slurm: of `flux uri`.
//
// On a node of the job, `scontrol listpids` names its processes there. From elsewhere srun(1) runs us on its first node.
import { Hostlist } from "../formats/hostlist.ts";
import { FluxError } from "../message/errno.ts";
import { selfCommand } from "../os/self.ts";
import { type CollectedOutput, collectOutput } from "../os/spawn.ts";
import { UsageError } from "./command.ts";
import { isBroker, uriOfProcess } from "./uri-process.ts";

/** Throws UsageError. */
export async function uriOfSlurmJob(jobid: string): Promise<string> {
  if (!/^\w[\w.+-]*$/.test(jobid)) throw new UsageError(`'${jobid}' is not the id of a Slurm job`);
  const pids = await localPids(jobid);
  if (pids === undefined && process.env["SLURM_JOB_ID"] === jobid) throw new UsageError(`scontrol lists no processes of Slurm job ${jobid} here`);
  if (pids === undefined) return askFirstNode(jobid);
  const brokersFirst = [...pids.filter((pid) => isBrokerOrGone(pid)), ...pids];
  for (const pid of brokersFirst) {
    const uri = uriOrNone(pid);
    if (uri !== undefined) return uri;
  }
  throw new UsageError(`no process of Slurm job ${jobid} on this host seems to have a FLUX_URI`);
}

/** Processes that Slurm itself started first in their step: not those of instances inside. Undefined when none is on this host. */
async function localPids(jobid: string): Promise<number[] | undefined> {
  const listing = await output(["scontrol", "listpids", jobid]);
  if (listing === undefined) return undefined;
  return listing
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter(([pid = "", , , localId]) => localId === "0" && /^[1-9]\d*$/.test(pid) && Number(pid) !== process.pid)
    .map(([pid]) => Number(pid));
}

async function askFirstNode(jobid: string): Promise<string> {
  const nodes = await output(["squeue", "-h", "-o", "%N", "-j", jobid]);
  if (nodes === undefined) throw new UsageError(`unable to query nodelist for Slurm job ${jobid}`);
  const [first] = Hostlist.parse(nodes.trim());
  if (first === undefined) throw new UsageError(`empty nodelist returned for Slurm job ${jobid}`);
  const argv = ["srun", "--overlap", `--jobid=${jobid}`, "-w", first, "-n1", "-N1", ...selfCommand(), "uri", "--remote", `slurm:${jobid}`];
  const uri = await output(argv);
  if (uri === undefined) throw new UsageError(`Unable to resolve Flux URI for Slurm job ${jobid}`);
  return uri.trim();
}

/** stdout of a program that succeeds. FLUX_URI of this process must not be mistaken for that of the job. */
async function output(argv: readonly string[]): Promise<string | undefined> {
  let result: CollectedOutput;
  try {
    result = await collectOutput({ argv, env: { ...process.env, FLUX_URI: undefined } });
  } catch (err) {
    if (err instanceof FluxError) return undefined; // It is not installed.
    throw err;
  }
  return result.status === 0 ? result.stdout : undefined;
}

function isBrokerOrGone(pid: number): boolean {
  try {
    return isBroker(pid);
  } catch {
    return false;
  }
}

function uriOrNone(pid: number): string | undefined {
  try {
    return uriOfProcess(String(pid));
  } catch {
    return undefined;
  }
}
