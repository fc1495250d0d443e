// The environment of a program that belongs to Flux (flux-environment(7)): `flux env`, `flux python`, rc files in Python and
// commands that are not ours find this instance, this `flux` and Flux's Python bindings by it.
import { existsSync, readdirSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { binDirectory } from "../os/self.ts";

/** Passed on when they are set. */
const VARIABLES = ["FLUX_URI", "FLUX_KVS_NAMESPACE", "FLUX_MODULE_PATH", "FLUX_EXEC_PATH", "FLUX_CONNECTOR_PATH"] as const;

/** The variables that differ from ours, or that a shell would want to have. */
export function commandEnvironment(): Record<string, string> {
  const out: Record<string, string> = {};
  for (const name of VARIABLES) {
    const value = process.env[name];
    if (value !== undefined) out[name] = value;
  }
  const bin = binDirectory();
  const dirs = (process.env["PATH"] ?? "/usr/local/bin:/usr/bin:/bin").split(delimiter);
  if (bin !== undefined) out["PATH"] = [bin, ...dirs.filter((dir) => dir !== bin)].join(delimiter);
  const python = pythonPath();
  if (python !== undefined) out["PYTHONPATH"] = python;
  return out;
}

/** $FLUX_PYTHONPATH_PREPEND, $PYTHONPATH, and bindings that are installed beside us; undefined when there is nothing to say. */
function pythonPath(): string | undefined {
  const words = ["FLUX_PYTHONPATH_PREPEND", "PYTHONPATH"].flatMap((name) => (process.env[name] ?? "").split(delimiter));
  const installed = installedBindings();
  const dirs = [...new Set([...words, ...(installed === undefined ? [] : [installed])])].filter((dir) => dir !== "");
  return dirs.length === 0 ? undefined : dirs.join(delimiter);
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
