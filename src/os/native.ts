// Libraries in C that come with the executable where there was a compiler to build them (native/): for programs that load them.
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { isCompiled } from "./self.ts";

const found = new Map<string, string | undefined>();

/** Path of "libpmi.so" and the like; undefined where it is not. Looked for in lib/ beside the executable, then in ../lib/flux/. */
export function nativeLibrary(name: string): string | undefined {
  if (!found.has(name)) found.set(name, folders().map((folder) => join(folder, name)).find((path) => existsSync(path)));
  return found.get(name);
}

function folders(): string[] {
  if (!isCompiled()) return [fileURLToPath(new URL("../../dist/lib", import.meta.url))];
  const here = dirname(process.execPath);
  return [join(here, "lib"), join(here, "..", "lib", "flux")];
}
