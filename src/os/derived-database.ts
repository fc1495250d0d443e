// Derived database: an SQLite file that can be made anew from something else, such as an index of what the KVS has. One process has
// it for itself. A damaged file is no loss: it is made anew, empty. One that can't be opened for another reason (a full disk, no
// permission) is left as it is.
import { Database } from "bun:sqlite";
import { rmSync } from "node:fs";

/** What SQLite says of a file that is damaged, is no database, or has other tables. */
const DAMAGED: ReadonlySet<string> = new Set(["SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR"]);

/** Opens the file, or makes it; `schema` are statements that may be run again. Throws what SQLite says. */
export function openDerivedDatabase(path: string, schema: readonly string[]): Database {
  try {
    return open(path, schema);
  } catch (err) {
    if (!isDamage(err)) throw err;
    for (const suffix of ["", "-wal", "-shm"]) rmSync(path + suffix, { force: true });
    return open(path, schema);
  }
}

function isDamage(err: unknown): boolean {
  const code = err instanceof Error && "code" in err && typeof err.code === "string" ? err.code : "";
  return DAMAGED.has(code) || code.startsWith("SQLITE_CORRUPT_");
}

function open(path: string, schema: readonly string[]): Database {
  const db = new Database(path, { create: true, readwrite: true, safeIntegers: true });
  try {
    db.run("PRAGMA locking_mode = EXCLUSIVE");
    db.run("PRAGMA journal_mode = WAL");
    db.run("PRAGMA synchronous = NORMAL");
    for (const statement of schema) db.run(statement);
  } catch (err) {
    db.close();
    throw err;
  }
  return db;
}
