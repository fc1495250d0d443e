// Placement: which of the nodes that fit a job gets. Names are those of schedulers that users know:
//
//   worst-fit           most free cores, then most free GPUs, then lowest rank (the default)
//   best-fit            fewest free cores, then fewest free GPUs
//   first-fit           lowest rank; also first, low, lonode, locality
//   last-fit            highest rank; also high, hinode
//   core:FIT,gpu:FIT    worst-fit or best-fit for each: "core:worst-fit,gpu:best-fit" keeps GPUs for those who ask for some
//
// Fluxion's names that end in x (lonodex, hinodex, firstnodex) also give every job whole nodes.
import { errno, FluxError } from "../../message/errno.ts";

export interface Placement {
  /** By rank alone, upwards or downwards; undefined: by what is free, then by rank upwards. */
  readonly byRank: "up" | "down" | undefined;
  /** Most free cores first. */
  readonly mostCores: boolean;
  readonly mostGpus: boolean;
  /** Nodes are given to one job only, whatever it asks for. */
  readonly exclusive: boolean;
}

export const WORST_FIT: Placement = { byRank: undefined, mostCores: true, mostGpus: true, exclusive: false };

const NAMES: Readonly<Record<string, Placement>> = {
  "worst-fit": WORST_FIT,
  "best-fit": { ...WORST_FIT, mostCores: false, mostGpus: false },
  "first-fit": { ...WORST_FIT, byRank: "up" },
  "last-fit": { ...WORST_FIT, byRank: "down" },
};

const ALIASES: Readonly<Record<string, string>> = {
  first: "first-fit", low: "first-fit", lonode: "first-fit", locality: "first-fit", variation: "first-fit",
  firstnode: "first-fit", high: "last-fit", hinode: "last-fit",
};

/** Throws FluxError EINVAL. */
export function parsePlacement(text: string): Placement {
  const exclusive = text.endsWith("nodex");
  const name = exclusive ? text.slice(0, -1) : text;
  const known = NAMES[ALIASES[name] ?? name];
  if (known !== undefined) return exclusive ? { ...known, exclusive } : known;
  let placement = WORST_FIT;
  for (const part of text.split(",")) {
    const [, type, fit] = /^(core|gpu):(worst|best)-fit$/.exec(part) ?? [];
    if (type === undefined) {
      const choices = [...Object.keys(NAMES), ...Object.keys(ALIASES)].join(", ");
      throw new FluxError(errno.EINVAL, `unknown placement '${text}': expected core:FIT,gpu:FIT or one of ${choices}`);
    }
    placement = { ...placement, [type === "core" ? "mostCores" : "mostGpus"]: fit === "worst" };
  }
  return placement;
}

/** The best `count` of `nodes`, which are in order of rank; `cores(i)` and `gpus(i)` tell what is free on nodes[i]. */
export function choose(placement: Placement, nodes: readonly number[], cores: readonly number[], gpus: readonly number[], count: number): number[] {
  const { byRank, mostCores, mostGpus } = placement;
  if (byRank === "up") return nodes.slice(0, count);
  if (byRank === "down") return nodes.slice(-count).reverse();
  const groups = new Map<number, number[]>();
  for (let i = 0; i < nodes.length; i++) {
    const key = (mostCores ? -1 : 1) * (cores[i] ?? 0) * 65_536 + (mostGpus ? -1 : 1) * (gpus[i] ?? 0);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [nodes[i] ?? 0]);
    else group.push(nodes[i] ?? 0);
  }
  const chosen: number[] = [];
  for (const key of [...groups.keys()].sort((a, b) => a - b)) {
    for (const node of groups.get(key) ?? []) {
      if (chosen.length === count) return chosen;
      chosen.push(node);
    }
  }
  return chosen;
}
