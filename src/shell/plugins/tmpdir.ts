// FLUX_JOB_TMPDIR: a directory for the job on each node, in the broker's rundir, removed at the end of the job.
import { mkdirSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { errno, strerror, toFluxError } from "../../message/errno.ts";
import { LOG } from "../log.ts";
import type { Plugin } from "../plugin.ts";
import { type Shell, ShellExit } from "../shell.ts";

export function tmpdirPlugin(): Plugin {
  let path: string | undefined;
  return {
    name: "tmpdir",
    init(shell) {
      if (shell.env["TMPDIR"] !== undefined && makeDirectory(shell.env["TMPDIR"]) !== 0) {
        shell.log(LOG.warning, `Unable to create TMPDIR=${shell.env["TMPDIR"]}, resetting TMPDIR=/tmp`, "tmpdir");
        shell.env["TMPDIR"] = "/tmp";
      }
      path = jobDirectory(shell);
      shell.env["FLUX_JOB_TMPDIR"] = path;
    },
    async exit() {
      if (path !== undefined) await rm(path, { recursive: true, force: true });
    },
  };
}

function jobDirectory(shell: Shell): string {
  const name = `jobtmp-${shell.job.shellRank}-${shell.job.f58}`;
  let failure = 0;
  for (const parent of [shell.host.rundir, shell.env["TMPDIR"] ?? "/tmp"]) {
    const path = join(parent, name);
    failure = makeDirectory(path);
    if (failure === 0) return path;
  }
  throw new ShellExit(1, `error creating FLUX_JOB_TMPDIR: ${strerror(failure)}`);
}

/** 0, also when it is there already, or an errno. */
function makeDirectory(path: string): number {
  try {
    mkdirSync(path, { mode: 0o700 });
    return 0;
  } catch (err) {
    const number = toFluxError(err, errno.EIO).errno;
    return number === errno.EEXIST ? 0 : number;
  }
}
