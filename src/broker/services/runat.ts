// The "runat" and "shutdown" services: what runs at the end, and the request to end.
//
//   runat.push     { name, commands }      command lines for the user's shell, run at "cleanup" (flux-start(1), rc scripts)
//   shutdown.start { loglevel? }           rank 0; as a stream, { log } lines until the instance has ended
import type { Flux } from "../../client/flux.ts";
import { DEFERRED, type Request } from "../../client/request.ts";
import { LOG_LEVELS, parseLogEntry } from "../../client/log.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { arr, def, int, str } from "../../message/unpack.ts";
import type { Log } from "../log.ts";
import { type Programs, shellCommand } from "../programs.ts";

export async function serveRunat(h: Flux, programs: Programs): Promise<void> {
  await h.serve("runat", {
    push: (req) => {
      const { name, commands } = req.unpack({ name: str, commands: arr(str) });
      if (commands.length === 0) throw new FluxError(errno.EPROTO, "commands array is empty");
      if (commands.includes("")) throw new FluxError(errno.EPROTO, "cannot push an empty command line");
      for (const line of commands) programs.pushFront(name, shellCommand(line, process.env["SHELL"] ?? "/bin/bash", false));
    },
  });
}

export interface ShutdownService {
  /** The instance has ended: release who waits for that. */
  finished(): void;
}

/** `begin` throws FluxError when shutdown can't begin now. */
export async function serveShutdown(h: Flux, log: Log, begin: () => void): Promise<ShutdownService> {
  let waiting: Request | undefined;
  await h.serve("shutdown", {
    start: (req) => {
      if (waiting !== undefined) throw new FluxError(errno.EINVAL, "shutdown is already in progress");
      const { loglevel } = req.unpack({ loglevel: def(int, 3) });
      begin();
      if (!req.isStreaming) return undefined;
      waiting = req;
      const unfollow = log.follow((line) => {
        const entry = parseLogEntry(line);
        if (entry === undefined || entry.level > loglevel) return;
        req.respond({ log: `${entry.appname}.${LOG_LEVELS[entry.level]}[${entry.hostname}]: ${entry.text}\n` });
      });
      req.onCancel(unfollow);
      return DEFERRED;
    },
  });
  return { finished: () => waiting?.finish() };
}
