// What running processes use: memory now, and CPU time so far.
import { readFileSync } from "node:fs";
import { descendantsOf } from "./process-tree.ts";

export interface Usage {
  readonly memory_bytes: number;
  readonly cpu_s: number;
}

/** Unit of times in /proc (USER_HZ). */
const TICKS_PER_S = 100;

/** Of a process and its descendants, with what those that they waited for have used; zeros when it is gone. */
export function treeUsage(pid: number): Usage {
  let memory_bytes = 0;
  let cpu_s = 0;
  for (const each of [pid, ...descendantsOf(pid).map((entry) => entry.pid)]) {
    const usage = processUsage(each);
    memory_bytes += usage.memory_bytes;
    cpu_s += usage.cpu_s;
  }
  return { memory_bytes, cpu_s };
}

function processUsage(pid: number): Usage {
  let stat: string;
  let status: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    status = readFileSync(`/proc/${pid}/status`, "utf8");
  } catch {
    return { memory_bytes: 0, cpu_s: 0 }; // it is gone
  }
  // From the third field on, since the second may hold spaces: state is 0, utime to cstime are 11 to 14.
  const times = stat.slice(stat.lastIndexOf(")") + 2).split(" ").slice(11, 15).map(Number);
  const resident_kb = Number(/^VmRSS:\s*(\d+) kB/m.exec(status)?.[1] ?? 0);
  return { memory_bytes: resident_kb * 1024, cpu_s: times.reduce((sum, ticks) => sum + ticks, 0) / TICKS_PER_S };
}
