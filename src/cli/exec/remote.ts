// A process on another broker, by the subprocess server protocol (RFC 42): "SERVICE.exec" streams what becomes of it,
// "SERVICE.write" feeds its stdin within the credit that the server gives, "SERVICE.kill" signals it.
import type { Flux } from "../../client/flux.ts";
import type { Stream } from "../../client/stream.ts";
import type { JsonObject } from "../../formats/json.ts";
import { decodeIo, encodeIo } from "../../formats/stdio.ts";
import { FluxError } from "../../message/errno.ts";
import { dict, int, obj, opt, str, unpack } from "../../message/unpack.ts";

/** Which streams the server sends, and that it gives credit for stdin. */
const FLAG_STDOUT = 1;
const FLAG_STDERR = 2;
const FLAG_WRITE_CREDIT = 8;
const FLAG_WAITABLE = 16;

export interface RemoteCommand {
  readonly cmdline: readonly string[];
  readonly cwd: string | undefined;
  readonly env: Readonly<Record<string, string>>;
  readonly label: string | undefined;
}

/** A process that runs already: its pid, or the label it was given. */
export type AttachTarget = { readonly pid: number } | { readonly label: string };

export interface RemoteEvents {
  started(process: RemoteProcess): void;
  output(process: RemoteProcess, stream: string, data: Uint8Array, eof: boolean): void;
  credit(process: RemoteProcess): void;
}

export interface RemoteProcess {
  readonly rank: number;
  readonly pid: number | undefined;
  /** Bytes that its stdin takes now. */
  readonly credit_bytes: number;
  /** It has not ended, as far as we know. */
  readonly isRunning: boolean;
  /** The wait status, or why it never ran. */
  readonly ended: Promise<number | FluxError>;
  write(data: Uint8Array | undefined): void;
  kill(signal: number): Promise<void>;
}

function cmdObject(command: RemoteCommand): JsonObject {
  const { cmdline, cwd, env, label } = command;
  return {
    ...(cwd === undefined ? {} : { cwd }),
    ...(label === undefined ? {} : { label }),
    cmdline,
    env,
    opts: {},
    channels: [],
    msgchan: [],
  };
}

/** Starts a process that goes on when we leave; resolves to its pid. */
export async function startBackground(h: Flux, service: string, rank: number, command: RemoteCommand, waitable: boolean): Promise<number> {
  const request = { cmd: cmdObject(command), flags: waitable ? FLAG_WAITABLE : 0, local_flags: 0 };
  return unpack(await h.rpc(`${service}.exec`, request, { nodeid: rank }), { pid: int }).pid;
}

export function startProcess(h: Flux, service: string, rank: number, command: RemoteCommand, events: RemoteEvents): RemoteProcess {
  const request = { cmd: cmdObject(command), flags: FLAG_STDOUT | FLAG_STDERR | FLAG_WRITE_CREDIT, local_flags: 0 };
  return follow(h, service, rank, h.stream(`${service}.exec`, request, { nodeid: rank }), events);
}

export function attachProcess(h: Flux, service: string, rank: number, target: AttachTarget, events: RemoteEvents): RemoteProcess {
  const request = { pid: -1, ...target, flags: FLAG_STDOUT | FLAG_STDERR };
  return follow(h, service, rank, h.stream(`${service}.attach`, request, { nodeid: rank }), events);
}

const answer = { type: str, pid: opt(int), status: opt(int), io: opt(obj), channels: opt(dict(int)) };

function follow(h: Flux, service: string, rank: number, stream: Stream, events: RemoteEvents): RemoteProcess {
  const state = { pid: undefined as number | undefined, credit_bytes: 0, status: undefined as number | undefined, isOver: false };
  const remote: RemoteProcess = {
    rank,
    get pid() {
      return state.pid;
    },
    get credit_bytes() {
      return state.credit_bytes;
    },
    get isRunning() {
      return !state.isOver && state.status === undefined;
    },
    // The first answer comes in a later turn: the caller has `remote` by then.
    ended: Promise.resolve().then(() => run()),
    write(data) {
      if (data !== undefined) state.credit_bytes -= data.length;
      const io = encodeIo({ stream: "stdin", rank: 0, data, eof: data === undefined });
      h.notify(`${service}.write`, { matchtag: stream.matchtag, io }, { nodeid: rank });
    },
    async kill(signum) {
      if (state.pid !== undefined) await h.rpc(`${service}.kill`, { pid: state.pid, signum }, { nodeid: rank });
    },
  };
  const run = async (): Promise<number | FluxError> => {
    try {
      for await (const payload of stream) handle(unpack(payload, answer));
      return state.status ?? 0;
    } catch (err) {
      if (err instanceof FluxError) return err;
      throw err;
    } finally {
      state.isOver = true;
    }
  };
  const handle = ({ type, pid, status, io, channels }: ReturnType<typeof unpack<typeof answer>>): void => {
    if (pid !== undefined && state.pid === undefined) state.pid = pid;
    if (type === "started" || type === "attached") events.started(remote);
    if (type === "finished") state.status = status;
    if (io !== undefined) {
      const { stream: name, data, eof } = decodeIo(io);
      events.output(remote, name, data ?? new Uint8Array(0), eof);
    }
    if (channels?.["stdin"] !== undefined) {
      state.credit_bytes += channels["stdin"];
      events.credit(remote);
    }
  };
  return remote;
}
