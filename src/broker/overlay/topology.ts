// Topology: the tree of brokers (RFC 3). Ranks number a complete k-ary tree breadth first; kary:0 puts every rank
// directly under rank 0.
import { errno, FluxError } from "../../message/errno.ts";

export interface Topology {
  readonly size: number;
  /** Children per broker; 0 is flat. */
  readonly arity: number;
}

/** Reads "kary:32", "kary:0"; throws FluxError EINVAL for anything else. */
export function parseTopology(text: string, size: number): Topology {
  const match = /^kary:(\d+)$/.exec(text);
  if (match === null) throw new FluxError(errno.EINVAL, `unknown topology '${text}': expected kary:K, for example kary:32`);
  return { size, arity: Number(match[1]) };
}

/** The rank above `rank`; undefined for rank 0. */
export function parentOf(topology: Topology, rank: number): number | undefined {
  if (rank === 0) return undefined;
  return topology.arity === 0 ? 0 : Math.floor((rank - 1) / topology.arity);
}

export function childrenOf(topology: Topology, rank: number): number[] {
  if (topology.arity === 0) return rank === 0 ? range(1, topology.size) : [];
  const first = rank * topology.arity + 1;
  return range(first, Math.min(first + topology.arity, topology.size));
}

/** The child of `rank` whose subtree has `target`; undefined when target is not below rank. */
export function childToward(topology: Topology, rank: number, target: number): number | undefined {
  let at = target;
  while (at > rank) {
    const parent = parentOf(topology, at);
    if (parent === undefined) return undefined;
    if (parent === rank) return at;
    at = parent;
  }
  return undefined;
}

/** Depth of a rank: 0 for rank 0. */
export function levelOf(topology: Topology, rank: number): number {
  let level = 0;
  for (let at = parentOf(topology, rank); at !== undefined; at = parentOf(topology, at)) level++;
  return level;
}

/** Depth of the deepest rank. */
export function maxLevel(topology: Topology): number {
  return levelOf(topology, topology.size - 1);
}

/** Ranks below `rank`, without itself. */
export function descendantsOf(topology: Topology, rank: number): number[] {
  const out: number[] = [];
  for (const child of childrenOf(topology, rank)) out.push(child, ...descendantsOf(topology, child));
  return out;
}

function range(from: number, end: number): number[] {
  return Array.from({ length: Math.max(0, end - from) }, (_, i) => from + i);
}
