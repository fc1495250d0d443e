// A derived database is made anew when it is damaged, and only then.
import { afterEach, beforeEach, expect, test } from "bun:test";
import { Database } from "bun:sqlite";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openDerivedDatabase } from "../../src/os/derived-database.ts";

const SCHEMA = ["CREATE TABLE IF NOT EXISTS jobs(id INTEGER PRIMARY KEY, name TEXT)", "CREATE INDEX IF NOT EXISTS by_name ON jobs(name)"];
let folder: string;
let file: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "derived-"));
  file = join(folder, "index.sqlite");
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

function count(): number {
  const db = openDerivedDatabase(file, SCHEMA);
  const rows = db.query("SELECT * FROM jobs").all().length;
  db.close();
  return rows;
}

function fill(): void {
  const db = openDerivedDatabase(file, SCHEMA);
  db.run("INSERT INTO jobs (name) VALUES ('a')");
  db.close();
}

test("what was written is there again", () => {
  fill();
  expect(count()).toBe(1);
});

test("a file that is no database, or has other tables, is made anew", () => {
  writeFileSync(file, "this is not SQLite, and long enough to be seen as such".repeat(100));
  expect(count()).toBe(0);
  rmSync(file);
  const other = new Database(file);
  other.run("CREATE TABLE jobs(number INTEGER)");
  other.close();
  expect(count()).toBe(0);
});

test("a file that is in use by another is left alone", () => {
  fill();
  const other = openDerivedDatabase(file, SCHEMA);
  other.run("INSERT INTO jobs (name) VALUES ('b')");
  expect(() => openDerivedDatabase(file, SCHEMA)).toThrow(/locked/);
  other.close();
  expect(count()).toBe(2);
});

test("so is a folder in its place", () => {
  mkdirSync(file);
  writeFileSync(join(file, "precious"), "x");
  expect(() => openDerivedDatabase(file, SCHEMA)).toThrow();
  expect(readFileSync(join(file, "precious"), "utf8")).toBe("x");
});
