// tasks-complete: the leader learns when the tasks of all shells have ended, and stays until their shells have sent all their output,
// because it writes it.
//
//   SERVICE.tasks-complete {shell_rank}   to the leader: the tasks of that shell have ended
//   SERVICE.shell-done {shell_rank}       to the leader: nothing more comes from that shell
import { toFluxError } from "../../message/errno.ts";
import { uint } from "../../message/unpack.ts";
import { LOG } from "../log.ts";
import type { Plugin } from "../plugin.ts";
import type { Shell } from "../shell.ts";

export function tasksCompletePlugin(): Plugin {
  let release: (() => void) | undefined;
  const running = new Set<number>();
  const present = new Set<number>();
  const complete = (shell: Shell, shellRank: number): void => {
    if (running.delete(shellRank) && running.size === 0) shell.tasksComplete();
  };
  const done = (shell: Shell, shellRank: number): void => {
    complete(shell, shellRank);
    present.delete(shellRank);
    if (present.size === 0) release?.();
  };
  return {
    name: "tasks-complete",
    init(shell) {
      if (!shell.isLeader) return;
      shell.job.nodes.forEach((_, rank) => running.add(rank));
      if (shell.job.nodes.length === 1) return;
      for (const rank of running) if (rank !== 0) present.add(rank);
      release = shell.hold();
      shell.serve("tasks-complete", (request) => complete(shell, request.unpack({ shell_rank: uint }).shell_rank));
      shell.serve("shell-done", (request) => done(shell, request.unpack({ shell_rank: uint }).shell_rank));
    },
    tasksDone(shell) {
      if (shell.isLeader) return complete(shell, 0);
      tellLeader(shell, "tasks-complete").catch(() => undefined);
    },
    lostShell: (shell, shellRank) => done(shell, shellRank),
    // Listed after output: what is written has arrived.
    async exit(shell) {
      if (!shell.isLeader) await tellLeader(shell, "shell-done");
    },
  };
}

async function tellLeader(shell: Shell, method: string): Promise<void> {
  try {
    await shell.call(0, method, { shell_rank: shell.job.shellRank });
  } catch (err) {
    shell.h.log(LOG.debug, `job ${shell.job.f58}: ${method}: ${toFluxError(err).message}`);
  }
}
