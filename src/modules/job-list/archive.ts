// Archive: the jobs that are over, in a form that costs the garbage collector nothing: what filters look at most in typed
// arrays, everything else as encoded text. Ordered by the end of the job, so that lists are read from the newest back.
import type { JobId } from "../../formats/fluid.ts";
import { decodeJsonObject, encodeJson, type Json, type JsonObject } from "../../formats/json.ts";
import { STATE } from "../../client/jobs.ts";
import { type Attribute, ATTRIBUTES, attributeOf, type Job, pick, resultOf } from "./job.ts";

/** Text of jobs is kept in pieces of this size. */
const CHUNK_BYTES = 1 << 20;
const FIRST_CAPACITY = 256;

/** Reads attributes of one archived job. Decodes its text only when it must. */
export interface ArchivedJob {
  readonly id: JobId;
  get(name: Attribute): Json | undefined;
}

/** A job as it is stored here. */
export interface ArchiveEntry {
  readonly id: JobId;
  readonly userid: number;
  readonly result: number;
  readonly t_inactive: number;
  /** All its attributes, encoded. */
  readonly text: Buffer;
}

export class Archive {
  #capacity = FIRST_CAPACITY;
  #ids = new BigUint64Array(FIRST_CAPACITY);
  #userids = new Uint32Array(FIRST_CAPACITY);
  #results = new Uint8Array(FIRST_CAPACITY);
  #t_inactive = new Float64Array(FIRST_CAPACITY);
  #chunk = new Uint32Array(FIRST_CAPACITY);
  #start = new Uint32Array(FIRST_CAPACITY);
  #length = new Uint32Array(FIRST_CAPACITY);
  /** 1: purged. */
  #dead = new Uint8Array(FIRST_CAPACITY);
  #slots = 0;
  #alive = 0;
  #chunks: Buffer[] = [];
  #used = CHUNK_BYTES;
  #index = new IdIndex();
  #sorted = true;
  #readers = 0;

  get count(): number {
    return this.#alive;
  }

  add(job: Job): ArchiveEntry {
    const text = Buffer.from(encodeJson(pick(job.id, ATTRIBUTES, (name) => attributeOf(job, name))));
    const entry = { id: job.id, userid: job.userid, result: resultOf(job), t_inactive: job.t_inactive, text };
    this.addEntry(entry);
    return entry;
  }

  addEntry({ id, userid, result, t_inactive, text }: ArchiveEntry): void {
    if (this.#slots === this.#capacity) this.#grow();
    const slot = this.#slots++;
    this.#ids[slot] = id;
    this.#userids[slot] = userid;
    this.#results[slot] = result;
    this.#t_inactive[slot] = t_inactive;
    this.#store(slot, text);
    this.#index.set(id, slot);
    this.#alive++;
    if (slot > 0 && !this.#inOrder(slot - 1, slot)) this.#sorted = false;
  }

  #store(slot: number, text: Buffer): void {
    if (this.#used + text.length > CHUNK_BYTES) {
      this.#chunks.push(Buffer.allocUnsafeSlow(Math.max(CHUNK_BYTES, text.length)));
      this.#used = 0;
    }
    text.copy(this.#chunks.at(-1) as Buffer, this.#used);
    this.#chunk[slot] = this.#chunks.length - 1;
    this.#start[slot] = this.#used;
    this.#length[slot] = text.length;
    this.#used += text.length;
  }

  #inOrder(a: number, b: number): boolean {
    const t_a = this.#t_inactive[a] ?? 0;
    const t_b = this.#t_inactive[b] ?? 0;
    return t_a < t_b || (t_a === t_b && (this.#ids[a] ?? 0n) < (this.#ids[b] ?? 0n));
  }

  #grow(): void {
    this.#capacity *= 2;
    const grown = <T extends BigUint64Array | Uint32Array | Uint8Array | Float64Array>(old: T, fresh: T): T => {
      (fresh as Uint8Array).set(old as Uint8Array);
      return fresh;
    };
    this.#ids = grown(this.#ids, new BigUint64Array(this.#capacity));
    this.#userids = grown(this.#userids, new Uint32Array(this.#capacity));
    this.#results = grown(this.#results, new Uint8Array(this.#capacity));
    this.#t_inactive = grown(this.#t_inactive, new Float64Array(this.#capacity));
    this.#chunk = grown(this.#chunk, new Uint32Array(this.#capacity));
    this.#start = grown(this.#start, new Uint32Array(this.#capacity));
    this.#length = grown(this.#length, new Uint32Array(this.#capacity));
    this.#dead = grown(this.#dead, new Uint8Array(this.#capacity));
  }

  has(id: JobId): boolean {
    return this.#index.get(id) >= 0;
  }

  get(id: JobId): ArchivedJob | undefined {
    const slot = this.#index.get(id);
    return slot < 0 ? undefined : this.#job(slot);
  }

  #job(slot: number): ArchivedJob {
    let decoded: JsonObject | undefined;
    const id = this.#ids[slot] ?? 0n;
    return {
      id,
      get: (name) => {
        switch (name) {
          case "userid": return this.#userids[slot] ?? 0;
          case "state": return STATE.INACTIVE;
          case "result": return this.#results[slot] ?? 0;
          case "t_inactive": return this.#t_inactive[slot] ?? 0;
          default: return (decoded ??= this.#decode(slot))[name];
        }
      },
    };
  }

  #decode(slot: number): JsonObject {
    const start = this.#start[slot] ?? 0;
    return decodeJsonObject((this.#chunks[this.#chunk[slot] ?? 0] as Buffer).toString("utf8", start, start + (this.#length[slot] ?? 0)));
  }

  /** The jobs that ended after `since`, newest first. Jobs that are added meanwhile are not seen. */
  *newestFirst(since: number): Generator<ArchivedJob, void, undefined> {
    if (!this.#sorted) this.#rebuild();
    this.#readers++;
    try {
      for (let slot = this.#slots - 1; slot >= 0; slot--) {
        if ((this.#t_inactive[slot] ?? 0) <= since) return;
        if (this.#dead[slot] === 0) yield this.#job(slot);
      }
    } finally {
      this.#readers--;
    }
  }

  /** Forgets a job; returns what statistics need, undefined when it is not known. */
  purge(id: JobId): ArchivedJob | undefined {
    const slot = this.#index.get(id);
    if (slot < 0) return undefined;
    const job = this.#job(slot);
    job.get("queue"); // decodes what would be gone otherwise
    this.#dead[slot] = 1;
    this.#index.delete(id);
    this.#alive--;
    if (this.#slots > 2 * this.#alive + FIRST_CAPACITY) this.#rebuild();
    return job;
  }

  /** Puts the living in order, without the dead. Slots must not move under a reader's feet. */
  #rebuild(): void {
    if (this.#readers > 0) return;
    const order = Array.from({ length: this.#slots }, (_, slot) => slot).filter((slot) => this.#dead[slot] === 0);
    order.sort((a, b) => (this.#inOrder(a, b) ? -1 : 1));
    const old = { ids: this.#ids, userids: this.#userids, results: this.#results, t: this.#t_inactive, chunk: this.#chunk, start: this.#start, length: this.#length, chunks: this.#chunks };
    this.#capacity = Math.max(FIRST_CAPACITY, 2 ** Math.ceil(Math.log2(order.length + 1)));
    this.#ids = new BigUint64Array(this.#capacity);
    this.#userids = new Uint32Array(this.#capacity);
    this.#results = new Uint8Array(this.#capacity);
    this.#t_inactive = new Float64Array(this.#capacity);
    this.#chunk = new Uint32Array(this.#capacity);
    this.#start = new Uint32Array(this.#capacity);
    this.#length = new Uint32Array(this.#capacity);
    this.#dead = new Uint8Array(this.#capacity);
    this.#chunks = [];
    this.#used = CHUNK_BYTES;
    this.#index = new IdIndex();
    order.forEach((from, to) => {
      const start = old.start[from] ?? 0;
      const id = old.ids[from] ?? 0n;
      this.#ids[to] = id;
      this.#userids[to] = old.userids[from] ?? 0;
      this.#results[to] = old.results[from] ?? 0;
      this.#t_inactive[to] = old.t[from] ?? 0;
      this.#store(to, (old.chunks[old.chunk[from] ?? 0] as Buffer).subarray(start, start + (old.length[from] ?? 0)));
      this.#index.set(id, to);
    });
    this.#slots = order.length;
    this.#sorted = true;
  }
}

/** Job id → slot: open addressing in typed arrays. */
class IdIndex {
  #keys = new BigUint64Array(512);
  /** Slot + 1; 0 is free, -1 was deleted. */
  #slots = new Int32Array(512);
  #filled = 0;

  #find(id: JobId): number {
    const mask = this.#slots.length - 1;
    let at = hash(id) & mask;
    while (this.#slots[at] !== 0) {
      if (this.#slots[at] !== -1 && this.#keys[at] === id) return at;
      at = (at + 1) & mask;
    }
    return -1;
  }

  get(id: JobId): number {
    const at = this.#find(id);
    return at < 0 ? -1 : (this.#slots[at] ?? 0) - 1;
  }

  set(id: JobId, slot: number): void {
    if (this.#filled * 2 >= this.#slots.length) this.#rehash();
    const mask = this.#slots.length - 1;
    let at = hash(id) & mask;
    while (this.#slots[at] !== 0) at = (at + 1) & mask;
    this.#keys[at] = id;
    this.#slots[at] = slot + 1;
    this.#filled++;
  }

  delete(id: JobId): void {
    const at = this.#find(id);
    if (at >= 0) this.#slots[at] = -1;
  }

  #rehash(): void {
    const [keys, slots] = [this.#keys, this.#slots];
    this.#keys = new BigUint64Array(keys.length * 2);
    this.#slots = new Int32Array(keys.length * 2);
    this.#filled = 0;
    slots.forEach((slot, at) => {
      if (slot > 0) this.set(keys[at] ?? 0n, slot - 1);
    });
  }
}

function hash(id: JobId): number {
  const low = Number(id & 0xffff_ffffn);
  const high = Number(id >> 32n);
  return Math.imul(low ^ Math.imul(high, 0x9e37_79b1), 0x85eb_ca6b) >>> 7;
}
