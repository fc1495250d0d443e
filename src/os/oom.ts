// Memory that ran out: how often the kernel has killed a process for it, and how much it likes to kill one.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cgroupDirectory, groupOf, readNumberFile } from "./cgroup.ts";

/** Where the kernel counts the processes that it killed. */
export interface OomCounter {
  readonly path: string;
  readonly key: string;
  /** It counts for a group that the parent of this process is not in: who is killed is one of ours. */
  readonly own: boolean;
}

/** The counter of this process's group; of the whole system where there is none. Undefined on a kernel that counts nothing. */
export function oomCounter(): OomCounter | undefined {
  const directory = cgroupDirectory("memory.current");
  const found: OomCounter =
    directory === undefined
      ? { path: "/proc/vmstat", key: "oom_kill", own: false }
      : { path: join(directory, "memory.events"), key: "oom_kill", own: groupOf("self") !== groupOf(process.ppid) };
  return readNumberFile(found.path, found.key) === undefined ? undefined : found;
}

/** Sets a process's preference, -1000 to 1000 (proc(5), oom_score_adj). Throws EACCES when it is lower than now and we may not. */
export function setOomScoreAdj(pid: number, value: number): void {
  writeFileSync(`/proc/${pid}/oom_score_adj`, String(value));
}

/** A number of /proc/PID; undefined when the process is gone. */
export function oomValue(pid: number, name: "oom_score" | "oom_score_adj"): number | undefined {
  try {
    return Number(readFileSync(`/proc/${pid}/${name}`, "utf8"));
  } catch {
    return undefined;
  }
}
