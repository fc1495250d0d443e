// Randomness, given to a component instead of taken: the system's, and a seeded one that repeats a simulation exactly.

import { randomBytes } from "node:crypto";

export interface Random {
  /** A real number in [0, 1). */
  next(): number;
  /** A whole number in [0, limit). */
  below(limit: number): number;
  bytes(count: number): Uint8Array;
}

/** The system's randomness; `bytes` is good for keys. */
export const systemRandom: Random = {
  next: Math.random,
  below: (limit) => Math.floor(Math.random() * limit),
  bytes: (count) => randomBytes(count),
};

/** A repeatable sequence (sfc32) from a seed. Not for keys. */
export function createSeededRandom(seed: number): Random {
  let a = seed | 0;
  let b = Math.floor(seed / 2 ** 32) | 0;
  let c = 0x9e3779b9 | 0;
  let counter = 1;
  const word = (): number => {
    const sum = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (c << 21) | (c >>> 11);
    c = (c + sum) | 0;
    return sum >>> 0;
  };
  for (let i = 0; i < 12; i++) word(); // spread the seed over the state
  const next = (): number => word() / 2 ** 32;
  return {
    next,
    below: (limit) => Math.floor(next() * limit),
    bytes: (count) => Uint8Array.from({ length: count }, () => word() >>> 24),
  };
}
