// The environment and directory of tasks: FLUX_* variables, templates in variables (option env-expand {NAME: TEMPLATE}, as --env makes
// it), and the directory that the jobspec names.
import { statSync } from "node:fs";
import { strerror, toFluxError } from "../../message/errno.ts";
import { LOG } from "../log.ts";
import type { Plugin } from "../plugin.ts";
import type { Shell } from "../shell.ts";
import { renderFor } from "../template.ts";

export function environmentPlugin(): Plugin {
  return {
    name: "environment",
    init(shell) {
      const { job, host, env } = shell;
      delete env["FLUX_PROXY_REMOTE"];
      env["FLUX_URI"] = host.uri;
      env["FLUX_KVS_NAMESPACE"] = job.namespace;
      env["FLUX_JOB_ID_PATH"] = `${host.jobidPath === "/" ? "" : host.jobidPath}/${job.f58}`;
      env["FLUX_JOB_SIZE"] = String(job.ntasks);
      env["FLUX_JOB_NNODES"] = String(job.nodes.length);
      env["FLUX_JOB_ID"] = job.f58;
      if (env["HOSTNAME"] !== undefined) env["HOSTNAME"] = host.hostname;
      shell.spawn.cwd = directoryOf(shell);
    },
    taskInit(shell, task) {
      task.env["FLUX_TASK_LOCAL_ID"] = String(task.localId);
      task.env["FLUX_TASK_RANK"] = String(task.rank);
      task.argv = task.argv.map((arg) => renderFor(shell, arg, { shellRank: shell.job.shellRank, task }));
    },
  };
}

/** The jobspec's directory, or /tmp when it is not there. */
function directoryOf(shell: Shell): string {
  const { cwd } = shell.job;
  if (cwd === undefined) return process.cwd();
  try {
    if (statSync(cwd).isDirectory()) return cwd;
    warn(shell, cwd, "Not a directory");
  } catch (err) {
    warn(shell, cwd, strerror(toFluxError(err).errno));
  }
  return "/tmp";
}

function warn(shell: Shell, cwd: string, reason: string): void {
  shell.log(LOG.error, `host ${shell.host.hostname}: Could not change dir to ${cwd}: ${reason}. Going to /tmp instead`);
}
