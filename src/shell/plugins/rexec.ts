// rexec: runs programs of the job's user beside the tasks (RFC 42; client/subprocess-server.ts), for `flux exec --jobid` and debuggers.
// Option rexec-shutdown-timeout FSD (60s): after the tasks, they get SIGTERM, and SIGKILL so long afterwards.
//
//   SERVICE.rexec.METHOD
import { subprocessServer, type SubprocessServer } from "../../client/subprocess-server.ts";
import { parseDuration } from "../../formats/fsd.ts";
import { errno, FluxError } from "../../message/errno.ts";
import type { Plugin } from "../plugin.ts";
import { type Shell, ShellExit } from "../shell.ts";

const SHUTDOWN_S = 60;
const SIGKILL = 9;

export function rexecPlugin(): Plugin {
  let server: SubprocessServer | undefined;
  let shutdown_s = SHUTDOWN_S;
  return {
    name: "rexec",
    init(shell) {
      shutdown_s = shutdownTimeout(shell);
      server = subprocessServer({
        h: shell.h,
        clock: shell.host.clock,
        rank: shell.job.node.brokerRank,
        uri: shell.host.uri,
        env: shell.env,
        // Not even the instance owner may run programs as somebody else.
        admit: (request) => {
          if (request.userid !== shell.job.userid) throw new FluxError(errno.EPERM, "Access denied");
        },
      });
      for (const [name, run] of Object.entries(server.methods)) shell.serve(`rexec.${name}`, run);
    },
    kill(_shell, signum) {
      if (signum === SIGKILL) server?.killAll(SIGKILL);
    },
    // Debuggers' programs may need what has ended: they go on until all tasks of this node have.
    async finish() {
      await server?.stop(shutdown_s * 1000);
    },
    async exit() {
      await server?.stop(0);
    },
  };
}

function shutdownTimeout(shell: Shell): number {
  const option = shell.option("rexec-shutdown-timeout");
  if (option === undefined) return SHUTDOWN_S;
  try {
    if (typeof option === "string") return parseDuration(option);
  } catch {
    // said below
  }
  throw new ShellExit(1, `invalid rexec-shutdown-timeout: ${JSON.stringify(option)} is no Flux Standard Duration`);
}
