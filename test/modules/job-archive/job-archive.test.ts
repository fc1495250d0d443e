// The job archive: its settings, what it makes of a job, and its file when others use it, too.
import { afterEach, describe, expect, test } from "bun:test";
import { Database } from "bun:sqlite";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatEventlog } from "../../../src/formats/eventlog.ts";
import { errno } from "../../../src/message/errno.ts";
import { ArchiveDatabase } from "../../../src/modules/job-archive/database.ts";
import { jobRecord } from "../../../src/modules/job-archive/record.ts";
import { archiveSettings } from "../../../src/modules/job-archive/settings.ts";

const ID = 9_007_199_254_740_993_001n;
const R = '{"version":1,"execution":{"R_lite":[{"rank":"0-3","children":{"core":"0"}}],"nodelist":["n[0-3]"],"starttime":0,"expiration":0}}';
const EVENTS = [
  { timestamp: 10.5, name: "submit", context: { userid: 1000, urgency: 16, flags: 0, version: 1 } },
  { timestamp: 11, name: "alloc" },
  { timestamp: 12, name: "exception", context: { type: "note", severity: 3 } },
  { timestamp: 13, name: "exception", context: { type: "cancel", severity: 0 } },
  { timestamp: 14, name: "finish", context: { status: 15 } },
  { timestamp: 15, name: "clean" },
];

let folder: string | undefined;
afterEach(() => {
  if (folder !== undefined) rmSync(folder, { recursive: true });
  folder = undefined;
});

function newFile(): string {
  folder = mkdtempSync(join(tmpdir(), "flux-archive-"));
  return join(folder, "a.sqlite");
}

test("settings", () => {
  expect(archiveSettings({})).toBeUndefined();
  expect(archiveSettings({ archive: {} })).toEqual({ dbpath: undefined, period_s: 60, busytimeout_s: 0.05 });
  expect(archiveSettings({ archive: { dbpath: "/a/b", period: "1h", busytimeout: "2s" } })).toEqual({ dbpath: "/a/b", period_s: 3600, busytimeout_s: 2 });
  for (const archive of [1, { dbpath: "b" }, { period: 1 }, { period: "0s" }, { busytimeout: "inf" }, { perod: "1s" }]) {
    expect(() => archiveSettings({ archive })).toThrow("archive");
  }
});

describe("what is kept of a job", () => {
  test("that ran", () => {
    const eventlog = formatEventlog(EVENTS);
    expect(jobRecord(ID, eventlog, "{}", R)).toEqual({
      id: ID, userid: 1000, ranks: "[0-3]", t_submit: 10.5, t_run: 11, t_cleanup: 13, t_inactive: 15, eventlog, jobspec: "{}", R,
    });
  });

  test("that never ran", () => {
    const eventlog = formatEventlog(EVENTS.filter(({ name }) => name !== "alloc" && name !== "finish"));
    expect(jobRecord(ID, eventlog, "{}", null)).toMatchObject({ ranks: null, t_run: 0, t_cleanup: 13, R: null });
  });
});

describe("the file", () => {
  const record = jobRecord(ID, formatEventlog(EVENTS), "{}", R);

  test("has each job once; its id is text in decimal; only the owner reads it", () => {
    const path = newFile();
    const archive = ArchiveDatabase.open(path);
    expect(archive.lastEnd_s()).toBe(0);
    archive.add([record, record, { ...record, id: 1n, t_inactive: 99 }]);
    archive.add([{ ...record, userid: 0 }]);
    expect([archive.has(ID, 15), archive.has(ID, 16), archive.has(1n, 99), archive.has(2n, 15)]).toEqual([true, false, true, false]);
    expect(archive.lastEnd_s()).toBe(99);
    const reader = new Database(path, { readonly: true });
    expect(reader.query("SELECT id, userid, typeof(id) AS type FROM jobs ORDER BY id").all()).toEqual([
      { id: "1", userid: 1000, type: "text" },
      { id: String(ID), userid: 0, type: "text" },
    ]);
    reader.close();
    archive.close();
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test("is read while we write; another writer is EBUSY, at once", () => {
    const path = newFile();
    const archive = ArchiveDatabase.open(path);
    const other = new Database(path);
    other.run("BEGIN");
    other.query("SELECT * FROM jobs").all();
    archive.add([record]);
    other.run("COMMIT");
    other.run("BEGIN IMMEDIATE");
    const start_ms = performance.now();
    expect(() => archive.add([{ ...record, id: 3n }])).toThrow(expect.objectContaining({ errno: errno.EBUSY }));
    expect(performance.now() - start_ms).toBeLessThan(1000);
    other.run("ROLLBACK");
    archive.add([{ ...record, id: 3n }]);
    other.close();
    archive.close();
  });

  test("that can't be is an error which names it", () => {
    const path = join(newFile(), "nope");
    expect(() => ArchiveDatabase.open(path)).toThrow(`${path}: No such file or directory`);
  });
});
