// Where sites and packages put what adds to modprobe (flux-modprobe(1)): directories with
//
//   modprobe.d/*.toml                      changes to the table of modules
//   rc1.d/*.{ts,js,py}  rc3.d/*.{ts,js,py}  tasks
//
// $FLUX_MODPROBE_PATH takes the place of the usual directories, $FLUX_MODPROBE_PATH_APPEND comes after them. Besides these
// there are programs, in the rc1.d and rc3.d of the configuration directory and of those in $FLUX_RC_EXTRA.
import { accessSync, constants, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { BUILTIN_CONFIG } from "../builtin-config.ts";

export type RunLevel = "rc1" | "rc3";

/** Directories for tables ("datadir") or for rc files ("libexecdir"). */
function searchPath(usual: "datadir" | "libexecdir", env: NodeJS.ProcessEnv): string[] {
  const given = env["FLUX_MODPROBE_PATH"];
  const base = given === undefined ? [`${BUILTIN_CONFIG[usual]}/modprobe`, `${BUILTIN_CONFIG.confdir}/modprobe`] : words(given);
  return [...new Set([...base, ...words(env["FLUX_MODPROBE_PATH_APPEND"] ?? "")])];
}

function words(path: string): string[] {
  return path.split(":").filter((word) => word.trim() !== "");
}

/** The files of modprobe.d, in the order in which they apply. `looked` is told each place. */
export function tableFiles(env: NodeJS.ProcessEnv, looked: (place: string) => void = () => {}): string[] {
  return searchPath("datadir", env).flatMap((dir) => filesIn(join(dir, "modprobe.d"), [".toml"], looked));
}

/** The files of rc1.d or rc3.d that have tasks. */
export function rcFiles(level: RunLevel, env: NodeJS.ProcessEnv, looked: (place: string) => void = () => {}): string[] {
  return searchPath("libexecdir", env).flatMap((dir) => filesIn(join(dir, `${level}.d`), [".ts", ".js", ".mjs", ".py"], looked));
}

/** The programs of rc1.d or rc3.d. */
export function rcPrograms(level: RunLevel, env: NodeJS.ProcessEnv): string[] {
  const dirs = [BUILTIN_CONFIG.confdir, ...words(env["FLUX_RC_EXTRA"] ?? "")];
  return dirs.flatMap((dir) => filesIn(join(dir, `${level}.d`), undefined, () => {})).filter(isProgram);
}

/** True when there is more to do than what comes with the broker. */
export function hasSiteFiles(level: RunLevel, env: NodeJS.ProcessEnv): boolean {
  return [...tableFiles(env), ...rcFiles(level, env), ...rcPrograms(level, env)].length > 0;
}

function filesIn(dir: string, extensions: readonly string[] | undefined, looked: (place: string) => void): string[] {
  looked(join(dir, extensions === undefined ? "*" : `*{${extensions.join(",")}}`));
  let names: string[];
  try {
    names = readdirSync(dir);
  } catch {
    return []; // most don't exist
  }
  return names.filter((name) => extensions?.some((ext) => name.endsWith(ext)) ?? true).toSorted().map((name) => join(dir, name));
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false; // gone, or not for us
  }
}
