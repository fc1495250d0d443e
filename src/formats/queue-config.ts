// The table [queues] of a configuration (RFC 33), with what virtual queues have from their parents.
//
//   [queues.batch]
//   requires = ["batch"]
//   [queues.expedite]          # a virtual queue: jobs of batch, under another name and policy
//   parent = "batch"
//   policy.limits.duration = "30m"
import { isJsonObject, type Json, type JsonObject } from "./json.ts";

/** Name → its table, as if a virtual queue had written down what it inherits. What is no table is left out. */
export function queueTables(config: JsonObject): ReadonlyMap<string, JsonObject> {
  const { queues } = config;
  if (!isJsonObject(queues)) return new Map();
  const tables = Object.entries(queues).filter((entry): entry is [string, JsonObject] => isJsonObject(entry[1]));
  return new Map(tables.map(([name, table]) => [name, inherited(table, queues)]));
}

/** The queue that a virtual queue belongs to; undefined for one of its own. */
export function parentQueue(table: Json | undefined): string | undefined {
  const parent = isJsonObject(table) ? table["parent"] : undefined;
  return typeof parent === "string" ? parent : undefined;
}

function inherited(table: JsonObject, queues: JsonObject): JsonObject {
  const name = parentQueue(table);
  const parent = name !== undefined && Object.hasOwn(queues, name) ? queues[name] : undefined;
  if (!isJsonObject(parent)) return table;
  const { requires, policy } = parent;
  return {
    ...table,
    ...(requires === undefined ? {} : { requires }),
    ...(policy === undefined && table["policy"] === undefined ? {} : { policy: merged(policy, table["policy"]) }),
  };
}

/** Tables member by member; `over` wins. */
function merged(base: Json | undefined, over: Json | undefined): Json {
  if (!isJsonObject(base) || !isJsonObject(over)) return over ?? base ?? {};
  const out: Record<string, Json> = { ...base };
  for (const [key, value] of Object.entries(over)) out[key] = merged(base[key], value);
  return out;
}
