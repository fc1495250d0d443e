// Pool: which cores and GPUs of the instance are free, and who has the others. Pure: no messages, no time of its own.
//
// Nodes are tried in the order of a placement (placement.ts), by default most free cores, then most free GPUs, then lowest
// rank, what stock sched-simple does; and of a node the lowest free cores are taken. To find the next node without looking at all of them, nodes are
// kept in buckets by their number of free cores and GPUs, each a BitSet; and a constraint is turned into a BitSet of the
// nodes that satisfy it, once for all jobs that have it. So an allocation costs what it takes, not what there is.
import { compileConstraint } from "../../formats/constraint.ts";
import type { JobId } from "../../formats/fluid.ts";
import { IdSet } from "../../formats/idset.ts";
import { encodeJson, type JsonObject } from "../../formats/json.ts";
import { Rset } from "../../formats/rset.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { BitSet } from "./bitset.ts";
import { type Placement, WORST_FIT } from "./placement.ts";
import type { ResourceRequest } from "./request.ts";
import { type NodeShare, slotsIn } from "./timeline.ts";

/** One node's share of an allocation: bit i of the masks is the i-th core (GPU) of the node. */
interface Share {
  readonly node: number;
  readonly cores: Uint32Array;
  readonly gpus: Uint32Array;
}

interface Allocation {
  shares: Share[];
  readonly nslots: number;
  /** Seconds since the epoch; 0: unknown. */
  end_s: number;
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

/** What a node has for a job while it runs: less than what is free now where somebody has a reservation. */
export interface Window {
  cores(node: number): number;
  gpus(node: number): number;
}

/** The request can't be served now: try again when something is freed. */
export const INSUFFICIENT = Symbol("insufficient");

/** Constraints whose nodes are remembered. */
const CONSTRAINTS_MAX = 64;
/** Id sets of core and GPU masks that are remembered. */
const MASKS_MAX = 4096;

export class Pool {
  readonly size: number;
  /** When the instance itself ends, seconds since the epoch; 0: it does not. */
  expiration_s: number;
  placement: Placement = WORST_FIT;
  #R: Rset;
  readonly #ranks: Int32Array;
  readonly #hosts: (string | undefined)[];
  readonly #nodeOf = new Map<number, number>();
  readonly #coreIds: IdArray;
  readonly #gpuIds: IdArray;
  readonly #freeCores: Masks;
  readonly #freeGpus: Masks;
  readonly #kindOf: Uint16Array;
  readonly #kinds: NodeKind[] = [];
  readonly #up: BitSet;
  readonly #removed: BitSet;
  /** Nodes that are up, by free cores and GPUs: key = cores * gpuLimit + gpus. */
  readonly #buckets: Buckets;
  /** The same, of those with all cores free, for node-exclusive jobs. */
  readonly #idle: Buckets;
  readonly #gpuLimit: number;
  readonly #jobs = new Map<JobId, Allocation>();
  readonly #eligible = new Map<string, Eligible>();
  readonly #maskIds = new Map<string, IdSet>();

  /** All nodes of `R`, none of them up yet. */
  constructor(R: Rset) {
    this.#R = R;
    this.expiration_s = R.expiration;
    const nodes = [...R.nodes()];
    this.size = nodes.length;
    this.#ranks = Int32Array.from(nodes, ({ rank }) => rank);
    this.#hosts = nodes.map(({ host }) => host);
    this.#ranks.forEach((rank, i) => this.#nodeOf.set(rank, i));
    this.#coreIds = new IdArray(nodes.map(({ cores }) => cores));
    this.#gpuIds = new IdArray(nodes.map(({ gpus }) => gpus));
    this.#freeCores = new Masks(this.#coreIds.counts);
    this.#freeGpus = new Masks(this.#gpuIds.counts);
    this.#kindOf = new Uint16Array(this.size);
    this.#countKinds();
    this.#up = new BitSet(this.size);
    this.#removed = new BitSet(this.size);
    this.#gpuLimit = this.#gpuIds.most + 1;
    const keys = (this.#coreIds.most + 1) * this.#gpuLimit;
    this.#buckets = new Buckets(keys, this.size);
    this.#idle = new Buckets(keys, this.size);
  }

  #countKinds(): void {
    const known = new Map<number, number>();
    for (let i = 0; i < this.size; i++) {
      const cores = this.#coreIds.count(i);
      const gpus = this.#gpuIds.count(i);
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

  isUp(node: number): boolean {
    return this.#up.has(node);
  }

  /** All cores of a node, whoever has them. */
  coresOf(node: number): number {
    return this.#coreIds.count(node);
  }

  gpusOf(node: number): number {
    return this.#gpuIds.count(node);
  }

  /** Nodes that satisfy a constraint; undefined: all. */
  eligible(constraint: JsonObject | undefined): BitSet | undefined {
    return constraint && this.#eligibleFor(constraint).nodes;
  }

  /** True while there is a node with a free core. */
  get hasFree(): boolean {
    return this.#buckets.highest() >= this.#gpuLimit;
  }

  has(id: JobId): boolean {
    return this.#jobs.has(id);
  }

  /** When a job ends (seconds since the epoch); 0: unknown, or no such job. */
  endOf(id: JobId): number {
    return this.#jobs.get(id)?.end_s ?? 0;
  }

  /** How much of which nodes a job has. */
  sharesOf(id: JobId): NodeShare[] {
    return (this.#jobs.get(id)?.shares ?? []).map(({ node, cores, gpus }) => ({ node, cores: countBits(cores), gpus: countBits(gpus) }));
  }

  get jobCount(): number {
    return this.#jobs.size;
  }

  /** Jobs that have resources and when they end (seconds since the epoch, 0: unknown). */
  *endTimes(): IterableIterator<[JobId, number]> {
    for (const [id, { end_s }] of this.#jobs) yield [id, end_s];
  }

  setEnd(id: JobId, end_s: number): void {
    const job = this.#jobs.get(id);
    if (job !== undefined) job.end_s = end_s;
  }

  // ---- up and down

  markUp(ranks: IdSet): void {
    this.#each(ranks, (node) => {
      if (this.#up.has(node)) return;
      this.#up.add(node);
      this.#list(node);
    });
  }

  markDown(ranks: IdSet): void {
    this.#each(ranks, (node) => {
      if (!this.#up.has(node)) return;
      this.#unlist(node);
      this.#up.delete(node);
    });
  }

  /** These are gone for good: they count no more for what is possible. */
  remove(ranks: IdSet): void {
    this.markDown(ranks);
    this.#each(ranks, (node) => {
      if (this.#removed.has(node)) return;
      this.#removed.add(node);
      (this.#kinds[this.#kindOf[node] ?? 0] as NodeKind).count--;
    });
    this.#eligible.clear();
  }

  #each(ranks: IdSet, run: (node: number) => void): void {
    for (const [lo, hi] of ranks.ranges()) {
      for (let rank = lo; rank <= hi; rank++) {
        const node = this.#nodeOf.get(rank);
        if (node !== undefined) run(node);
      }
    }
  }

  #key(node: number): number {
    return this.#freeCores.count(node) * this.#gpuLimit + this.#freeGpus.count(node);
  }

  #list(node: number): void {
    const key = this.#key(node);
    this.#buckets.add(key, node);
    if (this.#freeCores.count(node) === this.#coreIds.count(node)) this.#idle.add(key, node);
  }

  #unlist(node: number): void {
    const key = this.#key(node);
    this.#buckets.delete(key, node);
    this.#idle.delete(key, node);
  }

  // ---- allocations

  /**
   * Resources for a job. INSUFFICIENT when there are not enough now, or `window` leaves it none.
   * Throws FluxError EOVERFLOW when there never will be, in the words that scripts know.
   */
  alloc(id: JobId, request: ResourceRequest, window?: Window): Rset | typeof INSUFFICIENT {
    if (this.#jobs.has(id)) throw new FluxError(errno.EEXIST, `job ${id} has resources already`);
    if (request.unsupported !== undefined) throw new FluxError(errno.EOVERFLOW, request.unsupported);
    const eligible = request.constraint && this.#eligibleFor(request.constraint);
    const only = eligible?.nodes;
    const found = request.nodes === undefined ? this.#findSlots(request, only, window) : this.#findNodes(request, only, window);
    if (found === undefined) {
      this.checkFeasible(request);
      return INSUFFICIENT;
    }
    for (const share of found.shares) this.#take(share);
    this.#jobs.set(id, found);
    return this.#toRset(found);
  }

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

  /** True when alloc() without a window would find enough. */
  hasRoom(request: ResourceRequest): boolean {
    const only = this.eligible(request.constraint);
    return (request.nodes === undefined ? this.#findSlots(request, only, undefined) : this.#findNodes(request, only, undefined)) !== undefined;
  }

  /** What was planned for a job. INSUFFICIENT when it isn't there (yet). */
  allocPlanned(id: JobId, planned: readonly NodeShare[], nslots: number): Rset | typeof INSUFFICIENT {
    if (this.#jobs.has(id)) throw new FluxError(errno.EEXIST, `job ${id} has resources already`);
    const isThere = planned.every(
      ({ node, cores, gpus }) => this.#up.has(node) && this.#freeCores.count(node) >= cores && this.#freeGpus.count(node) >= gpus,
    );
    if (!isThere) return INSUFFICIENT;
    const shares = planned.map(({ node, cores, gpus }) => ({ node, cores: this.#freeCores.lowest(node, cores), gpus: this.#freeGpus.lowest(node, gpus) }));
    for (const share of shares) this.#take(share);
    const allocation = { shares, nslots, end_s: 0 };
    this.#jobs.set(id, allocation);
    return this.#toRset(allocation);
  }

  /** Nodes with room for their slots. */
  #findNodes(request: ResourceRequest, only: BitSet | undefined, window: Window | undefined): Allocation | undefined {
    const { nodes, slots, exclusive } = request;
    if (nodes === undefined) return undefined;
    const perNode = slots.min;
    const cores = perNode * request.coresPerSlot;
    const gpus = perNode * request.gpusPerSlot;
    const chosen: number[] = [];
    const wanted = nodes.max;
    const [leastCores, leastGpus] = exclusive ? [request.coresPerSlot, request.gpusPerSlot] : [cores, gpus];
    this.#search(exclusive ? this.#idle : this.#buckets, leastCores, leastGpus, only, (node) => {
      if (window !== undefined) {
        const [c, g] = exclusive ? [this.#freeCores.count(node), this.#freeGpus.count(node)] : [cores, gpus];
        if (window.cores(node) < c || (g > 0 && window.gpus(node) < g)) return true;
      }
      chosen.push(node);
      return chosen.length < wanted;
    });
    if (chosen.length < nodes.min || chosen.length === 0) return undefined;
    const shares = chosen.map((node) => ({
      node,
      cores: this.#freeCores.lowest(node, exclusive ? this.#freeCores.count(node) : cores),
      gpus: this.#freeGpus.lowest(node, exclusive ? this.#freeGpus.count(node) : gpus),
    }));
    return { shares, nslots: request.totalSlots ?? perNode * shares.length, end_s: 0 };
  }

  /** Slots wherever they fit. */
  #findSlots(request: ResourceRequest, only: BitSet | undefined, window: Window | undefined): Allocation | undefined {
    const { slots, coresPerSlot, gpusPerSlot } = request;
    const shares: Share[] = [];
    let found = 0;
    this.#search(this.#buckets, coresPerSlot, gpusPerSlot, only, (node) => {
      let cores = this.#freeCores.count(node);
      let gpus = this.#freeGpus.count(node);
      if (window !== undefined) {
        cores = Math.min(cores, window.cores(node));
        if (gpusPerSlot > 0) gpus = Math.min(gpus, window.gpus(node));
      }
      const fit = slotsIn(cores, gpus, coresPerSlot, gpusPerSlot, slots.max - found);
      if (fit === 0) return true;
      shares.push({ node, cores: this.#freeCores.lowest(node, fit * coresPerSlot), gpus: this.#freeGpus.lowest(node, fit * gpusPerSlot) });
      found += fit;
      return found < slots.max;
    });
    return found < slots.min || found === 0 ? undefined : { shares, nslots: found, end_s: 0 };
  }

  /** Calls `take` with nodes that have so much free, best first, until it returns false. */
  #search(buckets: Buckets, cores: number, gpus: number, only: BitSet | undefined, take: (node: number) => boolean): void {
    const { byRank } = this.placement;
    if (byRank !== undefined) return this.#searchByRank(byRank, buckets === this.#idle, cores, gpus, only, take);
    for (const key of this.#keysInOrder(buckets, cores * this.#gpuLimit)) {
      if (key % this.#gpuLimit < gpus) continue;
      const bucket = buckets.at(key);
      let node = bucket.next(0);
      while (node >= 0) {
        const match = only === undefined ? node : only.next(node);
        if (match < 0) break;
        if (match !== node) {
          node = bucket.next(match);
          continue;
        }
        if (!take(node)) return;
        node = bucket.next(node + 1);
      }
    }
  }

  /** Keys with nodes that are at least `least`, best first. */
  *#keysInOrder(buckets: Buckets, least: number): IterableIterator<number> {
    const { mostCores, mostGpus } = this.placement;
    const limit = this.#gpuLimit;
    if (mostCores && mostGpus) {
      for (let key = buckets.highest(); key >= least; key = buckets.below(key)) yield key;
      return;
    }
    // A level is the keys of so many cores.
    let level = mostCores ? Math.floor(buckets.highest() / limit) : Math.floor(buckets.from(least) / limit);
    while (level >= 0 && (level + 1) * limit > least) {
      const [low, high] = [level * limit, level * limit + limit - 1];
      if (mostGpus) for (let key = buckets.below(high + 1); key >= low; key = buckets.below(key)) yield key;
      else for (let key = buckets.from(low); key >= 0 && key <= high; key = buckets.from(key + 1)) yield key;
      const next = mostCores ? buckets.below(low) : buckets.from(high + 1);
      if (next < 0) return;
      level = Math.floor(next / limit);
    }
  }

  #searchByRank(direction: "up" | "down", idle: boolean, cores: number, gpus: number, only: BitSet | undefined, take: (node: number) => boolean): void {
    const nodes = only ?? this.#up;
    const next = direction === "up" ? (from: number) => nodes.next(from) : (from: number) => nodes.previous(from);
    const step = direction === "up" ? 1 : -1;
    for (let node = next(direction === "up" ? 0 : this.size - 1); node >= 0; node = node + step < 0 ? -1 : next(node + step)) {
      if (!this.#up.has(node)) continue;
      const free = this.#freeCores.count(node);
      if (free < cores || this.#freeGpus.count(node) < gpus || (idle && free !== this.#coreIds.count(node))) continue;
      if (!take(node)) return;
    }
  }

  #take(share: Share): void {
    const isUp = this.#up.has(share.node);
    if (isUp) this.#unlist(share.node);
    this.#freeCores.take(share.node, share.cores);
    this.#freeGpus.take(share.node, share.gpus);
    if (isUp) this.#list(share.node);
  }

  #give(share: Share): void {
    const isUp = this.#up.has(share.node);
    if (isUp) this.#unlist(share.node);
    this.#freeCores.give(share.node, share.cores);
    this.#freeGpus.give(share.node, share.gpus);
    if (isUp) this.#list(share.node);
  }

  /**
   * A job that was given `R` in an earlier life of the scheduler.
   * Throws FluxError EINVAL when R has what this pool has not, and EEXIST when somebody has it.
   */
  adopt(id: JobId, R: Rset): void {
    if (this.#jobs.has(id)) throw new FluxError(errno.EEXIST, `job ${id} has resources already`);
    const unknown = R.ranks.subtract(this.#R.ranks);
    if (!unknown.isEmpty) throw new FluxError(errno.EINVAL, `allocation contains ranks not in resource pool: ${unknown.toString()}`);
    const shares: Share[] = [];
    for (const { rank, cores, gpus } of R.nodes()) {
      const node = this.#nodeOf.get(rank) ?? 0;
      const share = { node, cores: this.#coreIds.mask(node, cores), gpus: this.#gpuIds.mask(node, gpus) };
      if (!this.#freeCores.areFree(node, share.cores) || !this.#freeGpus.areFree(node, share.gpus)) {
        throw new FluxError(errno.EEXIST, `allocation on rank ${rank} is in use by another job`);
      }
      shares.push(share);
    }
    for (const share of shares) this.#take(share);
    this.#jobs.set(id, { shares, nslots: R.nslots ?? 0, end_s: R.expiration });
  }

  /**
   * Takes back what a job had: all of it, or the nodes of `R` while `final` is false (RFC 27).
   * Throws FluxError EINVAL when R is not the job's; a job that is not known is none of ours.
   */
  free(id: JobId, R: Rset | undefined, final: boolean): void {
    const job = this.#jobs.get(id);
    if (job === undefined) return;
    if (R !== undefined) this.#checkFree(job, R, final);
    if (final || R === undefined) {
      this.#jobs.delete(id);
      for (const share of job.shares) this.#give(share);
      return;
    }
    const kept: Share[] = [];
    for (const share of job.shares) {
      if (R.node(this.#ranks[share.node] ?? -1) === undefined) kept.push(share);
      else this.#give(share);
    }
    job.shares = kept;
  }

  #checkFree(job: Allocation, R: Rset, final: boolean): void {
    const mine = this.#toRset(job);
    const extra = R.ranks.subtract(mine.ranks);
    if (!extra.isEmpty) throw new FluxError(errno.EINVAL, `R contains ranks not in job allocation: ${extra.toString()}`);
    if (!final) return;
    for (const node of mine.nodes()) {
      const its = R.node(node.rank);
      if (its !== undefined && its.cores.equals(node.cores) && its.gpus.equals(node.gpus)) continue;
      throw new FluxError(errno.EINVAL, `final R mismatch on rank ${node.rank}`);
    }
  }

  // ---- what is possible

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

  #toRset({ shares, nslots }: Allocation): Rset {
    const R = new Rset();
    for (const { node, cores, gpus } of shares) {
      R.add(this.#ranks[node] ?? 0, { host: this.#hosts[node], cores: this.#ids(this.#coreIds, node, cores), gpus: this.#ids(this.#gpuIds, node, gpus) });
    }
    for (const [name, ranks] of this.#R.properties) R.setProperty(name, ranks);
    if (nslots > 0) R.nslots = nslots;
    R.scheduling = this.#R.scheduling;
    return R;
  }

  /** The ids of a mask. Nodes of one kind share them, so that R is grouped and written quickly. */
  #ids(array: IdArray, node: number, mask: Uint32Array): IdSet {
    const key = `${array === this.#coreIds ? "c" : "g"}${array.family(node)}:${mask.join(",")}`;
    let ids = this.#maskIds.get(key);
    if (ids !== undefined) return ids;
    ids = array.ids(node, mask);
    if (this.#maskIds.size >= MASKS_MAX) this.#maskIds.clear();
    this.#maskIds.set(key, ids);
    return ids;
  }

  /** All nodes but those that are gone for good. */
  get all(): Rset {
    const R = this.#R.slice(this.#ranksWhere((node) => !this.#removed.has(node)));
    R.expiration = this.expiration_s;
    return R;
  }

  get down(): Rset {
    return this.#R.slice(this.#ranksWhere((node) => !this.#up.has(node) && !this.#removed.has(node)));
  }

  get allocated(): Rset {
    const R = new Rset();
    for (const job of this.#jobs.values()) {
      for (const { node, cores, gpus } of job.shares) {
        R.add(this.#ranks[node] ?? 0, { host: this.#hosts[node], cores: this.#coreIds.ids(node, cores), gpus: this.#gpuIds.ids(node, gpus) });
      }
    }
    for (const [name, ranks] of this.#R.properties) R.setProperty(name, ranks);
    return R;
  }

  #ranksWhere(test: (node: number) => boolean): IdSet {
    const ranks = new IdSet();
    for (let node = 0; node < this.size; node++) if (test(node)) ranks.add(this.#ranks[node] ?? 0);
    return ranks;
  }
}

/** Nodes by key; an upper BitSet knows the keys that have any. */
class Buckets {
  readonly #sets = new Map<number, BitSet>();
  readonly #keys: BitSet;
  readonly #nodes: number;

  constructor(keys: number, nodes: number) {
    this.#keys = new BitSet(keys);
    this.#nodes = nodes;
  }

  add(key: number, node: number): void {
    let set = this.#sets.get(key);
    if (set === undefined) this.#sets.set(key, (set = new BitSet(this.#nodes)));
    set.add(node);
    this.#keys.add(key);
  }

  delete(key: number, node: number): void {
    const set = this.#sets.get(key);
    if (set === undefined) return;
    set.delete(node);
    if (set.count === 0) this.#keys.delete(key);
  }

  at(key: number): BitSet {
    return this.#sets.get(key) as BitSet;
  }

  /** The largest key with nodes; -1 when all are empty. */
  highest(): number {
    return this.#keys.previous(this.#keys.size - 1);
  }

  /** The smallest key with nodes that is at least `key`; -1 when there is none. */
  from(key: number): number {
    return this.#keys.next(key);
  }

  /** The next smaller key with nodes; -1 when there is none. */
  below(key: number): number {
    return key === 0 ? -1 : this.#keys.previous(key - 1);
  }
}

/** The ids (core 4, GPU 1, …) of every node, in order. Nodes with equal ids share a list. */
class IdArray {
  readonly counts: Int32Array;
  /** The largest count. */
  readonly most: number;
  readonly #lists: Int32Array[] = [];
  readonly #family: Int32Array;

  constructor(sets: readonly IdSet[]) {
    const known = new Map<string, number>();
    const texts = new Map<IdSet, string>();
    this.#family = Int32Array.from(sets, (set) => {
      let text = texts.get(set);
      if (text === undefined) texts.set(set, (text = set.toString()));
      let family = known.get(text);
      if (family === undefined) {
        known.set(text, (family = this.#lists.length));
        this.#lists.push(Int32Array.from(set));
      }
      return family;
    });
    this.counts = Int32Array.from(sets, (set) => set.count);
    this.most = this.counts.reduce((a, b) => Math.max(a, b), 0);
  }

  count(node: number): number {
    return this.counts[node] ?? 0;
  }

  family(node: number): number {
    return this.#family[node] ?? 0;
  }

  ids(node: number, mask: Uint32Array): IdSet {
    const list = this.#lists[this.family(node)] as Int32Array;
    const ids = new IdSet();
    for (let i = 0; i < list.length; i++) if (((mask[i >>> 5] ?? 0) & (1 << (i & 31))) !== 0) ids.add(list[i] ?? 0);
    return ids;
  }

  /** Throws FluxError EINVAL for an id that the node has not. */
  mask(node: number, ids: IdSet): Uint32Array {
    const list = this.#lists[this.family(node)] as Int32Array;
    const mask = new Uint32Array(Math.ceil(list.length / 32));
    let found = 0;
    for (let i = 0; i < list.length; i++) {
      if (!ids.has(list[i] ?? 0)) continue;
      mask[i >>> 5] = (mask[i >>> 5] ?? 0) | (1 << (i & 31));
      found++;
    }
    if (found < ids.count) throw new FluxError(errno.EINVAL, `allocation contains resources not in resource pool: ${ids.toString()}`);
    return mask;
  }
}

/** Which of each node's cores (GPUs) are free: a row of bits a node. */
class Masks {
  readonly #words: number;
  readonly #bits: Uint32Array;
  readonly #counts: Int32Array;
  readonly #rowWords: Int32Array;

  constructor(counts: Int32Array) {
    this.#counts = counts.slice();
    this.#rowWords = counts.map((count) => Math.ceil(count / 32));
    this.#words = this.#rowWords.reduce((a, b) => Math.max(a, b), 0);
    this.#bits = new Uint32Array(counts.length * this.#words);
    counts.forEach((count, node) => {
      for (let i = 0; i < count; i++) this.#bits[node * this.#words + (i >>> 5)]! |= 1 << (i & 31);
    });
  }

  count(node: number): number {
    return this.#counts[node] ?? 0;
  }

  /** The lowest `count` free ones, as a mask. There must be so many. */
  lowest(node: number, count: number): Uint32Array {
    const mask = new Uint32Array(this.#rowWords[node] ?? 0);
    const row = node * this.#words;
    let left = count;
    for (let w = 0; w < mask.length && left > 0; w++) {
      let word = this.#bits[row + w] ?? 0;
      let taken = 0;
      while (word !== 0 && left > 0) {
        const bit = word & -word;
        taken |= bit;
        word ^= bit;
        left--;
      }
      mask[w] = taken;
    }
    if (left > 0) throw new Error(`node ${node} has fewer than ${count} free`);
    return mask;
  }

  areFree(node: number, mask: Uint32Array): boolean {
    const row = node * this.#words;
    return mask.every((word, w) => (((this.#bits[row + w] ?? 0) & word) >>> 0) === word);
  }

  take(node: number, mask: Uint32Array): void {
    if (!this.areFree(node, mask)) throw new Error(`node ${node}: resources are given twice`);
    const row = node * this.#words;
    mask.forEach((word, w) => {
      this.#bits[row + w] = (this.#bits[row + w] ?? 0) & ~word;
      this.#counts[node] = this.count(node) - bitCount(word);
    });
  }

  give(node: number, mask: Uint32Array): void {
    const row = node * this.#words;
    mask.forEach((word, w) => {
      if (((this.#bits[row + w] ?? 0) & word) !== 0) throw new Error(`node ${node}: resources are freed twice`);
      this.#bits[row + w] = (this.#bits[row + w] ?? 0) | word;
      this.#counts[node] = this.count(node) + bitCount(word);
    });
  }
}

function countBits(mask: Uint32Array): number {
  let count = 0;
  for (const word of mask) count += bitCount(word);
  return count;
}

function bitCount(word: number): number {
  let count = 0;
  for (let rest = word; rest !== 0; rest &= rest - 1) count++;
  return count;
}
