// The modules that come with the broker: how to get each, and which of them rc1 loads, in which order, on which ranks.
import type { JsonObject } from "../formats/json.ts";
import type { ModuleDefinition } from "../client/module.ts";

interface Builtin {
  readonly load: () => Promise<{ default: ModuleDefinition }>;
  /** Loaded by rc1: on every rank, or on rank 0 only. Without it, only by `flux module load`. */
  readonly rc1?: "all" | "leader";
  /** Only where the configuration has this table. */
  readonly table?: string;
}

/** In the order in which rc1 loads them; rc3 unloads in the reverse order. Built-in services come before rc1. */
const BUILTINS: Readonly<Record<string, Builtin>> = {
  groups: { load: () => import("../modules/groups/groups.ts") },
  rexec: { load: () => import("../modules/rexec/rexec.ts"), rc1: "all" },
  barrier: { load: () => import("../modules/barrier/barrier.ts"), rc1: "all" },
  content: { load: () => import("../modules/content/content.ts"), rc1: "all" },
  "content-sqlite": { load: () => import("../modules/content-sqlite/content-sqlite.ts"), rc1: "leader" },
  kvs: { load: () => import("../modules/kvs/kvs.ts"), rc1: "all" },
  "kvs-watch": { load: () => import("../modules/kvs-watch/kvs-watch.ts"), rc1: "all" },
  heartbeat: { load: () => import("../modules/heartbeat/heartbeat.ts"), rc1: "leader" },
  resource: { load: () => import("../modules/resource/resource.ts"), rc1: "all" },
  "job-info": { load: () => import("../modules/job-info/job-info.ts"), rc1: "all" },
  "job-manager": { load: () => import("../modules/job-manager/job-manager.ts"), rc1: "leader" },
  "job-list": { load: () => import("../modules/job-list/job-list.ts"), rc1: "leader" },
  "job-archive": { load: () => import("../modules/job-archive/job-archive.ts"), rc1: "leader", table: "archive" },
  "job-exec": { load: () => import("../modules/job-exec/job-exec.ts"), rc1: "all" },
  "sched-simple": { load: () => import("../modules/sched-simple/sched-simple.ts"), rc1: "leader" },
  "job-ingest": { load: () => import("../modules/job-ingest/job-ingest.ts"), rc1: "all" },
};

/** Loaded before anything else: the state machine needs them. */
export const EARLY_MODULES = ["groups"] as const;

/** The module of that name; undefined when there is none. */
export async function loadBuiltin(name: string): Promise<ModuleDefinition | undefined> {
  if (!Object.hasOwn(BUILTINS, name)) return undefined;
  return (await BUILTINS[name]?.load())?.default;
}

/** Names of the modules that rc1 loads on this rank with this configuration, in order. */
export function rc1Modules(rank: number, config: JsonObject): string[] {
  return Object.entries(BUILTINS)
    .filter(([, { rc1, table }]) => (rc1 === "all" || (rc1 === "leader" && rank === 0)) && (table === undefined || config[table] !== undefined))
    .map(([name]) => name);
}
