// Time as the transport sees it, so that tests can turn it by hand.

export interface Clock {
  /** Milliseconds of a clock that never goes back. */
  now_ms(): number;
  /** Calls `fire` once after `delay_ms`; the result cancels it. */
  timer(delay_ms: number, fire: () => void): () => void;
}

/** The machine's clock. Its timers keep no process alive: the sockets do. */
export const systemClock: Clock = {
  now_ms: () => performance.now(),
  timer(delay_ms, fire) {
    const handle = setTimeout(fire, delay_ms);
    handle.unref();
    return () => clearTimeout(handle);
  },
};
