// Masks: cores (GPUs) of nodes as bits. Bit i stands for the i-th id of its node, whatever the id's number.
import { IdSet } from "../../formats/idset.ts";
import { errno, FluxError } from "../../message/errno.ts";

/** The ids (core 4, GPU 1, …) of every node, in order. Nodes with equal ids share a list. */
export class IdArray {
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
export class Masks {
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

export function countBits(mask: Uint32Array): number {
  let count = 0;
  for (const word of mask) count += bitCount(word);
  return count;
}

function bitCount(word: number): number {
  let count = 0;
  for (let rest = word; rest !== 0; rest &= rest - 1) count++;
  return count;
}
