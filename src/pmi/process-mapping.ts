// PMI_process_mapping (RFC 13): which node each rank runs on, as blocks "(vector,(first node,nodes,processes per node),...)".

import { errno, FluxError } from "../message/errno.ts";

const BLOCK = /^\((\d+),(\d+),(\d+)\)$/;

/**
 * The node of each of `size` ranks. Blocks that describe fewer ranks wrap around, as launchers have it; an empty text means that
 * the mapping is unknown: undefined. EINVAL when it is no mapping.
 */
export function parseProcessMapping(text: string, size: number): number[] | undefined {
  const compact = text.replace(/\s+/g, "");
  if (compact === "") return undefined;
  const list = /^\(vector,(.*)\)$/.exec(compact)?.[1];
  if (list === undefined) throw new FluxError(errno.EINVAL, `${text} is not a PMI process mapping`);
  const blocks = list.split(/,(?=\()/).map((block) => {
    const match = BLOCK.exec(block);
    if (match === null) throw new FluxError(errno.EINVAL, `${block} is not a block of a PMI process mapping`);
    return { first: Number(match[1]), nodes: Number(match[2]), perNode: Number(match[3]) };
  });
  const filled = blocks.filter((block) => block.nodes > 0 && block.perNode > 0);
  if (filled.length === 0) throw new FluxError(errno.EINVAL, `${text} maps no process`);
  const nodeOfRank: number[] = [];
  for (;;) {
    for (const { first, nodes, perNode } of filled) {
      for (let node = first; node < first + nodes; node++) {
        for (let i = 0; i < perNode; i++) {
          if (nodeOfRank.length === size) return nodeOfRank;
          nodeOfRank.push(node);
        }
      }
    }
    if (nodeOfRank.length === size) return nodeOfRank;
  }
}

/** The mapping of ranks to nodes as a text, with blocks as large as they get. */
export function formatProcessMapping(nodeOfRank: readonly number[]): string {
  const runs: Array<{ node: number; count: number }> = [];
  for (const node of nodeOfRank) {
    const last = runs.at(-1);
    if (last !== undefined && last.node === node) last.count++;
    else runs.push({ node, count: 1 });
  }
  const blocks: Array<{ first: number; nodes: number; perNode: number }> = [];
  for (const { node, count } of runs) {
    const last = blocks.at(-1);
    if (last !== undefined && last.perNode === count && node === last.first + last.nodes) last.nodes++;
    else blocks.push({ first: node, nodes: 1, perNode: count });
  }
  return `(vector,${blocks.map((block) => `(${block.first},${block.nodes},${block.perNode})`).join(",")})`;
}
