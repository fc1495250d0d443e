// The environment of the broker and of the programs that it starts. What the broker's own launcher put there for it
// (PMI, the enclosing job) is not for them.
import { pathWithOurs } from "../os/self.ts";
import { LIFELINE_VARIABLE } from "./lifeline.ts";

/** Set by `flux start` to the run directory that it made: rank 0 removes it when the starter no longer can. */
export const STARTER_RUNDIR_VARIABLE = "FLUX_STARTER_RUNDIR";

/** What a broker takes out of its own environment at the beginning. */
export interface Enclosing {
  readonly uri: string | undefined;
  readonly jobid: string | undefined;
  readonly jobidPath: string | undefined;
  readonly kvsNamespace: string | undefined;
  readonly starterRundir: string | undefined;
  /** See lifeline.ts. */
  readonly lifelineFd: string | undefined;
}

const NOT_FOR_PROGRAMS = [
  /^FLUX_JOB_(ID|SIZE|NNODES|TMPDIR)$/,
  /^FLUX_ENCLOSING_ID$/,
  /^FLUX_TASK_(RANK|LOCAL_ID)$/,
  /^FLUX_(URI|KVS_NAMESPACE|PROXY_REMOTE|PMI_LIBRARY_PATH|LIFELINE_FD|LAUNCH_NOFILE)$/,
  /^PMI_/,
  /^PMIX_/,
  /^(HYDI_CONTROL_FD|MPI_LOCALNRANKS|MPI_LOCALRANKID|MPIR_CVAR_CH3_INTERFACE_HOSTNAME|OMPI_COMM_WORLD_\w+)$/,
  /^I_MPI_PMI_LIBRARY$/,
  /^SLURM_/,
  /^PALS_/,
  /^NOTIFY_SOCKET$/,
];

/** Reads and removes what tells this broker of the instance around it; puts our directory on PATH. */
export function takeEnclosing(env: NodeJS.ProcessEnv = process.env): Enclosing {
  const enclosing = {
    uri: env["FLUX_URI"],
    jobid: env["FLUX_JOB_ID"],
    jobidPath: env["FLUX_JOB_ID_PATH"],
    kvsNamespace: env["FLUX_KVS_NAMESPACE"],
    starterRundir: env[STARTER_RUNDIR_VARIABLE],
    lifelineFd: env[LIFELINE_VARIABLE],
  };
  for (const name of ["FLUX_URI", "FLUX_PROXY_REMOTE", "FLUX_KVS_NAMESPACE", "FLUX_JOB_ID_PATH", LIFELINE_VARIABLE, STARTER_RUNDIR_VARIABLE]) delete env[name];
  env["PATH"] = pathWithOurs(env["PATH"]);
  return enclosing;
}

/** The environment of the initial program, rc scripts and cleanup commands. */
export function programEnvironment(uri: string, jobid: string | undefined, env: NodeJS.ProcessEnv = process.env): Record<string, string> {
  const out: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) {
    if (value !== undefined && !NOT_FOR_PROGRAMS.some((pattern) => pattern.test(name))) out[name] = value;
  }
  out["FLUX_URI"] = uri;
  if (jobid !== undefined) out["FLUX_ENCLOSING_ID"] = jobid;
  return out;
}
