// rexec: runs programs for the instance owner on any broker (RFC 42): `flux exec`, prologs, tools.
//
//   exec {cmd, flags, local_flags?}   streaming: started, output, add-credit, finished, then ENODATA; when the client goes away the process
//                                     is killed. Not streaming: one "started" response, and the process runs on by itself
//   write {matchtag, io}              input for the process of the sender's exec (or attach) request; no response
//   kill {pid | label, signum}, list {}, wait {pid | label}, attach {pid | label, flags}
import { defineModule } from "../../client/module.ts";
import { DEFERRED, type Request } from "../../client/request.ts";
import type { Methods } from "../../client/service.ts";
import type { JsonObject } from "../../formats/json.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { ROLE_LOCAL } from "../../message/roles.ts";
import { def, int, obj, uint } from "../../message/unpack.ts";
import { decodeIo } from "../../formats/stdio.ts";
import { parseCommand } from "./command.ts";
import { EXEC_FLAG, LOCAL_FLAG, startProcess, type RemoteProcess } from "./process.ts";

/** Processes of one broker at a time. */
const PROCESSES_MAX = 10_000;
const SIGTERM = 15;
const SIGKILL = 9;
/** At the module's end: from SIGTERM to SIGKILL. */
const STOP_MS = 5000;

export default defineModule({
  name: "rexec",
  async start(h, context) {
    const processes = new Set<RemoteProcess>();
    const uri = await h.attr("local-uri").catch(() => process.env["FLUX_URI"] ?? "");
    let stopping = false;

    const find = (payload: JsonObject, missing: number = errno.ENOENT): RemoteProcess => {
      const label = payload["label"];
      const pid = typeof label === "string" ? -1 : int(payload["pid"], "pid");
      for (const p of processes) if (typeof label === "string" ? p.label === label : p.pid === pid) return p;
      throw new FluxError(missing, typeof label === "string" ? `label ${label} does not belong to any subprocess` : `pid ${pid} does not belong to any subprocess`);
    };

    const admit = (request: Request): void => {
      if (context.rank === 0 && (request.rolemask & ROLE_LOCAL) === 0) throw new FluxError(errno.EPERM, "Remote rexec requests are not allowed on rank 0");
      if (request.payload["signature"] !== undefined) throw new FluxError(errno.EPERM, "flux-security support not available");
    };

    const exec = (request: Request): typeof DEFERRED => {
      admit(request);
      if (stopping) throw new FluxError(errno.ENOSYS, "subprocess server is shutting down");
      if (processes.size >= PROCESSES_MAX) throw new FluxError(errno.EAGAIN, `${PROCESSES_MAX} subprocesses run already`);
      const { cmd, flags, local_flags } = request.unpack({ cmd: obj, flags: uint, local_flags: def(uint, 0) });
      const command = parseCommand(cmd);
      checkFlags(request.isStreaming, flags, local_flags, command.channels.length);
      if (command.label !== undefined && [...processes].some((p) => p.label === command.label)) throw new FluxError(errno.EEXIST, "command label is not unique");
      const started = startProcess({
        h,
        request,
        rank: context.rank,
        command,
        flags,
        local_flags,
        uri,
        ended: (p) => processes.delete(p),
      });
      processes.add(started);
      return DEFERRED;
    };

    const write = (request: Request): void => {
      const { matchtag, io } = request.unpack({ matchtag: uint, io: obj });
      for (const p of processes) if (p.belongsTo(request.sender, matchtag)) return p.write(decodeIo(io));
    };

    const methods: Methods = {
      exec,
      write,
      kill(request) {
        admit(request);
        const p = find(request.payload, errno.ESRCH);
        if (!p.kill(request.unpack({ signum: int }).signum)) throw new FluxError(errno.ESRCH);
      },
      list: () => ({ rank: context.rank, procs: [...processes].map((p) => p.describe()) }),
      wait(request) {
        admit(request);
        find(request.payload).wait(request);
        return DEFERRED;
      },
      attach(request) {
        admit(request);
        request.requireStreaming();
        find(request.payload).attach(request, request.unpack({ flags: uint }).flags);
        return DEFERRED;
      },
    };
    await h.serve("rexec", methods);
    return {
      async stop() {
        stopping = true;
        for (const p of processes) if (p.kill(SIGTERM)) p.kill("SIGCONT");
        const timer = context.clock.setTimer(STOP_MS, () => processes.forEach((p) => p.kill(SIGKILL)));
        await Promise.all([...processes].map(async (p) => p.gone));
        context.clock.clear(timer);
      },
      stats: () => ({ processes: processes.size }),
    };
  },
});

/** What a request without streaming may not ask for, since nobody is there to get it. */
function checkFlags(streaming: boolean, flags: number, local_flags: number, channels: number): void {
  const refuse = (text: string): never => {
    throw new FluxError(errno.EINVAL, text);
  };
  if (streaming && (flags & EXEC_FLAG.waitable) !== 0) refuse("waitable flag only supported in background mode");
  if (streaming) return;
  if ((flags & EXEC_FLAG.writeCredit) !== 0) refuse("write-credit flag is not allowed in background mode");
  if ((local_flags & LOCAL_FLAG.stdioFallthrough) !== 0) refuse("stdio-fallthrough flag is not allowed in background mode");
  if (channels > 0) refuse("auxiliary channels are not allowed in background mode");
}
