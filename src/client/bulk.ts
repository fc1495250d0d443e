// Bulk: one program on many ranks at once, over rexec: prologs, epilogs and housekeeping.
import type { Flux } from "./flux.ts";
import { startSubprocess, type Subprocess } from "./subprocess.ts";
import { Hostlist } from "../formats/hostlist.ts";
import { IdSet } from "../formats/idset.ts";
import { exitStatus } from "../formats/waitstatus.ts";
import { errno, type FluxError, strerror, toFluxError } from "../message/errno.ts";

export interface BulkOptions {
  readonly h: Flux;
  readonly ranks: IdSet;
  readonly argv: readonly string[];
  /** Added to the environment of this broker. */
  readonly env: Readonly<Record<string, string>>;
  /** A line of output, without its newline. */
  readonly onLine: (rank: number, stream: "stdout" | "stderr", line: string) => void;
  /** It could not be started, or its broker was lost. */
  readonly onError: (rank: number, error: FluxError) => void;
  /** It has ended on this rank, with or without an error before. */
  readonly onExit?: (rank: number, status: number) => void;
}

export interface Bulk {
  readonly total: number;
  /** Ranks where it has not ended. */
  readonly active: IdSet;
  /** Ranks where its status was not 0. */
  readonly failed: IdSet;
  /** Resolves to the highest status when it has ended everywhere. */
  readonly done: Promise<number>;
  /** Signals it on these ranks, or on all where it runs. Resolves when the signals were sent; rejects when one could not be. */
  kill(signum: number, ranks?: IdSet): Promise<void>;
}

/** Characters of a line that has no end. */
const LINE_MAX = 4096;

export function runOnRanks(options: BulkOptions): Bulk {
  const { h, ranks, argv, onError, onExit } = options;
  const active = ranks.clone();
  const failed = new IdSet();
  const processes = new Map<number, Subprocess>();
  // rexec sets what is different on each broker, as FLUX_URI.
  const env = { ...ourEnvironment(), ...options.env };
  const one = async (rank: number): Promise<number> => {
    const [stdout, stderr] = [lines((line) => options.onLine(rank, "stdout", line)), lines((line) => options.onLine(rank, "stderr", line))];
    let status: number;
    try {
      const process = startSubprocess(h, { rank, argv, env, onStdout: (data) => stdout.add(data), onStderr: (data) => stderr.add(data) });
      processes.set(rank, process);
      status = await process.exited;
    } catch (err) {
      const error = toFluxError(err);
      status = exitStatus(error.errno === errno.ENOENT ? 127 : error.errno === errno.EACCES || error.errno === errno.EPERM ? 126 : 1);
      onError(rank, error);
    }
    stdout.end();
    stderr.end();
    processes.delete(rank);
    active.remove(rank);
    if (status !== 0) failed.add(rank);
    onExit?.(rank, status);
    return status;
  };
  const total = ranks.count;
  const done = Promise.all([...ranks].map(one)).then((all) => all.reduce((highest, status) => Math.max(highest, status), 0));
  return {
    total,
    active,
    failed,
    done,
    async kill(signum, only) {
      const chosen = [...processes].filter(([rank]) => only === undefined || only.has(rank));
      await Promise.all(chosen.map(([, process]) => process.kill(signum)));
    },
  };
}

function ourEnvironment(): Record<string, string> {
  return Object.fromEntries(Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined));
}

function lines(show: (line: string) => void): { add(data: Uint8Array): void; end(): void } {
  const decoder = new TextDecoder();
  let rest = "";
  return {
    add(data) {
      rest += decoder.decode(data, { stream: true });
      for (let at = rest.indexOf("\n"); at >= 0; at = rest.indexOf("\n")) {
        show(rest.slice(0, at));
        rest = rest.slice(at + 1);
      }
      for (; rest.length > LINE_MAX; rest = rest.slice(LINE_MAX)) show(rest.slice(0, LINE_MAX));
    },
    end() {
      if (rest !== "") show(rest);
      rest = "";
    },
  };
}

/** The names of ranks' hosts: resolves to a function of ranks. */
export async function hostNames(h: Flux): Promise<(ranks: IdSet) => string> {
  const text = await h.optionalAttr("hostlist");
  const hosts = Hostlist.parse(text ?? "");
  return (ranks) => {
    try {
      return hosts.length === 0 ? "unknown" : hosts.slice(ranks).toString();
    } catch {
      return "unknown"; // a rank that the list doesn't have
    }
  };
}

/** What went wrong, as the log says it. */
export function bulkErrorText(error: FluxError): string {
  return error.message === "" ? strerror(error.errno) : error.message;
}
