// oom: says when the kernel killed a task because memory ran out. Option oom.adjust=N (-1000 to 1000): whom it kills first.
import { watch, type FSWatcher } from "node:fs";
import { isJsonObject } from "../../formats/json.ts";
import { formatSize } from "../../formats/size.ts";
import { termSignal } from "../../formats/waitstatus.ts";
import { toFluxError } from "../../message/errno.ts";
import { readNumberFile } from "../../os/cgroup.ts";
import { type OomCounter, oomCounter, oomValue, setOomScoreAdj } from "../../os/oom.ts";
import { LOG } from "../log.ts";
import type { Plugin } from "../plugin.ts";
import { type Shell, ShellExit } from "../shell.ts";
import type { Task } from "../task.ts";

const SIGKILL = 9;
const ADJUST_MAX = 1000;

export function oomPlugin(): Plugin {
  let adjust: number | undefined;
  let counter: OomCounter | undefined;
  let watcher: FSWatcher | undefined;
  let seen = 0;
  let killedByUs = false;
  /** How many more processes were killed since it was asked last. */
  const news = (): number => {
    const count = counter === undefined ? undefined : readNumberFile(counter.path, counter.key);
    const more = Math.max(0, (count ?? seen) - seen);
    seen += more;
    return more;
  };
  const look = (shell: Shell): void => {
    const more = news();
    if (more > 0) shell.log(LOG.error, `Memory cgroup out of memory: killed ${more} task${more > 1 ? "s" : ""} on ${shell.host.hostname}.`, "oom");
  };
  return {
    name: "oom",
    init(shell) {
      adjust = adjustOf(shell);
      counter = oomCounter();
      if (counter === undefined) return shell.log(LOG.debug, "disabling oom detection: the kernel counts nothing", "oom");
      news();
      if (counter.own) watcher = watchFile(counter.path, () => look(shell));
      shell.log(LOG.debug, `monitoring ${counter.path}`, "oom");
    },
    taskStarted(shell, task) {
      const wanted = task.oomScoreAdj ?? adjust;
      if (wanted !== undefined && task.child !== undefined) adjustTask(shell, task.child.pid, wanted);
    },
    kill(_shell, signum) {
      killedByUs ||= signum === SIGKILL;
    },
    taskExit(shell, task) {
      if (counter?.own === true) look(shell);
      else if (!killedByUs && task.status !== undefined && termSignal(task.status) === SIGKILL && news() > 0) reportTask(shell, task);
    },
    exit() {
      watcher?.close();
    },
  };
}

function adjustOf(shell: Shell): number | undefined {
  const option = shell.option("oom") ?? {};
  if (!isJsonObject(option)) throw new ShellExit(1, `oom: invalid option oom=${JSON.stringify(option)}: there is oom.adjust`);
  const { adjust, ...others } = option;
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) throw new ShellExit(1, `oom: unknown option oom.${unknown}`);
  if (adjust === undefined) return undefined;
  if (typeof adjust !== "number" || !Number.isInteger(adjust) || Math.abs(adjust) > ADJUST_MAX) throw new ShellExit(1, "oom: oom.adjust must be a number from -1000 to 1000");
  return adjust;
}

/** A wish that cannot be granted is no reason to end the job. */
function adjustTask(shell: Shell, pid: number, wanted: number): void {
  const before = oomValue(pid, "oom_score_adj");
  let problem = "";
  try {
    setOomScoreAdj(pid, wanted);
  } catch (err) {
    problem = `: ${toFluxError(err).message}`;
  }
  shell.log(LOG.debug, `pid ${pid} score_adj ${before ?? "?"}->${wanted} score ${oomValue(pid, "oom_score") ?? "?"}${problem}`, "oom");
}

function reportTask(shell: Shell, task: Task): void {
  const peak_bytes = task.child?.usage()?.peak_bytes;
  const peak = peak_bytes === undefined ? "" : ` (memory.peak = ${formatSize(peak_bytes)})`;
  shell.log(LOG.error, `Out of memory: task ${task.rank} on ${shell.host.hostname} was killed by the kernel${peak}.`, "oom");
}

/** Undefined when the system has no watch to spare: the counter is read when tasks end. */
function watchFile(path: string, onChange: () => void): FSWatcher | undefined {
  try {
    return watch(path, { persistent: false }, onChange).on("error", () => undefined);
  } catch {
    return undefined;
  }
}
