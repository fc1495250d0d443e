// The file job-archive.sqlite. Its table is that of flux-core's job archive, which accounting tools read.
//
// Other programs may read and write it at any time. A read never disturbs us; while another program writes, a write of
// ours fails with EBUSY at once, since waiting here would stop the broker: the caller tries again.
import { Database } from "bun:sqlite";
import { closeSync, openSync } from "node:fs";
import type { JobId } from "../../formats/fluid.ts";
import { errno, FluxError, strerror, toFluxError } from "../../message/errno.ts";
import type { JobRecord } from "./record.ts";

const TABLE =
  "CREATE TABLE IF NOT EXISTS jobs(id CHAR(16) PRIMARY KEY, userid INT, ranks TEXT, t_submit REAL, t_run REAL, t_cleanup REAL, t_inactive REAL, eventlog TEXT, jobspec TEXT, R TEXT)";

export class ArchiveDatabase {
  readonly #db: Database;

  private constructor(
    readonly path: string,
    db: Database,
  ) {
    this.#db = db;
  }

  /** Opens or creates the file, which only its owner can read: jobspecs hold environments. Throws FluxError that names it. */
  static open(path: string): ArchiveDatabase {
    try {
      closeSync(openSync(path, "a", 0o600));
    } catch (err) {
      const { errno: number } = toFluxError(err);
      throw new FluxError(number, `${path}: ${strerror(number)}`);
    }
    return guarded(path, () => {
      const db = new Database(path, { readwrite: true });
      try {
        db.run("PRAGMA journal_mode = WAL");
        // What has been written may be purged: it must be on the disk.
        db.run("PRAGMA synchronous = FULL");
        db.run(TABLE);
        db.run("CREATE INDEX IF NOT EXISTS by_end ON jobs(t_inactive)");
        return new ArchiveDatabase(path, db);
      } catch (err) {
        db.close();
        throw err;
      }
    });
  }

  /** When the last job ended; 0 when there is none. */
  lastEnd_s(): number {
    return guarded(this.path, () => this.#db.query<{ last: number | null }, []>("SELECT MAX(t_inactive) AS last FROM jobs").get()?.last ?? 0);
  }

  /** True when the job is here, with the end that it had then. One that ran again after a crash has another. */
  has(id: JobId, t_inactive: number): boolean {
    return guarded(this.path, () => this.#db.query("SELECT 1 FROM jobs WHERE id = ?1 AND t_inactive = ?2").get(String(id), t_inactive) !== null);
  }

  /** Adds jobs, all or none, in place of what is here of them. Throws FluxError, EBUSY when another program writes. */
  add(records: readonly JobRecord[]): void {
    guarded(this.path, () =>
      this.#db.transaction(() => {
        const insert = this.#db.query(
          "INSERT OR REPLACE INTO jobs (id, userid, ranks, t_submit, t_run, t_cleanup, t_inactive, eventlog, jobspec, R) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        );
        for (const { id, userid, ranks, t_submit, t_run, t_cleanup, t_inactive, eventlog, jobspec, R } of records) {
          insert.run(String(id), userid, ranks, t_submit, t_run, t_cleanup, t_inactive, eventlog, jobspec, R);
        }
      }).immediate(),
    );
  }

  close(): void {
    this.#db.close();
  }
}

/** SQLite's errors as FluxErrors that name the file. */
function guarded<T>(path: string, run: () => T): T {
  try {
    return run();
  } catch (err) {
    if (err instanceof FluxError) throw err;
    const { code = "", message = String(err) } = err as { code?: string; message?: string };
    throw new FluxError(numberOf(code), `${path}: ${message}`);
  }
}

function numberOf(code: string): number {
  if (code.startsWith("SQLITE_BUSY") || code.startsWith("SQLITE_LOCKED")) return errno.EBUSY;
  if (code.startsWith("SQLITE_FULL")) return errno.ENOSPC;
  if (code.startsWith("SQLITE_READONLY")) return errno.EACCES;
  return errno.EIO;
}
