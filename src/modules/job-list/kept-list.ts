// KeptList: what job-list knows of jobs that are over, in a state directory that outlasts the instance: the file
// job-list.sqlite. A restart reads it instead of every eventlog. It belongs to one index of the job manager, which says
// which of its jobs there really are.
import type { Database } from "bun:sqlite";
import { join } from "node:path";
import type { Flux } from "../../client/flux.ts";
import type { JobId } from "../../formats/fluid.ts";
import { toFluxError } from "../../message/errno.ts";
import type { Clock } from "../../os/clock.ts";
import { openDerivedDatabase } from "../../os/derived-database.ts";
import type { ArchiveEntry } from "./archive.ts";

const FILE = "job-list.sqlite";
const SCHEMA = [
  "CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value TEXT)",
  "CREATE TABLE IF NOT EXISTS jobs(id INTEGER PRIMARY KEY, userid INT, result INT, t_inactive REAL, text TEXT)",
  // Read in this order without sorting, which would keep the event loop from turning.
  "CREATE INDEX IF NOT EXISTS by_end ON jobs(t_inactive, id)",
];
/** Jobs are written this long after they ended, or when there are so many of them. */
const DELAY_MS = 50;
const WRITE_NOW = 500;

interface Row {
  id: bigint;
  userid: bigint;
  result: bigint;
  t_inactive: number;
  text: string;
}

export class KeptList {
  readonly #h: Flux;
  readonly #clock: Clock;
  readonly #db: Database;
  #waiting: ArchiveEntry[] = [];
  #isScheduled = false;
  #isClosed = false;

  private constructor(h: Flux, clock: Clock, db: Database) {
    this.#h = h;
    this.#clock = clock;
    this.#db = db;
  }

  /** The list that belongs to `index`: empty when the one that is there belongs to another. */
  static open(h: Flux, clock: Clock, directory: string, index: string): KeptList {
    const db = openDerivedDatabase(join(directory, FILE), SCHEMA);
    const owner = db.query<{ value: string }, []>("SELECT value FROM meta WHERE name = 'index'").get();
    if (owner?.value !== index) {
      db.transaction(() => {
        db.run("DELETE FROM jobs");
        db.query("INSERT OR REPLACE INTO meta (name, value) VALUES ('index', ?1)").run(index);
      })();
    }
    return new KeptList(h, clock, db);
  }

  /** In the order of their end. */
  *read(): Generator<ArchiveEntry, void, undefined> {
    const all = this.#db.query<Row, []>("SELECT id, userid, result, t_inactive, text FROM jobs ORDER BY t_inactive, id");
    for (const { id, userid, result, t_inactive, text } of all.iterate()) {
      yield { id: BigInt.asUintN(64, id), userid: Number(userid), result: Number(result), t_inactive, text: Buffer.from(text) };
    }
  }

  add(entry: ArchiveEntry): void {
    this.#waiting.push(entry);
    if (this.#waiting.length >= WRITE_NOW) return this.#write();
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#clock
      .setTimer(DELAY_MS, () => {
        this.#isScheduled = false;
        this.#write();
      })
      .unref();
  }

  remove(ids: readonly JobId[]): void {
    this.#write();
    this.#transaction(() => {
      const remove = this.#db.query("DELETE FROM jobs WHERE id = ?1");
      for (const id of ids) remove.run(BigInt.asIntN(64, id));
    });
  }

  close(): void {
    if (this.#isClosed) return;
    this.#write();
    this.#isClosed = true;
    this.#db.close();
  }

  #write(): void {
    const entries = this.#waiting;
    if (entries.length === 0 || this.#isClosed) return;
    this.#waiting = [];
    this.#transaction(() => {
      const insert = this.#db.query("INSERT OR REPLACE INTO jobs (id, userid, result, t_inactive, text) VALUES (?1, ?2, ?3, ?4, ?5)");
      for (const { id, userid, result, t_inactive, text } of entries) {
        insert.run(BigInt.asIntN(64, id), userid, result, t_inactive, Buffer.from(text).toString());
      }
    });
  }

  /** What can't be written is asked of the job manager at the next start. */
  #transaction(run: () => void): void {
    if (this.#isClosed) return;
    try {
      this.#db.transaction(run)();
    } catch (err) {
      this.#h.log(3, `${FILE}: ${toFluxError(err).message}`);
    }
  }
}
