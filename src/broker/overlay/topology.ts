// Topology: the tree of brokers (RFC 3). Ranks number a complete k-ary tree breadth first ("kary:K"; kary:0 puts every
// rank directly under rank 0), or the configuration says who is above whom ("custom").
import { errno, FluxError } from "../../message/errno.ts";

export interface Topology {
  readonly size: number;
  /** The rank above each rank; -1 above rank 0. */
  readonly parents: readonly number[];
  /** The ranks directly below each, ascending. */
  readonly children: readonly (readonly number[])[];
}

/**
 * Reads "kary:32", "kary:0", or "custom", which takes the ranks above each rank from `parents` (rank 0 where none are
 * given). Throws FluxError EINVAL for anything else, and for ranks that do not all lead to rank 0.
 */
export function parseTopology(text: string, size: number, parents?: readonly number[]): Topology {
  if (text === "custom") return topologyOf(parents ?? range(0, size).map((rank) => (rank === 0 ? -1 : 0)));
  const match = /^kary:(\d+)$/.exec(text);
  if (match === null) throw new FluxError(errno.EINVAL, `unknown topology '${text}': expected kary:K, for example kary:32, or custom`);
  const arity = Number(match[1]);
  const above = (rank: number): number => (arity === 0 ? 0 : Math.floor((rank - 1) / arity));
  return topologyOf(range(0, size).map((rank) => (rank === 0 ? -1 : above(rank))));
}

function topologyOf(parents: readonly number[]): Topology {
  const children = parents.map((): number[] => []);
  parents.forEach((parent, rank) => {
    if (rank === 0 ? parent !== -1 : children[parent] === undefined) throw new FluxError(errno.EINVAL, `topology: rank ${rank} cannot be below rank ${parent}`);
    children[parent]?.push(rank);
  });
  const topology = { size: parents.length, parents, children };
  const reached = descendantsOf(topology, 0).length + 1;
  if (reached !== topology.size) throw new FluxError(errno.EINVAL, `topology: ${topology.size - reached} brokers are below each other, not below rank 0`);
  return topology;
}

/** The rank above `rank`; undefined for rank 0. */
export function parentOf(topology: Topology, rank: number): number | undefined {
  const parent = topology.parents[rank];
  return parent === -1 ? undefined : parent;
}

export function childrenOf(topology: Topology, rank: number): readonly number[] {
  return topology.children[rank] ?? [];
}

/** The child of `rank` whose subtree has `target`; undefined when target is not below rank. */
export function childToward(topology: Topology, rank: number, target: number): number | undefined {
  let at = target;
  for (;;) {
    const parent = parentOf(topology, at);
    if (parent === undefined) return undefined;
    if (parent === rank) return at;
    at = parent;
  }
}

/** Depth of a rank: 0 for rank 0. */
export function levelOf(topology: Topology, rank: number): number {
  let level = 0;
  for (let at = parentOf(topology, rank); at !== undefined; at = parentOf(topology, at)) level++;
  return level;
}

/** Depth of the deepest rank. */
export function maxLevel(topology: Topology): number {
  let ranks: readonly number[] = [0];
  for (let level = 0; ; level++) {
    const below = ranks.flatMap((rank) => childrenOf(topology, rank));
    if (below.length === 0) return level;
    ranks = below;
  }
}

/** Ranks below `rank`, without itself. */
export function descendantsOf(topology: Topology, rank: number): number[] {
  const out = [...childrenOf(topology, rank)];
  for (let i = 0; i < out.length; i++) out.push(...childrenOf(topology, out[i] as number));
  return out;
}

function range(from: number, end: number): number[] {
  return Array.from({ length: Math.max(0, end - from) }, (_, i) => from + i);
}
