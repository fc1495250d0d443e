// Those who wait for a namespace to reach a version.
import { errno, FluxError } from "../../message/errno.ts";

interface Waiter {
  readonly seq: number;
  readonly resolve: () => void;
  readonly reject: (err: FluxError) => void;
}

const WAITERS_MAX = 100_000;

export class VersionWaiters {
  #waiters: Waiter[] = [];
  #closed: FluxError | undefined;

  get count(): number {
    return this.#waiters.length;
  }

  /** Resolves when reached(seq) is called with this version or a later one. `cancelled` registers what forgets it. */
  wait(seq: number, cancelled?: (forget: () => void) => void): Promise<void> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    if (this.#waiters.length >= WAITERS_MAX) {
      return Promise.reject(new FluxError(errno.ENOBUFS, `too many requests wait for a version of the namespace (limit ${WAITERS_MAX})`));
    }
    return new Promise((resolve, reject) => {
      const waiter = { seq, resolve, reject };
      this.#waiters.push(waiter);
      cancelled?.(() => {
        this.#waiters = this.#waiters.filter((other) => other !== waiter);
      });
    });
  }

  reached(seq: number): void {
    if (this.#waiters.length === 0) return;
    const ready = this.#waiters.filter((waiter) => waiter.seq <= seq);
    if (ready.length === 0) return;
    this.#waiters = this.#waiters.filter((waiter) => waiter.seq > seq);
    for (const waiter of ready) waiter.resolve();
  }

  /** The namespace is gone: whoever waits, and whoever still comes, gets this error. */
  close(err: FluxError): void {
    this.#closed = err;
    const failed = this.#waiters;
    this.#waiters = [];
    for (const waiter of failed) waiter.reject(err);
  }
}
