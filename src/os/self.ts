// How to start this program again: the broker starts job shells, `flux start` starts brokers, and their programs find
// `flux` on their PATH.
import { existsSync, realpathSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** Where the files of a compiled executable seem to live. */
const COMPILED_ROOT = "/$bunfs/";

/** True in the built executable, false when the runtime runs the sources. */
export function isCompiled(): boolean {
  return Bun.main.startsWith(COMPILED_ROOT);
}

/** The words that begin a command line of our own: the compiled executable, or the runtime and src/main.ts. */
export function selfCommand(): string[] {
  if (isCompiled()) return [process.execPath];
  return [process.execPath, fileURLToPath(new URL("../main.ts", import.meta.url))];
}

/** A directory for PATH in which `flux` is this program; undefined when there is none. */
export function binDirectory(): string | undefined {
  if (isCompiled()) return basename(process.execPath) === "flux" ? dirname(process.execPath) : undefined;
  const dir = fileURLToPath(new URL("../../bin", import.meta.url));
  return existsSync(join(dir, "flux")) ? dir : undefined;
}

/** A PATH on which `flux` is this program, changed as little as it can be: we go before the first other `flux`, or to the end. */
export function pathWithOurs(path: string | undefined): string {
  const dirs = (path ?? "/usr/local/bin:/usr/bin:/bin").split(":");
  const bin = binDirectory();
  if (bin === undefined) return dirs.join(":");
  const first = dirs.findIndex((dir) => dir !== "" && existsSync(join(dir, "flux")));
  if (first >= 0 && realpathSync(join(dirs[first] ?? "", "flux")) === realpathSync(join(bin, "flux"))) return dirs.join(":");
  return dirs.toSpliced(first < 0 ? dirs.length : first, 0, bin).join(":");
}
