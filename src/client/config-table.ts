// A table of the instance's configuration, for those who read it.
import { isJsonObject, type Json, type JsonObject } from "../formats/json.ts";
import { errno, FluxError } from "../message/errno.ts";
import { fields, problemOf, type Reader } from "../message/unpack.ts";

/** The table of that name, or the one inside it; {} where there is none. Throws FluxError EINVAL for what is no table. */
export function configTable(config: JsonObject, ...path: readonly [string, ...string[]]): JsonObject {
  let table = config;
  for (const [i, name] of path.entries()) {
    const value: Json = table[name] ?? {};
    if (!isJsonObject(value)) throw new FluxError(errno.EINVAL, `error reading [${path.slice(0, i + 1).join(".")}] config table: it must be a table`);
    table = value;
  }
  return table;
}

/** Fields of a table of the configuration, by the readers of unpack(). Throws FluxError EINVAL that names the key with its table. */
export function readTable<S extends Record<string, Reader<unknown>>>(table: JsonObject, name: string, spec: S): ReturnType<ReturnType<typeof fields<S>>> {
  try {
    return fields(spec)(table, name);
  } catch (err) {
    throw new FluxError(errno.EINVAL, problemOf(err), { cause: err });
  }
}
