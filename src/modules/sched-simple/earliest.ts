// Earliest: when, and on which nodes, a job that must wait can start, given a timeline of what will be free. Pure.
//
// For each node the spans are found in which the job could start there. A span without end is the usual one: the node is
// free for good after those who have it now. The n-th of these ends the search; spans with an end, the holes between
// reservations, matter only where they begin earlier. So the cost is that of looking at each node's profile once.
import type { BitSet } from "./bitset.ts";
import { choose, type Placement } from "./placement.ts";
import type { ResourceRequest } from "./request.ts";
import { type NodeShare, slotsIn, type Timeline } from "./timeline.ts";

/** What earliest() has to know of the nodes. */
export interface Ground {
  readonly size: number;
  readonly placement: Placement;
  isUp(node: number): boolean;
  coresOf(node: number): number;
  gpusOf(node: number): number;
}

/** Resources that a job will get. Times are seconds. */
export interface Planned {
  readonly start: number;
  readonly end: number;
  readonly shares: readonly NodeShare[];
  readonly nslots: number;
}

/**
 * The first time from `from` on at which the request can be served for `duration` seconds (Infinity: for good).
 * `only` are the nodes that satisfy its constraint. Undefined when that is never, by what is known now.
 */
export function earliest(
  ground: Ground,
  timeline: Timeline,
  request: ResourceRequest,
  only: BitSet | undefined,
  from: number,
  duration: number,
): Planned | undefined {
  const nodes = usable(ground, only);
  return request.nodes === undefined
    ? earliestSlots(ground, timeline, request, nodes, from, duration)
    : earliestNodes(ground, timeline, request, nodes, from, duration);
}

/** True when the nodes that are up would serve the request if nobody else had any of them. */
export function fitsUpNodes(ground: Ground, request: ResourceRequest, only: BitSet | undefined): boolean {
  let found = 0;
  for (const node of usable(ground, only)) {
    if (request.nodes === undefined) {
      found += slotsIn(ground.coresOf(node), ground.gpusOf(node), request.coresPerSlot, request.gpusPerSlot, Infinity);
      if (found >= request.slots.min) return true;
    } else {
      const need = needOf(ground, request, node);
      if (need.cores <= ground.coresOf(node) && need.gpus <= ground.gpusOf(node) && ++found >= request.nodes.min) return true;
    }
  }
  return false;
}

function usable(ground: Ground, only: BitSet | undefined): number[] {
  const nodes: number[] = [];
  if (only === undefined) {
    for (let node = 0; node < ground.size; node++) if (ground.isUp(node)) nodes.push(node);
    return nodes;
  }
  for (let node = only.next(0); node >= 0; node = only.next(node + 1)) if (ground.isUp(node)) nodes.push(node);
  return nodes;
}

/** What a job takes of a node that it gets. A slot bigger than an exclusive node needs more than there is. */
function needOf(ground: Ground, request: ResourceRequest, node: number): { cores: number; gpus: number } {
  const { slots, coresPerSlot, gpusPerSlot } = request;
  if (!request.exclusive) return { cores: slots.min * coresPerSlot, gpus: slots.min * gpusPerSlot };
  return { cores: Math.max(coresPerSlot, ground.coresOf(node)), gpus: Math.max(gpusPerSlot, ground.gpusOf(node)) };
}

function earliestNodes(ground: Ground, timeline: Timeline, request: ResourceRequest, nodes: readonly number[], from: number, duration: number): Planned | undefined {
  const wanted = request.nodes ?? request.slots;
  const lasting = new Float64Array(nodes.length);
  let count = 0;
  const holeStarts: number[] = [];
  const holeEnds: number[] = [];
  const found = (start: number, end: number): boolean => {
    if (end === Infinity) lasting[count++] = start;
    else {
      holeStarts.push(start);
      holeEnds.push(end);
    }
    return true;
  };
  for (const node of nodes) {
    const need = needOf(ground, request, node);
    if (need.cores <= ground.coresOf(node) && need.gpus <= ground.gpusOf(node)) timeline.starts(node, need.cores, need.gpus, from, duration, found);
  }
  const least = Math.max(wanted.min, 1);
  const bound = count < least ? Infinity : nth(lasting.subarray(0, count), least - 1);
  const start = bound === from || holeStarts.length === 0 ? bound : firstOf(least, lasting.subarray(0, count), holeStarts, holeEnds);
  if (start === Infinity) return undefined;

  const fit: number[] = [];
  const cores: number[] = [];
  const gpus: number[] = [];
  for (const node of nodes) {
    const need = needOf(ground, request, node);
    const c = timeline.leastCores(node, start, start + duration);
    const g = timeline.leastGpus(node, start, start + duration);
    if (c < need.cores || g < need.gpus) continue;
    fit.push(node);
    cores.push(c);
    gpus.push(g);
  }
  const chosen = choose(ground.placement, fit, cores, gpus, wanted.max);
  const shares = chosen.map((node) => ({ node, ...needOf(ground, request, node) }));
  const perNode = request.slots.min;
  return { start, end: start + duration, shares, nslots: request.totalSlots ?? perNode * shares.length };
}

interface Hole {
  readonly start: number;
  /** The last moment to start. */
  readonly end: number;
  readonly slots: number;
}

interface Arrival {
  readonly time: number;
  readonly slots: number;
}

/** Slots that come for good, and when: many, so not objects. */
class Arrivals {
  #times = new Float64Array(1024);
  #slots = new Int32Array(1024);
  #count = 0;

  add(time: number, slots: number): void {
    if (this.#count === this.#times.length) {
      const [times, counts] = [this.#times, this.#slots];
      this.#times = new Float64Array(2 * this.#count);
      this.#slots = new Int32Array(2 * this.#count);
      this.#times.set(times);
      this.#slots.set(counts);
    }
    this.#times[this.#count] = time;
    this.#slots[this.#count++] = slots;
  }

  /** When the n-th of them comes; Infinity when there are fewer. */
  nthTime(n: number): number {
    return n > this.#count ? Infinity : nth(this.#times.slice(0, this.#count), n - 1);
  }

  /** Those that come by then. */
  until(bound: number): Arrival[] {
    const result: Arrival[] = [];
    for (let i = 0; i < this.#count; i++) {
      const time = this.#times[i] ?? 0;
      if (time <= bound) result.push({ time, slots: this.#slots[i] ?? 0 });
    }
    return result;
  }
}

/** The first time at which there are `need` nodes: some from a time on for good, some in holes. There are many: no objects. */
function firstOf(need: number, lasting: Float64Array, holeStarts: readonly number[], holeEnds: readonly number[]): number {
  const begins = new Float64Array(lasting.length + holeStarts.length);
  begins.set(lasting);
  begins.set(holeStarts, lasting.length);
  begins.sort();
  const ends = Float64Array.from(holeEnds).sort();
  let ended = 0;
  for (let i = 0; i < begins.length; i++) {
    const time = begins[i] ?? 0;
    while (ended < ends.length && (ends[ended] ?? 0) < time) ended++;
    if (i + 1 - ended >= need) return time;
  }
  return Infinity;
}

function earliestSlots(ground: Ground, timeline: Timeline, request: ResourceRequest, nodes: readonly number[], from: number, duration: number): Planned | undefined {
  const { slots, coresPerSlot, gpusPerSlot } = request;
  const need = Math.max(slots.min, 1);
  const all = new Arrivals();
  const found = (time: number, more: number): void => all.add(time, more);
  for (const node of nodes) timeline.lastingSlots(node, coresPerSlot, gpusPerSlot, need, from, found);
  // Each brings a slot at least: those after the need-th come too late.
  const bound = all.nthTime(need);
  const arrivals = all.until(bound);
  const holes: Hole[] = [];
  if (bound > from) {
    for (const node of nodes) {
      const inNode = slotsIn(ground.coresOf(node), ground.gpusOf(node), coresPerSlot, gpusPerSlot, need);
      if (inNode === 0) continue;
      // Holes count only where they have room for all that the job would have of the node at best: the answer may be later
      // than it could be, never earlier than it can be.
      timeline.starts(node, inNode * coresPerSlot, inNode * gpusPerSlot, from, duration, (start, end) => {
        if (start >= bound) return false;
        if (end !== Infinity) holes.push({ start, end, slots: inNode });
        return true;
      });
    }
  }
  const start = firstWith(need, arrivals, holes);
  if (start === undefined) return undefined;
  const planned = slotsAt(ground, timeline, request, nodes, start, duration);
  if (planned.nslots >= need || holes.length === 0) return planned;
  // A node's lasting slots were counted again as part of a hole: without holes the count is exact.
  const later = firstWith(need, arrivals, []);
  return later === undefined ? undefined : slotsAt(ground, timeline, request, nodes, later, duration);
}

function slotsAt(ground: Ground, timeline: Timeline, request: ResourceRequest, nodes: readonly number[], start: number, duration: number): Planned {
  const { slots, coresPerSlot, gpusPerSlot } = request;
  const fit: number[] = [];
  const cores: number[] = [];
  const gpus: number[] = [];
  const room = new Map<number, number>();
  for (const node of nodes) {
    const c = timeline.leastCores(node, start, start + duration);
    const g = timeline.leastGpus(node, start, start + duration);
    const inNode = slotsIn(c, g, coresPerSlot, gpusPerSlot, slots.max);
    if (inNode === 0) continue;
    fit.push(node);
    cores.push(c);
    gpus.push(g);
    room.set(node, inNode);
  }
  const shares: NodeShare[] = [];
  let taken = 0;
  for (const node of choose(ground.placement, fit, cores, gpus, Math.min(fit.length, slots.max))) {
    if (taken >= slots.max) break;
    const mine = Math.min(room.get(node) ?? 0, slots.max - taken);
    shares.push({ node, cores: mine * coresPerSlot, gpus: mine * gpusPerSlot });
    taken += mine;
  }
  return { start, end: start + duration, shares, nslots: taken };
}

/** The first time at which there are `need` slots: those that have come for good and those in holes. */
function firstWith(need: number, arrivals: readonly Arrival[], holes: readonly Hole[]): number | undefined {
  const begins = holes.length === 0 ? [...arrivals] : [...arrivals, ...holes.map(({ start, slots }) => ({ time: start, slots }))];
  begins.sort((a, b) => a.time - b.time);
  const ends = [...holes].sort((a, b) => a.end - b.end);
  let slots = 0;
  let ended = 0;
  for (let i = 0; i < begins.length; i++) {
    const { time, slots: more } = begins[i] as Arrival;
    slots += more;
    for (let hole = ends[ended]; hole !== undefined && hole.end < time; hole = ends[++ended]) slots -= hole.slots;
    if (slots >= need) return time;
  }
  return undefined;
}

/** The n-th smallest, from 0; `values` get another order. */
function nth(values: Float64Array, n: number): number {
  let low = 0;
  let high = values.length - 1;
  while (low < high) {
    const pivot = values[(low + high) >> 1] ?? 0;
    let i = low;
    let j = high;
    while (i <= j) {
      while ((values[i] ?? 0) < pivot) i++;
      while ((values[j] ?? 0) > pivot) j--;
      if (i > j) break;
      const swapped = values[i] ?? 0;
      values[i++] = values[j] ?? 0;
      values[j--] = swapped;
    }
    if (n <= j) high = j;
    else if (n >= i) low = i;
    else break;
  }
  return values[n] ?? Infinity;
}
