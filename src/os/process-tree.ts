// Which processes descend from one: to clean up what a job or a test has left behind.

import { readdirSync, readFileSync } from "node:fs";

export interface ProcessEntry {
  pid: number;
  ppid: number;
  pgid: number;
  sid: number;
  /** One letter: R, S, D, Z (zombie), T ... */
  state: string;
  /** The first 15 bytes of its name. */
  name: string;
}

/** One process from /proc, or undefined when it is gone. */
export function readProcess(pid: number): ProcessEntry | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return undefined; // it is gone
  }
  const open = stat.indexOf("(");
  const close = stat.lastIndexOf(")"); // a name may have parentheses
  const [state, ppid, pgid, sid] = stat.slice(close + 2).split(" ");
  return { pid, ppid: Number(ppid), pgid: Number(pgid), sid: Number(sid), state: state ?? "?", name: stat.slice(open + 1, close) };
}

/** All processes that can be seen. */
export function listProcesses(): ProcessEntry[] {
  return listPids()
    .map(readProcess)
    .filter((entry) => entry !== undefined);
}

function listPids(): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

/** The children of a process. */
export function childrenOf(pid: number): ProcessEntry[] {
  return listProcesses().filter((entry) => entry.ppid === pid);
}

/** All processes below one, parents before children. */
export function descendantsOf(pid: number): ProcessEntry[] {
  const byParent = Map.groupBy(listProcesses(), (entry) => entry.ppid);
  const found: ProcessEntry[] = [];
  const seen = new Set([pid]);
  for (const parents = [pid]; parents.length > 0; ) {
    for (const child of byParent.get(parents.shift() ?? -1) ?? []) {
      if (seen.has(child.pid)) continue;
      seen.add(child.pid);
      found.push(child);
      parents.push(child.pid);
    }
  }
  return found;
}

/** The processes of a session, which is what is left of a child with `newSession`, also when its leader is gone. */
export function sessionMembers(sid: number): ProcessEntry[] {
  return listProcesses().filter((entry) => entry.sid === sid);
}

/** Processes that were started with this environment entry ("NAME=VALUE"), as far as we may look; not ourselves. */
export function processesWithEnvironment(entry: string): ProcessEntry[] {
  return listPids()
    .filter((pid) => pid !== process.pid && environmentOf(pid).includes(entry))
    .map(readProcess)
    .filter((found) => found !== undefined);
}

/** Ids of processes that were started with the entry `common` and one of `entries`, by what these stand for; not ourselves, nor init. */
export function processesByEnvironment<K>(common: string, entries: ReadonlyMap<string, K>): Map<K, number[]> {
  const found = new Map<K, number[]>();
  for (const pid of listPids()) {
    if (pid <= 1 || pid === process.pid) continue;
    const env = environmentOf(pid);
    if (!env.includes(common)) continue;
    const given = env.find((entry) => entries.has(entry));
    if (given === undefined) continue;
    const key = entries.get(given) as K;
    const pids = found.get(key);
    if (pids === undefined) found.set(key, [pid]);
    else pids.push(pid);
  }
  return found;
}

function environmentOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/environ`, "latin1").split("\0");
  } catch {
    return []; // it is gone, or not ours
  }
}
