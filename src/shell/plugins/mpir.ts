// mpir: what parallel debuggers and `flux job hostpids` ask for: which process on which host is which task.
//
//   SERVICE.proctable {}   the process table (formats/proctable.ts): of all nodes from the leader, of its own from any other shell
import { decodeProctable, encodeProctable, type ProctableEntry } from "../../formats/proctable.ts";
import { errno, FluxError } from "../../message/errno.ts";
import type { Plugin } from "../plugin.ts";
import type { Shell } from "../shell.ts";

/** The shells of a job that is about to end may not answer any more. */
const GATHER_MS = 5000;

export function mpirPlugin(): Plugin {
  return {
    name: "mpir",
    init(shell) {
      shell.serve("proctable", async () => {
        const own = tasksOf(shell);
        if (!shell.isLeader || shell.job.nodes.length === 1) return encodeProctable(own);
        const release = shell.hold();
        try {
          return encodeProctable((await gather(shell, own)).sort((a, b) => a.taskid - b.taskid));
        } finally {
          release();
        }
      });
    },
  };
}

function tasksOf({ job, tasks, host }: Shell): ProctableEntry[] {
  return tasks.map((task) => ({
    host: host.hostname,
    executable: task.argv[0] ?? "",
    taskid: task.rank,
    pid: task.child?.pid ?? -1,
    rank: job.node.brokerRank,
  }));
}

/** Throws ECANCELED when a shell does not answer. */
async function gather(shell: Shell, own: readonly ProctableEntry[]): Promise<ProctableEntry[]> {
  const { job, h } = shell;
  const others = job.nodes.slice(1).map(async ({ brokerRank }) => {
    const table = await h.rpc(`${job.service}.proctable`, {}, { nodeid: brokerRank, timeout_ms: GATHER_MS });
    return decodeProctable(table);
  });
  try {
    return [...own, ...(await Promise.all(others)).flat()];
  } catch {
    throw new FluxError(errno.ECANCELED, "a shell of the job does not answer: it may be over");
  }
}
