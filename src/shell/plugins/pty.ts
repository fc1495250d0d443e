// pty: tasks on terminals of their own. Option pty, or pty.{ranks IDSET | N, capture 0 | 1, interactive 0 | 1}.
//
// Each terminal is a service of the shell, SERVICE.terminus.RANK, as clients of flux-core know it. A request has a `type`:
//   attach {mode "rw" | "ro" | "wo", winsize {rows, cols}}   streaming: {type "attach"}, then {type "data", data, encoding?} …,
//                                                            at last {type "exit", message, status}
//   data {data, encoding?}   resize {winsize}   detach       from a client that is attached
// With `interactive`, the shell.init event says where the first task's terminal is (`pty`), and the task's end waits for somebody to
// have seen it. With `capture`, what the terminal shows is the task's output, too.
import { IdSet } from "../../formats/idset.ts";
import { isJsonObject, type JsonObject } from "../../formats/json.ts";
import { encodeData } from "../../formats/stdio.ts";
import { DEFERRED, type Request } from "../../client/request.ts";
import type { Answer } from "../../client/service.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { fields, opt, str, uint } from "../../message/unpack.ts";
import { type PtyChild, spawnPty } from "../../os/pty.ts";
import type { WindowSize } from "../../os/terminal.ts";
import { LOG } from "../log.ts";
import type { Plugin } from "../plugin.ts";
import { type Shell, ShellExit } from "../shell.ts";
import type { Task } from "../task.ts";

const DEFAULT_SIZE: WindowSize = { columns: 80, rows: 25 };
/** Of what a terminal shows while nobody looks, the last so much is kept for who comes. */
const UNSEEN_MAX_BYTES = 1 << 20;
/** Clients of one terminal. */
const CLIENTS_MAX = 64;
const SIGWINCH = 28;

interface PtyOption {
  readonly ranks: IdSet;
  readonly capture: boolean;
  readonly interactive: boolean;
}

export function ptyPlugin(): Plugin {
  const sessions = new Map<number, Session>();
  let option: PtyOption | undefined;
  return {
    name: "pty",
    init(shell) {
      shell.env["FLUX_TERMINUS_SESSION"] = "0";
      option = ptyOption(shell);
      if (option === undefined) return;
      for (const rank of option.ranks) sessions.set(rank, openSession(shell, rank, option));
      if (!option.interactive || !shell.isLeader) return;
      shell.eventContext["shell.init"]["pty"] = "terminus.0";
      if (option.capture) shell.eventContext["shell.init"]["capture"] = 1;
    },
    taskInit(_shell, task) {
      const session = sessions.get(task.rank);
      if (session === undefined || option === undefined) return;
      task.env["FLUX_TERMINUS_SESSION"] = String(task.rank);
      session.prepare(task, captures(option, task.rank));
    },
    taskExit(_shell, task) {
      sessions.get(task.rank)?.exited(task.status ?? 0);
    },
    kill(_shell, signum) {
      if (signum !== SIGWINCH) for (const session of sessions.values()) session.waitForNobody();
    },
    exit() {
      for (const session of sessions.values()) session.close();
    },
  };
}

function ptyOption(shell: Shell): PtyOption | undefined {
  const value = shell.option("pty");
  if (value === undefined) return undefined;
  const given: JsonObject = isJsonObject(value) ? value : {};
  const unknown = Object.keys(given).find((name) => !["ranks", "capture", "interactive"].includes(name));
  if (unknown !== undefined) throw new ShellExit(1, `invalid shell pty option: pty.${unknown} is not known`);
  const interactive = switchOf(given, "interactive") ?? false;
  const capture = switchOf(given, "capture") ?? !interactive;
  const ranks = localRanks(shell, given["ranks"] ?? (interactive ? "0" : "all"));
  if (interactive && shell.isLeader && !ranks.has(0)) {
    shell.log(LOG.warning, "adding pty to rank 0 for interactive support", "pty");
    ranks.add(0);
  }
  return { ranks, capture, interactive };
}

/** Clients come to the first task's terminal: nobody would see what others show, unless it is output. */
function captures({ capture }: PtyOption, rank: number): boolean {
  return capture || rank !== 0;
}

function switchOf(given: JsonObject, name: string): boolean | undefined {
  const value = given[name];
  if (value === undefined) return undefined;
  if (typeof value === "number" && Number.isInteger(value)) return value !== 0;
  if (typeof value === "boolean") return value;
  throw new ShellExit(1, `invalid shell pty option: pty.${name} must be 0 or 1`);
}

function localRanks(shell: Shell, ranks: unknown): IdSet {
  const local = shell.taskmap.taskids(shell.job.shellRank);
  if (ranks === "all") return local.clone();
  try {
    if (typeof ranks === "string" || typeof ranks === "number") return local.intersect(IdSet.parse(String(ranks)));
  } catch {
    // said below
  }
  throw new ShellExit(1, `invalid shell pty option: pty.ranks=${JSON.stringify(ranks)} is no set of ranks`);
}

interface PtyTerminalClient {
  readonly request: Request;
  readonly reads: boolean;
  readonly writes: boolean;
}

interface Session {
  /** Has the task start on this terminal. */
  prepare(task: Task, capture: boolean): void;
  exited(status: number): void;
  /** The end no longer waits for a client. */
  waitForNobody(): void;
  close(): void;
}

/** The terminal of one task, and who is attached to it. It holds the shell until its end is known to all of them. */
function openSession(shell: Shell, rank: number, option: PtyOption): Session {
  const { interactive } = option;
  const release = shell.hold();
  const clients = new Map<string, PtyTerminalClient>();
  const unseen: Uint8Array[] = [];
  let unseen_bytes = 0;
  let size = DEFAULT_SIZE;
  let child: PtyChild | undefined;
  let waits = interactive && rank === 0;
  let status: number | undefined;
  let closed = false;
  // What is captured is not kept a second time, unless somebody will come.
  const keeps = (interactive && rank === 0) || !captures(option, rank);

  const keep = (chunk: Uint8Array): void => {
    unseen.push(chunk);
    unseen_bytes += chunk.length;
    while (unseen_bytes > UNSEEN_MAX_BYTES) unseen_bytes -= unseen.shift()?.length ?? 0;
  };
  const show = (chunk: Uint8Array): void => {
    const readers = [...clients.values()].filter((client) => client.reads);
    if (readers.length === 0) {
      if (keeps) keep(chunk);
      return;
    }
    const payload = dataPayload(chunk);
    for (const { request } of readers) request.respond(payload);
  };
  const part = (sender: string, message: string, code: number): void => {
    const client = clients.get(sender);
    if (client === undefined) return;
    clients.delete(sender);
    client.request.respond({ type: "exit", message, status: code });
    client.request.finish();
  };
  const close = (): void => {
    if (closed) return;
    closed = true;
    for (const sender of [...clients.keys()]) part(sender, "session exiting", status ?? 0);
    release();
  };
  const checkEnd = (): void => {
    if (status !== undefined && !waits) close();
  };
  const resize = (request: Request): void => {
    const { winsize } = request.unpack({ winsize: fields({ rows: uint, cols: uint }) });
    if (winsize.rows === 0 || winsize.cols === 0) throw new FluxError(errno.EINVAL, "a terminal has at least one row and one column");
    size = { rows: winsize.rows, columns: winsize.cols };
    child?.resize(size);
  };
  const attach = (request: Request): void => {
    if (clients.has(request.sender)) throw new FluxError(errno.EEXIST, "this client is attached already");
    if (clients.size >= CLIENTS_MAX) throw new FluxError(errno.ENOSPC, `the terminal has ${CLIENTS_MAX} clients already`);
    request.requireStreaming();
    const { mode } = request.unpack({ mode: str });
    if (!["rw", "ro", "wo"].includes(mode)) throw new FluxError(errno.EPROTO, `invalid mode ${mode}`);
    if (mode === "rw") resize(request);
    const client = { request, reads: mode !== "wo", writes: mode !== "ro" };
    clients.set(request.sender, client);
    request.onCancel(() => clients.delete(request.sender));
    request.respond({ type: "attach" });
    if (!client.reads) return;
    waits = false;
    for (const chunk of unseen.splice(0)) request.respond(dataPayload(chunk));
    unseen_bytes = 0;
    checkEnd();
  };
  const type = (request: Request): void => {
    const { data, encoding } = request.unpack({ data: str, encoding: opt(str) });
    if (encoding !== undefined && encoding !== "base64") throw new FluxError(errno.EPROTO, `invalid pty data encoding: ${encoding}`);
    if (clients.get(request.sender)?.writes === true) child?.write(encoding === undefined ? data : Buffer.from(data, "base64"));
  };
  const handle = (request: Request): Answer => {
    if (request.userid !== shell.job.userid) throw new FluxError(errno.EPERM, "a terminal is for the job's user only");
    const { type: kind } = request.unpack({ type: str });
    if (kind === "attach") {
      attach(request);
      return DEFERRED;
    }
    if (!clients.has(request.sender)) throw new FluxError(errno.ENOENT, "this client is not attached");
    if (kind === "resize") resize(request);
    else if (kind === "data") type(request);
    else if (kind === "detach") part(request.sender, "Client requested detach", 0);
    else throw new FluxError(errno.ENOSYS, `unknown type of message: ${kind}`);
    return undefined;
  };
  shell.serve(`terminus.${rank}`, handle);

  return {
    prepare(task, isCaptured) {
      task.spawn = ({ argv, env, cwd, cpus, rlimits, extraFds }) => {
        child = spawnPty({
          argv,
          ...(env !== undefined && { env }),
          ...(cwd !== undefined && { cwd }),
          ...(cpus !== undefined && { cpus }),
          ...(rlimits !== undefined && { rlimits }),
          ...(extraFds !== undefined && { extraFds }),
          size,
          onData(chunk) {
            const own = chunk.slice();
            if (isCaptured) task.onStdout(own);
            show(own);
          },
        });
        const exited = child.exited.then((exit) => {
          task.onStdoutEnd();
          task.onStderrEnd();
          return exit;
        });
        return { ...child, exited };
      };
    },
    exited(code) {
      status = code;
      checkEnd();
    },
    waitForNobody() {
      waits = false;
      checkEnd();
    },
    close,
  };
}

function dataPayload(bytes: Uint8Array): JsonObject {
  return { type: "data", ...encodeData(bytes) };
}
