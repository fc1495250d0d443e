// Orphans: processes of a job whose shell was killed. They are known by their environment, because a shell that dies early has told
// nobody of its tasks, and because a task may have left its process group.
import { processesByEnvironment } from "../os/process-tree.ts";
import { sendSignal } from "../os/spawn.ts";

/** Every process of ours that was started in one of these jobs of this instance, by the job's namespace. */
export function orphansOf(namespaces: Iterable<string>, uri: string): Map<string, number[]> {
  const jobs = new Map([...namespaces].map((namespace) => [`FLUX_KVS_NAMESPACE=${namespace}`, namespace]));
  return processesByEnvironment(`FLUX_URI=${uri}`, jobs);
}

export function killOrphans(namespace: string, uri: string): void {
  for (const pid of orphansOf([namespace], uri).get(namespace) ?? []) sendSignal(pid, "SIGKILL");
}
