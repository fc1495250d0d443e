// PMI-1 server (RFC 13): what a launcher says to the processes of one parallel program.
//
// It knows no descriptors: `attach` gets something to write to and returns something to feed. `flux start` serves its brokers
// with it, the job shell its tasks. The program may be larger than what is served here: then `exchange` carries the pairs put
// since the last barrier to the other servers and returns theirs; without it the barrier is local.
//
// Pairs put here can be read here at once, elsewhere after the next barrier. A process may finalize and start over on the same
// connection (a script that runs two MPI programs). Anything that is not the protocol ends that connection with an error.

import { errno, FluxError, toFluxError } from "../message/errno.ts";
import { checkSize, checkWord, createLineSplitter, DEFAULT_LIMITS, formatLine, lineMax, numberOf, parseLine, type PmiLimits, type PmiMessage } from "./wire.ts";

/** What a connection is written to. */
export interface PmiSink {
  write(data: string): unknown;
  /** Close: the client is not served any more. */
  end(): unknown;
}

export interface PmiServerOptions {
  /** Number of processes of the whole program. */
  size: number;
  kvsname: string;
  /** How many of them are served here, which is how many must enter a barrier. Default: `size`. */
  localProcs?: number;
  /** Answer to get_universe_size. Default: `size`. */
  universeSize?: number;
  /** Answer to get_appnum. Default 0. */
  appnum?: number;
  /** Pairs that are there from the beginning: PMI_process_mapping, flux.instance-level, flux.taskmap ... */
  preset?: Iterable<readonly [string, string]>;
  limits?: Partial<PmiLimits>;
  /** All local processes are in the barrier: give the pairs put since the last one to the others, return what they put. */
  exchange?: (localPairs: Map<string, string>) => Promise<Iterable<readonly [string, string]>>;
  /** A process asks for the end of the program. */
  onAbort?: (rank: number, exitCode: number, message: string) => void;
  /** A process broke the protocol, or an exchange failed: its connection was ended, or its barrier answered with an error. */
  onError?: (rank: number, error: FluxError) => void;
  /** A process has finalized. */
  onFinalize?: (rank: number) => void;
  /** See every line: "C" from the client, "S" from us. */
  trace?: (rank: number, direction: "C" | "S", line: string) => void;
}

export interface PmiConnection {
  /** Bytes from the client. */
  receive(chunk: Uint8Array): void;
  /** The client is gone. A barrier that it can no longer enter fails for the others instead of hanging. */
  disconnect(): void;
}

export interface PmiServer {
  /** Serve the process of this rank. EINVAL for a rank outside the program, EEXIST for one that is attached. */
  attach(rank: number, sink: PmiSink): PmiConnection;
  /** Read a pair. */
  get(key: string): string | undefined;
  /** Every pair that is known here. */
  readonly pairs: ReadonlyMap<string, string>;
}

/** All pairs of a program together; 64 ranks a node with a business card of 1 KB and 10 000 nodes are 640 MB: too many for here. */
const KVS_MAX_BYTES = 256 * 1024 * 1024;
/** Lines of one spawn request, which is refused but must be read. */
const SPAWN_LINES_MAX = 10_000;

interface Client {
  rank: number;
  sink: PmiSink;
  phase: "new" | "initialized" | "finalized" | "closed";
  inBarrier: boolean;
  spawnLines: number;
}

interface State {
  options: PmiServerOptions;
  limits: PmiLimits;
  localProcs: number;
  pairs: Map<string, string>;
  /** Put here since the last barrier. */
  fresh: Map<string, string>;
  size_bytes: number;
  clients: Map<number, Client>;
  waiting: Client[];
  exchanging: boolean;
  /** Somebody asked for the end of all: whoever waits now waits for that. */
  aborted: boolean;
}

/** Make a server. Presets that exceed the limits are EMSGSIZE; a process mapping that does is stored empty, as RFC 13 wants. */
export function createPmiServer(options: PmiServerOptions): PmiServer {
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  checkWord("KVS name", options.kvsname, limits.kvsnameMax_bytes);
  const state: State = {
    options,
    limits,
    localProcs: options.localProcs ?? options.size,
    pairs: new Map(),
    fresh: new Map(),
    size_bytes: 0,
    clients: new Map(),
    waiting: [],
    exchanging: false,
    aborted: false,
  };
  for (const [key, value] of options.preset ?? []) {
    const tooLong = key === "PMI_process_mapping" && Buffer.byteLength(value) >= limits.valueMax_bytes;
    store(state, key, tooLong ? "" : value);
  }
  return {
    attach: (rank, sink) => attach(state, rank, sink),
    get: (key) => state.pairs.get(key),
    pairs: state.pairs,
  };
}

/** Check a pair and keep it. The last value of a key counts. */
function store(state: State, key: string, value: string): void {
  checkWord("key", key, state.limits.keyMax_bytes);
  checkSize(`value of ${key}`, value, state.limits.valueMax_bytes);
  const before = state.pairs.get(key);
  const size_bytes = state.size_bytes + key.length + value.length - (before === undefined ? 0 : key.length + before.length);
  if (size_bytes > KVS_MAX_BYTES) throw new FluxError(errno.ENOSPC, `PMI: the program has put more than ${KVS_MAX_BYTES} bytes`);
  state.size_bytes = size_bytes;
  state.pairs.set(key, value);
}

function attach(state: State, rank: number, sink: PmiSink): PmiConnection {
  if (!Number.isInteger(rank) || rank < 0 || rank >= state.options.size) {
    throw new FluxError(errno.EINVAL, `PMI: rank ${rank} is not in a program of ${state.options.size}`);
  }
  if (state.clients.has(rank)) throw new FluxError(errno.EEXIST, `PMI: rank ${rank} is attached already`);
  const client: Client = { rank, sink, phase: "new", inBarrier: false, spawnLines: 0 };
  state.clients.set(rank, client);
  const split = createLineSplitter(lineMax(state.limits), (line) => {
    if (client.phase === "closed") return;
    state.options.trace?.(rank, "C", line);
    // The lines of a spawn request are one pair each, with spaces in the values.
    if (client.spawnLines > 0) handleSpawn(state, client, line);
    else handleLine(state, client, parseLine(line));
  });
  return {
    receive(chunk) {
      if (client.phase === "closed") return;
      try {
        split(chunk);
      } catch (error) {
        state.options.onError?.(rank, toFluxError(error, errno.EPROTO));
        drop(state, client);
        sink.end();
      }
    },
    disconnect: () => drop(state, client),
  };
}

/** Forget a client; whoever waits for it in a barrier is told. */
function drop(state: State, client: Client): void {
  if (client.phase === "closed") return;
  const lost = client.phase === "initialized" && !client.inBarrier;
  client.phase = "closed";
  client.inBarrier = false;
  state.clients.delete(client.rank);
  state.waiting = state.waiting.filter((other) => other !== client);
  if (lost && state.waiting.length > 0 && !state.exchanging && !state.aborted) {
    failBarrier(state, new FluxError(errno.ECONNRESET, `PMI: rank ${client.rank} ended while others wait for it in a barrier`));
  }
}

function reply(state: State, client: Client, words: Parameters<typeof formatLine>[0]): void {
  replyLine(state, client, formatLine(words));
}

function replyLine(state: State, client: Client, line: string): void {
  if (client.phase === "closed") return;
  state.options.trace?.(client.rank, "S", line);
  client.sink.write(line);
}

const SP = "_"; // texts in replies are words

function asWord(text: string): string {
  return text.replace(/\s+/g, SP).slice(0, 200);
}

function handleLine(state: State, client: Client, message: PmiMessage): void {
  const cmd = message.get("cmd") ?? message.get("mcmd");
  if (cmd === undefined) throw new FluxError(errno.EPROTO, "PMI: a request has no cmd");
  if (client.phase !== "initialized" && cmd !== "init") throw new FluxError(errno.EPROTO, `PMI: ${asWord(cmd)} before init`);
  if (client.inBarrier) throw new FluxError(errno.EPROTO, `PMI: ${asWord(cmd)} while the process is in a barrier`);
  const handler = handlers.get(cmd);
  if (handler === undefined) throw new FluxError(errno.EPROTO, `PMI: ${asWord(cmd)} is not a command of PMI 1.1`);
  handler(state, client, message);
}

/** Starting more processes is optional, and not offered: read the request to its end and refuse it. */
function handleSpawn(state: State, client: Client, line: string): void {
  if (++client.spawnLines > SPAWN_LINES_MAX) throw new FluxError(errno.EMSGSIZE, `PMI: a spawn request has more than ${SPAWN_LINES_MAX} lines`);
  if (line.trim() !== "endcmd") return;
  client.spawnLines = 0;
  reply(state, client, { cmd: "spawn_result", rc: -1, msg: "spawn_is_not_supported" });
}

type Handler = (state: State, client: Client, message: PmiMessage) => unknown;

const refuse =
  (cmd: string): Handler =>
  (state, client) =>
    reply(state, client, { cmd, rc: -1, msg: "not_supported" });

const handlers = new Map<string, Handler>([
  ["init", handleInit],
  ["get_maxes", (state, client) => reply(state, client, maxes(state.limits))],
  ["get_universe_size", (state, client) => reply(state, client, { cmd: "universe_size", rc: 0, size: state.options.universeSize ?? state.options.size })],
  ["get_appnum", (state, client) => reply(state, client, { cmd: "appnum", rc: 0, appnum: state.options.appnum ?? 0 })],
  ["get_my_kvsname", (state, client) => reply(state, client, { cmd: "my_kvsname", rc: 0, kvsname: state.options.kvsname })],
  ["put", handlePut],
  ["get", handleGet],
  ["barrier_in", handleBarrier],
  ["publish_name", refuse("publish_result")],
  ["unpublish_name", refuse("unpublish_result")],
  ["lookup_name", refuse("lookup_result")],
  ["spawn", (_, client) => (client.spawnLines = 1)],
  ["finalize", handleFinalize],
  ["abort", handleAbort],
]);

function maxes(limits: PmiLimits): Parameters<typeof formatLine>[0] {
  return { cmd: "maxes", rc: 0, kvsname_max: limits.kvsnameMax_bytes, keylen_max: limits.keyMax_bytes, vallen_max: limits.valueMax_bytes };
}

/** Whoever can speak 1.1 or later gets 1.1; there is nothing older to fall back to. */
function handleInit(state: State, client: Client, message: PmiMessage): void {
  const version = numberOf(message, "pmi_version") ?? 1;
  const subversion = numberOf(message, "pmi_subversion") ?? 0;
  if (version < 1 || (version === 1 && subversion < 1)) {
    reply(state, client, { cmd: "response_to_init", rc: -1, pmi_version: 1, pmi_subversion: 1 });
    return;
  }
  client.phase = "initialized";
  reply(state, client, { cmd: "response_to_init", rc: 0, pmi_version: 1, pmi_subversion: 1 });
}

function checkKvsname(state: State, message: PmiMessage): void {
  const name = message.get("kvsname");
  if (name !== undefined && name !== state.options.kvsname) throw new FluxError(errno.ENOENT, `there is no KVS ${asWord(name)}`);
}

/** Keys that begin so are of one node: attributes of nodes of PMI-2, as the PMI-2 library of flux-core puts them. */
const LOCAL = "local::";
/** The library of flux-core tells by it that a key isn't there yet. */
const PMI_ERR_INVALID_KEY = 4;

function handlePut(state: State, client: Client, message: PmiMessage): void {
  try {
    checkKvsname(state, message);
    const key = message.get("key") ?? "";
    const value = message.get("value") ?? "";
    store(state, key, value);
    if (!key.startsWith(LOCAL)) state.fresh.set(key, value);
    reply(state, client, { cmd: "put_result", rc: 0 });
  } catch (error) {
    if (!(error instanceof FluxError)) throw error;
    reply(state, client, { cmd: "put_result", rc: -1, msg: asWord(error.message) });
  }
}

function handleGet(state: State, client: Client, message: PmiMessage): void {
  const name = message.get("kvsname");
  const known = name === undefined || name === state.options.kvsname;
  const value = known ? state.pairs.get(message.get("key") ?? "") : undefined;
  if (value === undefined) reply(state, client, { cmd: "get_result", rc: known ? PMI_ERR_INVALID_KEY : -1, msg: asWord(`key_${message.get("key") ?? ""}_not_found`) });
  // The most frequent answer; a value that was put came in a line and fits into one.
  else replyLine(state, client, `cmd=get_result rc=0 value=${value}\n`);
}

function handleFinalize(state: State, client: Client): void {
  client.phase = "finalized";
  const line = formatLine({ cmd: "finalize_ack", rc: 0 });
  state.options.trace?.(client.rank, "S", line);
  client.sink.write(line);
  state.options.onFinalize?.(client.rank);
}

function handleAbort(state: State, client: Client, message: PmiMessage): void {
  const text = message.get("message") ?? message.get("error_msg") ?? message.get("msg") ?? "aborted";
  state.aborted = true;
  state.options.onAbort?.(client.rank, numberOf(message, "exitcode") ?? 1, text);
  if (client.phase === "closed") return;
  state.options.trace?.(client.rank, "S", "");
  client.sink.write("\n");
}

function handleBarrier(state: State, client: Client): void {
  client.inBarrier = true;
  state.waiting.push(client);
  if (state.waiting.length < state.localProcs) return;
  if (state.options.exchange === undefined) {
    state.fresh.clear();
    releaseBarrier(state, { cmd: "barrier_out", rc: 0 });
    return;
  }
  const { exchange } = state.options;
  const fresh = new Map(state.fresh);
  state.fresh.clear();
  state.exchanging = true;
  exchange(fresh)
    .then((pairs) => {
      for (const [key, value] of pairs) store(state, key, value);
      state.exchanging = false;
      releaseBarrier(state, { cmd: "barrier_out", rc: 0 });
    })
    .catch((error: unknown) => {
      state.exchanging = false;
      failBarrier(state, toFluxError(error, errno.EIO));
    });
}

function releaseBarrier(state: State, words: Parameters<typeof formatLine>[0]): void {
  const released = state.waiting;
  state.waiting = [];
  for (const client of released) {
    client.inBarrier = false;
    reply(state, client, words);
  }
}

function failBarrier(state: State, error: FluxError): void {
  const [first] = state.waiting;
  if (first !== undefined) state.options.onError?.(first.rank, error);
  releaseBarrier(state, { cmd: "barrier_out", rc: -1, msg: asWord(error.message) });
}
