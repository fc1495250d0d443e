// The instance that a job of IBM Spectrum LSF runs: the scheme lsf: of `flux uri`.
//
// csm_allocation_query knows the job's nodes, and ssh(1) runs us on the first of them (lsf:JOBID?is_compute), where the first broker is
// a process with the job's id in its environment.
import { Hostlist } from "../formats/hostlist.ts";
import { isJsonObject, type Json } from "../formats/json.ts";
import { quoteWord } from "../formats/shell-words.ts";
import { FluxError } from "../message/errno.ts";
import { listProcesses } from "../os/process-tree.ts";
import { selfCommand } from "../os/self.ts";
import { collectOutput } from "../os/spawn.ts";
import { UsageError } from "./command.ts";
import { uriOfProcess, variableOf } from "./uri-process.ts";

const CSM_ALLOCATION_QUERY = "/opt/ibm/csm/bin/csm_allocation_query";

/** Throws UsageError. */
export async function uriOfLsfJob(jobid: string, isCompute: boolean): Promise<string> {
  if (!/^\d+$/.test(jobid)) throw new UsageError(`'${jobid}' is not the id of an LSF job`);
  return isCompute ? uriOfProcess(String(brokerOf(jobid))) : askNode(await firstNode(jobid), jobid);
}

function brokerOf(jobid: string): number {
  for (const { pid, name } of listProcesses()) if (name === "flux-broker-0" && hasJobId(pid, jobid)) return pid;
  throw new UsageError(`Unable to find a broker of LSF job ${jobid} on this host`);
}

function hasJobId(pid: number, jobid: string): boolean {
  try {
    return variableOf(pid, "LSB_JOBID") === jobid;
  } catch {
    return false; // Somebody else's, or gone.
  }
}

async function firstNode(jobid: string): Promise<string> {
  const answer = await run([process.env["CSM_ALLOCATION_QUERY"] ?? CSM_ALLOCATION_QUERY, "-j", jobid], jobid);
  const [first] = Hostlist.from(computeNodes(answer)).sort();
  if (first === undefined) throw new UsageError(`Unable to find a compute node attached to job ${jobid}`);
  return first;
}

function computeNodes(yaml: string): string[] {
  let answer: Json;
  try {
    answer = Bun.YAML.parse(yaml) as Json;
  } catch {
    return [];
  }
  const nodes = isJsonObject(answer) ? answer["compute_nodes"] : undefined;
  return Array.isArray(nodes) ? nodes.filter((node) => typeof node === "string") : [];
}

async function askNode(host: string, jobid: string): Promise<string> {
  const flux = process.env["FLUX_SSH_RCMD"];
  const words = [...(flux === undefined ? selfCommand() : [flux]), "uri", "--remote", `lsf:${jobid}?is_compute`];
  const uri = await run([process.env["FLUX_SSH"] ?? "ssh", host, ...words.map((word) => quoteWord(word))], jobid);
  if (uri === "") throw new UsageError(`LSF Job ${jobid} doesn't seem to have a FLUX_URI`);
  return uri;
}

/** stdout of a program that succeeds; its stderr is ours. */
async function run(argv: readonly string[], jobid: string): Promise<string> {
  try {
    const { status, stdout } = await collectOutput({ argv, stderr: "inherit" });
    return status === 0 ? stdout.trim() : "";
  } catch (err) {
    if (err instanceof FluxError) throw new UsageError(`LSF Job ${jobid} doesn't seem to have a FLUX_URI: ${err.message}`);
    throw err;
  }
}
