// Orphans: processes of a job whose shell was killed. They are known by their environment, because a shell that dies early has told
// nobody of its tasks, and because a task may have left its process group.
import { readdirSync, readFileSync } from "node:fs";
import { sendSignal } from "../os/spawn.ts";

/** Kills every process of ours that was started in this job of this instance. Returns how many there were. */
export function killOrphans(namespace: string, uri: string): number {
  const marks = [`FLUX_KVS_NAMESPACE=${namespace}`, `FLUX_URI=${uri}`];
  let killed = 0;
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    if (!(pid > 1) || pid === process.pid) continue;
    const env = environmentOf(pid);
    if (marks.every((mark) => env.includes(mark)) && sendSignal(pid, "SIGKILL")) killed++;
  }
  return killed;
}

function environmentOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/environ`, "latin1").split("\0");
  } catch {
    return []; // it is gone, or not ours
  }
}
