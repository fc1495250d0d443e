// The plugins of a job shell, a fresh set for each job, in the order in which they are called.
import type { Plugin } from "../plugin.ts";
import type { Shell } from "../shell.ts";
import { affinityPlugin } from "./affinity.ts";
import { coprocessPlugin } from "./coprocess.ts";
import { doomPlugin } from "./doom.ts";
import { envExpandPlugin } from "./env-expand.ts";
import { environmentPlugin } from "./environment.ts";
import { filesPlugin } from "./files.ts";
import { gpubindPlugin } from "./gpubind.ts";
import { hwlocPlugin } from "./hwloc.ts";
import { initrcPlugins } from "./initrc.ts";
import { inputPlugin } from "./input.ts";
import { mpirPlugin } from "./mpir.ts";
import { oomPlugin } from "./oom.ts";
import { openmpiPlugin } from "./openmpi.ts";
import { type Output, outputPlugin } from "./output.ts";
import { pmiPlugin } from "./pmi.ts";
import { ptyPlugin } from "./pty.ts";
import { ptracePlugin } from "./ptrace.ts";
import { rexecPlugin } from "./rexec.ts";
import { rlimitPlugin } from "./rlimit.ts";
import { signalPlugin } from "./signal.ts";
import { stageInPlugin } from "./stage-in.ts";
import { sysmonPlugin } from "./sysmon.ts";
import { taskmapPlugin } from "./taskmap.ts";
import { tasksCompletePlugin } from "./tasks-complete.ts";
import { tmpdirPlugin } from "./tmpdir.ts";

export interface JobPlugins {
  readonly plugins: readonly Plugin[];
  readonly output: Output;
}

export function jobPlugins(shell: Shell): JobPlugins {
  const output = outputPlugin(shell);
  const initrc = initrcPlugins();
  const plugins = [
    initrc.outer,
    environmentPlugin(),
    tmpdirPlugin(),
    filesPlugin(),
    stageInPlugin(),
    taskmapPlugin(),
    envExpandPlugin(),
    output,
    inputPlugin(output),
    affinityPlugin(),
    gpubindPlugin(),
    hwlocPlugin(),
    rlimitPlugin(),
    oomPlugin(),
    pmiPlugin(),
    openmpiPlugin(),
    ptyPlugin(),
    ptracePlugin(),
    mpirPlugin(),
    rexecPlugin(),
    doomPlugin(),
    signalPlugin(),
    sysmonPlugin(),
    coprocessPlugin(),
    tasksCompletePlugin(),
    initrc.inner,
  ];
  return { plugins, output };
}
