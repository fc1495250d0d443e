// Options that have parts, such as output.mode: what is given in their place is told, and not passed over.
import { isJsonObject, type Json, type JsonObject } from "../formats/json.ts";
import { ShellExit } from "./shell.ts";

/** The parts of option `name`, none where it is not set. Throws ShellExit for what has none; `example` shows one. */
export function partsOf(value: Json | undefined, name: string, example: string): JsonObject {
  if (value === undefined) return {};
  if (!isJsonObject(value)) throw new ShellExit(1, `invalid option ${name}=${typeof value === "string" ? value : JSON.stringify(value)}: it has parts, such as ${example}`);
  return value;
}
