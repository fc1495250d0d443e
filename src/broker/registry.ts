// The modules that come with the broker, and how to get each. Which of them an instance loads, and in which order, stands in
// modprobe/module-table.ts.
import type { ModuleDefinition } from "../client/module.ts";
import { MODULE_TABLE } from "./modprobe/module-table.ts";
import { runsOn } from "./modprobe/task.ts";

const BUILTINS: Readonly<Record<string, () => Promise<{ default: ModuleDefinition }>>> = {
  groups: () => import("../modules/groups/groups.ts"),
  rexec: () => import("../modules/rexec/rexec.ts"),
  barrier: () => import("../modules/barrier/barrier.ts"),
  content: () => import("../modules/content/content.ts"),
  "content-files": () => import("../modules/content-files/content-files.ts"),
  "content-sqlite": () => import("../modules/content-sqlite/content-sqlite.ts"),
  kvs: () => import("../modules/kvs/kvs.ts"),
  "kvs-watch": () => import("../modules/kvs-watch/kvs-watch.ts"),
  cron: () => import("../modules/cron/cron.ts"),
  heartbeat: () => import("../modules/heartbeat/heartbeat.ts"),
  resource: () => import("../modules/resource/resource.ts"),
  "job-info": () => import("../modules/job-info/job-info.ts"),
  "job-manager": () => import("../modules/job-manager/job-manager.ts"),
  "job-list": () => import("../modules/job-list/job-list.ts"),
  "job-archive": () => import("../modules/job-archive/job-archive.ts"),
  "job-exec": () => import("../modules/job-exec/job-exec.ts"),
  "sched-simple": () => import("../modules/sched-simple/sched-simple.ts"),
  "job-ingest": () => import("../modules/job-ingest/job-ingest.ts"),
};

/** They belong to the broker, and are there whatever rc1 does. */
export const EARLY_MODULES = ["groups", "rexec", "barrier"] as const;

/** The module of that name; undefined when there is none. */
export async function loadBuiltin(name: string): Promise<ModuleDefinition | undefined> {
  if (!Object.hasOwn(BUILTINS, name)) return undefined;
  return (await BUILTINS[name]?.())?.default;
}

/** Names of the modules that rc1 usually loads on this rank. */
export function usualModules(rank: number): string[] {
  return MODULE_TABLE.filter(({ ranks }) => runsOn(ranks ?? "all", rank)).map(({ name }) => name);
}
