// PMI by a shared library of the launcher's (libpmi.so: the PMI-1 C API; libpmi2.so: the PMI-2 C API), for launchers whose wire
// protocol is their own. The library is opened at run time.
//
// Its calls block this whole process, a barrier until everybody is there: meanwhile signals end the process as they end any other.

import { dlopen, ptr } from "bun:ffi";

import { errno, FluxError } from "../message/errno.ts";
import { cstring, libc } from "../os/libc.ts";
import { withDefaultSignals } from "../os/default-signals.ts";
import type { PmiClient } from "./client.ts";
import { checkSize, checkWord, DEFAULT_LIMITS } from "./wire.ts";

export type PmiLibraryKind = "libpmi" | "libpmi2";

export interface PmiLibraryOptions {
  /** Undefined: where the system finds libpmi.so or libpmi2.so. */
  readonly path?: string | undefined;
  /** Refuse Flux's own library, which would only pass everything on to Flux's PMI. */
  readonly noFlux?: boolean;
  /** Treat a libpmi2.so as Cray's, as it is for one that shows that it is. */
  readonly cray?: boolean;
}

const BUFFER_BYTES = 1024;
/** The names a library may have where its development package isn't installed. */
const NAMES = { libpmi: ["libpmi.so", "libpmi.so.0"], libpmi2: ["libpmi2.so", "libpmi2.so.0"] } as const;
/** An attribute of the job, which nobody has put. */
const MAPPING_KEY = "PMI_process_mapping";
const CRAY_SYMBOL = "PMI_CRAY_Get_app_size";
const FLUX_SYMBOL = "flux_pmi_library";

/** Codes that both APIs share. */
const ERRORS: Readonly<Record<number, string>> = {
  1: "PMI is not initialized",
  2: "out of memory",
  3: "invalid argument",
  4: "invalid key",
  5: "invalid key length",
  6: "invalid value",
  7: "invalid value length",
  8: "invalid length",
};

const ONE_TEXT = { args: ["ptr"], returns: "i32" } as const;
const NOTHING = { args: [], returns: "i32" } as const;

/**
 * Opens the library and initializes. ENOENT: there is none, or it lacks a function; EIO: it finds no server; EPERM: it is one that
 * may not be used.
 */
export function openPmiLibrary(kind: PmiLibraryKind, options: PmiLibraryOptions = {}): PmiClient {
  const path = find(options.path === undefined ? NAMES[kind] : [options.path], kind === "libpmi" ? "PMI_Init" : "PMI2_Init");
  if (options.noFlux === true && hasSymbol(path, FLUX_SYMBOL)) throw new FluxError(errno.EPERM, `${path}: this is Flux's own library`);
  if (kind === "libpmi" && hasSymbol(path, CRAY_SYMBOL)) throw new FluxError(errno.EPERM, `${path}: refusing to use Cray's libpmi.so: its libpmi2.so does better`);
  if (kind === "libpmi") return openFirst(path);
  return options.cray === true || hasSymbol(path, CRAY_SYMBOL) ? forCray(openSecond(path)) : openSecond(path);
}

/** What a Flux sets for programs that it starts. */
const OF_FLUX: ReadonlySet<string> = new Set(["flux.instance-level", "flux.taskmap"]);

/**
 * Cray's libpmi2.so takes no ";" and "=" in values, which are base64 with "*" at its end instead; and it complains on stderr of a
 * key that there is not, so that those are not asked for that only a Flux would have set.
 */
function forCray(pmi: PmiClient): PmiClient {
  return {
    ...pmi,
    async put(key, value) {
      await pmi.put(key, Buffer.from(value).toString("base64").replaceAll("=", "*"));
    },
    async get(key) {
      if (OF_FLUX.has(key)) return undefined;
      const value = await pmi.get(key);
      if (value === undefined || key === MAPPING_KEY) return value;
      return Buffer.from(value.replaceAll("*", "="), "base64").toString();
    },
  };
}

/** The first of these names that the system opens and that has the function `symbol`. */
function find(names: readonly string[], symbol: string): string {
  let reason = "";
  for (const name of names) {
    try {
      dlopen(name, { [symbol]: NOTHING }).close();
      openForPlugins(name);
      return name;
    } catch (error) {
      reason ||= error instanceof Error ? error.message : String(error);
    }
  }
  throw new FluxError(errno.ENOENT, `${names[0]}: ${reason.split("\n")[0]}`);
}

const RTLD_NOW = 2;
const RTLD_GLOBAL = 0x100;

/** Slurm's library loads plugins that take functions from it: it must be open for everybody, which Bun's own dlopen does not do. */
function openForPlugins(name: string): void {
  const opened = libc().dlopen(ptr(cstring(name)), RTLD_NOW | RTLD_GLOBAL);
  if (opened === null) throw new FluxError(errno.ENOENT, `${name} cannot be opened for its plugins`);
}

function hasSymbol(path: string, name: string): boolean {
  try {
    dlopen(path, { [name]: NOTHING }).close();
    return true;
  } catch {
    return false; // that is the answer
  }
}

function missing(path: string, error: unknown): FluxError {
  return new FluxError(errno.ENOENT, `${path} lacks a function of PMI: ${error instanceof Error ? error.message.split("\n")[0] : String(error)}`);
}

function openFirst(path: string): PmiClient {
  const api = ((): ReturnType<typeof load> => {
    try {
      return load(path);
    } catch (error) {
      throw missing(path, error);
    }
  })();
  const must = mustSucceed(path);
  must("PMI_Init", () => api.PMI_Init(ptr(new Int32Array(1))));
  const name = new Uint8Array(BUFFER_BYTES);
  must("PMI_KVS_Get_my_name", () => api.PMI_KVS_Get_my_name(ptr(name), BUFFER_BYTES));
  const number = new Int32Array(1);
  must("PMI_Get_rank", () => api.PMI_Get_rank(ptr(number)));
  const rank = number[0] ?? 0;
  must("PMI_Get_size", () => api.PMI_Get_size(ptr(number)));
  const size = number[0] ?? 1;
  const kvsname = textOf(name);
  return {
    rank,
    size,
    kvsname,
    limits: DEFAULT_LIMITS,
    async put(key, value) {
      checkPair(key, value);
      must("PMI_KVS_Put", () => api.PMI_KVS_Put(ptr(cstring(kvsname)), ptr(cstring(key)), ptr(cstring(value))));
    },
    async get(key) {
      const value = new Uint8Array(BUFFER_BYTES);
      const code = withDefaultSignals(() => api.PMI_KVS_Get(ptr(cstring(kvsname)), ptr(cstring(key)), ptr(value), BUFFER_BYTES));
      return code === 0 ? textOf(value) : undefined;
    },
    async barrier() {
      must("PMI_KVS_Commit", () => api.PMI_KVS_Commit(ptr(cstring(kvsname))));
      must("PMI_Barrier", () => api.PMI_Barrier());
    },
    universeSize: async () => undefined,
    appnum: async () => undefined,
    finalize: async () => must("PMI_Finalize", () => api.PMI_Finalize()),
    abort: async (exitCode, message = "") => must("PMI_Abort", () => api.PMI_Abort(exitCode, ptr(cstring(message)))),
  };
}

function load(path: string) {
  return dlopen(path, {
    PMI_Init: ONE_TEXT,
    PMI_Finalize: NOTHING,
    PMI_Get_size: ONE_TEXT,
    PMI_Get_rank: ONE_TEXT,
    PMI_Barrier: NOTHING,
    PMI_KVS_Get_my_name: { args: ["ptr", "i32"], returns: "i32" },
    PMI_KVS_Put: { args: ["ptr", "ptr", "ptr"], returns: "i32" },
    PMI_KVS_Commit: ONE_TEXT,
    PMI_KVS_Get: { args: ["ptr", "ptr", "ptr", "i32"], returns: "i32" },
    PMI_Abort: { args: ["i32", "ptr"], returns: "i32" },
  }).symbols;
}

function openSecond(path: string): PmiClient {
  const api = ((): ReturnType<typeof loadSecond> => {
    try {
      return loadSecond(path);
    } catch (error) {
      throw missing(path, error);
    }
  })();
  const must = mustSucceed(path);
  const [spawned, sizeOut, rankOut, appnum] = [new Int32Array(1), new Int32Array(1), new Int32Array(1), new Int32Array(1)];
  must("PMI2_Init", () => api.PMI2_Init(ptr(spawned), ptr(sizeOut), ptr(rankOut), ptr(appnum)));
  const id = new Uint8Array(BUFFER_BYTES);
  must("PMI2_Job_GetId", () => api.PMI2_Job_GetId(ptr(id), BUFFER_BYTES));
  // A value of the job itself; its keys are another space than those that the processes put.
  const attribute = (key: string): string | undefined => {
    const value = new Uint8Array(BUFFER_BYTES);
    const found = new Int32Array(1);
    const code = withDefaultSignals(() => api.PMI2_Info_GetJobAttr(ptr(cstring(key)), ptr(value), BUFFER_BYTES, ptr(found)));
    return code === 0 && found[0] !== 0 ? textOf(value) : undefined;
  };
  return {
    rank: rankOut[0] ?? 0,
    size: sizeOut[0] ?? 1,
    kvsname: textOf(id),
    limits: DEFAULT_LIMITS,
    async put(key, value) {
      checkPair(key, value);
      must("PMI2_KVS_Put", () => api.PMI2_KVS_Put(ptr(cstring(key)), ptr(cstring(value))));
    },
    async get(key) {
      if (key === MAPPING_KEY) return attribute(key);
      const value = new Uint8Array(BUFFER_BYTES);
      const length = new Int32Array(1);
      // -1: this job's space, no hint whose key it is.
      const code = withDefaultSignals(() => api.PMI2_KVS_Get(null, -1, ptr(cstring(key)), ptr(value), BUFFER_BYTES, ptr(length)));
      return code === 0 ? textOf(value) : undefined;
    },
    barrier: async () => must("PMI2_KVS_Fence", () => api.PMI2_KVS_Fence()),
    universeSize: async () => undefined,
    appnum: async () => appnum[0],
    finalize: async () => must("PMI2_Finalize", () => api.PMI2_Finalize()),
    abort: async (_exitCode, message = "") => must("PMI2_Abort", () => api.PMI2_Abort(1, ptr(cstring(message)))),
  };
}

function loadSecond(path: string) {
  return dlopen(path, {
    PMI2_Init: { args: ["ptr", "ptr", "ptr", "ptr"], returns: "i32" },
    PMI2_Finalize: NOTHING,
    PMI2_Abort: { args: ["i32", "ptr"], returns: "i32" },
    PMI2_Job_GetId: { args: ["ptr", "i32"], returns: "i32" },
    PMI2_KVS_Put: { args: ["ptr", "ptr"], returns: "i32" },
    PMI2_KVS_Fence: NOTHING,
    PMI2_KVS_Get: { args: ["ptr", "i32", "ptr", "ptr", "i32", "ptr"], returns: "i32" },
    PMI2_Info_GetJobAttr: { args: ["ptr", "ptr", "i32", "ptr"], returns: "i32" },
  }).symbols;
}

function mustSucceed(path: string): (name: string, call: () => number) => void {
  return (name, call) => {
    const code = withDefaultSignals(call);
    if (code !== 0) throw new FluxError(errno.EIO, `${path}: ${name}: ${ERRORS[code] ?? `error ${code}`}`);
  };
}

function checkPair(key: string, value: string): void {
  checkWord("key", key, DEFAULT_LIMITS.keyMax_bytes);
  checkSize(`value of ${key}`, value, DEFAULT_LIMITS.valueMax_bytes);
}

function textOf(buffer: Uint8Array): string {
  const end = buffer.indexOf(0);
  return Buffer.from(buffer.subarray(0, end < 0 ? buffer.length : end)).toString();
}
