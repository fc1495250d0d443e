// Pool: which cores and GPUs of the instance are free, and who has the others. Pure: no messages, no time of its own.
//
// Nodes are tried in the order of a placement (placement.ts), by default most free cores, then most free GPUs, then lowest
// rank, what stock sched-simple does; and of a node the lowest free cores are taken. To find the next node without looking
// at all of them, nodes are kept in buckets by their number of free cores and GPUs, each a BitSet. So an allocation costs
// what it takes, not what there is.
import type { JobId } from "../../formats/fluid.ts";
import type { IdSet } from "../../formats/idset.ts";
import type { Rset } from "../../formats/rset.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { BitSet } from "./bitset.ts";
import { Buckets } from "./buckets.ts";
import { Inventory, type Share } from "./inventory.ts";
import { countBits, Masks } from "./masks.ts";
import { type Placement, WORST_FIT } from "./placement.ts";
import type { ResourceRequest } from "./request.ts";
import { type NodeShare, slotsIn } from "./timeline.ts";

interface Allocation {
  shares: Share[];
  readonly nslots: number;
  /** Seconds since the epoch; 0: unknown. */
  end_s: number;
}

/** What a node has for a job while it runs: less than what is free now where somebody has a reservation. */
export interface Window {
  cores(node: number): number;
  gpus(node: number): number;
}

/** The request can't be served now: try again when something is freed. */
export const INSUFFICIENT = Symbol("insufficient");

export class Pool {
  readonly inventory: Inventory;
  readonly size: number;
  /** When the instance itself ends, seconds since the epoch; 0: it does not. */
  expiration_s: number;
  placement: Placement = WORST_FIT;
  readonly #freeCores: Masks;
  readonly #freeGpus: Masks;
  readonly #up: BitSet;
  /** Nodes that are up, by free cores and GPUs: key = cores * gpuLimit + gpus. */
  readonly #buckets: Buckets;
  /** The same, of those with all cores free, for node-exclusive jobs. */
  readonly #idle: Buckets;
  readonly #gpuLimit: number;
  readonly #jobs = new Map<JobId, Allocation>();

  /** All nodes of `R`, none of them up yet. */
  constructor(R: Rset) {
    const { coreIds, gpuIds, size } = (this.inventory = new Inventory(R));
    this.size = size;
    this.expiration_s = R.expiration;
    this.#freeCores = new Masks(coreIds.counts);
    this.#freeGpus = new Masks(gpuIds.counts);
    this.#up = new BitSet(size);
    this.#gpuLimit = gpuIds.most + 1;
    const keys = (coreIds.most + 1) * this.#gpuLimit;
    this.#buckets = new Buckets(keys, size);
    this.#idle = new Buckets(keys, size);
  }

  isUp(node: number): boolean {
    return this.#up.has(node);
  }

  /** All cores of a node, whoever has them. */
  coresOf(node: number): number {
    return this.inventory.coreIds.count(node);
  }

  gpusOf(node: number): number {
    return this.inventory.gpuIds.count(node);
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
    for (const node of this.inventory.nodes(ranks)) {
      if (this.#up.has(node)) continue;
      this.#up.add(node);
      this.#list(node);
    }
  }

  markDown(ranks: IdSet): void {
    for (const node of this.inventory.nodes(ranks)) {
      if (!this.#up.has(node)) continue;
      this.#unlist(node);
      this.#up.delete(node);
    }
  }

  /** These are gone for good. */
  remove(ranks: IdSet): void {
    this.markDown(ranks);
    this.inventory.remove(ranks);
  }

  #key(node: number): number {
    return this.#freeCores.count(node) * this.#gpuLimit + this.#freeGpus.count(node);
  }

  #list(node: number): void {
    const key = this.#key(node);
    this.#buckets.add(key, node);
    if (this.#freeCores.count(node) === this.coresOf(node)) this.#idle.add(key, node);
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
    const only = this.inventory.eligible(request.constraint);
    const found = request.nodes === undefined ? this.#findSlots(request, only, window) : this.#findNodes(request, only, window);
    if (found === undefined) {
      this.inventory.checkFeasible(request);
      return INSUFFICIENT;
    }
    for (const share of found.shares) this.#take(share);
    this.#jobs.set(id, found);
    return this.#toRset(found);
  }

  /** True when alloc() without a window would find enough. */
  hasRoom(request: ResourceRequest): boolean {
    const only = this.inventory.eligible(request.constraint);
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
      if (free < cores || this.#freeGpus.count(node) < gpus || (idle && free !== this.coresOf(node))) continue;
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
    const unknown = R.ranks.subtract(this.inventory.R.ranks);
    if (!unknown.isEmpty) throw new FluxError(errno.EINVAL, `allocation contains ranks not in resource pool: ${unknown.toString()}`);
    const shares: Share[] = [];
    for (const { rank, cores, gpus } of R.nodes()) {
      const node = this.inventory.node(rank) ?? 0;
      const share = { node, cores: this.inventory.coreIds.mask(node, cores), gpus: this.inventory.gpuIds.mask(node, gpus) };
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
      if (R.node(this.inventory.rank(share.node)) === undefined) kept.push(share);
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

  // ---- what is where, as R

  #toRset({ shares, nslots }: Allocation): Rset {
    const R = this.inventory.toRset(shares);
    if (nslots > 0) R.nslots = nslots;
    return R;
  }

  /** All nodes but those that are gone for good. */
  get all(): Rset {
    const R = this.inventory.R.slice(this.inventory.ranksWhere(() => true));
    R.expiration = this.expiration_s;
    return R;
  }

  get down(): Rset {
    return this.inventory.R.slice(this.inventory.ranksWhere((node) => !this.#up.has(node)));
  }

  get allocated(): Rset {
    return this.inventory.toRset([...this.#jobs.values()].flatMap(({ shares }) => shares));
  }
}
