// tasks-complete: the leader stays until the tasks of all shells are done and their output is in, because it writes the output.
import { toFluxError } from "../../message/errno.ts";
import { uint } from "../../message/unpack.ts";
import { LOG } from "../log.ts";
import type { Plugin } from "../plugin.ts";

export function tasksCompletePlugin(): Plugin {
  let release: (() => void) | undefined;
  const missing = new Set<number>();
  const complete = (shellRank: number): void => {
    missing.delete(shellRank);
    if (missing.size === 0) release?.();
  };
  return {
    name: "tasks-complete",
    init(shell) {
      const others = shell.job.nodes.length - 1;
      if (!shell.isLeader || others === 0) return;
      for (let i = 1; i <= others; i++) missing.add(i);
      release = shell.hold();
      shell.serve("tasks-complete", (request) => complete(request.unpack({ shell_rank: uint }).shell_rank));
    },
    lostShell: (_shell, shellRank) => complete(shellRank),
    // Listed after output: what is written has arrived.
    async exit(shell) {
      if (shell.isLeader) return;
      await shell.call(0, "tasks-complete", { shell_rank: shell.job.shellRank }).catch((err: unknown) => {
        shell.h.log(LOG.debug, `job ${shell.job.f58}: tasks-complete: ${toFluxError(err).message}`);
      });
    },
  };
}
