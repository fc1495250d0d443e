// pmi: serves PMI-1 (RFC 13) to each task on its descriptor PMI_FD. Option: "simple" (default) or "off"; pmi-simple.nomap leaves the
// process mapping out.
//
// A barrier that exchanges keys gathers the pairs of all shells at the leader, which gives everybody the union.
import { isJsonObject, type JsonObject } from "../../formats/json.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { dict, str, uint } from "../../message/unpack.ts";
import { pmiEndpoint, pmiEnvironment } from "../../pmi/serve-fd.ts";
import { createPmiServer, type PmiServer } from "../../pmi/server.ts";
import { DEFAULT_LIMITS } from "../../pmi/wire.ts";
import { LOG } from "../log.ts";
import type { Plugin } from "../plugin.ts";
import type { Shell } from "../shell.ts";

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
      if (shell.isLeader && shell.job.nodes.length > 1) gather = serveExchange(shell);
      server = newServer(shell, gather);
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

function isEnabled(shell: Shell): boolean {
  const option = shell.option("pmi");
  if (option === undefined) return true;
  if (typeof option !== "string") {
    shell.log(LOG.error, "pmi shell option must be a string", "pmi-simple");
    return false;
  }
  return option.split(",").some((name) => name === "simple" || name === "pmi1" || name === "pmi2");
}

function newServer(shell: Shell, gather: Gather | undefined): PmiServer {
  const { job, taskmap, host } = shell;
  const nomap = isJsonObject(shell.option("pmi-simple")) && Number((shell.option("pmi-simple") as JsonObject)["nomap"] ?? 0) !== 0;
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
    ...(job.nodes.length > 1 && { exchange: exchangeOf(shell, gather) }),
    onAbort: (rank, _code, message) => {
      shell.raise("exec", 0, `PMI_Abort${message === "" ? "" : `: ${message}`}`).catch((err: unknown) => shell.log(LOG.error, `task ${rank}: ${String(err)}`));
    },
    onError: (rank, error) => shell.log(LOG.warning, `task ${rank}: ${error.message}`, "pmi-simple"),
    ...(shell.verbose > 1 && { trace: (rank: number, side: string, line: string) => shell.log(LOG.trace, `${rank}: ${side}: ${line}`, "pmi-simple") }),
  });
}

type Pairs = Map<string, string>;

function exchangeOf(shell: Shell, gather: Gather | undefined): (pairs: Pairs) => Promise<Pairs> {
  if (gather !== undefined) return async (pairs) => gather.enter(0, pairs);
  return async (pairs) => {
    const payload = { shell_rank: shell.job.shellRank, pairs: Object.fromEntries(pairs) };
    const answer = await shell.call(0, "pmi-exchange", payload);
    return new Map(Object.entries(dict(str)(answer["pairs"], "pairs")));
  };
}

interface Gather {
  enter(shellRank: number, pairs: Pairs): Promise<Pairs>;
  fail(error: FluxError): void;
}

/** The leader's end: one exchange at a time, complete when every shell has entered. */
function serveExchange(shell: Shell): Gather {
  let round = newRound();
  const gather: Gather = {
    async enter(shellRank, pairs) {
      const now = round;
      if (now.entered.has(shellRank)) throw new FluxError(errno.EEXIST, `shell ${shellRank} is in this exchange already`);
      now.entered.add(shellRank);
      for (const [key, value] of pairs) now.union.set(key, value);
      if (now.entered.size === shell.job.nodes.length) {
        round = newRound();
        now.done.resolve(now.union);
      }
      return now.done.promise;
    },
    fail(error) {
      const failed = round;
      round = newRound();
      failed.done.reject(error);
    },
  };
  shell.serve("pmi-exchange", async (request) => {
    const { shell_rank, pairs } = request.unpack({ shell_rank: uint, pairs: dict(str) });
    return { pairs: Object.fromEntries(await gather.enter(shell_rank, new Map(Object.entries(pairs)))) };
  });
  return gather;
}

function newRound(): { entered: Set<number>; union: Pairs; done: PromiseWithResolvers<Pairs> } {
  const done = Promise.withResolvers<Pairs>();
  done.promise.catch(() => undefined);
  return { entered: new Set(), union: new Map(), done };
}
