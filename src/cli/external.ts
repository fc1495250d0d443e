// Commands that are not ours: `flux NAME` runs the program flux-NAME, or the Python program flux-NAME.py, of the first
// directory in $FLUX_EXEC_PATH_PREPEND, $FLUX_EXEC_PATH and the directory for such commands (flux(1)). A name with a slash is a
// path.
import { accessSync, constants, statSync } from "node:fs";
import { delimiter, join } from "node:path";
import { BUILTIN_CONFIG } from "../broker/builtin-config.ts";
import { runInOurPlace } from "./child.ts";
import { commandEnvironment, pythonInterpreter } from "./command-environment.ts";

/** Undefined when there is no such program; otherwise resolves to its exit code. */
export function runExternal(name: string, args: readonly string[]): Promise<number> | undefined {
  const argv = findExternal(name);
  if (argv === undefined) return undefined;
  return runInOurPlace([...argv, ...args], { ...process.env, ...commandEnvironment() });
}

function findExternal(name: string): string[] | undefined {
  if (name.includes("/")) return isProgram(name) ? [name] : undefined;
  for (const dir of directories()) {
    const path = join(dir, `flux-${name}`);
    if (isProgram(path)) return [path];
    if (isFile(`${path}.py`)) return [pythonInterpreter(), `${path}.py`];
  }
  return undefined;
}

function directories(): string[] {
  const given = ["FLUX_EXEC_PATH_PREPEND", "FLUX_EXEC_PATH"].flatMap((name) => (process.env[name] ?? "").split(delimiter));
  return [...given, BUILTIN_CONFIG.exec_path].filter((dir) => dir !== "");
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}

function isProgram(path: string): boolean {
  if (!isFile(path)) return false;
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false; // not for us to run
  }
}
