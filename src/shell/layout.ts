// Layout: how many tasks of a job run on each of its nodes, before a taskmap option moves them around.
import { FormatError } from "../formats/error.ts";
import { isJsonObject, type Json } from "../formats/json.ts";
import type { Rset } from "../formats/rset.ts";
import { IdSet } from "../formats/idset.ts";

/** One node of a job, in the order of shell ranks. */
export interface JobNode {
  readonly brokerRank: number;
  readonly host: string;
  readonly cores: IdSet;
  readonly gpus: IdSet;
}

/** The nodes of an R in ascending order of rank. */
export function jobNodes(R: Rset): JobNode[] {
  return [...R.nodes()].map((node) => ({ brokerRank: node.rank, host: node.host ?? "unknown", cores: node.cores, gpus: node.gpus }));
}

/** Bound on tasks of one job. */
const TASKS_MAX = 1 << 22;

/**
 * Deals `ntasks` tasks of `coresPerTask` cores each out to the nodes, one at a time, nodes with more cores first. When all cores are
 * taken the dealing starts over: tasks share cores. Returns the number of tasks on each node.
 */
export function distributeTasks(nodes: readonly JobNode[], ntasks: number, coresPerTask: number): number[] {
  checkTotal(ntasks);
  if (nodes.length === 0) throw new FormatError("job", "", "has no nodes");
  const counts = nodes.map(() => 0);
  if (nodes.length === 1) return [ntasks];
  const order = nodes.map((_, i) => i).sort((a, b) => (nodes[b]?.cores.count ?? 0) - (nodes[a]?.cores.count ?? 0) || a - b);
  const smallest = Math.min(...nodes.map((node) => node.cores.count));
  const size = Math.max(1, Math.min(coresPerTask, smallest));
  for (let left = ntasks; left > 0; ) left -= fill(nodes, order, counts, size, left);
  return counts;
}

/** One round of dealing, until all cores or all tasks are gone. Returns how many tasks were dealt. */
function fill(nodes: readonly JobNode[], order: readonly number[], counts: number[], coresPerTask: number, ntasks: number): number {
  const room = nodes.map((node) => Math.max(1, Math.floor(node.cores.count / coresPerTask)));
  let dealt = 0;
  for (let open = true; open; ) {
    open = false;
    for (const node of order) {
      if (dealt === ntasks) return dealt;
      if ((room[node] ?? 0) === 0) continue;
      room[node] = (room[node] ?? 0) - 1;
      counts[node] = (counts[node] ?? 0) + 1;
      dealt++;
      open = true;
    }
  }
  return dealt;
}

/** Shell option per-resource: `count` (1) tasks on each node, or on each core. Throws FormatError for what is something else. */
export function distributePerResource(nodes: readonly JobNode[], option: Json): number[] {
  if (!isJsonObject(option)) throw new FormatError("per-resource", textOf(option), "must have parts, such as per-resource.type=node");
  const { type = "", count = 1 } = option;
  if (type !== "node" && type !== "core") throw new FormatError("per-resource", textOf(type), "type must be node or core");
  if (typeof count !== "number" || !Number.isInteger(count) || count < 1) throw new FormatError("per-resource", textOf(count), "count must be a number > 0");
  const ppn = nodes.map((node) => (type === "node" ? count : node.cores.count * count));
  checkTotal(ppn.reduce((sum, n) => sum + n, 0));
  return ppn;
}

function checkTotal(ntasks: number): void {
  if (ntasks > TASKS_MAX) throw new FormatError("job", String(ntasks), `has more than ${TASKS_MAX} tasks`);
}

function textOf(value: Json): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** At most `count` of the ids, lowest first. */
export function firstIds(ids: IdSet, count: number): IdSet {
  return ids.count <= count ? ids : IdSet.from(ids.toArray().slice(0, count));
}
