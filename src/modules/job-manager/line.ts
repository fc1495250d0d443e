// Line: first come, first served, and anyone may leave it. Each step costs the same, however long it is.
export class Line<T> {
  readonly #all = new Set<T>();
  /** Kept, since one that begins anew passes all that have gone from the front, which makes taking them quadratic. */
  #next = this.#all.values();

  get size(): number {
    return this.#all.size;
  }

  add(item: T): void {
    this.#all.add(item);
  }

  delete(item: T): void {
    this.#all.delete(item);
  }

  takeFirst(): T | undefined {
    let next = this.#next.next();
    if (next.done === true) {
      // One that has come to its end sees nobody who came later.
      this.#next = this.#all.values();
      next = this.#next.next();
    }
    if (next.done === true) return undefined;
    this.#all.delete(next.value);
    return next.value;
  }
}
