// exit-timeout and exit-on-error: when the first task has ended, the others have some time to do so too.
// Options: exit-timeout DURATION | "none" (default 30s); exit-on-error: the first task that fails ends the job at once.
import type { JsonObject } from "../../formats/json.ts";
import { formatDuration, parseDuration } from "../../formats/fsd.ts";
import { shellExitCode } from "../../formats/waitstatus.ts";
import { toFluxError } from "../../message/errno.ts";
import { int, uint } from "../../message/unpack.ts";
import type { Timer } from "../../os/clock.ts";
import { baseName } from "../job.ts";
import { LOG } from "../log.ts";
import type { Plugin } from "../plugin.ts";
import { type Shell, ShellExit } from "../shell.ts";
import { describeExit, taskExitContext } from "../task.ts";

const DEFAULT_TIMEOUT_S = 30;

export function doomPlugin(): Plugin {
  let timeout_s = DEFAULT_TIMEOUT_S;
  let onError = false;
  let done = false;
  let timer: Timer | undefined;

  const check = (shell: Shell, who: string, nth: number, code: number, status: number | undefined): void => {
    const host = shell.job.nodes[nth]?.host ?? "unknown";
    const how = status === undefined ? "" : ` (${describeExit(status)})`;
    const name = baseName(shell.job.command[0] ?? "");
    if (onError && code !== 0) {
      shell.fatal(code, `${name}: ${who} on host ${host} failed${how} and exit-on-error is set`, status);
    } else if (timeout_s !== Infinity && shell.job.ntasks > 1) {
      timer ??= shell.host.clock.setTimer(timeout_s * 1000, () => {
        shell.fatal(code, `${name}: ${who} on host ${host} exited${how} and exit-timeout=${formatDuration(timeout_s)} has expired`, status);
      });
    }
  };

  const first = (shell: Shell, context: JsonObject): void => {
    if (done) return;
    done = true;
    shell.postEvent("shell.task-exit", context);
    const status = int(context["wait_status"], "wait_status");
    const rank = uint(context["rank"], "rank");
    check(shell, `task rank ${rank}`, shell.taskmap.nodeid(rank) ?? -1, shellExitCode(status), status);
  };

  return {
    name: "task-exit",
    init(shell) {
      timeout_s = timeoutOf(shell);
      onError = shell.option("exit-on-error") !== undefined;
      if (shell.isLeader && shell.job.nodes.length > 1) shell.serve("doom", (request) => first(shell, request.payload));
    },
    taskExit(shell, task) {
      if (done) return;
      if (shell.isLeader) return first(shell, taskExitContext(task));
      done = true;
      shell.call(0, "doom", taskExitContext(task)).catch((err: unknown) => shell.h.log(LOG.debug, `job ${shell.job.f58}: doom: ${toFluxError(err).message}`));
    },
    lostShell: (shell, shellRank) => check(shell, `shell rank ${shellRank}`, shellRank, 1, undefined),
    // Whoever the shells still wait for is no task.
    tasksComplete: (shell) => shell.host.clock.clear(timer),
    exit: (shell) => shell.host.clock.clear(timer),
  };
}

function timeoutOf(shell: Shell): number {
  const option = shell.option("exit-timeout");
  if (option === undefined) return DEFAULT_TIMEOUT_S;
  if (typeof option === "number" && option >= 0) return option;
  if (typeof option === "string" && option.toLowerCase() === "none") return Infinity;
  try {
    if (typeof option === "string") return parseDuration(option);
  } catch {
    // said below
  }
  throw new ShellExit(1, "exit-timeout is not a valid Flux Standard Duration");
}
