// The environment of a program that belongs to Flux (flux-environment(7)): `flux env`, `flux python`, rc files in Python and
// commands that are not ours find this instance, this `flux`, and what sites and packages have installed for Flux by it.
import { existsSync, readdirSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { BUILTIN_CONFIG } from "../broker/builtin-config.ts";
import { binDirectory, pathWithOurs } from "../os/self.ts";

/** Passed on when they are set. */
const PLAIN_VARIABLES = ["FLUX_URI", "FLUX_KVS_NAMESPACE"] as const;
/** Lists of directories: our own go before those that are set, and those of another variable before all. */
const LISTS: readonly (readonly [name: string, first: string, ours: string, separator: string])[] = [
  ["FLUX_EXEC_PATH", "FLUX_EXEC_PATH_PREPEND", BUILTIN_CONFIG.exec_path, delimiter],
  ["FLUX_MODULE_PATH", "FLUX_MODULE_PATH_PREPEND", BUILTIN_CONFIG.module_path, delimiter],
  ["FLUX_CONNECTOR_PATH", "FLUX_CONNECTOR_PATH_PREPEND", BUILTIN_CONFIG.connector_path, delimiter],
  // An empty element, at the end, stands for where Lua itself looks.
  ["LUA_PATH", "FLUX_LUA_PATH_PREPEND", BUILTIN_CONFIG.lua_path_add, ";"],
  ["LUA_CPATH", "FLUX_LUA_CPATH_PREPEND", BUILTIN_CONFIG.lua_cpath_add, ";"],
];

/** The variables that differ from ours, or that a shell would want to have. */
export function commandEnvironment(env: NodeJS.ProcessEnv = process.env): Record<string, string> {
  const out: Record<string, string> = {};
  for (const name of PLAIN_VARIABLES) {
    const value = env[name];
    if (value !== undefined) out[name] = value;
  }
  for (const [name, first, ours, separator] of LISTS) {
    const words = joined([env[first], ours, env[name]], separator);
    out[name] = separator === ";" ? `${words};;;` : words;
  }
  out["PATH"] = pathWithOurs(env["PATH"]);
  out["PYTHONPATH"] = joined([env["FLUX_PYTHONPATH_PREPEND"], env["PYTHONPATH"], installedBindings(), BUILTIN_CONFIG.python_path], delimiter);
  return out;
}

/** The elements of lists, each once. */
function joined(lists: readonly (string | undefined)[], separator: string): string {
  const words = lists.flatMap((list) => (list ?? "").split(separator)).filter((word) => word !== "");
  return [...new Set(words)].join(separator);
}

/** PREFIX/lib/flux/python3.N, where flux-core installs its bindings, when we are PREFIX/bin/flux. */
export function installedBindings(): string | undefined {
  const bin = binDirectory();
  if (bin === undefined) return undefined;
  for (const lib of ["lib", "lib64"]) {
    const dir = join(dirname(bin), lib, "flux");
    if (!existsSync(dir)) continue;
    const name = readdirSync(dir).filter((entry) => /^python3\.\d+$/.test(entry)).toSorted().at(-1);
    if (name !== undefined) return join(dir, name);
  }
  return undefined;
}

/** The interpreter: $FLUX_PYTHON, or the first python3 on PATH. */
export function pythonInterpreter(): string {
  return process.env["FLUX_PYTHON"] ?? "python3";
}
