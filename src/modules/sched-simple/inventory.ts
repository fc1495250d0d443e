// Inventory: what the instance has, whoever has it now: its nodes, their cores, GPUs and properties, and so what it could ever give.
//
// A constraint is turned into a BitSet of the nodes that satisfy it, once for all jobs that have it.
import { compileConstraint } from "../../formats/constraint.ts";
import { IdSet } from "../../formats/idset.ts";
import { encodeJson, type JsonObject } from "../../formats/json.ts";
import { Rset } from "../../formats/rset.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { BitSet } from "./bitset.ts";
import { IdArray } from "./masks.ts";
import type { ResourceRequest } from "./request.ts";
import { slotsIn } from "./timeline.ts";

/** One node's share of an allocation: bit i of the masks is the i-th core (GPU) of the node. */
export interface Share {
  readonly node: number;
  readonly cores: Uint32Array;
  readonly gpus: Uint32Array;
}

/** Nodes that satisfy a constraint. */
interface Eligible {
  readonly nodes: BitSet;
  /** Nodes by kind, see NodeKind. */
  readonly byKind: Uint32Array;
}

/** Nodes with equal numbers of cores and GPUs. */
interface NodeKind {
  readonly cores: number;
  readonly gpus: number;
  count: number;
}

/** Constraints whose nodes are remembered. */
const CONSTRAINTS_MAX = 64;
/** Id sets of core and GPU masks that are remembered. */
const MASKS_MAX = 4096;

/** Nodes are numbered from 0 in the order of their ranks. */
export class Inventory {
  readonly size: number;
  readonly coreIds: IdArray;
  readonly gpuIds: IdArray;
  #R: Rset;
  readonly #ranks: Int32Array;
  readonly #hosts: (string | undefined)[];
  readonly #nodeOf = new Map<number, number>();
  readonly #kindOf: Uint16Array;
  readonly #kinds: NodeKind[] = [];
  readonly #removed: BitSet;
  readonly #eligible = new Map<string, Eligible>();
  readonly #maskIds = new Map<string, IdSet>();

  constructor(R: Rset) {
    this.#R = R;
    const nodes = [...R.nodes()];
    this.size = nodes.length;
    this.#ranks = Int32Array.from(nodes, ({ rank }) => rank);
    this.#hosts = nodes.map(({ host }) => host);
    this.#ranks.forEach((rank, i) => this.#nodeOf.set(rank, i));
    this.coreIds = new IdArray(nodes.map(({ cores }) => cores));
    this.gpuIds = new IdArray(nodes.map(({ gpus }) => gpus));
    this.#kindOf = new Uint16Array(this.size);
    this.#countKinds();
    this.#removed = new BitSet(this.size);
  }

  #countKinds(): void {
    const known = new Map<number, number>();
    for (let i = 0; i < this.size; i++) {
      const cores = this.coreIds.count(i);
      const gpus = this.gpuIds.count(i);
      const key = cores * 65_536 + gpus;
      let kind = known.get(key);
      if (kind === undefined) {
        known.set(key, (kind = this.#kinds.length));
        this.#kinds.push({ cores, gpus, count: 0 });
      }
      (this.#kinds[kind] as NodeKind).count++;
      this.#kindOf[i] = kind;
    }
  }

  /** Takes properties of RFC 28 updates: each names ranks. */
  changeProperties(add: ReadonlyMap<string, IdSet>, remove: ReadonlyMap<string, IdSet>): void {
    const R = new Rset();
    for (const { rank, ...node } of this.#R.nodes()) R.add(rank, node);
    for (const [name, ranks] of this.#R.properties) {
      const gone = remove.get(name);
      R.setProperty(name, gone === undefined ? ranks : ranks.subtract(gone));
    }
    for (const [name, ranks] of add) R.setProperty(name, ranks);
    R.starttime = this.#R.starttime;
    R.expiration = this.#R.expiration;
    R.scheduling = this.#R.scheduling;
    this.#R = R;
    this.#eligible.clear();
  }

  /** As R says it, with nodes that are gone. */
  get R(): Rset {
    return this.#R;
  }

  /** -1 for a node that isn't there. */
  rank(node: number): number {
    return this.#ranks[node] ?? -1;
  }

  node(rank: number): number | undefined {
    return this.#nodeOf.get(rank);
  }

  /** Nodes of those of the ranks that are here. */
  *nodes(ranks: IdSet): IterableIterator<number> {
    for (const [lo, hi] of ranks.ranges()) {
      for (let rank = lo; rank <= hi; rank++) {
        const node = this.#nodeOf.get(rank);
        if (node !== undefined) yield node;
      }
    }
  }

  /** Ranks of the nodes of which it is true, without those that are gone. */
  ranksWhere(test: (node: number) => boolean): IdSet {
    const ranks = new IdSet();
    for (let node = 0; node < this.size; node++) if (!this.#removed.has(node) && test(node)) ranks.add(this.rank(node));
    return ranks;
  }

  /** Nodes that satisfy a constraint; undefined: all. */
  eligible(constraint: JsonObject | undefined): BitSet | undefined {
    return constraint && this.#eligibleFor(constraint).nodes;
  }

  /** These are gone for good: they count no more for what is possible. */
  remove(ranks: IdSet): void {
    for (const node of this.nodes(ranks)) {
      if (this.#removed.has(node)) continue;
      this.#removed.add(node);
      (this.#kinds[this.#kindOf[node] ?? 0] as NodeKind).count--;
    }
    this.#eligible.clear();
  }

  // ---- what is possible

  /** The request where every job has its nodes for itself: as many as hold its slots. */
  withWholeNodes(request: ResourceRequest): ResourceRequest {
    if (request.exclusive) return request;
    if (request.nodes !== undefined) return { ...request, exclusive: true };
    const { slots, coresPerSlot, gpusPerSlot } = request;
    const inNodes = this.#kinds.map(({ cores, gpus, count }) => (count === 0 ? 0 : slotsIn(cores, gpus, coresPerSlot, gpusPerSlot, Infinity)));
    const perNode = Math.min(...inNodes.filter((n) => n > 0));
    if (perNode === Infinity) return request; // impossible, as checkFeasible() will say
    const nodes = Math.ceil(slots.min / perNode);
    return { ...request, nodes: { min: nodes, max: nodes }, slots: { min: 1, max: 1 }, exclusive: true, totalSlots: slots.min };
  }

  /** Throws FluxError EOVERFLOW when a request can't be served even by an empty instance with all nodes up. */
  checkFeasible(request: ResourceRequest): void {
    const { nodes, slots, coresPerSlot, gpusPerSlot, exclusive, constraint } = request;
    if (request.unsupported !== undefined) throw new FluxError(errno.EOVERFLOW, request.unsupported);
    const byKind = constraint && this.#eligibleFor(constraint).byKind;
    const total = (of: (kind: NodeKind) => number): number =>
      this.#kinds.reduce((sum, kind, i) => sum + of(kind) * (byKind === undefined ? kind.count : (byKind[i] ?? 0)), 0);
    const impossible = (text: string): FluxError => new FluxError(errno.EOVERFLOW, `unsatisfiable request: ${text}`);
    if (exclusive) {
      const need = Math.max(nodes?.min ?? 0, 1);
      const eligible = total((kind) => (kind.cores >= coresPerSlot && kind.gpus >= gpusPerSlot ? 1 : 0));
      if (eligible < need) throw impossible(`need ${need} exclusive node(s), only ${eligible} eligible`);
      return;
    }
    if (nodes !== undefined) {
      const cores = slots.min * coresPerSlot;
      const gpus = slots.min * gpusPerSlot;
      const eligible = total((kind) => (kind.cores >= cores && kind.gpus >= gpus ? 1 : 0));
      if (eligible >= nodes.min) return;
      throw impossible(`need ${nodes.min} node(s) with ${cores} cores${gpus > 0 ? ` and ${gpus} GPUs` : ""} each, only ${eligible} eligible`);
    }
    const fit = total((kind) => Math.floor(kind.cores / coresPerSlot));
    if (fit < slots.min) {
      throw impossible(
        `need ${slots.min} slot(s) of ${coresPerSlot} core(s), only ${fit} such slot(s) available (total cores: ${total((kind) => kind.cores)})`,
      );
    }
    if (gpusPerSlot === 0) return;
    const withGpus = total((kind) => Math.min(Math.floor(kind.cores / coresPerSlot), Math.floor(kind.gpus / gpusPerSlot)));
    if (withGpus < slots.min) {
      throw impossible(
        `need ${slots.min} slot(s) with ${gpusPerSlot} GPU(s) each, only ${withGpus} available (total GPUs: ${total((kind) => kind.gpus)})`,
      );
    }
  }

  #eligibleFor(constraint: JsonObject): Eligible {
    const key = encodeJson(constraint);
    let eligible = this.#eligible.get(key);
    if (eligible !== undefined) return eligible;
    const match = compileConstraint(constraint);
    const nodes = new BitSet(this.size);
    const byKind = new Uint32Array(this.#kinds.length);
    const none = new Set<string>();
    const properties = this.#propertiesByRank();
    for (let node = 0; node < this.size; node++) {
      if (this.#removed.has(node)) continue;
      const rank = this.#ranks[node] ?? 0;
      if (!match({ rank, hostname: this.#hosts[node] ?? "", properties: properties.get(rank) ?? none })) continue;
      nodes.add(node);
      const kind = this.#kindOf[node] ?? 0;
      byKind[kind] = (byKind[kind] ?? 0) + 1;
    }
    eligible = { nodes, byKind };
    if (this.#eligible.size >= CONSTRAINTS_MAX) this.#eligible.clear();
    this.#eligible.set(key, eligible);
    return eligible;
  }

  #propertiesByRank(): Map<number, Set<string>> {
    const result = new Map<number, Set<string>>();
    for (const [name, ranks] of this.#R.properties) {
      for (const rank of ranks) {
        let names = result.get(rank);
        if (names === undefined) result.set(rank, (names = new Set()));
        names.add(name);
      }
    }
    return result;
  }

  // ---- what is where, as R

  /** These shares of nodes, with all properties. */
  toRset(shares: Iterable<Share>): Rset {
    const R = new Rset();
    for (const { node, cores, gpus } of shares) {
      R.add(this.rank(node), { host: this.#hosts[node], cores: this.#ids(this.coreIds, node, cores), gpus: this.#ids(this.gpuIds, node, gpus) });
    }
    for (const [name, ranks] of this.#R.properties) R.setProperty(name, ranks);
    R.scheduling = this.#R.scheduling;
    return R;
  }

  /** The ids of a mask. Nodes of one kind share them, so that R is grouped and written quickly. */
  #ids(array: IdArray, node: number, mask: Uint32Array): IdSet {
    const key = `${array === this.coreIds ? "c" : "g"}${array.family(node)}:${mask.join(",")}`;
    let ids = this.#maskIds.get(key);
    if (ids !== undefined) return ids;
    ids = array.ids(node, mask);
    if (this.#maskIds.size >= MASKS_MAX) this.#maskIds.clear();
    this.#maskIds.set(key, ids);
    return ids;
  }
}
