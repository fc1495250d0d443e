// Module content-sqlite (rank 0): the backing store of the content service, in the file content.sqlite of the
// attribute "statedir" (or, when that is not set, "rundir").
//
//   content-backing.load            hash → blob                       ENOENT
//   content-backing.store           blob → hash                       ENOSPC
//   content-backing.store-batch     blobs with their hashes (blob-records.ts): all of them or none
//   content-backing.validate        hash                              ENOENT
//   content-backing.checkpoint-get  {} → { value: [checkpoint, …] }   ENOENT
//   content-backing.checkpoint-put  { value }
//   content-backing.mark            { epoch, hashes: [base64 or blobref, …] } → { marked }
//   content-backing.sweep           { epoch, cursor, high_water, delete_cap, window } → { deleted, cursor }
//   content-backing.gc-info         { epoch, get_count? } → { current_epoch, high_water, candidates? }
//
// Stores that arrive together are written in one transaction and answered after it.
//
// Arguments, which override the table [content-sqlite] of the configuration: journal_mode=MODE synchronous=MODE
// max-checkpoints=N truncate
import { statfsSync, statSync } from "node:fs";
import { join } from "node:path";
import { configTable, readTable } from "../../client/config-table.ts";
import type { Flux } from "../../client/flux.ts";
import { defineModule, type ModuleContext } from "../../client/module.ts";
import { DEFERRED, type Request } from "../../client/request.ts";
import { eachRecord } from "../../formats/blob-records.ts";
import { blobrefToHash, HASH_SIZE_BYTES, type HashName, hashOf } from "../../formats/blobref.ts";
import type { JsonObject } from "../../formats/json.ts";
import { errno, FluxError, toFluxError } from "../../message/errno.ts";
import { arr, def, bool, int, obj, opt, str, uint } from "../../message/unpack.ts";
import { hashAttribute, requestedHash } from "../../client/content.ts";
import { isStateTemporary } from "../../client/statedir.ts";
import { ContentDatabase, type DatabaseOptions } from "./database.ts";
import { Durations } from "./durations.ts";

const JOURNAL_MODES = ["DELETE", "TRUNCATE", "PERSIST", "MEMORY", "WAL", "OFF"];
const SYNCHRONOUS_MODES = ["EXTRA", "FULL", "NORMAL", "OFF"];
const MARK_MAX = 10_000;
const SWEEP_DELETE_MAX = 10_000;
const SWEEP_WINDOW_MAX = 100_000;

export default defineModule({
  name: "content-sqlite",
  async start(h, context) {
    if (context.rank !== 0) throw new FluxError(errno.EINVAL, "content-sqlite runs on rank 0 only");
    const hashName = await hashAttribute(h);
    const { directory, temporary } = await stateDirectory(h);
    const options = readOptions(context, temporary);
    const db = new ContentDatabase(join(directory, "content.sqlite"), options);
    h.log(7, `${db.path} journal_mode=${options.journal_mode} synchronous=${options.synchronous}`);
    const writer = new Writer(db, hashName);
    const load = new Durations();
    await h.serve("content-backing", {
      load: (req) => {
        const hash = requestedHash(req, hashName);
        writer.end();
        const begin_ms = performance.now();
        const blob = db.load(hash);
        load.add(performance.now() - begin_ms);
        return blob;
      },
      store: (req) => writer.store(req),
      "store-batch": (req) => writer.storeBatch(req),
      validate: (req) => {
        const hash = requestedHash(req, hashName);
        writer.end();
        if (!db.has(hash)) throw new FluxError(errno.ENOENT);
      },
      "checkpoint-get": () => {
        const checkpoints = db.checkpoints();
        if (checkpoints.length === 0) throw new FluxError(errno.ENOENT);
        return { value: checkpoints.map(({ value }) => value) };
      },
      "checkpoint-put": (req) => {
        const { value } = req.unpack({ value: obj });
        writer.end();
        db.putCheckpoint(value);
      },
      ...collectorMethods(db, writer),
    });
    await h.rpc("content.register-backing", { name: "content-sqlite", batches: true }, { nodeid: 0 });
    return {
      stats: () => ({
        object_count: db.objectCount(),
        current_epoch: db.epoch,
        dbfile_size: fileSize(db.path),
        dbfile_free: freeSpace(directory),
        load_time: load.stats(),
        store_time: writer.durations.stats(),
        config: { journal_mode: options.journal_mode, synchronous: options.synchronous },
        checkpoints: db.checkpoints().map(({ id, value }) => ({ id, value })),
      }),
      async stop() {
        try {
          await h.rpc("content.unregister-backing", {}, { nodeid: 0 });
        } catch (err) {
          h.log(3, `content.unregister-backing: ${toFluxError(err).message}`);
          // Data that was meant to stay is lost: the instance must not end as if nothing had happened.
          if (!temporary) throw err;
        } finally {
          writer.end();
          db.close();
        }
      },
    };
  },
});

/** Collects the stores of one turn of the event loop into a transaction. */
class Writer {
  readonly durations = new Durations();
  #waiting: { req: Request; hash: Uint8Array }[] = [];

  constructor(
    readonly db: ContentDatabase,
    readonly hashName: HashName,
  ) {}

  store(req: Request): typeof DEFERRED {
    const data = req.bytes ?? new Uint8Array(0);
    const hash = hashOf(data, this.hashName);
    const begin_ms = performance.now();
    if (this.#waiting.length === 0) {
      this.db.beginBatch();
      setImmediate(() => this.end());
    }
    this.#waiting.push({ req, hash });
    try {
      this.db.store(hash, data);
    } catch (err) {
      this.#fail(err);
    }
    this.durations.add(performance.now() - begin_ms);
    return DEFERRED;
  }

  storeBatch(req: Request): void {
    this.end();
    const payload = req.bytes ?? new Uint8Array(0);
    const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
    const begin_ms = performance.now();
    let count = 0;
    this.db.beginBatch();
    try {
      eachRecord(bytes, HASH_SIZE_BYTES[this.hashName], (hash, start, end) => {
        this.db.store(bytes.subarray(hash, start), bytes.subarray(start, end));
        count++;
      });
      this.db.endBatch();
    } catch (err) {
      this.db.abortBatch();
      throw err;
    }
    const each_ms = (performance.now() - begin_ms) / Math.max(1, count);
    for (let i = 0; i < count; i++) this.durations.add(each_ms);
  }

  /** Ends the transaction and answers its stores. */
  end(): void {
    if (this.#waiting.length === 0) return;
    try {
      this.db.endBatch();
    } catch (err) {
      return this.#fail(err);
    }
    const answered = this.#waiting;
    this.#waiting = [];
    for (const { req, hash } of answered) req.respond(hash);
  }

  #fail(err: unknown): void {
    this.db.abortBatch();
    const failed = this.#waiting;
    this.#waiting = [];
    // The request being handled is only kept open after its method returns: answer it in the next turn.
    queueMicrotask(() => {
      for (const { req } of failed) req.fail(err);
    });
  }
}

function collectorMethods(db: ContentDatabase, writer: Writer) {
  return {
    mark: (req: Request): JsonObject => {
      const { epoch, hashes } = req.unpack({ epoch: uint, hashes: arr(str) });
      if (hashes.length > MARK_MAX) throw new FluxError(errno.EINVAL, `more than ${MARK_MAX} hashes in one request`);
      writer.end();
      return { marked: db.mark(hashes.map((text) => (text.includes("-") ? blobrefToHash(text) : Buffer.from(text, "base64"))), epoch) };
    },
    sweep: (req: Request): JsonObject => {
      const { epoch, cursor, high_water, delete_cap, window } = req.unpack({ epoch: int, cursor: uint, high_water: uint, delete_cap: uint, window: uint });
      if (delete_cap === 0 || window === 0) throw new FluxError(errno.EINVAL, "delete_cap and window must be positive");
      writer.end();
      const last = Math.min(cursor + Math.min(window, SWEEP_WINDOW_MAX), high_water);
      return db.sweep(epoch, cursor, last, Math.min(delete_cap, SWEEP_DELETE_MAX));
    },
    "gc-info": (req: Request): JsonObject => {
      const { epoch, get_count } = req.unpack({ epoch: int, get_count: def(bool, false) });
      writer.end();
      const info = { current_epoch: db.epoch, high_water: db.maxRowid() };
      return get_count ? { ...info, candidates: db.countBelowEpoch(epoch) } : info;
    },
  };
}

/** Where the file belongs, and whether that directory goes away with the instance. */
async function stateDirectory(h: Flux): Promise<{ directory: string; temporary: boolean }> {
  const statedir = await h.optionalAttr("statedir");
  if (statedir !== undefined && statedir !== "") return { directory: statedir, temporary: await isStateTemporary(h) };
  const rundir = await h.optionalAttr("rundir");
  if (rundir === undefined || rundir === "") throw new FluxError(errno.ENOENT, "neither statedir nor rundir is set");
  return { directory: rundir, temporary: (await h.optionalAttr("rundir-cleanup")) !== "0" };
}

/** A database that goes away with its directory needs no protection against crashes. */
function readOptions(context: ModuleContext, temporary: boolean): DatabaseOptions {
  let journal_mode = temporary ? "OFF" : "WAL";
  let synchronous = temporary ? "OFF" : "NORMAL";
  let maxCheckpoints = 5;
  let truncate = false;
  const config = readTable(configTable(context.config, "content-sqlite"), "content-sqlite", { journal_mode: opt(str), synchronous: opt(str), max_checkpoints: opt(int) });
  journal_mode = config.journal_mode ?? journal_mode;
  synchronous = config.synchronous ?? synchronous;
  maxCheckpoints = config.max_checkpoints ?? maxCheckpoints;
  for (const arg of context.args) {
    const [name = "", value = ""] = arg.split("=", 2);
    if (name === "journal_mode") journal_mode = value;
    else if (name === "synchronous") synchronous = value;
    else if (name === "max-checkpoints") maxCheckpoints = /^\d{1,6}$/.test(value) ? Number(value) : 0;
    else if (arg === "truncate") truncate = true;
    else throw new FluxError(errno.EINVAL, `Unknown module option: '${arg}'`);
  }
  if (!JOURNAL_MODES.includes(journal_mode)) throw new FluxError(errno.EINVAL, `Invalid argument: journal_mode must be one of ${JOURNAL_MODES.join(" ")}`);
  if (!SYNCHRONOUS_MODES.includes(synchronous)) throw new FluxError(errno.EINVAL, `Invalid argument: synchronous must be one of ${SYNCHRONOUS_MODES.join(" ")}`);
  if (maxCheckpoints < 1) throw new FluxError(errno.EINVAL, "max-checkpoints must be a positive number");
  return { journal_mode, synchronous, maxCheckpoints, truncate };
}

function fileSize(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

function freeSpace(directory: string): number {
  const { bsize, bavail } = statfsSync(directory);
  return bsize * bavail;
}
