// The blobs that one broker has in memory (RFC 10): by hash, bounded in bytes and number, least recently used ones go
// first. A dirty blob is one that the level above (or, on rank 0, the backing store) does not have yet: it stays.
//
// The KVS writes a new directory for every commit, and most of them are replaced by the next one within milliseconds.
// So a dirty blob may be claimed by its writer and given up again: one that all claims were given up on is not written
// to disk; it stays readable for as long as the cache has room.
import { errno, FluxError } from "../../message/errno.ts";

export interface CacheLimits {
  /** Clean blobs are dropped above this. */
  readonly size_bytes: number;
  readonly count: number;
  /** Blobs that can't be written anywhere: above this, storing fails. */
  readonly dirty_bytes: number;
}

export interface Blob {
  readonly key: string;
  readonly data: Uint8Array;
  /** Not on the backing store (or upstream) yet. */
  dirty: boolean;
  /** Being written just now. */
  writing: boolean;
  /** Never written: it will be gone when it is dropped. */
  ephemeral: boolean;
  /** How many writers want it kept. */
  claims: number;
  /** When it became dirty: the number of flushes begun before. */
  epoch: number;
}

export interface CacheStats {
  readonly count: number;
  readonly valid: number;
  readonly dirty: number;
  readonly size: number;
}

/** A hash as a key of maps. */
export function keyOf(hash: Uint8Array): string {
  return Buffer.from(hash.buffer, hash.byteOffset, hash.byteLength).toString("latin1");
}

export function hashOfKey(key: string): Uint8Array {
  return Buffer.from(key, "latin1");
}

export class BlobCache {
  /** In order of use, oldest first. */
  readonly #blobs = new Map<string, Blob>();
  /** Dirty blobs that are not being written, in order of arrival. */
  readonly #queue = new Map<string, Blob>();
  #size_bytes = 0;
  #dirty_bytes = 0;
  #dirty = 0;
  #epoch = 0;
  /** Dirty blobs of each epoch that has any. */
  readonly #dirtyOf = new Map<number, number>();

  constructor(public limits: CacheLimits) {}

  get stats(): CacheStats {
    return { count: this.#blobs.size, valid: this.#blobs.size, dirty: this.#dirty, size: this.#size_bytes };
  }

  /** Number of blobs that are not written yet, those being written included. */
  get dirty(): number {
    return this.#dirty;
  }

  get dirty_bytes(): number {
    return this.#dirty_bytes;
  }

  /** Number of dirty blobs that wait to be written. */
  get queued(): number {
    return this.#queue.size;
  }

  get(key: string): Blob | undefined {
    const blob = this.#blobs.get(key);
    if (blob !== undefined) {
      this.#blobs.delete(key);
      this.#blobs.set(key, blob);
    }
    return blob;
  }

  /** A blob that is safe elsewhere. */
  addClean(key: string, data: Uint8Array): Blob {
    return this.#blobs.get(key) ?? this.#insert({ key, data, dirty: false, writing: false, ephemeral: false, claims: 0, epoch: 0 });
  }

  /**
   * A blob that must be written. One that is here already is written again: the store notes that it is in use.
   * Throws FluxError ENOSPC when too much is waiting to be written.
   */
  addDirty(key: string, data: Uint8Array): Blob {
    let blob = this.#blobs.get(key);
    if (blob?.dirty) {
      blob.claims++;
      return blob;
    }
    if (this.#dirty_bytes + data.length > this.limits.dirty_bytes) {
      throw new FluxError(errno.ENOSPC, `${this.#dirty_bytes} bytes wait for the backing store (limit ${this.limits.dirty_bytes})`);
    }
    blob ??= this.#insert({ key, data, dirty: false, writing: false, ephemeral: false, claims: 0, epoch: 0 });
    blob.dirty = true;
    blob.ephemeral = false;
    blob.claims = 1;
    blob.epoch = this.#epoch;
    this.#dirtyOf.set(blob.epoch, (this.#dirtyOf.get(blob.epoch) ?? 0) + 1);
    this.#dirty++;
    this.#dirty_bytes += blob.data.length;
    this.#queue.set(key, blob);
    return blob;
  }

  /** A flush begins: everything that is dirty now must be written, whoever gives it up. Returns what isWritten() takes. */
  beginFlush(): number {
    return this.#epoch++;
  }

  /** Nothing is left of what was dirty when that flush began. */
  isWritten(flush: number): boolean {
    for (const epoch of this.#dirtyOf.keys()) if (epoch <= flush) return false;
    return true;
  }

  /** One writer no longer needs it. */
  giveUp(key: string): void {
    const blob = this.#queue.get(key);
    if (blob === undefined || blob.epoch < this.#epoch || --blob.claims > 0) return;
    this.#queue.delete(key);
    this.#clean(blob);
    blob.ephemeral = true;
  }

  /** Up to `count` dirty blobs of up to `size_bytes` (or one) to write; each must be given to wrote() or notWritten(). */
  takeDirty(count: number, size_bytes: number = Infinity): Blob[] {
    const taken: Blob[] = [];
    let sum_bytes = 0;
    for (const blob of this.#queue.values()) {
      sum_bytes += blob.data.length;
      if (taken.length >= count || (taken.length > 0 && sum_bytes > size_bytes)) break;
      blob.writing = true;
      taken.push(blob);
    }
    for (const blob of taken) this.#queue.delete(blob.key);
    return taken;
  }

  wrote(blob: Blob): void {
    blob.writing = false;
    this.#clean(blob);
  }

  notWritten(blob: Blob): void {
    blob.writing = false;
    this.#queue.set(blob.key, blob);
  }

  /** Drops every clean blob; returns how many. */
  dropClean(): number {
    let dropped = 0;
    for (const blob of this.#blobs.values()) {
      if (blob.dirty) continue;
      this.#remove(blob);
      dropped++;
    }
    return dropped;
  }

  /** Drops clean blobs, the least recently used first, until the limits hold. */
  purge(): void {
    let looked = this.#blobs.size;
    for (const blob of this.#blobs.values()) {
      if (!this.#overLimit() || looked-- <= 0) return;
      if (!blob.dirty) {
        this.#remove(blob);
        continue;
      }
      this.#blobs.delete(blob.key);
      this.#blobs.set(blob.key, blob);
    }
  }

  #overLimit(): boolean {
    return this.#size_bytes - this.#dirty_bytes > this.limits.size_bytes || this.#blobs.size - this.#dirty > this.limits.count;
  }

  #clean(blob: Blob): void {
    const left = (this.#dirtyOf.get(blob.epoch) ?? 1) - 1;
    if (left === 0) this.#dirtyOf.delete(blob.epoch);
    else this.#dirtyOf.set(blob.epoch, left);
    blob.dirty = false;
    blob.claims = 0;
    this.#dirty--;
    this.#dirty_bytes -= blob.data.length;
  }

  #insert(blob: Blob): Blob {
    this.#blobs.set(blob.key, blob);
    this.#size_bytes += blob.data.length;
    if (this.#overLimit()) this.purge();
    return blob;
  }

  #remove(blob: Blob): void {
    this.#blobs.delete(blob.key);
    this.#size_bytes -= blob.data.length;
  }
}
