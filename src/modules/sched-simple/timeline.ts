// Timeline: how many cores and GPUs of each node will be free, from now on. Jobs that run and jobs that have a reservation
// take theirs for a span of time; a question is answered by the least that is free in a span. Pure: times are numbers
// (seconds), what lies before trim() is forgotten.
//
// A node's profile is a list of steps: from times[i] until times[i + 1] so much is free, the last step for ever.

interface Profile {
  readonly times: number[];
  readonly cores: number[];
  readonly gpus: number[];
}

/** Cores and GPUs of a node, as counts. */
export interface NodeShare {
  readonly node: number;
  readonly cores: number;
  readonly gpus: number;
}

export class Timeline {
  /** What lies before may be forgotten. */
  #begin = -Infinity;
  readonly #profiles: Profile[];
  readonly #hasGpus: boolean;

  /** Everything is free at all times. */
  constructor(size: number, cores: (node: number) => number, gpus: (node: number) => number) {
    this.#profiles = Array.from({ length: size }, (_, node) => ({ times: [-Infinity], cores: [cores(node)], gpus: [gpus(node)] }));
    this.#hasGpus = this.#profiles.some((profile) => (profile.gpus[0] ?? 0) > 0);
  }

  /** Nothing before `now` is asked for any more. */
  trim(now: number): void {
    this.#begin = now;
  }

  take(shares: readonly NodeShare[], from: number, to: number): void {
    for (const { node, cores, gpus } of shares) this.#change(node, from, to, -cores, -gpus);
  }

  give(shares: readonly NodeShare[], from: number, to: number): void {
    for (const { node, cores, gpus } of shares) this.#change(node, from, to, cores, gpus);
  }

  #change(node: number, from: number, to: number, cores: number, gpus: number): void {
    if (!(from < to)) return;
    const profile = this.#profiles[node] as Profile;
    this.#forget(profile);
    const first = cut(profile, from);
    const last = to === Infinity ? profile.times.length : cut(profile, to);
    for (let i = first; i < last; i++) {
      profile.cores[i] = (profile.cores[i] ?? 0) + cores;
      profile.gpus[i] = (profile.gpus[i] ?? 0) + gpus;
    }
    if (last < profile.times.length) join(profile, last);
    join(profile, first);
  }

  #forget(profile: Profile): void {
    const { times, cores, gpus } = profile;
    let past = 0;
    while (past + 1 < times.length && (times[past + 1] ?? 0) <= this.#begin) past++;
    if (past === 0) return;
    times.splice(0, past);
    cores.splice(0, past);
    gpus.splice(0, past);
    times[0] = -Infinity;
  }

  /** The fewest free cores in a span. */
  leastCores(node: number, from: number, to: number): number {
    const { times, cores } = this.#profiles[node] as Profile;
    return least(times, cores, from, to);
  }

  leastGpus(node: number, from: number, to: number): number {
    if (!this.#hasGpus) return 0;
    const { times, gpus } = this.#profiles[node] as Profile;
    return least(times, gpus, from, to);
  }

  /** What each node has for a job that runs in this span. */
  window(from: number, to: number): { cores(node: number): number; gpus(node: number): number } {
    return { cores: (node) => this.leastCores(node, from, to), gpus: (node) => this.leastGpus(node, from, to) };
  }

  /**
   * Calls `found(from, to)` for each span, in order, in which a job that needs so much for so long can start; the last
   * may be endless. Returns early when `found` returns false.
   */
  starts(node: number, cores: number, gpus: number, from: number, duration: number, found: (from: number, to: number) => boolean): void {
    const profile = this.#profiles[node] as Profile;
    const { times } = profile;
    let open = NaN;
    for (let i = stepAt(times, from); i < times.length; i++) {
      const fits = (profile.cores[i] ?? 0) >= cores && (profile.gpus[i] ?? 0) >= gpus;
      if (fits === !Number.isNaN(open)) continue;
      const time = Math.max(from, times[i] ?? 0);
      if (fits) open = time;
      else {
        if (time - duration >= open && !found(open, time - duration)) return;
        open = NaN;
      }
    }
    if (!Number.isNaN(open)) found(open, Infinity);
  }

  /** When each further slot of a node is there for good: calls `found(from, slots)` with how many come at that time. */
  lastingSlots(node: number, coresPerSlot: number, gpusPerSlot: number, slotsMax: number, from: number, found: (from: number, slots: number) => void): void {
    const { times, cores, gpus } = this.#profiles[node] as Profile;
    let leastC = Infinity;
    let leastG = Infinity;
    let later = -1; // lasting slots of the steps after this one
    const first = stepAt(times, from);
    for (let i = times.length - 1; i >= first; i--) {
      leastC = Math.min(leastC, cores[i] ?? 0);
      leastG = Math.min(leastG, gpus[i] ?? 0);
      const slots = slotsIn(leastC, leastG, coresPerSlot, gpusPerSlot, slotsMax);
      if (later > slots) found(times[i + 1] ?? 0, later - slots);
      later = slots;
      if (slots === 0) return;
    }
    if (later > 0) found(from, later);
  }
}

/** How many slots are in so many cores and GPUs. */
export function slotsIn(cores: number, gpus: number, coresPerSlot: number, gpusPerSlot: number, max: number): number {
  const byCores = Math.floor(cores / coresPerSlot);
  const slots = gpusPerSlot > 0 ? Math.min(byCores, Math.floor(gpus / gpusPerSlot)) : byCores;
  return Math.max(0, Math.min(slots, max));
}

/** The step that holds at `time`. */
function stepAt(times: readonly number[], time: number): number {
  let i = 0;
  for (let half = times.length >> 1; half >= 4; half >>= 1) if ((times[i + half] ?? Infinity) <= time) i += half;
  while (i + 1 < times.length && (times[i + 1] ?? 0) <= time) i++;
  return i;
}

function least(times: readonly number[], free: readonly number[], from: number, to: number): number {
  let i = stepAt(times, from);
  let result = free[i] ?? 0;
  while (++i < times.length && (times[i] ?? 0) < to) result = Math.min(result, free[i] ?? 0);
  return result;
}

/** Makes a step begin at `time`; its index. */
function cut({ times, cores, gpus }: Profile, time: number): number {
  const i = stepAt(times, time);
  if (times[i] === time) return i;
  times.splice(i + 1, 0, time);
  cores.splice(i + 1, 0, cores[i] ?? 0);
  gpus.splice(i + 1, 0, gpus[i] ?? 0);
  return i + 1;
}

/** Makes one of step i and the one before it where they are equal. */
function join({ times, cores, gpus }: Profile, i: number): void {
  if (i === 0 || cores[i - 1] !== cores[i] || gpus[i - 1] !== gpus[i]) return;
  times.splice(i, 1);
  cores.splice(i, 1);
  gpus.splice(i, 1);
}
