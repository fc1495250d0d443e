// Directories that were read from the content store, by blobref: for lookups, and as what commits start from.
// Bounded by the number of entries; least recently used ones go first.
import { type Blobref, blobrefToHash } from "../../formats/blobref.ts";
import { FormatError } from "../../formats/error.ts";
import type { Flux } from "../../client/flux.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { decodeDir, type Dir } from "./dir.ts";

const ENTRIES_MAX = 100_000;
/** A directory counts for this many entries besides its own. */
const DIR_WEIGHT = 10;
const LOADS_MAX = 10_000;

export class DirCache {
  readonly #h: Flux;
  readonly #dirs = new Map<Blobref, Dir>();
  readonly #loads = new Map<Blobref, Promise<Dir>>();
  #weight = 0;
  /** Directories that had to be loaded. */
  faults = 0;

  constructor(h: Flux) {
    this.#h = h;
  }

  get size(): number {
    return this.#dirs.size;
  }

  get loading(): number {
    return this.#loads.size;
  }

  get(ref: Blobref): Dir | undefined {
    const dir = this.#dirs.get(ref);
    if (dir !== undefined) {
      this.#dirs.delete(ref);
      this.#dirs.set(ref, dir);
    }
    return dir;
  }

  add(ref: Blobref, dir: Dir): void {
    if (this.#dirs.has(ref)) return;
    this.#dirs.set(ref, dir);
    this.#weight += dir.names.length + DIR_WEIGHT;
    for (const [old, { names }] of this.#dirs) {
      if (this.#weight <= ENTRIES_MAX || this.#dirs.size === 1) return;
      this.#dirs.delete(old);
      this.#weight -= names.length + DIR_WEIGHT;
    }
  }

  clear(): void {
    this.#dirs.clear();
    this.#weight = 0;
  }

  /** Rejects with FluxError: ENOENT when the blob is nowhere, EINVAL when it is not a directory. */
  load(ref: Blobref): Promise<Dir> {
    const found = this.get(ref);
    if (found !== undefined) return Promise.resolve(found);
    const under = this.#loads.get(ref);
    if (under !== undefined) return under;
    if (this.#loads.size >= LOADS_MAX) return Promise.reject(new FluxError(errno.ENOBUFS, `too many directories are being loaded (limit ${LOADS_MAX})`));
    this.faults++;
    const load = this.#fetch(ref);
    this.#loads.set(ref, load);
    const forget = (): void => {
      this.#loads.delete(ref);
    };
    load.then(forget, forget);
    return load;
  }

  async #fetch(ref: Blobref): Promise<Dir> {
    const bytes = await this.#h.rpcBytes("content.load", blobrefToHash(ref));
    let dir: Dir;
    try {
      dir = decodeDir(bytes, ref);
    } catch (err) {
      if (err instanceof FormatError) throw new FluxError(errno.EINVAL, `${ref} is not a directory: ${err.message}`);
      throw err;
    }
    this.add(ref, dir);
    return dir;
  }
}
