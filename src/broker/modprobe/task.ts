// Tasks of modprobe: something with a name and conditions that runs, or a module that is loaded or removed.
import { readTable } from "../../client/config-table.ts";
import type { TaskConditions, TaskDefinition } from "../../client/modprobe.ts";
import { IdSet } from "../../formats/idset.ts";
import type { JsonObject } from "../../formats/json.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { arr, bool, def, int, opt, problemOf, str, unpack } from "../../message/unpack.ts";

/** A module: an entry of the table, with the keys of modprobe.toml (flux-modprobe(1)). */
export interface ModuleEntry {
  readonly name: string;
  readonly module?: string;
  readonly args?: readonly string[];
  readonly ranks?: string;
  readonly provides?: readonly string[];
  readonly requires?: readonly string[];
  readonly needs?: readonly string[];
  readonly before?: readonly string[];
  readonly after?: readonly string[];
  readonly "needs-attrs"?: readonly string[];
  readonly "needs-config"?: readonly string[];
  readonly "needs-env"?: readonly string[];
  readonly priority?: number;
  readonly disabled?: boolean;
  readonly exec?: boolean;
}

const ENTRY = {
  name: opt(str),
  module: opt(str),
  args: opt(arr(str)),
  ranks: opt(str),
  provides: opt(arr(str)),
  requires: opt(arr(str)),
  needs: opt(arr(str)),
  before: opt(arr(str)),
  after: opt(arr(str)),
  "needs-attrs": opt(arr(str)),
  "needs-config": opt(arr(str)),
  "needs-env": opt(arr(str)),
  priority: opt(int),
  disabled: opt(bool),
  exec: opt(bool),
};

const CONDITIONS = {
  ranks: def(str, "all"),
  provides: def(arr(str), []),
  requires: def(arr(str), []),
  needs: def(arr(str), []),
  before: def(arr(str), []),
  after: def(arr(str), []),
  needsAttrs: def(arr(str), []),
  needsConfig: def(arr(str), []),
  needsEnv: def(arr(str), []),
  disabled: def(bool, false),
  priority: def(int, 100),
};

type Work =
  | { readonly kind: "code"; readonly run: TaskDefinition["run"] }
  | { readonly kind: "load" | "remove"; readonly module: string; readonly args: readonly string[]; readonly exec: boolean };

export interface Task {
  readonly name: string;
  readonly work: Work;
  readonly ranks: string;
  readonly provides: readonly string[];
  readonly requires: readonly string[];
  readonly needs: readonly string[];
  readonly before: readonly string[];
  readonly after: readonly string[];
  readonly needsAttrs: readonly string[];
  readonly needsConfig: readonly string[];
  readonly needsEnv: readonly string[];
  readonly priority: number;
  readonly disabled: boolean;
  /** Runs whatever its conditions say. */
  readonly forced: boolean;
}

/** Checks what an rc file gives. Throws FluxError that names the task. */
export function codeTask(definition: TaskDefinition): Task {
  return newTask(definition.name, definition, { kind: "code", run: (context) => definition.run(context) });
}

export function moduleTask(entry: ModuleEntry): Task {
  const { module = entry.name, args = [], exec = false } = entry;
  const conditions: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(entry)) conditions[key.replace(/-(.)/, (_, c: string) => c.toUpperCase())] = value;
  return newTask(entry.name, conditions, { kind: "load", module, args, exec });
}

/** The removal of a module goes the other way round, and needs nothing. */
export function removalOf(task: Task): Task {
  if (task.work.kind !== "load") return task;
  return { ...task, work: { ...task.work, kind: "remove" }, before: task.after, after: task.before, needs: [], requires: [] };
}

function newTask(name: string, given: TaskConditions, work: Work): Task {
  let task: Task;
  try {
    const conditions = unpack(given as JsonObject, CONDITIONS);
    runsOn(conditions.ranks, 0);
    task = { ...conditions, name, work, forced: false };
  } catch (err) {
    throw new FluxError(errno.EINVAL, `${name}: ${problemOf(err)}`, { cause: err });
  }
  for (const [all, other] of [["before", "after"], ["after", "before"]] as const) {
    if (task[all].includes("*") && task[other].length > 0) {
      throw new FluxError(errno.EINVAL, `${name}: cannot specify '${all}=["*"]' when '${other}' is also set (${other}=${JSON.stringify(task[other])})`);
    }
  }
  return task;
}

/** True when an expression of ranks has `rank` in it. Throws FormatError. */
export function runsOn(ranks: string, rank: number): boolean {
  if (ranks === "all") return true;
  const [, sign, limit] = /^([<>])(\d+)$/.exec(ranks) ?? [];
  if (sign !== undefined) return sign === ">" ? rank > Number(limit) : rank < Number(limit);
  return parseRanks(ranks).has(rank);
}

function parseRanks(ranks: string): IdSet {
  try {
    return IdSet.parse(ranks);
  } catch (err) {
    throw new FluxError(errno.EINVAL, `ranks: invalid idset: ${ranks}`, { cause: err });
  }
}

/** An entry of a [[modules]] array; `name` when the table has the name as its key. Throws FluxError EINVAL. */
export function parseModuleEntry(table: JsonObject, name?: string): ModuleEntry {
  const unknown = Object.keys(table).find((key) => !Object.hasOwn(ENTRY, key));
  const who = name ?? (typeof table["name"] === "string" ? table["name"] : undefined);
  if (unknown !== undefined) throw new FluxError(errno.EINVAL, `${who === undefined ? "" : `${who}: `}invalid config key ${unknown}`);
  if (who === undefined) throw new FluxError(errno.EINVAL, "missing required config key 'name'");
  const entry = readTable(table, who, ENTRY);
  return { ...(Object.fromEntries(Object.entries(entry).filter(([, value]) => value !== undefined)) as Omit<ModuleEntry, "name">), name: who };
}

/** A task as `flux modprobe show` prints it. */
export function describeModule(task: Task): JsonObject {
  const { work } = task;
  if (work.kind === "code") throw new FluxError(errno.EINVAL, `${task.name} is not a module`);
  return {
    name: task.name,
    module: work.module,
    args: work.args,
    ranks: task.ranks,
    provides: task.provides,
    requires: task.requires,
    needs: task.needs,
    before: task.before,
    after: task.after,
    "needs-attrs": task.needsAttrs,
    "needs-config": task.needsConfig,
    "needs-env": task.needsEnv,
    priority: task.priority,
    disabled: task.disabled,
    exec: work.exec,
  };
}
