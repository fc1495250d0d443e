// Buckets: numbers of nodes, kept by a key, such as how much a node has free; the next key with nodes is found in a few steps.
import { BitSet } from "./bitset.ts";

/** Nodes by key; an upper BitSet knows the keys that have any. */
export class Buckets {
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
