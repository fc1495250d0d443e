// PMI methods: which of the ways to a launcher's PMI there are, which of them a program tries, and in what order (flux-pmi(1),
// flux-environment(7)).
//
//   simple            the PMI-1 wire protocol (client.ts)
//   libpmi2[:PATH]    a shared library with the PMI-2 C API (library.ts)
//   libpmi[:PATH]     a shared library with the PMI-1 C API
//   single            alone

import { errno, FluxError, toFluxError } from "../message/errno.ts";
import { hasPmi, openPmiClient, type PmiClient, type PmiEnvironment } from "./client.ts";
import { DEFAULT_LIMITS } from "./wire.ts";

export interface OpenedPmi {
  /** Name of the method, without its path. */
  readonly method: string;
  readonly pmi: PmiClient;
}

export interface OpenOptions {
  readonly env: PmiEnvironment;
  /** Told what is tried and what came of it. */
  readonly trace?: ((text: string) => void) | undefined;
  readonly noFlux?: boolean;
  readonly cray?: boolean;
}

export const PMI_METHODS = ["simple", "libpmi2", "libpmi", "single"] as const;
const ENOTSOCK = 88;
const DEFAULT_METHODS = ["config", ...PMI_METHODS];

/** A launcher that started this program as one of several, as far as the environment shows it. */
export interface ParallelLaunch {
  readonly launcher: string;
  readonly rank: number;
  readonly size: number;
}

/** Undefined: nothing says that there are others. */
export function parallelLaunch(env: PmiEnvironment): ParallelLaunch | undefined {
  const places: readonly (readonly [launcher: string, rank: string, size: string])[] = [
    ["srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"],
    ["mpirun of Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"],
    ["a launcher with PMI", "PMI_RANK", "PMI_SIZE"],
  ];
  for (const [launcher, rankName, sizeName] of places) {
    const [rank, size] = [Number(env[rankName] || Number.NaN), Number(env[sizeName] || Number.NaN)];
    if (Number.isInteger(rank) && size > 1) return { launcher, rank, size };
  }
  return undefined;
}

/** The methods to try, in order: FLUX_PMI_CLIENT_METHODS, or all; FLUX_PMI_LIBRARY or PMI_LIBRARY names the library, which must work. */
export function methodsFrom(env: PmiEnvironment): string[] {
  const given = (env["FLUX_PMI_CLIENT_METHODS"] ?? "").split(" ").filter((method) => method !== "");
  if (given.length > 0) return given;
  const library = env["FLUX_PMI_LIBRARY"] || env["PMI_LIBRARY"] || "";
  if (library !== "") return ["config", "simple", `${/libpmi2[^/]*$/.test(library) ? "libpmi2" : "libpmi"}:${library}`];
  // A library that only happens to be there is of no use to a program that nobody started in parallel.
  if (parallelLaunch(env) === undefined) return DEFAULT_METHODS.filter((method) => !method.startsWith("libpmi"));
  return DEFAULT_METHODS;
}

/** Splits "libpmi:PATH"; throws FluxError EINVAL for a method that there is not. */
export function parseMethod(uri: string): { method: (typeof PMI_METHODS)[number]; path: string | undefined } {
  const colon = uri.indexOf(":");
  const name = colon < 0 ? uri : uri.slice(0, colon);
  const method = PMI_METHODS.find((known) => known === name);
  if (method === undefined) throw new FluxError(errno.EINVAL, `there is no PMI method '${uri}': expected ${PMI_METHODS.join(", ")}`);
  return { method, path: colon < 0 ? undefined : uri.slice(colon + 1) };
}

/** Opens the first of `methods` that works. Throws the last one's FluxError when none does. */
export async function openPmi(methods: readonly string[], options: OpenOptions): Promise<OpenedPmi> {
  let last = new FluxError(errno.ENOENT, "no PMI method was given");
  for (const uri of methods) {
    options.trace?.(`trying '${uri}'`);
    try {
      const { method, path } = parseMethod(uri);
      const pmi = await open(method, path, options);
      options.trace?.(`${method}: initialize: rank=${pmi.rank} size=${pmi.size} name=${pmi.kvsname}: success`);
      return { method, pmi: options.trace === undefined ? pmi : traced(method, pmi, options.trace) };
    } catch (error) {
      last = toFluxError(error);
      options.trace?.(`${uri}: ${last.message}`);
    }
    // Whoever has a PMI server and can't use it must not go on alone: the others wait for it.
    if (uri === "simple" && hasPmi(options.env) && !isStale(last)) throw last;
  }
  throw last;
}

/** PMI_FD may be left over from a launcher further out, whose descriptor is not ours. */
function isStale(error: FluxError): boolean {
  return error.errno === errno.EBADF || error.errno === ENOTSOCK;
}

async function open(method: (typeof PMI_METHODS)[number], path: string | undefined, options: OpenOptions): Promise<PmiClient> {
  if (method === "single") return singlePmi();
  if (method === "simple") return openPmiClient(options.env);
  const { openPmiLibrary } = await import("./library.ts");
  return openPmiLibrary(method, { path, noFlux: options.noFlux ?? false, cray: options.cray ?? false });
}

/** PMI of a program that is alone: it reads what it put. */
export function singlePmi(): PmiClient {
  const pairs = new Map<string, string>();
  const done = async (): Promise<void> => undefined;
  return {
    rank: 0,
    size: 1,
    kvsname: "single",
    limits: DEFAULT_LIMITS,
    async put(key, value) {
      pairs.set(key, value);
    },
    get: async (key) => pairs.get(key),
    barrier: done,
    universeSize: async () => undefined,
    appnum: async () => undefined,
    finalize: done,
    async abort(exitCode) {
      process.exit(exitCode);
    },
  };
}

function traced(method: string, pmi: PmiClient, trace: (text: string) => void): PmiClient {
  const told = async <T>(what: string, result: Promise<T>): Promise<T> => {
    try {
      const value = await result;
      trace(`${method}: ${what}${typeof value === "string" ? ` value=${value}` : ""}: success`);
      return value;
    } catch (error) {
      trace(`${method}: ${what}: ${toFluxError(error).message}`);
      throw error;
    }
  };
  return {
    ...pmi,
    put: async (key, value) => told(`put key=${key} value=${value}`, pmi.put(key, value)),
    get: async (key) => told(`get key=${key}`, pmi.get(key)),
    barrier: async () => told("barrier", pmi.barrier()),
    finalize: async () => told("finalize", pmi.finalize()),
    abort: async (exitCode, message) => told("abort", pmi.abort(exitCode, message)),
  };
}
