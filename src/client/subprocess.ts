// Subprocess: a program on any broker of the instance, over the rexec service (RFC 42).
//
//   const p = startSubprocess(h, { rank: 3, argv: ["hostname"], env, onStdout: (data) => … });
//   const status = await p.exited;            // wait status
import { decodeIo, encodeIo } from "../formats/stdio.ts";
import type { JsonObject } from "../formats/json.ts";
import { errno, FluxError } from "../message/errno.ts";
import { arr, def, dict, fields, int, obj, str, uint, unpack } from "../message/unpack.ts";
import type { Flux } from "./flux.ts";
import type { Stream } from "./stream.ts";

export interface SubprocessOptions {
  readonly argv: readonly string[];
  /** Whole environment; {} or absent: the broker's. */
  readonly env?: Readonly<Record<string, string>>;
  /** Default: the broker's. One that is not there becomes /tmp, with a message on stderr. */
  readonly cwd?: string;
  /** Broker; default: our own. */
  readonly rank?: number;
  /** Name by which it can be signalled and waited for. */
  readonly label?: string;
  /** Names of further two-way channels: the program finds a descriptor in the variable of that name. */
  readonly channels?: readonly string[];
  /** Service that runs it; default "rexec". */
  readonly service?: string;
  readonly onStarted?: (pid: number) => void;
  readonly onStdout?: (data: Uint8Array) => void;
  readonly onStderr?: (data: Uint8Array) => void;
  readonly onChannel?: (name: string, data: Uint8Array) => void;
  readonly onStopped?: () => void;
}

export interface Subprocess {
  /** Rejects when the program cannot be started: ENOENT, EACCES, EHOSTUNREACH … */
  readonly started: Promise<number>;
  /** Wait status, after all output was delivered. Rejects as `started`, and when its broker is lost. */
  readonly exited: Promise<number>;
  /** Input; resolves when there is room for more. */
  write(data: Uint8Array, stream?: string): Promise<void>;
  /** No more input. */
  end(stream?: string): void;
  /** Signals its process group. */
  kill(signum: number): Promise<void>;
  /** Kills it and forgets it. */
  cancel(): void;
}

const FLAGS = { stdout: 1, stderr: 2, channel: 4, writeCredit: 8, waitable: 16 } as const;
/** One write at most. */
const CHUNK_BYTES = 1 << 20;

interface State {
  h: Flux;
  options: SubprocessOptions;
  service: string;
  nodeid: { nodeid: number } | object;
  stream: Stream | undefined;
  matchtag: number;
  pid: number | undefined;
  status: number | undefined;
  ended: boolean;
  credit: Map<string, number>;
  waiting: (() => void)[];
  started: PromiseWithResolvers<number>;
}

/** Starts a program whose life is tied to this handle: it is killed when we go away. */
export function startSubprocess(h: Flux, options: SubprocessOptions): Subprocess {
  const state: State = {
    h,
    options,
    service: options.service ?? "rexec",
    nodeid: options.rank === undefined ? {} : { nodeid: options.rank },
    stream: undefined,
    matchtag: 0,
    pid: undefined,
    status: undefined,
    ended: false,
    credit: new Map(),
    waiting: [],
    started: Promise.withResolvers(),
  };
  state.started.promise.catch(() => undefined);
  const payload = { cmd: commandObject(options), flags: flagsOf(options), local_flags: 0 };
  state.stream = h.stream(`${state.service}.exec`, payload, state.nodeid);
  state.matchtag = state.stream.matchtag;
  const exited = follow(state);
  exited.catch(() => undefined);
  return {
    started: state.started.promise,
    exited,
    write: async (data, stream = "stdin") => write(state, stream, data),
    end: (stream = "stdin") => send(state, encodeIo({ stream, rank: options.rank ?? 0, eof: true })),
    kill: async (signum) => {
      const pid = await state.started.promise;
      await h.rpc(`${state.service}.kill`, { pid, signum }, state.nodeid);
    },
    cancel: () => state.stream?.cancel(),
  };
}

/** Starts a program that outlives us; resolves to its process id. With `waitable` its end can be asked for by endOfSubprocess. */
export async function startInBackground(h: Flux, options: SubprocessOptions & { readonly waitable?: boolean }): Promise<number> {
  const flags = options.waitable === true ? FLAGS.waitable : 0;
  const target = options.rank === undefined ? {} : { nodeid: options.rank };
  const answer = await h.rpc(`${options.service ?? "rexec"}.exec`, { cmd: commandObject(options), flags, local_flags: 0 }, target);
  return unpack(answer, { pid: int }).pid;
}

/** Who is meant: a process id, or a label. */
export type SubprocessName = number | string;

function nameObject(who: SubprocessName): JsonObject {
  return typeof who === "number" ? { pid: who } : { pid: -1, label: who };
}

/** Whose processes are meant: those of a broker, by default our own, and of a service, by default "rexec". */
export interface SubprocessPlace {
  readonly rank?: number | undefined;
  readonly service?: string;
}

export interface SubprocessInfo {
  readonly pid: number;
  readonly rank: number;
  /** "R" for one that runs, "Z" for one that has ended and is waited for. */
  readonly state: string;
  /** "" without one. */
  readonly label: string;
  readonly cmd: string;
}

export interface SubprocessEnd {
  /** Wait status. */
  readonly status: number;
  /** I/O objects (RFC 24), as much as the server has kept. */
  readonly output: readonly JsonObject[];
}

async function ask(h: Flux, method: string, payload: JsonObject, { rank, service = "rexec" }: SubprocessPlace): Promise<JsonObject> {
  return h.rpc(`${service}.${method}`, payload, rank === undefined ? {} : { nodeid: rank });
}

export async function listSubprocesses(h: Flux, place: SubprocessPlace = {}): Promise<SubprocessInfo[]> {
  const { rank, procs } = unpack(await ask(h, "list", {}, place), { rank: int, procs: arr(fields({ pid: int, cmd: str, label: str, state: str })) });
  return procs.map((info) => ({ ...info, rank }));
}

/** How a waitable background process ends, when it has. */
export async function endOfSubprocess(h: Flux, who: SubprocessName, place: SubprocessPlace = {}): Promise<SubprocessEnd> {
  return unpack(await ask(h, "wait", nameObject(who), place), { status: uint, output: def(arr(obj), []) });
}

export async function killSubprocess(h: Flux, who: SubprocessName, signum: number, place: SubprocessPlace = {}): Promise<void> {
  await ask(h, "kill", { ...nameObject(who), signum }, place);
}

function commandObject(options: SubprocessOptions): JsonObject {
  return {
    ...(options.cwd !== undefined && { cwd: options.cwd }),
    ...(options.label !== undefined && { label: options.label }),
    cmdline: [...options.argv],
    env: { ...options.env },
    opts: {},
    channels: [...(options.channels ?? [])],
  };
}

function flagsOf(options: SubprocessOptions): number {
  const stdout = options.onStdout === undefined ? 0 : FLAGS.stdout;
  const stderr = options.onStderr === undefined ? 0 : FLAGS.stderr;
  return stdout | stderr | (options.channels === undefined ? 0 : FLAGS.channel) | FLAGS.writeCredit;
}

async function follow(state: State): Promise<number> {
  try {
    for await (const response of state.stream ?? []) receive(state, response);
  } catch (err) {
    state.started.reject(err);
    throw err;
  } finally {
    state.ended = true;
    for (const wake of state.waiting.splice(0)) wake();
  }
  if (state.status === undefined) {
    const error = new FluxError(errno.EPROTO, `${state.service} ended without saying how ${state.options.argv[0]} did`);
    state.started.reject(error);
    throw error;
  }
  return state.status;
}

function receive(state: State, response: JsonObject): void {
  const { type } = unpack(response, { type: str });
  if (type === "started") {
    state.pid = unpack(response, { pid: int }).pid;
    state.options.onStarted?.(state.pid);
    state.started.resolve(state.pid);
  } else if (type === "finished") state.status = unpack(response, { status: uint }).status;
  else if (type === "stopped") state.options.onStopped?.();
  else if (type === "output") output(state.options, unpack(response, { io: obj }).io);
  else if (type === "add-credit") {
    for (const [name, bytes] of Object.entries(unpack(response, { channels: dict(uint) }).channels)) state.credit.set(name, (state.credit.get(name) ?? 0) + bytes);
    for (const wake of state.waiting.splice(0)) wake();
  }
}

function output(options: SubprocessOptions, io: JsonObject): void {
  const { stream, data } = decodeIo(io);
  if (data === undefined || data.length === 0) return;
  if (stream === "stdout") options.onStdout?.(data);
  else if (stream === "stderr") options.onStderr?.(data);
  else options.onChannel?.(stream, data);
}

async function write(state: State, stream: string, data: Uint8Array): Promise<void> {
  for (let at = 0; at < data.length; ) {
    while ((state.credit.get(stream) ?? 0) <= 0) {
      if (state.ended) throw new FluxError(errno.EPIPE, `${state.options.argv[0]} has ended`);
      const { promise, resolve } = Promise.withResolvers<void>();
      state.waiting.push(resolve);
      await Promise.race([promise, state.started.promise.then(async () => promise)]);
    }
    const credit = state.credit.get(stream) ?? 0;
    const chunk = data.subarray(at, at + Math.min(credit, CHUNK_BYTES));
    state.credit.set(stream, credit - chunk.length);
    send(state, encodeIo({ stream, rank: state.options.rank ?? 0, data: chunk }));
    at += chunk.length;
  }
}

function send(state: State, io: JsonObject): void {
  state.h.notify(`${state.service}.write`, { matchtag: state.matchtag, io }, state.nodeid);
}
