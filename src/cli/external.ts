// Commands that are not ours: `flux NAME` runs the program flux-NAME, or the Python program flux-NAME.py, of the first
// directory in $FLUX_EXEC_PATH_PREPEND, $FLUX_EXEC_PATH, the directory for such commands, and $PATH (flux(1)). A name with a
// slash is a path.
import { accessSync, constants, readdirSync, statSync } from "node:fs";
import { delimiter, join } from "node:path";
import { BUILTIN_CONFIG } from "../broker/builtin-config.ts";
import { runInOurPlace } from "./child.ts";
import { commandEnvironment, pythonInterpreter } from "./command-environment.ts";
import { similarNames } from "./similar.ts";

/** Returns when there is no such program. Throws UsageError when it can't be run. */
export function runExternal(name: string, args: readonly string[]): void {
  const argv = findExternal(name);
  if (argv === undefined) return;
  const { PYTHONPATH, ...env } = commandEnvironment();
  runInOurPlace([...argv, ...args], { ...process.env, ...env, ...(argv.length > 1 ? { PYTHONPATH } : pythonPathOf(process.env)) });
}

/** Programs of other kinds may have a Python of their own: they get what the user says, and nothing of ours. */
function pythonPathOf({ FLUX_PYTHONPATH_PREPEND: first, PYTHONPATH: rest }: NodeJS.ProcessEnv): { PYTHONPATH?: string } {
  return first === undefined ? {} : { PYTHONPATH: [first, rest].filter((path) => path !== undefined && path !== "").join(delimiter) };
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
  const given = (name: string): string[] => (process.env[name] ?? "").split(delimiter);
  return [...given("FLUX_EXEC_PATH_PREPEND"), ...given("FLUX_EXEC_PATH"), BUILTIN_CONFIG.exec_path, ...given("PATH")].filter((dir) => dir !== "");
}

/** For who has mistyped a name: the commands that he may have meant, at most three. */
export function similarCommands(name: string, ours: readonly string[]): string[] {
  const theirs = directories().flatMap((dir) => listed(dir)).flatMap((file) => /^flux-(.+?)(?:\.py)?$/.exec(file)?.[1] ?? []);
  return similarNames(name, [...new Set([...ours, ...theirs])]);
}

function listed(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return []; // not there, or not for us
  }
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
