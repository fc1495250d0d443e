// LZ4 block decompression, for blobs in a content.sqlite that flux-core wrote.
import { errno, FluxError } from "../../message/errno.ts";

/** Blobs are at most this big: a damaged size must not take the memory of the machine. */
const SIZE_MAX_BYTES = 1 << 30;

/** The `size_bytes` bytes that an LZ4 block holds. Throws FluxError EIO when it is damaged. */
export function decompressLz4Block(block: Uint8Array, size_bytes: number): Uint8Array {
  if (!Number.isInteger(size_bytes) || size_bytes < 0 || size_bytes > SIZE_MAX_BYTES) throw damaged();
  const out = new Uint8Array(size_bytes);
  let at = 0;
  let to = 0;
  const length = (first: number): number => {
    let total = first;
    if (first !== 15) return total;
    for (;;) {
      const more = block[at++];
      if (more === undefined) throw damaged();
      total += more;
      if (more !== 255) return total;
    }
  };
  while (at < block.length) {
    const token = block[at++] ?? 0;
    const literals = length(token >> 4);
    if (at + literals > block.length || to + literals > size_bytes) throw damaged();
    out.set(block.subarray(at, at + literals), to);
    at += literals;
    to += literals;
    if (at === block.length) break;
    const offset = (block[at] ?? 0) | ((block[at + 1] ?? 0) << 8);
    at += 2;
    const match = length(token & 15) + 4;
    if (offset === 0 || offset > to || to + match > size_bytes) throw damaged();
    // Source and destination may overlap: byte by byte.
    for (let end = to + match; to < end; to++) out[to] = out[to - offset] ?? 0;
  }
  if (to !== size_bytes) throw damaged();
  return out;
}

function damaged(): FluxError {
  return new FluxError(errno.EIO, "a compressed blob is damaged");
}
