// Module content: the content-addressed store (RFC 10). Every broker has a cache; what it lacks it asks of the broker
// above, and rank 0 asks the backing module ("content-backing"). Hashes and blobs travel as raw payloads.
//
//   content.load                hash → blob                       ENOENT
//   content.store               blob → hash                       EFBIG, ENOSPC
//   content.flush               answered when what is dirty now is written    ENOSYS without a backing store
//   content.dropcache
//   content.checkpoint-get      {} → { value: [checkpoint, …] }   newest first
//   content.checkpoint-put      { value }                         after a flush
//   content.register-backing    { name, batches? }, content.unregister-backing     rank 0, by the backing module
//
// Two more between this module and the kvs of rank 0:
//   content.adopt               blobs with their hashes (blob-records.ts); no response
//   content.forget              hashes in one payload: dirty blobs that the sender no longer needs on disk
//
// Other ranks write through: a store is answered when rank 0 has it. Rank 0 answers at once and writes to the backing
// module a little later, many blobs at a time: a backing module that said `batches` gets them as blob records in one
// content-backing.store-batch.
//
// Arguments: purge-target-size=BYTES purge-old-entry=SECONDS (accepted; age plays no role) flush-batch-limit=COUNT
// blob-size-limit=BYTES
import { hashAttribute } from "../../client/content.ts";
import type { Flux } from "../../client/flux.ts";
import { defineModule, type ModuleContext, type ModuleHooks } from "../../client/module.ts";
import type { Request } from "../../client/request.ts";
import type { Answer } from "../../client/service.ts";
import { eachRecord, RECORD_HEAD_BYTES } from "../../formats/blob-records.ts";
import { HASH_SIZE_BYTES, type HashName, hashOf } from "../../formats/blobref.ts";
import type { JsonObject } from "../../formats/json.ts";
import { errno, FluxError, isErrno, toFluxError } from "../../message/errno.ts";
import { bool, def, json, str } from "../../message/unpack.ts";
import type { Timer } from "../../os/clock.ts";
import { type Blob, BlobCache, hashOfKey, keyOf } from "./cache.ts";

const CACHE_SIZE_BYTES = 32 * 1024 * 1024;
const CACHE_COUNT = 20_000;
const DIRTY_MAX_BYTES = 1024 * 1024 * 1024;
const BLOB_SIZE_LIMIT_BYTES = 1024 * 1024 * 1024;
/** Dirty blobs are written after this long, or when there are this many bytes of them. */
const WRITE_DELAY_MS = 300;
const WRITE_NOW_BYTES = 8 * 1024 * 1024;
const FLUSH_BATCH_LIMIT = 2000;
const FLUSH_BATCH_BYTES = 4 * 1024 * 1024;
/** Blobs that came with others and are smaller than this don't keep the whole payload alive. */
const COPY_BELOW_BYTES = 16 * 1024;
const RETRY_DELAY_MS = 1000;
const LOADS_MAX = 100_000;

interface FlushWaiter {
  readonly flush: number;
  resolve(): void;
  reject(err: FluxError): void;
}

interface Options {
  readonly cache_bytes: number;
  readonly flushBatch: number;
  readonly blobMax_bytes: number;
}

export default defineModule({
  name: "content",
  async start(h, context) {
    const options = parseArgs(context.args);
    const hashName = await hashAttribute(h);
    const content = new Content(h, context, options, hashName);
    await h.serve("content", content.methods());
    return content.hooks();
  },
});

class Content {
  readonly #h: Flux;
  readonly #context: ModuleContext;
  readonly #options: Options;
  readonly #hashName: HashName;
  readonly #hashSize: number;
  readonly #cache: BlobCache;
  /** Loads under way by key, so that one hash is asked for once. */
  readonly #loads = new Map<string, Promise<Uint8Array>>();
  #backing: string | undefined;
  #backingTakesBatches = false;
  #writeTimer: Timer | undefined;
  #writing = 0;
  #writeError: FluxError | undefined;
  #flushWaiters: FlushWaiter[] = [];

  constructor(h: Flux, context: ModuleContext, options: Options, hashName: HashName) {
    this.#h = h;
    this.#context = context;
    this.#options = options;
    this.#hashName = hashName;
    this.#hashSize = HASH_SIZE_BYTES[hashName];
    this.#cache = new BlobCache({ size_bytes: options.cache_bytes, count: CACHE_COUNT, dirty_bytes: DIRTY_MAX_BYTES });
  }

  get #isLeader(): boolean {
    return this.#context.rank === 0;
  }

  methods() {
    return {
      load: (req: Request) => this.#load(req),
      store: (req: Request) => this.#store(req),
      adopt: (req: Request) => this.#adopt(req),
      forget: (req: Request) => this.#forget(req),
      flush: () => this.#flush(),
      dropcache: () => {
        const before = this.#cache.stats.count;
        this.#h.log(7, `content dropcache ${this.#cache.dropClean()}/${before}`);
      },
      "register-backing": (req: Request) => this.#registerBacking(req),
      "unregister-backing": () => this.#unregisterBacking(),
      "checkpoint-get": () => this.#checkpoint("checkpoint-get"),
      "checkpoint-put": async (req: Request) => {
        const { value } = req.unpack({ value: json });
        if (this.#isLeader) {
          this.#requireBacking("checkpoint put unavailable, no backing store");
          await this.#flush();
        }
        return this.#checkpoint("checkpoint-put", { value });
      },
    };
  }

  hooks(): ModuleHooks {
    return {
      stats: () => ({ ...this.#cache.stats, "flush-batch-count": this.#writing, mmap: { tags: {}, blobs: 0 } }),
      stop: async () => {
        this.#context.clock.clear(this.#writeTimer);
        if (this.#backing !== undefined) await this.#flush();
      },
    };
  }

  // ---- load

  #load(req: Request): Answer | Promise<Answer> {
    const hash = req.bytes;
    if (hash === undefined || hash.length !== this.#hashSize) throw new FluxError(errno.EPROTO, `a ${this.#hashName} hash has ${this.#hashSize} bytes`);
    const key = keyOf(hash);
    return this.#cache.get(key)?.data ?? this.#fault(key);
  }

  /** Gets a blob from above. */
  #fault(key: string): Promise<Uint8Array> {
    const under = this.#loads.get(key);
    if (under !== undefined) return under;
    if (this.#loads.size >= LOADS_MAX) throw new FluxError(errno.ENOBUFS, `too many loads under way (limit ${LOADS_MAX})`);
    const load = this.#loadFromAbove(hashOfKey(key)).then((data) => this.#cache.addClean(key, data).data);
    this.#loads.set(key, load);
    const forget = (): void => {
      this.#loads.delete(key);
    };
    load.then(forget, forget);
    return load;
  }

  async #loadFromAbove(hash: Uint8Array): Promise<Uint8Array> {
    if (!this.#isLeader) return this.#h.rpcBytes("content.load", hash, { upstreamOf: this.#context.rank });
    if (this.#backing === undefined) throw new FluxError(errno.ENOENT);
    try {
      return await this.#h.rpcBytes("content-backing.load", hash, { nodeid: 0 });
    } catch (err) {
      throw isErrno(err, errno.ENOSYS) ? new FluxError(errno.ENOENT) : err;
    }
  }

  // ---- store

  #store(req: Request): Answer | Promise<Answer> {
    const data = req.bytes ?? new Uint8Array(0);
    if (data.length > this.#options.blobMax_bytes) {
      throw new FluxError(errno.EFBIG, `a blob of ${data.length} bytes is over blob-size-limit (${this.#options.blobMax_bytes})`);
    }
    const hash = hashOf(data, this.#hashName);
    if (this.#isLeader) {
      this.#cache.addDirty(keyOf(hash), data);
      this.#scheduleWrite();
      return hash;
    }
    return this.#h.rpcBytes("content.store", data, { upstreamOf: this.#context.rank }).then((answer) => {
      if (Buffer.compare(answer, hash) !== 0) throw new FluxError(errno.EIO, "the content store above uses another hash");
      this.#cache.addClean(keyOf(hash), data);
      return hash;
    });
  }

  #adopt(req: Request): void {
    const bytes = bufferOf(req.bytes ?? new Uint8Array(0));
    const view = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
    try {
      eachRecord(bytes, this.#hashSize, (hash, start, end) => {
        const isPart = end - start < COPY_BELOW_BYTES && end - hash < bytes.length / 2;
        this.#cache.addDirty(bytes.toString("latin1", hash, start), isPart ? view.slice(start, end) : bytes.subarray(start, end));
      });
    } catch (err) {
      this.#h.log(2, `content store: ${toFluxError(err).message}`);
      throw err;
    }
    this.#scheduleWrite();
  }

  #forget(req: Request): void {
    const bytes = req.bytes ?? new Uint8Array(0);
    for (let at = 0; at + this.#hashSize <= bytes.length; at += this.#hashSize) {
      this.#cache.giveUp(keyOf(bytes.subarray(at, at + this.#hashSize)));
    }
  }

  // ---- write to the backing store

  #scheduleWrite(delay_ms: number = WRITE_DELAY_MS): void {
    if (this.#backing === undefined) return;
    if (this.#cache.dirty_bytes >= WRITE_NOW_BYTES && this.#writeError === undefined) return this.#write();
    if (this.#writeTimer !== undefined) return;
    this.#writeTimer = this.#context.clock.setTimer(delay_ms, () => {
      this.#writeTimer = undefined;
      this.#write();
    });
  }

  /** Sends dirty blobs to the backing module, up to the batch limit. */
  #write(): void {
    if (this.#backing === undefined) return;
    const blobs = this.#cache.takeDirty(this.#options.flushBatch - this.#writing, FLUSH_BATCH_BYTES);
    this.#writing += blobs.length;
    if (this.#backingTakesBatches && blobs.length > 0) return this.#writeBatch(blobs);
    for (const blob of blobs) {
      this.#h.rpcBytes("content-backing.store", blob.data, { nodeid: 0 }).then(
        (hash) => this.#written(blob, keyOf(hash) === blob.key ? undefined : new FluxError(errno.EIO, "the backing store uses another hash")),
        (err: unknown) => this.#written(blob, toFluxError(err)),
      );
    }
  }

  #writeBatch(blobs: readonly Blob[]): void {
    const written = (error: FluxError | undefined): void => {
      for (const blob of blobs) this.#written(blob, error);
    };
    const records = recordsOf(blobs, this.#hashSize);
    this.#h.rpc("content-backing.store-batch", records, { nodeid: 0 }).then(
      () => written(undefined),
      (err: unknown) => written(toFluxError(err)),
    );
  }

  #written(blob: Blob, error: FluxError | undefined): void {
    this.#writing--;
    if (error === undefined) {
      this.#cache.wrote(blob);
      this.#writeError = undefined;
    } else {
      this.#cache.notWritten(blob);
      if (this.#writeError === undefined) this.#h.log(2, `content store: ${error.message}`);
      this.#writeError = error;
    }
    if (this.#writing > 0) return;
    this.#cache.purge();
    if (this.#writeError !== undefined) {
      this.#failFlushes(this.#writeError);
      return this.#scheduleWrite(RETRY_DELAY_MS);
    }
    this.#endFlushes();
    if (this.#cache.dirty === 0) return;
    if (this.#flushWaiters.length > 0) this.#write();
    else this.#scheduleWrite();
  }

  /** Answers the flushes that are done. Blobs that came later don't hold them up. */
  #endFlushes(): void {
    const waiters = this.#flushWaiters;
    if (waiters.length === 0) return;
    this.#flushWaiters = waiters.filter(({ flush }) => !this.#cache.isWritten(flush));
    for (const waiter of waiters) if (!this.#flushWaiters.includes(waiter)) waiter.resolve();
  }

  #failFlushes(error: FluxError): void {
    for (const waiter of this.#flushWaiters.splice(0)) waiter.reject(error);
  }

  /** Resolves when everything that is dirty now is written; rejects with the error of the backing store. */
  async #flush(): Promise<void> {
    if (!this.#isLeader) return;
    this.#requireBacking("no backing store");
    if (this.#cache.dirty === 0) return;
    const flush = this.#cache.beginFlush();
    const done = new Promise<void>((resolve, reject) => this.#flushWaiters.push({ flush, resolve, reject }));
    this.#write();
    await done;
  }

  #requireBacking(text: string): void {
    if (this.#backing === undefined) throw new FluxError(errno.ENOSYS, text);
  }

  async #registerBacking(req: Request): Promise<void> {
    const { name, batches } = req.unpack({ name: str, batches: def(bool, false) });
    if (!this.#isLeader) throw new FluxError(errno.EINVAL, "content backing store can only be registered on rank 0");
    if (this.#backing !== undefined) throw new FluxError(errno.EBUSY, "content backing store is already active");
    const known = await this.#h.rpc("attr.get", { name: "content.backing-module" }).catch((err: unknown) => {
      if (isErrno(err, errno.ENOENT)) return undefined;
      throw err;
    });
    if (known === undefined) await this.#h.rpc("attr.set", { name: "content.backing-module", value: name, force: true });
    else if (known["value"] !== name) throw new FluxError(errno.EINVAL, "content backing store cannot be changed on the fly");
    this.#backing = name;
    this.#backingTakesBatches = batches;
    this.#h.log(7, `content backing store: enabled ${name}`);
    if (this.#cache.dirty > 0) this.#scheduleWrite();
  }

  async #unregisterBacking(): Promise<void> {
    if (this.#backing === undefined) throw new FluxError(errno.EINVAL, "content backing store is not active");
    try {
      await this.#flush();
    } catch (err) {
      // Said to whoever goes: what is lost here, nobody else can save.
      throw new FluxError(toFluxError(err).errno, `${this.#cache.dirty} unflushables: ${toFluxError(err).message}`);
    } finally {
      this.#backing = undefined;
      this.#h.log(7, "content backing store: disabled");
    }
  }

  #checkpoint(method: string, payload: JsonObject = {}): Promise<JsonObject> {
    if (!this.#isLeader) return this.#h.rpc(`content.${method}`, payload, { upstreamOf: this.#context.rank });
    this.#requireBacking("checkpoint get unavailable, no backing store");
    return this.#h.rpc(`content-backing.${method}`, payload, { nodeid: 0 });
  }
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function recordsOf(blobs: readonly Blob[], hashSize: number): Buffer {
  const head_bytes = RECORD_HEAD_BYTES + hashSize;
  const records = Buffer.allocUnsafeSlow(blobs.reduce((sum, { data }) => sum + head_bytes + data.length, 0));
  let at = 0;
  for (const { key, data } of blobs) {
    records.writeUInt32LE(data.length, at);
    records.write(key, at + RECORD_HEAD_BYTES, "latin1");
    records.set(data, at + head_bytes);
    at += head_bytes + data.length;
  }
  return records;
}

function parseArgs(args: readonly string[]): Options {
  const numbers: Record<string, number> = {
    "purge-target-size": CACHE_SIZE_BYTES,
    "purge-old-entry": 10,
    "flush-batch-limit": FLUSH_BATCH_LIMIT,
    "blob-size-limit": BLOB_SIZE_LIMIT_BYTES,
  };
  for (const arg of args) {
    const [name = "", value = ""] = arg.split("=", 2);
    if (!(name in numbers)) throw new FluxError(errno.EINVAL, `unknown module option: ${arg}`);
    if (!/^\d{1,10}$/.test(value) || Number(value) > 0xffff_ffff) throw new FluxError(errno.EINVAL, `error parsing ${arg}`);
    numbers[name] = Number(value);
  }
  return {
    cache_bytes: numbers["purge-target-size"] ?? CACHE_SIZE_BYTES,
    flushBatch: Math.max(1, numbers["flush-batch-limit"] ?? FLUSH_BATCH_LIMIT),
    blobMax_bytes: numbers["blob-size-limit"] ?? BLOB_SIZE_LIMIT_BYTES,
  };
}

