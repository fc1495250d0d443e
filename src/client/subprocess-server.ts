// Subprocess server (RFC 42): runs programs for clients. Module rexec serves it on each broker, a job's shells on each of its nodes.
//
//   exec {cmd, flags, local_flags?}   streaming: started, output, add-credit, finished, then ENODATA; when the client goes away the process
//                                     is killed. Not streaming: one "started" response, and the process runs on by itself
//   write {matchtag, io}              input for the process of the sender's exec (or attach) request; no response
//   kill {pid | label, signum}, list {} -> {rank, procs: [{pid, cmd, label, state}]}, wait {pid | label} -> {status, output?},
//   attach {pid | label, flags}
import { decodeIo } from "../formats/stdio.ts";
import type { JsonObject } from "../formats/json.ts";
import { errno, FluxError } from "../message/errno.ts";
import { def, int, obj, uint } from "../message/unpack.ts";
import type { Clock } from "../os/clock.ts";
import type { Flux } from "./flux.ts";
import { DEFERRED, type Request } from "./request.ts";
import type { Answer } from "./service.ts";
import { parseCommand } from "./subprocess-command.ts";
import { EXEC_FLAG, LOCAL_FLAG, startProcess, type RemoteProcess } from "./subprocess-process.ts";
import { ProcessTable } from "./subprocess-table.ts";

export interface SubprocessServerOptions {
  readonly h: Flux;
  readonly clock: Clock;
  /** Of the broker. */
  readonly rank: number;
  /** FLUX_URI of the programs. */
  readonly uri: string;
  /** For programs that bring no environment of their own. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Throws EPERM for who may not. */
  readonly admit: (request: Request) => void;
}

export interface SubprocessServer {
  /** Of the service, by name. */
  readonly methods: Readonly<Record<"exec" | "write" | "kill" | "list" | "wait" | "attach", (request: Request) => Answer>>;
  readonly count: number;
  /** A signal to all. */
  killAll(signal: number | string): void;
  /** Takes no more, and ends those that run: SIGTERM, and SIGKILL after `limit_ms`. Resolves when all are gone. */
  stop(limit_ms: number): Promise<void>;
}

/** Processes at a time. */
const PROCESSES_MAX = 10_000;

export function subprocessServer(options: SubprocessServerOptions): SubprocessServer {
  const { h, clock, rank, uri, env, admit } = options;
  const processes = new ProcessTable();
  let stopping = false;

  const withPid = (pid: number): [string, RemoteProcess | undefined] => [`pid ${pid}`, processes.withPid(pid)];
  const find = (payload: JsonObject, missing: number): RemoteProcess => {
    const label = payload["label"];
    const [named, found] = typeof label === "string" ? [`label ${label}`, processes.withLabel(label)] : withPid(int(payload["pid"], "pid"));
    if (found === undefined) throw new FluxError(missing, `${named} does not belong to any subprocess`);
    return found;
  };

  const exec = (request: Request): typeof DEFERRED => {
    admit(request);
    if (stopping) throw new FluxError(errno.ENOSYS, "subprocess server is shutting down");
    if (processes.size >= PROCESSES_MAX) throw new FluxError(errno.EAGAIN, `${PROCESSES_MAX} subprocesses run already`);
    const { cmd, flags, local_flags } = request.unpack({ cmd: obj, flags: uint, local_flags: def(uint, 0) });
    const command = parseCommand(cmd);
    checkFlags(request.isStreaming, flags, local_flags, command.channels.length);
    if (command.label !== undefined && processes.withLabel(command.label) !== undefined) throw new FluxError(errno.EEXIST, "command label is not unique");
    const started = startProcess({ h, request, rank, command, flags, local_flags, uri, env, ended: (p) => processes.remove(p) });
    processes.add(started);
    if (request.isStreaming) processes.given(started, request.sender, request.matchtag);
    return DEFERRED;
  };

  const killAll = (signal: number | string): void => {
    for (const p of processes) p.kill(signal);
  };

  return {
    methods: {
      exec,
      write(request) {
        const { matchtag, io } = request.unpack({ matchtag: uint, io: obj });
        processes.ofClient(request.sender, matchtag)?.write(decodeIo(io));
      },
      kill(request) {
        admit(request);
        const p = find(request.payload, errno.ESRCH);
        if (!p.kill(request.unpack({ signum: int }).signum)) throw new FluxError(errno.ESRCH);
      },
      list(request) {
        admit(request);
        return { rank, procs: [...processes].map((p) => p.describe()) };
      },
      wait(request) {
        admit(request);
        find(request.payload, errno.ESRCH).wait(request);
        return DEFERRED;
      },
      attach(request) {
        admit(request);
        request.requireStreaming();
        const p = find(request.payload, errno.ENOENT);
        p.attach(request, request.unpack({ flags: uint }).flags);
        if (request.isOpen) processes.given(p, request.sender, request.matchtag);
        return DEFERRED;
      },
    },
    get count() {
      return processes.size;
    },
    killAll,
    async stop(limit_ms) {
      stopping = true;
      if (processes.size === 0) return;
      for (const p of processes) if (p.kill("SIGTERM")) p.kill("SIGCONT");
      const timer = clock.setTimer(limit_ms, () => killAll("SIGKILL"));
      await Promise.all([...processes].map(async (p) => p.gone));
      clock.clear(timer);
    },
  };
}

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
