// What an instance that is a job tells its parent when it begins:
//   job-manager.memo         where we can be reached: `flux uri`, `flux proxy` and `flux jobs -R` read it there
//   job-exec.critical-ranks  nodes of the job whose loss is the end of it; that of others is one of our own brokers less
import { Flux } from "../client/flux.ts";
import { parseJobId } from "../formats/fluid.ts";
import { IdSet } from "../formats/idset.ts";
import { Taskmap } from "../formats/taskmap.ts";
import { remoteUri } from "../formats/uri.ts";
import { errno, isErrno } from "../message/errno.ts";
import type { Attributes } from "./attributes.ts";

/** Nodes of the job (shell ranks) that have a critical broker. */
export function criticalNodes(mapping: string, criticalRanks: string): string {
  const map = Taskmap.parse(mapping);
  const nodes = new IdSet();
  for (const rank of IdSet.parse(criticalRanks)) {
    const node = map.nodeid(rank);
    if (node !== undefined) nodes.add(node);
  }
  return nodes.toString();
}

/** Does nothing where we are no job. */
export async function tellParent(attrs: Attributes): Promise<void> {
  const [parent, jobid] = [attrs.get("parent-uri"), attrs.get("jobid")];
  if (parent === undefined || jobid === undefined) return;
  const id = parseJobId(jobid);
  const uri = remoteUri(attrs.require("local-uri"), attrs.require("hostname"));
  const ranks = criticalNodes(attrs.require("broker.mapping"), attrs.require("broker.critical-ranks"));
  const h = await Flux.open(parent);
  try {
    await Promise.all([
      h.rpc("job-manager.memo", { id, volatile: false, memo: { uri } }, { nodeid: 0 }),
      h.rpc("job-exec.critical-ranks", { id, ranks }, { nodeid: 0 }).catch((err: unknown) => {
        // Another kind of execution, which knows no such thing.
        if (!isErrno(err, errno.ENOSYS)) throw err;
      }),
    ]);
  } finally {
    h.close();
  }
}
