// Rc files in TypeScript and JavaScript: their exported tasks, and their function setup(). See client/modprobe.ts.
import { resolve } from "node:path";
import type { ModprobeContext, TaskDefinition } from "../../client/modprobe.ts";
import { errno, FluxError, strerror, toFluxError } from "../../message/errno.ts";
import { statSync } from "node:fs";

export interface RcFile {
  readonly tasks: readonly TaskDefinition[];
  setup?(context: ModprobeContext): void | Promise<void>;
}

/** Throws FluxError that names the file. */
export async function importRcFile(path: string): Promise<RcFile> {
  const file = resolve(path);
  checkReadable(file);
  let exported: Record<string, unknown>;
  try {
    exported = (await import(file)) as Record<string, unknown>;
  } catch (err) {
    throw new FluxError(errno.EINVAL, `${path}: ${err instanceof Error ? err.message : String(err)}`, { cause: err });
  }
  const tasks = Object.values(exported).flat().filter(isTask);
  const { setup } = exported;
  return isSetup(setup) ? { tasks, setup } : { tasks };
}

/** Throws FluxError as stat(2) has it. */
export function checkReadable(path: string): void {
  try {
    statSync(path);
  } catch (err) {
    const { errno: number } = toFluxError(err);
    throw new FluxError(number, `${strerror(number)}: '${path}'`, { cause: err });
  }
}

function isTask(value: unknown): value is TaskDefinition {
  return typeof value === "object" && value !== null && "name" in value && typeof value.name === "string" && "run" in value && typeof value.run === "function";
}

function isSetup(value: unknown): value is NonNullable<RcFile["setup"]> {
  return typeof value === "function";
}
