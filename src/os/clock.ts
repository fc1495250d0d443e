// Time, given to a component instead of taken: the system's clock, and a virtual one that moves only when it is told to, so
// that a whole cluster runs in one process as fast as its work allows.

import { errno, FluxError } from "../message/errno.ts";

/** A timer that was set; opaque. `unref` lets the process end although it is set. */
export interface Timer {
  unref(): Timer;
}

export interface Clock {
  /** Seconds since the epoch, with a fraction, as eventlogs have them (RFC 18). */
  now_s(): number;
  /** Milliseconds that never go back. */
  monotonic_ms(): number;
  /** Call `fn` once after `delay_ms` (any length; at once for 0 or less; never for Infinity). */
  setTimer(delay_ms: number, fn: () => void): Timer;
  /** Forget a timer; a timer that has fired or undefined is fine. */
  clear(timer: Timer | undefined): void;
  /** Resolves after `delay_ms`. */
  sleep(delay_ms: number): Promise<void>;
}

/** Longer timeouts fire at once in JavaScript. */
const TIMEOUT_MAX_MS = 2 ** 31 - 1;

interface RealTimer extends Timer {
  handle: ReturnType<typeof setTimeout> | undefined;
  keepsAlive: boolean;
}

function setLongTimer(delay_ms: number, fn: () => void): RealTimer {
  const timer: RealTimer = {
    handle: undefined,
    keepsAlive: true,
    unref() {
      timer.keepsAlive = false;
      timer.handle?.unref();
      return timer;
    },
  };
  if (Number.isNaN(delay_ms)) throw new FluxError(errno.EINVAL, "a timer needs a number of milliseconds");
  if (delay_ms === Infinity) return timer;
  const due_ms = performance.now() + delay_ms;
  const arm = (): void => {
    const left_ms = due_ms - performance.now();
    const fires = left_ms <= TIMEOUT_MAX_MS;
    timer.handle = setTimeout(fires ? fn : arm, fires ? Math.max(0, left_ms) : TIMEOUT_MAX_MS);
    if (!timer.keepsAlive) timer.handle.unref();
  };
  arm();
  return timer;
}

/** The system's time at performance.now() 0, corrected when somebody sets the clock. */
let epoch_ms = performance.timeOrigin;
/** What was said last. */
let last_ms = 0;
/** A clock that goes back by less has been corrected, not set: events must not seem to come before those before them. */
const CORRECTION_MAX_MS = 1000;

/** Milliseconds since the epoch, with microseconds: Date.now() has none, and eventlogs and logs show them. */
export function wallClock_ms(): number {
  const whole_ms = Date.now();
  const since_ms = performance.now();
  if (Math.abs(epoch_ms + since_ms - whole_ms) > 2) epoch_ms = whole_ms - since_ms;
  const now_ms = Math.round((epoch_ms + since_ms) * 1000) / 1000;
  if (now_ms >= last_ms || last_ms - now_ms > CORRECTION_MAX_MS) last_ms = now_ms;
  return last_ms;
}

/** The system's clock. */
export const realClock: Clock = {
  now_s: () => Math.round(wallClock_ms() * 1000) / 1e6,
  monotonic_ms: () => performance.now(),
  setTimer: setLongTimer,
  clear(timer) {
    if (timer === undefined) return;
    const { handle } = timer as RealTimer;
    if (handle !== undefined) clearTimeout(handle);
  },
  async sleep(delay_ms) {
    const { promise, resolve } = Promise.withResolvers<void>();
    setLongTimer(delay_ms, resolve);
    return promise;
  },
};

interface VirtualTimer extends Timer {
  due_ms: number;
  order: number;
  fn: () => void;
  /** Place in the heap; -1 when it is not set. */
  at: number;
}

export interface VirtualClock extends Clock {
  /** Move on by `delta_ms`, firing what falls due in order; promises that hang on a timer run before the next timer. */
  advance(delta_ms: number): Promise<void>;
  /** Move to the next timer and fire it; false when none is set. */
  step(): boolean;
  /** When the next timer is due, in monotonic_ms; undefined when none is set. */
  nextDue_ms(): number | undefined;
  /** Number of timers set. */
  readonly pending: number;
}

/** A clock that starts at `start_s` (seconds since the epoch) and stands still until told. */
export function createVirtualClock(start_s = 1_700_000_000): VirtualClock {
  const heap: VirtualTimer[] = [];
  let now_ms = 0;
  let order = 0;

  const before = (a: VirtualTimer, b: VirtualTimer): boolean => a.due_ms < b.due_ms || (a.due_ms === b.due_ms && a.order < b.order);
  const place = (timer: VirtualTimer, at: number): void => {
    heap[at] = timer;
    timer.at = at;
  };
  const up = (timer: VirtualTimer): void => {
    let { at } = timer;
    while (at > 0) {
      const parent = heap[(at - 1) >> 1];
      if (parent === undefined || !before(timer, parent)) break;
      const free = parent.at;
      place(parent, at);
      at = free;
    }
    place(timer, at);
  };
  const down = (timer: VirtualTimer): void => {
    let { at } = timer;
    for (;;) {
      const left = heap[2 * at + 1];
      const right = heap[2 * at + 2];
      const child = left !== undefined && right !== undefined && before(right, left) ? right : left;
      if (child === undefined || !before(child, timer)) break;
      const free = child.at;
      place(child, at);
      at = free;
    }
    place(timer, at);
  };
  const remove = (timer: VirtualTimer): void => {
    if (timer.at < 0) return;
    const last = heap.pop();
    if (last !== undefined && last !== timer) {
      place(last, timer.at);
      up(last);
      down(last);
    }
    timer.at = -1;
  };
  const setTimer = (delay_ms: number, fn: () => void): VirtualTimer => {
    const timer: VirtualTimer = { due_ms: now_ms + Math.max(0, delay_ms), order: order++, fn, at: -1, unref: () => timer };
    if (Number.isNaN(delay_ms)) throw new FluxError(errno.EINVAL, "a timer needs a number of milliseconds");
    if (delay_ms === Infinity) return timer;
    place(timer, heap.length);
    up(timer);
    return timer;
  };
  const step = (): boolean => {
    const timer = heap[0];
    if (timer === undefined) return false;
    now_ms = Math.max(now_ms, timer.due_ms);
    remove(timer);
    timer.fn();
    return true;
  };

  return {
    now_s: () => start_s + now_ms / 1000,
    monotonic_ms: () => now_ms,
    setTimer,
    clear(timer) {
      if (timer !== undefined) remove(timer as VirtualTimer);
    },
    async sleep(delay_ms) {
      const { promise, resolve } = Promise.withResolvers<void>();
      setTimer(delay_ms, resolve);
      return promise;
    },
    async advance(delta_ms) {
      const until_ms = now_ms + delta_ms;
      for (;;) {
        await settled();
        const next = heap[0];
        if (next === undefined || next.due_ms > until_ms) break;
        step();
      }
      now_ms = until_ms;
    },
    step,
    nextDue_ms: () => heap[0]?.due_ms,
    get pending() {
      return heap.length;
    },
  };
}

/** Resolves when every promise that can run without an event from outside has run. */
async function settled(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  setImmediate(resolve);
  return promise;
}
