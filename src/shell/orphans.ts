// Orphans: processes of a job whose shell was killed. They are known by their environment, because a shell that dies early has told
// nobody of its tasks, and because a task may have left its process group.
import { processesWithEnvironment } from "../os/process-tree.ts";
import { sendSignal } from "../os/spawn.ts";

/** Every process of ours that was started in this job of this instance. */
export function orphansOf(namespace: string, uri: string): number[] {
  const found = processesWithEnvironment(`FLUX_KVS_NAMESPACE=${namespace}`, `FLUX_URI=${uri}`);
  return found.map(({ pid }) => pid).filter((pid) => pid > 1);
}

export function killOrphans(namespace: string, uri: string): void {
  for (const pid of orphansOf(namespace, uri)) sendSignal(pid, "SIGKILL");
}
