// What plugins of the job manager read from the instance's configuration: [policy] and [queues.NAME.policy] (RFC 33).
import { parseDuration } from "../../../formats/fsd.ts";
import { isJsonObject, type Json, type JsonObject } from "../../../formats/json.ts";
import { queueTables } from "../../../formats/queue-config.ts";
import { errno, FluxError } from "../../../message/errno.ts";

/** The policy table of the instance and those of its queues; {} where there is none. */
export function tablesOf(config: JsonObject): { readonly general: JsonObject; readonly queues: ReadonlyMap<string, JsonObject> } {
  return {
    general: objectOf(config["policy"]),
    queues: new Map(Array.from(queueTables(config), ([name, queue]) => [name, objectOf(queue["policy"])])),
  };
}

function objectOf(value: Json | undefined): JsonObject {
  return isJsonObject(value) ? value : {};
}

function memberIn(table: JsonObject, path: readonly string[], where: string): Json | undefined {
  let found: Json | undefined = table;
  for (const [i, name] of path.entries()) {
    if (found === undefined) return undefined;
    if (!isJsonObject(found)) throw new FluxError(errno.EINVAL, `${[where, ...path.slice(0, i)].join(".")}: must be a table`);
    found = found[name];
  }
  return found;
}

/** Seconds of a duration; undefined when there is none. Throws FluxError EINVAL that names it. */
export function durationIn(table: JsonObject, path: readonly string[], where: string): number | undefined {
  const value = memberIn(table, path, where);
  if (value === undefined) return undefined;
  try {
    if (typeof value === "string") return parseDuration(value);
  } catch {
    // Said below, in the words that administrators know.
  }
  throw new FluxError(errno.EINVAL, `${[where, ...path].join(".")}: FSD value is malformed`);
}

/** A size of at least -1, which is unlimited; undefined when there is none. Throws FluxError EINVAL that names the table. */
export function intIn(table: JsonObject, path: readonly string[], where: string): number | undefined {
  const value = memberIn(table, path, where);
  if (value === undefined) return undefined;
  if (typeof value === "number" && Number.isInteger(value) && value >= -1) return value;
  throw new FluxError(errno.EINVAL, `${[where, ...path.slice(0, -1)].join(".")}: size must be -1 (unlimited), or >= 0`);
}
