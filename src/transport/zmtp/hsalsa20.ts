// HSalsa20 with a zero input, the last step of NaCl's beforenm: it turns an X25519 shared secret into a box key. Only
// additions, rotations and exclusive ors, so its time does not depend on the key.

/** "expand 32-byte k" as four little-endian words. */
const SIGMA = [0x61707865, 0x3320646e, 0x79622d32, 0x6b206574] as const;
/** The quarter rounds of a double round: first the columns, then the rows. */
const QUARTERS = [
  [0, 4, 8, 12],
  [5, 9, 13, 1],
  [10, 14, 2, 6],
  [15, 3, 7, 11],
  [0, 1, 2, 3],
  [5, 6, 7, 4],
  [10, 11, 8, 9],
  [15, 12, 13, 14],
] as const;
const OUTPUT_WORDS = [0, 5, 10, 15, 6, 7, 8, 9] as const;

/** 32 bytes in, 32 bytes out. */
export function hsalsa20(key: Uint8Array): Uint8Array {
  const input = new DataView(key.buffer, key.byteOffset, 32);
  const x = new Uint32Array(16);
  for (let i = 0; i < 4; i++) {
    x[i * 5] = SIGMA[i] ?? 0;
    x[i + 1] = input.getUint32(i * 4, true);
    x[i + 11] = input.getUint32(16 + i * 4, true);
  }
  for (let round = 0; round < 10; round++) for (const [a, b, c, d] of QUARTERS) quarterRound(x, a, b, c, d);
  const bytes = new Uint8Array(32);
  const output = new DataView(bytes.buffer);
  OUTPUT_WORDS.forEach((word, i) => output.setUint32(i * 4, x[word] ?? 0, true));
  return bytes;
}

function quarterRound(x: Uint32Array, a: number, b: number, c: number, d: number): void {
  mix(x, b, a, d, 7);
  mix(x, c, b, a, 9);
  mix(x, d, c, b, 13);
  mix(x, a, d, c, 18);
}

function mix(x: Uint32Array, to: number, from1: number, from2: number, bits: number): void {
  const sum = ((x[from1] ?? 0) + (x[from2] ?? 0)) | 0;
  x[to] = (x[to] ?? 0) ^ ((sum << bits) | (sum >>> (32 - bits)));
}
