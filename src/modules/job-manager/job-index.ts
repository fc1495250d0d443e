// JobIndex: what a restart must know of jobs without replaying the eventlog of each: the file job-index.sqlite in a state
// directory that outlasts the instance. The KVS is the truth; the index only says where not to look.
//
//   jobs(id, seq, t_submit, t_clean, userid, summary)    seq 0: active; otherwise the KVS root that has its clean event
//   meta: name (a new one each time the index is made anew), start, boot
//
// A job is in the index before the KVS has its submit event, and is inactive there after the KVS has its clean event. So a
// crash leaves jobs in it that the KVS doesn't have (they were never acknowledged), and jobs that are over but seem
// active (they are replayed): never the reverse. Three things would break that, and make the index worthless:
// another program ran on the KVS meanwhile, which the startlog tells; the KVS was replaced, which it tells too; the machine
// lost what it had not written to its disk.
import type { Database } from "bun:sqlite";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Flux } from "../../client/flux.ts";
import { kvsGetText, kvsGetroot } from "../../client/kvs.ts";
import { lastingDirectory } from "../../client/statedir.ts";
import { type EventlogEntry, parseEventlog } from "../../formats/eventlog.ts";
import type { JobId } from "../../formats/fluid.ts";
import { errno, isErrno, toFluxError } from "../../message/errno.ts";
import { openDerivedDatabase } from "../../os/derived-database.ts";
import type { InactiveRow } from "./inactive.ts";
import { nextTurn } from "./turn.ts";

const FILE = "job-index.sqlite";
const SCHEMA = [
  "CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value TEXT)",
  "CREATE TABLE IF NOT EXISTS jobs(id INTEGER PRIMARY KEY, seq INT, t_submit REAL, t_clean REAL, userid INT, summary INT)",
  // Read in this order without sorting, which would keep the event loop from turning.
  "CREATE INDEX IF NOT EXISTS by_end ON jobs(t_clean, id) WHERE seq > 0",
];
const STARTLOG_KEY = "admin.eventlog";
/** Roots of the KVS younger than this may be of a run that crashed before they were on disk. */
const DOUBTFUL_ROOTS = 100;
/** Rows read in one turn of the event loop. */
const SLICE = 2000;

interface Row {
  id: bigint;
  t_submit: number;
  t_clean: number;
  userid: bigint;
  summary: bigint;
}

export class JobIndex {
  readonly #h: Flux;
  readonly #db: Database;
  readonly #name: string;
  /** Jobs whose submit event is about to be written. */
  #submitted: JobId[] = [];
  /** Jobs whose clean event is about to be written. */
  readonly #retired = new Map<JobId, InactiveRow>();
  readonly #done: { row: InactiveRow; seq: number }[] = [];
  #isScheduled = false;
  #isClosed = false;

  private constructor(h: Flux, db: Database, name: string) {
    this.#h = h;
    this.#db = db;
    this.#name = name;
  }

  /** undefined where nothing outlasts the instance. `isValid`: what it says may be relied on. */
  static async open(h: Flux): Promise<{ index: JobIndex; isValid: boolean } | undefined> {
    const directory = await lastingDirectory(h);
    if (directory === undefined) return undefined;
    const starts = await startEvents(h);
    const current = starts.at(-1);
    if (current === undefined) return undefined;
    const db = openDerivedDatabase(join(directory, FILE), SCHEMA);
    const meta = new Map(db.query<{ name: string; value: string }, []>("SELECT name, value FROM meta").all().map(({ name, value }) => [name, value]));
    const isValid = canRely(meta, starts);
    const name = isValid ? (meta.get("name") ?? "") : crypto.randomUUID();
    db.transaction(() => {
      if (!isValid) db.run("DELETE FROM jobs");
      for (const [key, value] of [["name", name], ["start", String(current.timestamp)], ["boot", bootId()]] as const) {
        db.query("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)").run(key, value);
      }
    })();
    return { index: new JobIndex(h, db, name), isValid };
  }

  /** Lists that others keep of jobs that are over belong to this index. */
  get name(): string {
    return this.#name;
  }

  /** Gives all jobs that are surely over to `remember`, in the order of their end; resolves to the ids of the others, in order. */
  async read(remember: (row: InactiveRow) => void): Promise<JobId[]> {
    const { rootseq } = await kvsGetroot(this.#h);
    const last = Math.max(0, rootseq - DOUBTFUL_ROOTS);
    let count = 0;
    const over = this.#db.query<Row, [number]>("SELECT id, t_submit, t_clean, userid, summary FROM jobs WHERE seq > 0 AND seq <= ?1 ORDER BY t_clean, id");
    for (const { id, t_submit, t_clean, userid, summary } of over.iterate(last)) {
      remember({ id: BigInt.asUintN(64, id), t_submit, t_clean, userid: Number(userid), summary: Number(summary) });
      if (++count % SLICE === 0) await nextTurn();
    }
    const others = this.#db.query<{ id: bigint }, [number]>("SELECT id FROM jobs WHERE seq < 1 OR seq > ?1 ORDER BY id").all(last);
    return others.map(({ id }) => BigInt.asUintN(64, id));
  }

  submitted(id: JobId): void {
    this.#submitted.push(id);
  }

  retired(row: InactiveRow): void {
    this.#retired.set(row.id, row);
  }

  /** Eventlogs are about to be written: jobs that are new must be known first. */
  beforeCommit(): void {
    const ids = this.#submitted;
    if (ids.length === 0) return;
    this.#submitted = [];
    this.#transaction(() => {
      const insert = this.#db.query("INSERT OR IGNORE INTO jobs (id, seq) VALUES (?1, 0)");
      for (const id of ids) insert.run(BigInt.asIntN(64, id));
    });
  }

  /** Eventlogs of these jobs are in the KVS at root `seq`. */
  committed(ids: Iterable<JobId>, seq: number): void {
    if (this.#retired.size === 0) return;
    for (const id of ids) {
      const row = this.#retired.get(id);
      if (row === undefined) continue;
      this.#retired.delete(id);
      this.#done.push({ row, seq });
    }
    if (this.#done.length === 0 || this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => this.flush());
  }

  /** A job that the KVS has over, or doesn't have (`row` undefined), although the index may say otherwise. */
  correct(id: JobId, row: InactiveRow | undefined): void {
    if (row !== undefined) this.#done.push({ row, seq: 1 });
    else this.removed([id]);
  }

  removed(ids: readonly JobId[]): void {
    this.#transaction(() => {
      const remove = this.#db.query("DELETE FROM jobs WHERE id = ?1");
      for (const id of ids) remove.run(BigInt.asIntN(64, id));
    });
  }

  /** Writes what has piled up. */
  flush(): void {
    if (this.#isClosed) return;
    this.#isScheduled = false;
    this.beforeCommit();
    const done = this.#done.splice(0);
    if (done.length === 0) return;
    this.#transaction(() => {
      const insert = this.#db.query("INSERT OR REPLACE INTO jobs (id, seq, t_submit, t_clean, userid, summary) VALUES (?1, ?2, ?3, ?4, ?5, ?6)");
      for (const { row, seq } of done) insert.run(BigInt.asIntN(64, row.id), seq, row.t_submit, row.t_clean, row.userid, row.summary);
    });
  }

  close(): void {
    this.flush();
    this.#isClosed = true;
    this.#db.close();
  }

  /** An index that can't be written must not be relied on: the next start replays everything instead. */
  #transaction(run: () => void): void {
    try {
      this.#db.transaction(run)();
    } catch (err) {
      this.#h.log(3, `${FILE}: ${toFluxError(err).message}`);
      try {
        this.#db.run("DELETE FROM meta");
      } catch (again) {
        this.#h.log(2, `${FILE}: remove it before the next start: ${toFluxError(again).message}`);
      }
    }
  }
}

async function startEvents(h: Flux): Promise<EventlogEntry[]> {
  try {
    return parseEventlog(await kvsGetText(h, STARTLOG_KEY));
  } catch (err) {
    if (isErrno(err, errno.ENOENT)) return [];
    throw err;
  }
}

function canRely(meta: ReadonlyMap<string, string>, log: readonly EventlogEntry[]): boolean {
  const written = meta.get("start");
  const starts = log.filter(({ name }) => name === "start");
  const [before, current] = starts.slice(-2).length === 2 ? starts.slice(-2) : [undefined, starts.at(-1)];
  if (written === undefined) return false;
  if (written === String(current?.timestamp)) return true; // the module was reloaded
  if (written !== String(before?.timestamp)) return false;
  const crashed = log.at(-2)?.name === "start";
  return !crashed || meta.get("boot") === bootId();
}

function bootId(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    return crypto.randomUUID(); // never the same again: a crash is then taken for one of the machine
  }
}
