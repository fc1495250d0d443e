// Those who wait for a namespace to reach a version.
import { errno, FluxError } from "../../message/errno.ts";

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (err: FluxError) => void;
}

const WAITERS_MAX = 100_000;

export class VersionWaiters {
  readonly #byVersion = new Map<number, Set<Waiter>>();
  /** The versions that are waited for, in order: what is reached are the first of them. */
  #versions: number[] = [];
  #count = 0;
  #closed: FluxError | undefined;

  get count(): number {
    return this.#count;
  }

  /** Resolves when reached(seq) is called with this version or a later one. `cancelled` registers what forgets it. */
  wait(seq: number, cancelled?: (forget: () => void) => void): Promise<void> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    if (this.#count >= WAITERS_MAX) {
      return Promise.reject(new FluxError(errno.ENOBUFS, `too many requests wait for a version of the namespace (limit ${WAITERS_MAX})`));
    }
    return new Promise((resolve, reject) => {
      const waiter = { resolve, reject };
      this.#waitersFor(seq).add(waiter);
      this.#count++;
      cancelled?.(() => this.#forget(seq, waiter));
    });
  }

  reached(seq: number): void {
    const reached = this.#versions.splice(0, this.#placeOf(seq + 1));
    for (const version of reached) for (const waiter of this.#take(version)) waiter.resolve();
  }

  /** The namespace is gone: whoever waits, and whoever still comes, gets this error. */
  close(err: FluxError): void {
    this.#closed = err;
    for (const version of this.#versions.splice(0)) for (const waiter of this.#take(version)) waiter.reject(err);
  }

  #waitersFor(version: number): Set<Waiter> {
    let waiters = this.#byVersion.get(version);
    if (waiters === undefined) {
      this.#byVersion.set(version, (waiters = new Set()));
      this.#versions.splice(this.#placeOf(version), 0, version);
    }
    return waiters;
  }

  #take(version: number): Iterable<Waiter> {
    const waiters = this.#byVersion.get(version) ?? new Set<Waiter>();
    this.#byVersion.delete(version);
    this.#count -= waiters.size;
    return waiters;
  }

  #forget(version: number, waiter: Waiter): void {
    const waiters = this.#byVersion.get(version);
    if (waiters?.delete(waiter) !== true) return;
    this.#count--;
    if (waiters.size > 0) return;
    this.#byVersion.delete(version);
    this.#versions.splice(this.#placeOf(version), 1);
  }

  /** How many of the versions are smaller. */
  #placeOf(version: number): number {
    let low = 0;
    let high = this.#versions.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#versions[middle] ?? version) < version) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
