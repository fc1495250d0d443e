// The file content.sqlite: blobs by hash and the last checkpoints. The tables are those of flux-core, so that either
// can open a file that the other wrote; blobs written here are not compressed (size −1), compressed ones are read.
import { Database, type SQLQueryBindings, type Statement } from "bun:sqlite";
import { accessSync, closeSync, constants, existsSync, openSync, readSync, rmSync, statSync } from "node:fs";
import { decodeJsonObject, encodeJson, type JsonObject } from "../../formats/json.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { decompressLz4Block } from "./lz4.ts";

/** Files smaller than this are read through when they are opened. */
const CHECK_MAX_BYTES = 32 * 1024 * 1024;

export interface DatabaseOptions {
  readonly journal_mode: string;
  readonly synchronous: string;
  readonly maxCheckpoints: number;
  /** Begin with an empty file. */
  readonly truncate: boolean;
  /** The largest number of pages that the file may have; default: as many as the disk has room for. */
  readonly maxPages?: number;
}

export interface Checkpoint {
  readonly id: number;
  readonly value: JsonObject;
}

interface ObjectRow {
  object: Uint8Array | string | null;
  size: number;
}

interface CheckpointRow {
  id: number;
  value: string;
}

export class ContentDatabase {
  readonly #db: Database;
  readonly #load: Statement<ObjectRow, SQLQueryBindings[]>;
  readonly #store: Statement;
  readonly #exists: Statement;
  readonly #mark: Statement;
  readonly #maxCheckpoints: number;
  #epoch: number;
  #inBatch = false;

  /** Opens or creates the file. Throws FluxError naming the file and what is wrong with it. */
  constructor(readonly path: string, options: DatabaseOptions) {
    this.#maxCheckpoints = options.maxCheckpoints;
    try {
      this.#db = open(path, options);
      this.#load = this.#db.query("SELECT object, size FROM objects WHERE hash = ?1 LIMIT 1");
      this.#store = this.#db.query(
        "INSERT INTO objects (hash, size, object, epoch) VALUES (?1, -1, ?2, ?3) ON CONFLICT(hash) DO UPDATE SET epoch = excluded.epoch",
      );
      this.#exists = this.#db.query("SELECT 1 FROM objects WHERE hash = ?1");
      this.#mark = this.#db.query("UPDATE objects SET epoch = MAX(epoch, ?1) WHERE hash = ?2");
      this.#epoch = this.#number("SELECT MAX(id) AS n FROM checkpt_v2");
    } catch (err) {
      throw withAdvice(sqliteError(err, path));
    }
  }

  get epoch(): number {
    return this.#epoch;
  }

  /** Throws FluxError ENOENT. */
  load(hash: Uint8Array): Uint8Array {
    const row = this.#try(() => this.#load.get(hash));
    if (row === null) throw new FluxError(errno.ENOENT);
    const object = typeof row.object === "string" ? Buffer.from(row.object) : (row.object ?? new Uint8Array(0));
    return row.size === -1 ? object : decompressLz4Block(object, row.size);
  }

  has(hash: Uint8Array): boolean {
    return this.#try(() => this.#exists.get(hash)) !== null;
  }

  /** Everything stored until endBatch() is one transaction. */
  beginBatch(): void {
    if (this.#inBatch) return;
    this.#try(() => this.#db.run("BEGIN"));
    this.#inBatch = true;
  }

  store(hash: Uint8Array, data: Uint8Array): void {
    this.#try(() => this.#store.run(hash, data, this.#epoch));
  }

  /** Throws when the batch could not be written; then none of it was. */
  endBatch(): void {
    if (!this.#inBatch) return;
    this.#inBatch = false;
    try {
      this.#try(() => this.#db.run("COMMIT"));
    } catch (err) {
      this.#rollback();
      throw err;
    }
  }

  abortBatch(): void {
    if (!this.#inBatch) return;
    this.#inBatch = false;
    this.#rollback();
  }

  putCheckpoint(value: JsonObject): void {
    this.#try(() => {
      const { lastInsertRowid } = this.#db.query("INSERT INTO checkpt_v2 (value) VALUES (?1)").run(encodeJson(value));
      this.#epoch = Number(lastInsertRowid);
      this.#db
        .query("DELETE FROM checkpt_v2 WHERE id IN (SELECT id FROM checkpt_v2 ORDER BY id DESC LIMIT -1 OFFSET ?1)")
        .run(this.#maxCheckpoints);
    });
  }

  /** Newest first. */
  checkpoints(): Checkpoint[] {
    return this.#try(() =>
      this.#db
        .query<CheckpointRow, SQLQueryBindings[]>("SELECT id, value FROM checkpt_v2 ORDER BY id DESC")
        .all()
        .map(({ id, value }) => ({ id, value: decodeJsonObject(value) })),
    );
  }

  objectCount(): number {
    return this.#number("SELECT count(1) AS n FROM objects");
  }

  maxRowid(): number {
    return this.#number("SELECT MAX(rowid) AS n FROM objects");
  }

  countBelowEpoch(epoch: number): number {
    return this.#number("SELECT COUNT(*) AS n FROM objects WHERE epoch < ?1", epoch);
  }

  /** Notes that objects are in use at `epoch`; returns how many are there. One transaction. */
  mark(hashes: readonly Uint8Array[], epoch: number): number {
    let marked = 0;
    this.beginBatch();
    for (const hash of hashes) marked += this.#try(() => this.#mark.run(epoch, hash)).changes;
    this.endBatch();
    return marked;
  }

  /** Deletes up to `limit` objects older than `epoch` with first < rowid <= last; returns how many, and the last rowid looked at. */
  sweep(epoch: number, first: number, last: number, limit: number): { deleted: number; cursor: number } {
    return this.#try(() => {
      const rows = this.#db
        .query<{ rowid: number }, SQLQueryBindings[]>(
          "SELECT rowid FROM objects WHERE epoch < ?1 AND rowid > ?2 AND rowid <= ?3 ORDER BY rowid LIMIT ?4",
        )
        .all(epoch, first, last, limit);
      const remove = this.#db.query("DELETE FROM objects WHERE rowid = ?1");
      this.#db.transaction(() => {
        for (const { rowid } of rows) remove.run(rowid);
      })();
      return { deleted: rows.length, cursor: rows.length === limit ? (rows.at(-1)?.rowid ?? last) : last };
    });
  }

  close(): void {
    this.#db.close();
  }

  #number(sql: string, ...args: SQLQueryBindings[]): number {
    return this.#try(() => this.#db.query<{ n: number | null }, SQLQueryBindings[]>(sql).get(...args)?.n ?? 0);
  }

  #rollback(): void {
    // After some errors (a full disk) SQLite has rolled back already.
    if (this.#db.inTransaction) this.#db.run("ROLLBACK");
  }

  #try<T>(fn: () => T): T {
    try {
      return fn();
    } catch (err) {
      throw sqliteError(err, this.path);
    }
  }
}

/** Hashes are in no order: each insertion goes to a page of its own, and pages that don't stay are written again and again. */
const CACHE_KIB = 32 * 1024;

function open(path: string, options: DatabaseOptions): Database {
  if (options.truncate) for (const suffix of ["", "-wal", "-shm"]) rmSync(path + suffix, { force: true });
  if (existsSync(path)) accessSync(path, constants.R_OK | constants.W_OK);
  const wasClosed = (statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0) === 0;
  const size_bytes = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (wasClosed) checkSize(path, size_bytes);
  const db = new Database(path, { create: true, readwrite: true });
  try {
    db.run("PRAGMA locking_mode = EXCLUSIVE");
    db.run(`PRAGMA journal_mode = ${options.journal_mode}`);
    db.run(`PRAGMA cache_size = -${CACHE_KIB}`);
    db.run(`PRAGMA synchronous = ${options.synchronous}`);
    if (options.maxPages !== undefined) db.run(`PRAGMA max_page_count = ${options.maxPages}`);
    // Reading all of a large file takes seconds. SQLite itself notices damage where it reads.
    if (size_bytes < CHECK_MAX_BYTES) quickCheck(db);
    db.run("CREATE TABLE IF NOT EXISTS objects(hash BLOB PRIMARY KEY, size INT, object BLOB, epoch INT DEFAULT 0)");
    db.run("CREATE TABLE IF NOT EXISTS checkpt_v2(id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, value TEXT)");
    addEpochColumn(db);
    migrateCheckpoint(db);
  } catch (err) {
    db.close();
    throw err;
  }
  return db;
}

function quickCheck(db: Database): void {
  const check = db.query<{ quick_check: string }, []>("PRAGMA quick_check(1)").get();
  if (check?.quick_check !== "ok") throw new FluxError(errno.EIO, `the database is damaged: ${check?.quick_check}`);
}

/** A file that was closed has as many pages as its header says (see "The Database Header" of SQLite's file format). */
function checkSize(path: string, size_bytes: number): void {
  if (size_bytes === 0) return;
  const header = Buffer.alloc(100);
  const fd = openSync(path, "r");
  try {
    readSync(fd, header, 0, header.length, 0);
  } finally {
    closeSync(fd);
  }
  const page_bytes = header.readUInt16BE(16) === 1 ? 65_536 : header.readUInt16BE(16);
  const isCurrent = header.readUInt32BE(24) === header.readUInt32BE(92);
  const expected_bytes = header.readUInt32BE(28) * page_bytes;
  if (isCurrent && size_bytes < expected_bytes) {
    throw new FluxError(errno.EIO, `the database is damaged: it has ${size_bytes} of ${expected_bytes} bytes`);
  }
}

/** Files of older Flux versions lack objects.epoch. */
function addEpochColumn(db: Database): void {
  const columns = db.query<{ name: string }, []>("PRAGMA table_info(objects)").all();
  if (!columns.some(({ name }) => name === "epoch")) db.run("ALTER TABLE objects ADD COLUMN epoch INT DEFAULT 0");
}

/** Files of older Flux versions have one checkpoint, in a table "checkpt". */
function migrateCheckpoint(db: Database): void {
  const old = db.query("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'checkpt'").get();
  if (old === null) return;
  db.run("INSERT INTO checkpt_v2 (value) SELECT value FROM checkpt WHERE key = 'kvs-primary'");
  db.run("DROP TABLE checkpt");
}

/** SQLite's error as a FluxError that names the file. */
function sqliteError(thrown: unknown, path: string): FluxError {
  if (thrown instanceof FluxError) return thrown.message.includes(path) || !thrown.hasText ? thrown : new FluxError(thrown.errno, `${path}: ${thrown.message}`);
  const { code = "", message = String(thrown) } = thrown as { code?: string; message?: string };
  return new FluxError(sqliteErrno(code), `${path}: ${message}`);
}

/** One line, and what to do about it. */
function withAdvice(err: FluxError): FluxError {
  const text = err.message.replaceAll(/\s*\n\s*/g, " ");
  if (err.errno === errno.EBUSY) return new FluxError(err.errno, `${text}: another instance uses this state directory`);
  if (err.errno !== errno.EIO) return new FluxError(err.errno, text);
  return new FluxError(err.errno, `${text}. Put a copy in its place, or move it away to start with nothing.`);
}

function sqliteErrno(code: string): number {
  if (code.startsWith("SQLITE_FULL")) return errno.ENOSPC;
  if (code.startsWith("SQLITE_IOERR") || code.startsWith("SQLITE_CORRUPT") || code.startsWith("SQLITE_NOTADB")) return errno.EIO;
  if (code.startsWith("SQLITE_NOMEM")) return errno.ENOMEM;
  if (code.startsWith("SQLITE_BUSY") || code.startsWith("SQLITE_LOCKED")) return errno.EBUSY;
  if (code.startsWith("SQLITE_TOOBIG")) return errno.EFBIG;
  if (code.startsWith("SQLITE_CANTOPEN")) return errno.ENOENT;
  if (code.startsWith("SQLITE_PERM") || code.startsWith("SQLITE_READONLY") || code.startsWith("SQLITE_AUTH")) return errno.EPERM;
  if (code === "EACCES") return errno.EACCES;
  return errno.EINVAL;
}
