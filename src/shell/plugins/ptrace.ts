// ptrace: option stop-tasks-in-exec: tasks stop before their first instruction, until they get SIGCONT (`flux job kill -s CONT`): for
// debuggers. The shell.start event then has `sync`.
import { toFluxError } from "../../message/errno.ts";
import { prepareProgram } from "../../os/spawn.ts";
import { runToExec, stoppingArgv } from "../../os/stop-in-exec.ts";
import { LOG } from "../log.ts";
import type { Plugin } from "../plugin.ts";
import type { Shell } from "../shell.ts";

export function ptracePlugin(): Plugin {
  let wanted = false;
  return {
    name: "ptrace",
    init(shell) {
      const option = shell.option("stop-tasks-in-exec");
      wanted = option === true || Number(option ?? 0) > 0;
      if (wanted) shell.eventContext["shell.start"]["sync"] = true;
    },
    taskInit(shell, task) {
      if (!wanted) return;
      const { spawn } = task;
      task.spawn = (options) => {
        // A program that isn't there is said as without us.
        prepareProgram(options.argv, options.env, options.cwd);
        const child = spawn({ ...options, argv: stoppingArgv(options.argv) });
        stopInExec(shell, child.pid, task.rank);
        return child;
      };
    },
  };
}

function stopInExec(shell: Shell, pid: number, rank: number): void {
  try {
    if (!runToExec(pid)) shell.log(LOG.error, `task ${rank} unexpectedly exited`, "ptrace");
  } catch (err) {
    shell.log(LOG.warning, `task ${rank} has stopped before its program is loaded: ${toFluxError(err).message}`, "ptrace");
  }
}
