// Control groups (version 2): what the kernel counts for the group that this process is in.
import { readFileSync } from "node:fs";
import { join } from "node:path";

/** Where version 2 is mounted: alone, or beside version 1. */
const MOUNTS = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/** Directory of a process's group that has `file`; undefined when there is none that can be read. */
export function cgroupDirectory(file: string, pid: number | "self" = "self"): string | undefined {
  const path = groupOf(pid);
  if (path === undefined) return undefined;
  return MOUNTS.map((mount) => join(mount, path)).find((directory) => readNumberFile(join(directory, file)) !== undefined);
}

/** The group's path; undefined without version 2. */
export function groupOf(pid: number | "self"): string | undefined {
  const text = read(`/proc/${pid}/cgroup`);
  return text === undefined ? undefined : /^0::(.*)$/m.exec(text)?.[1];
}

/** The number in a file, or after `key` in one with many; undefined when it isn't there. */
export function readNumberFile(path: string, key?: string): number | undefined {
  const text = read(path);
  if (text === undefined) return undefined;
  const found = key === undefined ? /^\s*(\d+)|\s(\d+)/.exec(text) : new RegExp(`^${key}\\s+(\\d+)`, "m").exec(text);
  return found === null ? undefined : Number(found[1] ?? found[2]);
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined; // not there, or not ours
  }
}
