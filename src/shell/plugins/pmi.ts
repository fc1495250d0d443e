// pmi: serves PMI-1 (RFC 13) to each task on its descriptor PMI_FD. Option pmi: "simple" (default), "off", or several names separated by
// commas; pmi-simple.nomap leaves the process mapping out. Wrong values end the job.
//
// A barrier that exchanges keys goes up and down a tree of the job's shells, in which each has pmi-simple.exchange.k (default 16) children:
//   SERVICE.pmi-exchange {shell_rank, pairs}   to the parent, of a whole subtree; answered with the pairs of all shells
// The leader encodes the answer once; the others pass its bytes on.
import { dirname } from "node:path";
import { DEFERRED } from "../../client/request.ts";
import type { Answer } from "../../client/service.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { encodePayload } from "../../message/message.ts";
import { dict, str, uint, unpack } from "../../message/unpack.ts";
import { nativeLibrary } from "../../os/native.ts";
import { pmiEndpoint, pmiEnvironment } from "../../pmi/serve-fd.ts";
import { createPmiServer, type PmiServer } from "../../pmi/server.ts";
import { DEFAULT_LIMITS } from "../../pmi/wire.ts";
import { LOG } from "../log.ts";
import { partsOf } from "../parts.ts";
import type { Plugin } from "../plugin.ts";
import { type Shell, ShellExit } from "../shell.ts";

/** The first descriptor after stdin, stdout and stderr. */
const FIRST_EXTRA_FD = 3;

export function pmiPlugin(): Plugin {
  let server: PmiServer | undefined;
  let gather: Gather | undefined;
  return {
    name: "pmi-simple",
    init(shell) {
      if (!isEnabled(shell)) return;
      shell.log(LOG.debug, "simple wire protocol is enabled", "pmi-simple");
      const options = simpleOptions(shell);
      if (shell.job.nodes.length > 1) gather = serveExchange(shell, options.fanout);
      server = newServer(shell, options, gather);
      offerLibrary(shell);
    },
    taskInit(_shell, task) {
      if (server === undefined) return;
      const endpoint = pmiEndpoint(server, task.rank);
      const position = task.extraFds.push(endpoint.handlers) - 1;
      Object.assign(task.env, pmiEnvironment(FIRST_EXTRA_FD + position, task.rank, _shell.job.ntasks));
      task.onStarted.push((child) => endpoint.connect(child.extra[position]));
    },
    lostShell(_shell, shellRank) {
      gather?.fail(new FluxError(errno.EHOSTUNREACH, `shell ${shellRank} of the job is gone`));
    },
  };
}

/** Names of what we serve. */
const SIMPLE: ReadonlySet<string> = new Set(["simple", "pmi1", "pmi2"]);
/** What people write when they want none. */
const NOTHING: ReadonlySet<string> = new Set(["off", "none", "single"]);

/** Whether option pmi asks for us; names of what other shells' plugins serve may stand beside ours. Throws ShellExit when there is nothing that it asks for. */
function isEnabled(shell: Shell): boolean {
  const option = shell.option("pmi") ?? "simple";
  if (typeof option !== "string") throw new ShellExit(1, `invalid option pmi=${JSON.stringify(option)}: it must be a string, simple or off`);
  const names = option.split(",");
  if (names.some((name) => SIMPLE.has(name))) return true;
  const unknown = names.find((name) => !NOTHING.has(name));
  if (unknown !== undefined) throw new ShellExit(1, `invalid option pmi=${option}: there is no ${unknown} here; use simple or off`);
  return false;
}

interface SimpleOptions {
  readonly nomap: boolean;
  readonly fanout: number;
}

/** A level costs a message through four processes each way, a child at one level only the encoding of its message. */
const FANOUT = 16;

/** Options pmi-simple.*. Throws ShellExit naming what is wrong. */
function simpleOptions(shell: Shell): SimpleOptions {
  const { nomap = 0, kvs = "exchange", exchange = {}, ...others } = partsOf(shell.option("pmi-simple"), "pmi-simple", "pmi-simple.nomap");
  const { k = FANOUT, ...otherExchange } = partsOf(exchange, "pmi-simple.exchange", "pmi-simple.exchange.k=4");
  const [unknown] = [...Object.keys(others), ...Object.keys(otherExchange).map((name) => `exchange.${name}`)];
  if (unknown !== undefined) throw new ShellExit(1, `unknown option pmi-simple.${unknown}: there are nomap, kvs and exchange.k`);
  if (kvs !== "exchange") throw new ShellExit(1, `invalid option pmi-simple.kvs=${JSON.stringify(kvs)}: there is only exchange`);
  if (nomap !== 0 && nomap !== 1 && typeof nomap !== "boolean") throw new ShellExit(1, `invalid option pmi-simple.nomap=${JSON.stringify(nomap)}: it is 0 or 1`);
  if (typeof k !== "number" || !Number.isInteger(k) || k < 0) throw new ShellExit(1, `invalid pmi-simple.exchange.k: ${JSON.stringify(k)} is no whole number from 0 on, which stands for the default`);
  return { nomap: Boolean(nomap), fanout: k === 0 ? FANOUT : k };
}

/** Programs that load a libpmi.so or libpmi2.so shall find ours, which speaks to us, and not another launcher's. */
function offerLibrary(shell: Shell): void {
  const library = nativeLibrary("libpmi.so");
  if (library === undefined) return;
  const before = (shell.env["LD_LIBRARY_PATH"] ?? "").split(":").filter((folder) => folder !== "" && folder !== dirname(library));
  shell.env["LD_LIBRARY_PATH"] = [dirname(library), ...before].join(":");
  shell.env["FLUX_PMI_LIBRARY_PATH"] = library;
}

function newServer(shell: Shell, { nomap }: SimpleOptions, gather: Gather | undefined): PmiServer {
  const { job, taskmap, host } = shell;
  const wrapped = taskmap.toString("wrapped");
  const fits = Buffer.byteLength(wrapped) < DEFAULT_LIMITS.valueMax_bytes;
  const preset: [string, string][] = [["flux.instance-level", String(host.instanceLevel + 1)]];
  if (!nomap) preset.push(["PMI_process_mapping", taskmap.toString("pmi")]);
  if (!nomap && fits) preset.push(["flux.taskmap", wrapped]);
  return createPmiServer({
    size: job.ntasks,
    localProcs: taskmap.ntasksOf(job.shellRank),
    kvsname: job.f58,
    preset,
    ...(gather !== undefined && { exchange: async (pairs: Pairs) => gather.enter(pairs) }),
    onAbort: (rank, _code, message) => {
      shell.raise("exec", 0, `PMI_Abort${message === "" ? "" : `: ${message}`}`).catch((err: unknown) => shell.log(LOG.error, `task ${rank}: ${String(err)}`));
    },
    onError: (rank, error) => shell.log(LOG.warning, `task ${rank}: ${error.message}`, "pmi-simple"),
    ...(shell.verbose > 1 && { trace: (rank: number, side: string, line: string) => shell.log(LOG.trace, `${rank}: ${side}: ${line}`, "pmi-simple") }),
  });
}

type Pairs = Map<string, string>;

interface Gather {
  /** This shell's own pairs; resolves to those of all shells. */
  enter(pairs: Pairs): Promise<Pairs>;
  fail(error: FluxError): void;
}

/** What every shell gets. */
interface Gathered {
  readonly pairs: Pairs;
  /** The same as payload of an answer. */
  readonly encoded: Uint8Array;
}

/** One exchange at a time: complete here when this shell and its children have entered, and everywhere when the leader has all. */
function serveExchange(shell: Shell, k: number): Gather {
  const { shellRank, nodes } = shell.job;
  const expected = 1 + Math.max(0, Math.min(k, nodes.length - 1 - shellRank * k));
  let round = newRound();
  const complete = async (now: Round): Promise<void> => {
    round = newRound();
    try {
      now.done.resolve(shellRank === 0 ? encoded(now.pairs) : await askParent(shell, Math.floor((shellRank - 1) / k), now.pairs));
    } catch (err) {
      now.done.reject(err);
    }
  };
  const enter = async (from: number, pairs: Iterable<readonly [string, string]>): Promise<Gathered> => {
    const now = round;
    if (now.entered.has(from)) throw new FluxError(errno.EEXIST, `shell ${from} is in this exchange already`);
    now.entered.add(from);
    for (const [key, value] of pairs) now.pairs.set(key, value);
    if (now.entered.size === expected) await complete(now);
    return now.done.promise;
  };
  shell.serve("pmi-exchange", async (request): Promise<Answer> => {
    const { shell_rank, pairs } = request.unpack({ shell_rank: uint, pairs: dict(str) });
    request.respond((await enter(shell_rank, Object.entries(pairs))).encoded);
    return DEFERRED;
  });
  return {
    enter: async (pairs) => (await enter(shellRank, pairs)).pairs,
    fail(error) {
      const failed = round;
      round = newRound();
      failed.done.reject(error);
    },
  };
}

function encoded(pairs: Pairs): Gathered {
  return { pairs, encoded: encodePayload({ pairs: Object.fromEntries(pairs) }) };
}

async function askParent(shell: Shell, parent: number, pairs: Pairs): Promise<Gathered> {
  const answer = await shell.callMessage(parent, "pmi-exchange", { shell_rank: shell.job.shellRank, pairs: Object.fromEntries(pairs) });
  const { pairs: all } = unpack(answer.payload, { pairs: dict(str) });
  return { pairs: new Map(Object.entries(all)), encoded: answer.bytes ?? new Uint8Array(0) };
}

interface Round {
  readonly entered: Set<number>;
  readonly pairs: Pairs;
  readonly done: PromiseWithResolvers<Gathered>;
}

function newRound(): Round {
  const done = Promise.withResolvers<Gathered>();
  done.promise.catch(() => undefined);
  return { entered: new Set(), pairs: new Map(), done };
}
