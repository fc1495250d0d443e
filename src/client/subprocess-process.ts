// RemoteProcess: one program that a client started on this broker, and what the client is told of it.
import { statSync } from "node:fs";
import type { JsonObject } from "../formats/json.ts";
import { splitCharacters, type Splitter } from "../formats/lines.ts";
import { encodeIo, type IoChunk } from "../formats/stdio.ts";
import { errno, FluxError, strerror, toFluxError } from "../message/errno.ts";
import type { FdStream } from "../os/fd-stream.ts";
import { type Child, type SpawnOptions, spawnProcess } from "../os/spawn.ts";
import type { Flux } from "./flux.ts";
import type { Request } from "./request.ts";
import type { RemoteCommand } from "./subprocess-command.ts";
import { recordSubprocess, type SubprocessRecord } from "./subprocess-record.ts";

/** Flags of an exec request. */
export const EXEC_FLAG = { stdout: 1, stderr: 2, channel: 4, writeCredit: 8, waitable: 16 } as const;
export const LOCAL_FLAG = { stdioFallthrough: 1, noSetpgrp: 2, forkExec: 4 } as const;

/** Input that may be under way; what the client is told at the start. */
export const STDIN_BUFFER_BYTES = 4 * 1024 * 1024;
/** The first descriptor after stdin, stdout and stderr. */
const FIRST_EXTRA_FD = 3;
/** Variables that belong to the server. */
const NOT_FOR_CHILDREN = ["FLUX_PROXY_REMOTE", "NOTIFY_SOCKET", "INVOCATION_ID"];

export interface ProcessOptions {
  readonly h: Flux;
  readonly request: Request;
  readonly rank: number;
  readonly command: RemoteCommand;
  readonly flags: number;
  readonly local_flags: number;
  readonly uri: string;
  /** For a command that brings none. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** It is gone, and nobody can ask for it any more. */
  readonly ended: (process: RemoteProcess) => void;
}

export interface RemoteProcess {
  readonly pid: number;
  readonly label: string | undefined;
  /** Resolves when the process is gone and its output read. */
  readonly gone: Promise<void>;
  belongsTo(sender: string, matchtag: number): boolean;
  write(io: IoChunk): void;
  kill(signal: number | string): boolean;
  describe(): JsonObject;
  /** Answers when it has ended. Throws EINVAL when it isn't waitable. */
  wait(request: Request): void;
  /** A client takes a background process over. Throws EBUSY. */
  attach(request: Request, flags: number): void;
}

interface State {
  options: ProcessOptions;
  child: Child;
  /** Who is told; undefined in the background. */
  client: Request | undefined;
  flags: number;
  status: number | undefined;
  waiter: Request | undefined;
  waitable: boolean;
  /** Of a background process. */
  record: SubprocessRecord | undefined;
  /** Streams that have ended. */
  ended: Set<string>;
  self: RemoteProcess;
}

/** Starts a program and answers the request with "started". Throws FluxError "error launching process: …". */
export function startProcess(options: ProcessOptions): RemoteProcess {
  const { request, command, flags } = options;
  const background = !request.isStreaming;
  const streams = newStreams(options);
  const { cwd, warning } = directory(command.cwd);
  const child = launch(options, streams, cwd, background);
  const waitable = (flags & EXEC_FLAG.waitable) !== 0;
  const log = options.h.log.bind(options.h);
  const state: State = {
    options,
    child,
    client: background ? undefined : request,
    flags,
    status: undefined,
    waiter: undefined,
    waitable,
    record: background ? recordSubprocess({ log, command, pid: child.pid, rank: options.rank, keepOutput: waitable }) : undefined,
    ended: new Set(),
    self: {} as RemoteProcess,
  };
  state.self = newProcess(state);
  streams.state = state;
  request.respond({ type: "started", pid: child.pid });
  if (!background) watchClient(state, request, true);
  credit(state, "stdin", STDIN_BUFFER_BYTES);
  for (const name of command.channels) credit(state, name, STDIN_BUFFER_BYTES);
  if (warning !== undefined) emit(state, "stderr", Buffer.from(`${warning}\n`));
  return state.self;
}

interface Streams {
  state: State | undefined;
  readonly splitters: Map<string, Splitter>;
}

function newStreams(options: ProcessOptions): Streams {
  const streams: Streams = { state: undefined, splitters: new Map() };
  for (const name of ["stdout", "stderr", ...options.command.channels]) {
    streams.splitters.set(
      name,
      splitCharacters((data) => {
        if (streams.state !== undefined) emit(streams.state, name, data);
      }),
    );
  }
  return streams;
}

/** The directory, or /tmp with a sentence that says so when it is not there. */
function directory(cwd: string | undefined): { cwd: string | undefined; warning: string | undefined } {
  if (cwd === undefined) return { cwd, warning: undefined };
  try {
    if (statSync(cwd).isDirectory()) return { cwd, warning: undefined };
    return { cwd: "/tmp", warning: `Could not change dir to ${cwd}: Not a directory. Going to /tmp instead` };
  } catch (err) {
    return { cwd: "/tmp", warning: `Could not change dir to ${cwd}: ${strerror(toFluxError(err).errno)}. Going to /tmp instead` };
  }
}

function launch(options: ProcessOptions, streams: Streams, cwd: string | undefined, background: boolean): Child {
  const { command, local_flags, uri } = options;
  const env: Record<string, string | undefined> = Object.keys(command.env).length > 0 ? { ...command.env } : { ...options.env };
  for (const name of NOT_FOR_CHILDREN) delete env[name];
  env["FLUX_URI"] = uri;
  command.channels.forEach((name, i) => (env[name] = String(FIRST_EXTRA_FD + i)));
  const fallthrough = (local_flags & LOCAL_FLAG.stdioFallthrough) !== 0;
  const finish = (name: string): void => {
    streams.splitters.get(name)?.end();
    if (streams.state !== undefined) endOf(streams.state, name);
  };
  const piped: Partial<SpawnOptions> = {
    stdin: background ? "null" : "pipe",
    stdout: "pipe",
    stderr: "pipe",
    onStdout: (chunk) => streams.splitters.get("stdout")?.push(chunk),
    onStderr: (chunk) => streams.splitters.get("stderr")?.push(chunk),
    onStdoutEnd: () => finish("stdout"),
    onStderrEnd: () => finish("stderr"),
  };
  try {
    return spawnProcess({
      argv: command.argv,
      env,
      ...(cwd !== undefined && { cwd }),
      ...(fallthrough ? { stdin: "inherit", stdout: "inherit", stderr: "inherit" } : piped),
      extraFds: command.channels.map((name) => ({
        onData: (chunk: Uint8Array) => streams.splitters.get(name)?.push(chunk),
        onClose: () => finish(name),
      })),
      newSession: (local_flags & LOCAL_FLAG.noSetpgrp) === 0,
    });
  } catch (err) {
    const number = toFluxError(err).errno;
    throw new FluxError(number, `error launching process: ${strerror(number)}`);
  }
}

/** The wait status, once the channels too are at their end. */
async function everythingRead(child: Child): Promise<number> {
  const { status } = await child.exited;
  await Promise.all(child.extra.map(async (stream) => stream?.closed));
  return status;
}

function newProcess(state: State): RemoteProcess {
  const { child, options } = state;
  const { command } = options;
  return {
    pid: child.pid,
    label: command.label,
    gone: everythingRead(child).then(
      (status) => finished(state, status),
      (err: unknown) => state.client?.fail(err),
    ),
    belongsTo: (sender, matchtag) => state.client?.sender === sender && state.client.matchtag === matchtag,
    write: (io) => writeInput(state, io),
    kill: (signal) => killProcess(state, signal),
    describe: () => ({ pid: child.pid, cmd: shownCommand(command.argv), label: command.label ?? "", state: state.status === undefined ? "R" : "Z" }),
    wait(request) {
      if (!state.waitable) throw new FluxError(errno.EINVAL, "process is not waitable");
      if (state.waiter !== undefined) throw new FluxError(errno.EINVAL, "process is already being waited on");
      if (state.client !== undefined) throw new FluxError(errno.EBUSY, "subprocess has a client attached");
      state.waiter = request;
      request.onCancel(() => (state.waiter = undefined));
      if (state.status !== undefined) answerWaiter(state);
    },
    attach(request, flags) {
      if (state.record === undefined) throw new FluxError(errno.EBUSY, "subprocess is not in background mode");
      if (state.client !== undefined) throw new FluxError(errno.EBUSY, "subprocess already has a client attached");
      if (state.waiter !== undefined) throw new FluxError(errno.EBUSY, "subprocess is being waited on");
      state.client = request;
      state.flags = flags;
      watchClient(state, request, false);
      request.respond({ type: "attached", pid: child.pid, cmd: command.source });
      for (const name of state.ended) sendEnd(state, name);
      if (state.status !== undefined) tellFinished(state, state.status);
    },
  };
}

/** Without its client a process is killed; one that a client has attached to goes on. */
function watchClient(state: State, request: Request, kill: boolean): void {
  request.onCancel(() => {
    state.client = undefined;
    if (kill) killProcess(state, "SIGKILL");
  });
}

function killProcess(state: State, signal: number | string): boolean {
  if (state.status !== undefined) return false;
  const alone = (state.options.local_flags & LOCAL_FLAG.noSetpgrp) !== 0;
  return alone ? state.child.kill(signal) : state.child.killGroup(signal);
}

function wants(state: State, name: string): boolean {
  if (state.client === undefined) return false;
  const flag = name === "stdout" ? EXEC_FLAG.stdout : name === "stderr" ? EXEC_FLAG.stderr : EXEC_FLAG.channel;
  return (state.flags & flag) !== 0;
}

function emit(state: State, name: string, data: Uint8Array): void {
  const { options, child, client } = state;
  if (wants(state, name)) client?.respond({ type: "output", pid: child.pid, io: encodeIo({ stream: name, rank: options.rank, data }) });
  state.record?.output(name, data);
}

function endOf(state: State, name: string): void {
  state.ended.add(name);
  state.record?.endOf(name);
  sendEnd(state, name);
}

function sendEnd(state: State, name: string): void {
  if (wants(state, name)) state.client?.respond({ type: "output", pid: state.child.pid, io: encodeIo({ stream: name, rank: state.options.rank, eof: true }) });
}

function finished(state: State, status: number): void {
  state.status = status;
  state.record?.finished(status);
  if (state.client !== undefined) return tellFinished(state, status);
  if (state.waiter !== undefined) return answerWaiter(state);
  // A waitable one stays until somebody has asked.
  if (!state.waitable) state.options.ended(state.self);
}

function tellFinished(state: State, status: number): void {
  state.client?.respond({ type: "finished", status });
  state.client?.finish();
  state.options.ended(state.self);
}

function answerWaiter(state: State): void {
  const output = state.record?.kept ?? [];
  state.waiter?.respond({ status: state.status ?? 0, ...(output.length > 0 && { output }) });
  state.options.ended(state.self);
}

function credit(state: State, name: string, bytes: number): void {
  if ((state.flags & EXEC_FLAG.writeCredit) === 0 || bytes === 0) return;
  state.client?.respond({ type: "add-credit", channels: { [name]: bytes } });
}

/** Input for a stream; what nobody reads any more is dropped, as RFC 42 lets us. */
function writeInput(state: State, { stream: name, data, eof }: IoChunk): void {
  const stream = inputOf(state, name);
  if (stream === undefined) return;
  try {
    if (data !== undefined && data.length > 0) {
      if (stream.write(data)) credit(state, name, data.length);
      else stream.drained().then(() => credit(state, name, data.length), ignoreClosed);
    }
    if (eof) stream.end();
  } catch (err) {
    if (toFluxError(err).errno !== errno.EPIPE) state.options.h.log(4, `rexec: ${name} of ${state.child.pid}: ${toFluxError(err).message}`);
  }
}

/** drained() resolves when a stream is closed: there is nothing to hear of. */
function ignoreClosed(): void {}

function inputOf(state: State, name: string): FdStream | undefined {
  if (name === "stdin") return state.child.stdin;
  const at = state.options.command.channels.indexOf(name);
  return at < 0 ? undefined : state.child.extra[at];
}

/** As lists have it: the program; of `flux`, which says little, with the subcommand. */
function shownCommand([program = "", subcommand]: readonly string[]): string {
  return program === "flux" && subcommand !== undefined ? `${program} ${subcommand}` : program;
}
