// flux pmi: a PMI client of its own, with the broker's PMI, to see what a launcher offers before an instance is started by it.
import { parseDuration } from "../formats/fsd.ts";
import { IdSet } from "../formats/idset.ts";
import { toFluxError } from "../message/errno.ts";
import { writeStderr } from "../os/stderr.ts";
import type { PmiClient } from "../pmi/client.ts";
import { methodsFrom, openPmi } from "../pmi/methods.ts";
import { defineCommand, flag, optional, runCommand, text, UsageError, value, valueOr } from "./command.ts";
import { integer } from "./options.ts";
import { print, wrongUsage } from "./output.ts";

/** Options of all subcommands; they may stand before the subcommand too. */
const COMMON = {
  verbose: optional("-v, --verbose [LEVEL]", "trace PMI operations", "1"),
  timeout: value("-t, --timeout FSD", "give up after this time", parseDuration),
  method: text("--method URI", "the method: simple, libpmi2[:PATH], libpmi[:PATH] or single"),
  noFlux: flag("--libpmi-noflux", "fail if the library that is found is Flux's own"),
  cray: flag("--libpmi2-cray", "treat the library of libpmi2 as Cray's"),
} as const;

interface CommonOptions {
  readonly verbose: string | undefined;
  readonly timeout: number | undefined;
  readonly method: string | undefined;
  readonly noFlux: boolean;
  readonly cray: boolean;
}

/** Opens PMI, does `work`, and says goodbye; resolves to the exit code. */
async function withPmi(options: CommonOptions, work: (pmi: PmiClient) => Promise<void>): Promise<number> {
  const { timeout } = options;
  if (timeout !== undefined && Number.isFinite(timeout)) {
    setTimeout(() => {
      writeStderr("flux-pmi: timeout expired before PMI operation completed\n");
      process.exit(1);
    }, timeout * 1000).unref();
  }
  const isVerbose = options.verbose !== undefined && options.verbose !== "0";
  const env = isVerbose ? { ...process.env, FLUX_PMI_DEBUG: "1" } : process.env;
  const trace = isVerbose ? (line: string): void => writeStderr(`${line}\n`) : undefined;
  const methods = options.method === undefined ? methodsFrom(env).filter((method) => method !== "config") : [options.method];
  const { pmi } = await openPmi(methods, { env, trace, noFlux: options.noFlux, cray: options.cray });
  try {
    await work(pmi);
    await doing("finalize", pmi.finalize());
  } catch (err) {
    // Gone without a goodbye, so that the launcher ends the others too instead of letting them wait.
    writeStderr(`flux-pmi: ${toFluxError(err).message}\n`);
    process.exit(1);
  }
  return 0;
}

/** Names the operation that failed. */
async function doing<T>(what: string, result: Promise<T>): Promise<T> {
  try {
    return await result;
  } catch (err) {
    throw new UsageError(`${what}: ${toFluxError(err).message}`);
  }
}

function label(): string {
  return process.env["FLUX_JOB_CC"] ?? process.env["FLUX_JOB_ID"] ?? "0";
}

function elapsed(since_ms: number): string {
  return `in ${((performance.now() - since_ms) / 1000).toFixed(3)}s.`;
}

const barrier = defineCommand({
  name: "barrier",
  style: "getopt",
  summary: "wait until all tasks are here",
  usage: "[OPTIONS]",
  options: {
    ...COMMON,
    timing: flag("--test-timing", "measure the barrier, after one that isn't measured"),
    count: valueOr("--test-count N", "do it N times (default 1)", integer(0), 1),
    abort: value("--test-abort RANK", "this rank aborts instead", integer()),
  },
  run({ options, args }) {
    if (args.length > 0) throw wrongUsage("flux pmi barrier [OPTIONS]");
    return withPmi(options, async (pmi) => {
      if (options.timing) await doing("barrier", pmi.barrier());
      if (options.abort === pmi.rank) await doing("abort", pmi.abort(1, `flux-pmi: rank ${pmi.rank} is aborting`));
      for (let i = 0; i < options.count; i++) {
        const begun_ms = performance.now();
        await doing("barrier", pmi.barrier());
        if (pmi.rank === 0) print(`${label()}: completed pmi barrier on ${pmi.size} tasks${options.timing ? ` ${elapsed(begun_ms)}` : ""}`);
      }
    });
  },
});

const exchange = defineCommand({
  name: "exchange",
  style: "getopt",
  summary: "give every task a value of every other",
  usage: "[OPTIONS]",
  options: { ...COMMON, count: valueOr("--count N", "do it N times (default 1)", integer(0), 1) },
  run({ options, args }) {
    if (args.length > 0) throw wrongUsage("flux pmi exchange [OPTIONS]");
    return withPmi(options, async (pmi) => {
      await doing("barrier", pmi.barrier());
      for (let i = 0; i < options.count; i++) {
        const begun_ms = performance.now();
        await exchangeOnce(pmi);
        if (pmi.rank === 0) print(`${label()}: completed pmi exchange on ${pmi.size} tasks ${elapsed(begun_ms)}`);
      }
    });
  },
});

async function exchangeOnce(pmi: PmiClient): Promise<void> {
  const valueOf = (rank: number): string => `${pmi.kvsname}-${rank}-${pmi.size}`;
  await doing(`put key.${pmi.rank}`, pmi.put(`key.${pmi.rank}`, valueOf(pmi.rank)));
  await doing("barrier", pmi.barrier());
  for (let rank = 0; rank < pmi.size; rank++) {
    const found = await doing(`get key.${rank}`, pmi.get(`key.${rank}`));
    if (found !== valueOf(rank)) throw new UsageError(`get key.${rank}: returned unexpected value`);
  }
  await doing("barrier", pmi.barrier());
}

const get = defineCommand({
  name: "get",
  style: "getopt",
  summary: "print values that the launcher has set",
  usage: "[OPTIONS] KEY...",
  options: { ...COMMON, ranks: valueOr("--ranks RANKS", "ranks that print: an idset or 'all' (default 0)", parseRanks, IdSet.of(0) as IdSet | undefined) },
  run({ options, args }) {
    return withPmi(options, async (pmi) => {
      if (options.ranks !== undefined && !options.ranks.has(pmi.rank)) return;
      for (const key of args) {
        const found = await doing(`get ${key}`, pmi.get(key));
        if (found === undefined) throw new UsageError(`get ${key}: there is no such key`);
        print(found);
      }
    });
  },
});

/** Undefined: all. */
function parseRanks(given: string): IdSet | undefined {
  return given === "all" ? undefined : IdSet.parse(given);
}

const subcommands = [barrier, exchange, get];

export default defineCommand({
  name: "pmi",
  style: "getopt",
  summary: "try the PMI of a launcher",
  usage: "[OPTIONS] barrier|exchange|get [OPTIONS]",
  details: "A PMI client for tests of launchers: what it does is what brokers do when they start.\n\nExample: srun -N4 --mpi=pmi2 flux pmi exchange",
  options: COMMON,
  passThrough: true,
  subcommands,
  /** Options came before the subcommand: it gets them as its own. */
  run({ options, args }) {
    const [name, ...rest] = args;
    const spec = subcommands.find((subcommand) => subcommand.name === name);
    if (spec === undefined) throw wrongUsage("flux pmi [OPTIONS] barrier|exchange|get [OPTIONS]");
    const words = [
      ...(options.verbose === undefined ? [] : [`--verbose=${options.verbose}`]),
      ...(options.timeout === undefined ? [] : [`--timeout=${options.timeout}s`]),
      ...(options.method === undefined ? [] : [`--method=${options.method}`]),
      ...(options.noFlux ? ["--libpmi-noflux"] : []),
      ...(options.cray ? ["--libpmi2-cray"] : []),
    ];
    return runCommand({ ...spec, name: "pmi" }, [...words, ...rest]);
  },
});
