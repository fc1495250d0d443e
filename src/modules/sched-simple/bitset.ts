// BitSet: a set of small numbers with the next member found in a few steps, however many there could be. Words of 32 bits in
// three levels: a bit of an upper level says that the word below it is not empty, so 32 768 numbers take 1 + 32 + 1024 words.
export class BitSet {
  readonly size: number;
  readonly #levels: Uint32Array[];
  #count = 0;

  /** Numbers from 0 to size - 1. */
  constructor(size: number) {
    this.size = size;
    this.#levels = [];
    let words = size;
    do {
      words = Math.max(1, Math.ceil(words / 32));
      this.#levels.push(new Uint32Array(words));
    } while (words > 1);
  }

  get count(): number {
    return this.#count;
  }

  has(i: number): boolean {
    return (((this.#levels[0] as Uint32Array)[i >>> 5] ?? 0) & (1 << (i & 31))) !== 0;
  }

  add(i: number): void {
    if (this.has(i)) return;
    this.#count++;
    for (const level of this.#levels) {
      const word = i >>> 5;
      const before = level[word] ?? 0;
      level[word] = before | (1 << (i & 31));
      if (before !== 0) return;
      i = word;
    }
  }

  delete(i: number): void {
    if (!this.has(i)) return;
    this.#count--;
    for (const level of this.#levels) {
      const word = i >>> 5;
      const after = (level[word] ?? 0) & ~(1 << (i & 31));
      level[word] = after;
      if (after !== 0) return;
      i = word;
    }
  }

  /** Smallest member that is at least `from`; -1 when there is none. */
  next(from: number): number {
    let at = from;
    for (let l = 0; l < this.#levels.length; l++) {
      const level = this.#levels[l] as Uint32Array;
      const word = at >>> 5;
      if (word >= level.length) return -1;
      const rest = (level[word] ?? 0) & (-1 << (at & 31));
      if (rest !== 0) return this.#descend(l, (word << 5) + trailingZeros(rest));
      at = word + 1; // on the level above: any word after this one
    }
    return -1;
  }

  /** Largest member that is at most `from`; -1 when there is none. */
  previous(from: number): number {
    let at = from;
    for (let l = 0; l < this.#levels.length && at >= 0; l++) {
      const level = this.#levels[l] as Uint32Array;
      const word = at >>> 5;
      const rest = (level[word] ?? 0) & (-1 >>> (31 - (at & 31)));
      if (rest !== 0) return this.#descendHighest(l, (word << 5) + 31 - Math.clz32(rest));
      at = word - 1;
    }
    return -1;
  }

  #descend(level: number, at: number): number {
    let found = at;
    for (let l = level - 1; l >= 0; l--) found = (found << 5) + trailingZeros((this.#levels[l] as Uint32Array)[found] ?? 0);
    return found;
  }

  #descendHighest(level: number, at: number): number {
    let found = at;
    for (let l = level - 1; l >= 0; l--) found = (found << 5) + 31 - Math.clz32((this.#levels[l] as Uint32Array)[found] ?? 0);
    return found;
  }
}

function trailingZeros(word: number): number {
  return 31 - Math.clz32(word & -word);
}
