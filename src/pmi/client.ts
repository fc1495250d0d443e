// PMI-1 client (RFC 13): how a broker that was started by a launcher (flux start, Slurm, Hydra, a Flux job) learns its rank, the size,
// and the addresses of the others.
//
// Reached by PMI_FD (an inherited socket) with PMI_RANK and PMI_SIZE, or by PMI_PORT (host:port) with PMI_ID, where the server
// says rank and size. One request at a time; only commands that every launcher knows are sent. FLUX_PMI_DEBUG=1 prints the
// conversation on stderr.

import { errno, FluxError, toFluxError } from "../message/errno.ts";
import { openFdStream } from "../os/fd-stream.ts";
import { checkSize, checkWord, createLineSplitter, formatLine, numberOf, parseLine, tracer, type PmiLimits, type PmiMessage } from "./wire.ts";

export interface PmiClient {
  readonly rank: number;
  readonly size: number;
  readonly kvsname: string;
  readonly limits: PmiLimits;
  /** Put a pair, which others can read after the next barrier. EMSGSIZE or EINVAL for what the server cannot store. */
  put(key: string, value: string): Promise<void>;
  /** Read a pair; undefined when there is none. */
  get(key: string): Promise<string | undefined>;
  /** Wait until every process of the program is here. */
  barrier(): Promise<void>;
  /** Size that the program could grow to; undefined when the server does not say. */
  universeSize(): Promise<number | undefined>;
  appnum(): Promise<number | undefined>;
  /** Say goodbye and close. */
  finalize(): Promise<void>;
  /** Ask for the end of the whole program with this exit code, and close. */
  abort(exitCode: number, message?: string): Promise<void>;
}

export type PmiEnvironment = Readonly<Record<string, string | undefined>>;

/** Lines of foreign servers may be longer than their own limits say. */
const LINE_MAX_BYTES = 64 * 1024;
/** No launcher stores more in one request line of this many bytes without cutting it. */
const REQUEST_MAX_BYTES = 1024;
const LINES_QUEUED_MAX = 64;

/** True when the environment offers a PMI-1 server. */
export function hasPmi(env: PmiEnvironment = process.env): boolean {
  return (env["PMI_FD"] ?? env["PMI_PORT"] ?? "") !== "";
}

interface Wire {
  send(line: string): void;
  close(): void;
}

interface LineHandlers {
  onChunk: (chunk: Uint8Array) => void;
  onClose: (error?: FluxError) => void;
}

interface Conversation {
  send(line: string): void;
  /** The next line of the server. */
  next(): Promise<PmiMessage>;
  close(): void;
}

/**
 * Connect and initialize. ENOENT: no server in the environment; EPROTO: it does not speak PMI 1.1, or nonsense;
 * ECONNRESET: it went away.
 */
export async function openPmiClient(env: PmiEnvironment = process.env): Promise<PmiClient> {
  const trace = tracer(`pmi[${env["PMI_RANK"] ?? env["PMI_ID"] ?? "?"}]`, env);
  const talk = await connect(env, trace);
  try {
    const { rank, size } = env["PMI_FD"] === undefined ? await introduce(talk, env) : fromEnvironment(env);
    await initialize(talk);
    const limits = await askLimits(talk);
    const kvsname = required(await ask(talk, { cmd: "get_my_kvsname" }, "my_kvsname"), "kvsname");
    return createClient(talk, { rank, size, kvsname, limits });
  } catch (error) {
    talk.close();
    throw error;
  }
}

function environmentNumber(env: PmiEnvironment, name: string): number {
  const text = env[name];
  if (text === undefined || !/^\d+$/.test(text)) throw new FluxError(errno.EINVAL, `PMI: ${name}=${text ?? ""} in the environment is not a number`);
  return Number(text);
}

function fromEnvironment(env: PmiEnvironment): { rank: number; size: number } {
  const rank = environmentNumber(env, "PMI_RANK");
  const size = environmentNumber(env, "PMI_SIZE");
  if (rank >= size) throw new FluxError(errno.EINVAL, `PMI: PMI_RANK=${rank} is not below PMI_SIZE=${size}`);
  return { rank, size };
}

async function connect(env: PmiEnvironment, trace: ReturnType<typeof tracer>): Promise<Conversation> {
  const lines: PmiMessage[] = [];
  let waiting: PromiseWithResolvers<PmiMessage> | undefined;
  let failure: FluxError | undefined;
  let wire: Wire | undefined;
  const fail = (error: FluxError): void => {
    failure ??= error;
    waiting?.reject(failure);
    waiting = undefined;
  };
  const split = createLineSplitter(LINE_MAX_BYTES, (line) => {
    trace?.("S", line);
    const message = parseLine(line);
    if (waiting !== undefined) {
      waiting.resolve(message);
      waiting = undefined;
    } else if (lines.push(message) > LINES_QUEUED_MAX) {
      throw new FluxError(errno.EPROTO, "PMI: the process manager sends lines that nobody asked for");
    }
  });
  const handlers: LineHandlers = {
    onChunk(chunk) {
      try {
        split(chunk);
      } catch (error) {
        fail(toFluxError(error, errno.EPROTO));
        wire?.close();
      }
    },
    onClose: (error) => fail(error ?? new FluxError(errno.ECONNRESET, "PMI: the process manager closed the connection")),
  };
  wire = await openWire(env, handlers);
  const opened = wire;
  return {
    send(line) {
      if (failure !== undefined) throw failure;
      trace?.("C", line);
      opened.send(line);
    },
    async next() {
      const message = lines.shift();
      if (message !== undefined) return message;
      if (failure !== undefined) throw failure;
      waiting = Promise.withResolvers<PmiMessage>();
      return waiting.promise;
    },
    close: () => opened.close(),
  };
}

async function openWire(env: PmiEnvironment, handlers: LineHandlers): Promise<Wire> {
  if ((env["PMI_FD"] ?? "") !== "") {
    const stream = openFdStream(environmentNumber(env, "PMI_FD"), { onData: handlers.onChunk, onClose: handlers.onClose });
    return { send: (line) => stream.write(line), close: () => stream.end() };
  }
  const port = env["PMI_PORT"];
  const match = /^(.*):(\d+)$/.exec(port ?? "");
  if (match === null) throw new FluxError(errno.ENOENT, "PMI: there is neither PMI_FD nor PMI_PORT=host:port in the environment");
  return openTcp(match[1] ?? "", Number(match[2]), handlers);
}

async function openTcp(hostname: string, port: number, handlers: LineHandlers): Promise<Wire> {
  let socket: Bun.Socket;
  let left = Buffer.alloc(0);
  const flush = (): void => {
    const written = Math.max(0, socket.write(left));
    left = left.subarray(written);
  };
  try {
    socket = await Bun.connect({
      hostname: hostname.replace(/^\[(.*)\]$/, "$1"),
      port,
      socket: {
        data: (_, chunk) => handlers.onChunk(chunk),
        drain: flush,
        close: (_, error) => handlers.onClose(error === undefined ? undefined : toFluxError(error, errno.EIO)),
      },
    });
  } catch (error) {
    const { errno: number } = toFluxError(error, errno.ECONNREFUSED);
    throw new FluxError(number, `PMI: cannot connect to PMI_PORT ${hostname}:${port}`, { cause: error });
  }
  return {
    send(line) {
      left = Buffer.concat([left, Buffer.from(line)]);
      flush();
    },
    close: () => socket.end(),
  };
}

/** By port, the server tells who we are: an acknowledgment, then lines "cmd=set size=", "rank=", "debug=". */
async function introduce(talk: Conversation, env: PmiEnvironment): Promise<{ rank: number; size: number }> {
  talk.send(formatLine({ cmd: "initack", pmiid: environmentNumber(env, "PMI_ID") }));
  const ack = await talk.next();
  if (ack.get("cmd") !== "initack") throw unexpected(ack, "initack");
  const told = new Map<string, number>();
  while (told.size < 3) {
    const message = await talk.next();
    if (message.get("cmd") !== "set") throw unexpected(message, "set");
    for (const key of ["size", "rank", "debug"]) {
      const value = numberOf(message, key);
      if (value !== undefined) told.set(key, value);
    }
  }
  return { rank: told.get("rank") ?? 0, size: told.get("size") ?? 1 };
}

async function initialize(talk: Conversation): Promise<void> {
  const message = await ask(talk, { cmd: "init", pmi_version: 1, pmi_subversion: 1 }, "response_to_init");
  const version = numberOf(message, "pmi_version") ?? 1;
  if (version !== 1) throw new FluxError(errno.EPROTO, `PMI: the process manager answers with version ${version}, not 1`);
}

async function askLimits(talk: Conversation): Promise<PmiLimits> {
  const message = await ask(talk, { cmd: "get_maxes" }, "maxes");
  const limit = (key: string): number => {
    const value = numberOf(message, key);
    if (value === undefined || value < 2) throw new FluxError(errno.EPROTO, `PMI: maxes without a usable ${key}`);
    return value;
  };
  return { kvsnameMax_bytes: limit("kvsname_max"), keyMax_bytes: limit("keylen_max"), valueMax_bytes: limit("vallen_max") };
}

function unexpected(message: PmiMessage, wanted: string): FluxError {
  return new FluxError(errno.EPROTO, `PMI: the process manager answers "${message.get("cmd") ?? ""}" where ${wanted} was due`);
}

function required(message: PmiMessage, key: string): string {
  const value = message.get(key);
  if (value === undefined) throw new FluxError(errno.EPROTO, `PMI: ${message.get("cmd") ?? "an answer"} without ${key}`);
  return value;
}

function failed(message: PmiMessage): boolean {
  return (numberOf(message, "rc") ?? 0) !== 0;
}

/** One request and its answer, which may carry rc != 0. */
async function askAny(talk: Conversation, words: Parameters<typeof formatLine>[0], answer: string): Promise<PmiMessage> {
  talk.send(formatLine(words));
  const message = await talk.next();
  if (message.get("cmd") !== answer) throw unexpected(message, answer);
  return message;
}

/** One request that must succeed. */
async function ask(talk: Conversation, words: Parameters<typeof formatLine>[0], answer: string): Promise<PmiMessage> {
  const message = await askAny(talk, words, answer);
  if (!failed(message)) return message;
  throw new FluxError(errno.EIO, `PMI: ${words["cmd"]} failed: ${message.get("msg") ?? `rc=${message.get("rc")}`}`);
}

function createClient(talk: Conversation, known: Pick<PmiClient, "rank" | "size" | "kvsname" | "limits">): PmiClient {
  const { kvsname, limits } = known;
  let last: Promise<unknown> = Promise.resolve();
  let ended = false;
  // PMI allows one request at a time: callers wait for each other.
  const inTurn = async <T>(work: () => Promise<T>): Promise<T> => {
    const mine = last.then(async () => {
      if (ended) throw new FluxError(errno.EPIPE, "PMI: the connection was finalized");
      return work();
    });
    last = mine.catch(() => undefined); // the caller of that request has the error
    return mine;
  };
  return {
    ...known,
    async put(key, value) {
      checkWord("key", key, limits.keyMax_bytes);
      checkSize(`value of ${key}`, value, limits.valueMax_bytes);
      const request = { cmd: "put", kvsname, key, value };
      // Some servers cut or lose a longer request without a word.
      if (limits.valueMax_bytes <= REQUEST_MAX_BYTES) checkSize(`request to put ${key}, with its value,`, formatLine(request), REQUEST_MAX_BYTES);
      if (/\s/.test(value)) throw new FluxError(errno.EINVAL, `PMI: value of ${key} has a space, where some process managers cut it`);
      await inTurn(async () => ask(talk, request, "put_result"));
    },
    async get(key) {
      checkWord("key", key, limits.keyMax_bytes);
      const message = await inTurn(async () => askAny(talk, { cmd: "get", kvsname, key }, "get_result"));
      return failed(message) ? undefined : required(message, "value");
    },
    async barrier() {
      await inTurn(async () => ask(talk, { cmd: "barrier_in" }, "barrier_out"));
    },
    async universeSize() {
      const message = await inTurn(async () => askAny(talk, { cmd: "get_universe_size" }, "universe_size"));
      const size = failed(message) ? undefined : numberOf(message, "size");
      return size === undefined || size < 0 ? undefined : size;
    },
    async appnum() {
      const message = await inTurn(async () => askAny(talk, { cmd: "get_appnum" }, "appnum"));
      const appnum = failed(message) ? undefined : numberOf(message, "appnum");
      return appnum === undefined || appnum < 0 ? undefined : appnum;
    },
    async finalize() {
      await inTurn(async () => ask(talk, { cmd: "finalize" }, "finalize_ack"));
      ended = true;
      talk.close();
    },
    async abort(exitCode, message) {
      await inTurn(async () => {
        talk.send(formatLine({ cmd: "abort", exitcode: exitCode, ...(message !== undefined && { message: message.replace(/\s+/g, " ") }) }));
      });
      ended = true;
      talk.close();
    },
  };
}
