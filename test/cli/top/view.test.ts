// The screen of `flux top`: lines from what is known, and what keys do.
import { describe, expect, test } from "bun:test";
import { toJobRow, type JobRow } from "../../../src/cli/job-row.ts";
import { renderLine } from "../../../src/cli/top/line.ts";
import { type Facts, follow, NEW_VIEW, press, screen, type Snapshot, type View } from "../../../src/cli/top/view.ts";
import type { Key } from "../../../src/cli/top/keys.ts";
import type { JsonObject } from "../../../src/formats/json.ts";

const NOW_S = 1_700_000_100;
const FACTS: Facts = { size: 2, depth: 0, version: "0.88.0", start_s: NOW_S - 26, isOwner: true };
const SIZE = { columns: 80, rows: 12 };

function job(id: number, info: JsonObject = {}): JobRow {
  return toJobRow({ id, userid: 4_000_000, name: "sleep", state: 16, ntasks: 1, nnodes: 1, t_run: NOW_S - 84, ...info }, NOW_S);
}

const nested = job(3, { name: "flux", annotations: { user: { uri: "ssh://host/tmp/x" } } });
const SNAPSHOT: Snapshot = {
  usage: { nodes: { total: 2, used: 2, down: 0 }, cores: { total: 4, used: 3, down: 1 }, gpus: { total: 0, used: 0, down: 0 } },
  expiration_s: 0,
  stats: { pending: 0, running: 3, successful: 2, failed: 10, inactivePurged: 0, active: 3 },
  queues: [],
  jobs: [nested, job(2), job(1)],
  beats: true,
};

function shown(view: View, snapshot: Snapshot = SNAPSHOT, size = SIZE, facts: Facts = FACTS): string[] {
  return screen(view, facts, snapshot, NOW_S, size).map((line) => renderLine(line, size.columns, false).replaceAll(/\x1b\[\d*m/g, "").trimEnd()); // eslint-disable-line no-control-regex
}

function type(keys: readonly Key[], view: View = NEW_VIEW, snapshot: Snapshot = SNAPSHOT, size = SIZE): View {
  let current = view;
  for (const key of keys) current = press(current, key, snapshot, size).view;
  return current;
}

test("the screen of 80 columns", () => {
  expect(shown(NEW_VIEW)).toEqual([
    "ƒ                                                                             ∞",
    "    nodes [||||||||||||||||||||||||2/2]                         0 pending",
    "    cores [||||||||||||||||||||||||3/4]                         3 running",
    "     gpus [                        0/0]        2 complete,     10 failed     ♡",
    "",
    " size: 2                          uptime: 26s                            0.88.0",
    "       JOBID     USER ST NTASKS NNODES RUNTIME NAME",
    "          ƒ4  4000000  R      1      1    1.4m flux",
    "          ƒ3  4000000  R      1      1    1.4m sleep",
    "          ƒ2  4000000  R      1      1    1.4m sleep",
  ]);
});

test("a nested instance, its time left, queues, one who is not the owner", () => {
  const view = { ...NEW_VIEW, path: ["ƒ1", "ƒ2"], queue: "batch", message: "ƒ9: is on another host" };
  const snapshot = { ...SNAPSHOT, expiration_s: NOW_S + 3600, queues: ["batch", "debug"], jobs: [], beats: false, usage: undefined };
  expect(shown(view, snapshot, SIZE, { ...FACTS, depth: 2, isOwner: false })).toEqual([
    "ƒ                                    /ƒ1/ƒ2                                  1h",
    "    nodes [                           ]                         0 pending",
    "    cores [                           ]                         3 running",
    "     gpus [                           ]                        12 inactive",
    " ƒ9: is on another host",
    " size: 2   depth: 2               uptime: 26s                            0.88.0",
    "       JOBID    QUEUE     USER ST NTASKS NNODES RUNTIME NAME",
    "", "", "", "",
    "                       No jobs to display in queue batch",
  ]);
});

test("a screen of any size, and numbers of any length, make no line that is longer", () => {
  const large = { total: 123_456_789, used: 123_456_788, down: 1 };
  const snapshot: Snapshot = { ...SNAPSHOT, usage: { nodes: large, cores: large, gpus: large } };
  for (const columns of [1, 10, 41, 60, 79, 200]) {
    for (const rows of [1, 3, 8, 50]) {
      const lines = shown({ ...NEW_VIEW, path: Array.from({ length: 40 }, (_, i) => `ƒ${i}`) }, snapshot, { columns, rows });
      expect(lines.length).toBeLessThanOrEqual(rows);
      for (const line of lines) expect(Bun.stringWidth(line)).toBeLessThanOrEqual(columns);
    }
  }
});

test("colours: what is used is yellow, what is down red, instances are blue, the cursor is inverse", () => {
  const lines = screen(type(["down"]), FACTS, SNAPSHOT, NOW_S, SIZE).map((line) => renderLine(line, 80, true));
  expect(lines[2]).toContain(`\x1b[33m${"|".repeat(18)}\x1b[0m\x1b[31m||||||\x1b[0m3/4]`);
  expect(lines[7]).toStartWith("\x1b[34m\x1b[1m\x1b[7m          ƒ4");
  expect(lines[8]).not.toContain("\x1b");
});

test("names with escape sequences do nothing to the terminal; wide ones are cut where they have no room", () => {
  expect(renderLine([{ at: 2, text: "a\x1b[2J\x07\u202eb" }], 80, true)).toBe("  a?[2J??b");
  expect(renderLine([{ at: 0, text: "日本語" }], 5, true)).toBe("日本");
});

describe("keys", () => {
  const index = (view: View): number | undefined => view.cursor?.index;

  test("the cursor goes down from the first job, up from the last, and stops at both", () => {
    expect(index(type(["down"]))).toBe(0);
    expect(index(type(["up"]))).toBe(2);
    expect(index(type(["down", "down", "down", "down", "up"]))).toBe(1);
    expect(index(type(["down"], NEW_VIEW, { ...SNAPSHOT, jobs: [] }))).toBeUndefined();
  });

  test("the list moves with the cursor", () => {
    const many = { ...SNAPSHOT, jobs: Array.from({ length: 20 }, (_, i) => job(100 - i)) };
    const down = type(Array.from({ length: 8 }, () => "down"), NEW_VIEW, many);
    expect([down.cursor?.index, down.top]).toEqual([7, 3]);
    const paged = type(["page-down", "page-down", "page-down", "page-down"], down, many);
    expect([paged.cursor?.index, paged.top]).toEqual([19, 15]);
    expect(type(["page-up"], paged, many)).toMatchObject({ cursor: { index: 14 }, top: 14 });
    expect(shown(paged, many)).toHaveLength(12);
  });

  test("the cursor follows its job, and stays when that has gone", () => {
    const view = type(["down", "down"]);
    const later = { ...SNAPSHOT, jobs: [job(5), ...SNAPSHOT.jobs] };
    expect(follow(view, later, SIZE).cursor).toEqual({ id: 2n, index: 2 });
    expect(follow(view, { ...SNAPSHOT, jobs: [nested, job(1)] }, SIZE).cursor).toEqual({ id: 1n, index: 1 });
    expect(follow(view, { ...SNAPSHOT, jobs: [] }, SIZE).cursor).toBeUndefined();
  });

  test("left and right rotate through all queues, each, and all", () => {
    const snapshot = { ...SNAPSHOT, queues: ["batch", "debug"] };
    expect(press(NEW_VIEW, "right", snapshot, SIZE)).toMatchObject({ view: { queue: "batch" }, action: "queue" });
    expect(type(["right", "right", "right"], NEW_VIEW, snapshot).queue).toBeUndefined();
    expect(type(["left"], NEW_VIEW, snapshot).queue).toBe("debug");
    expect(press(NEW_VIEW, "right", SNAPSHOT, SIZE).action).toBeUndefined();
  });

  test("enter opens an instance, and nothing else; any key takes the message away", () => {
    expect(press(type(["down"]), "enter", SNAPSHOT, SIZE).action).toEqual({ open: nested });
    expect(press(type(["down", "down"]), "enter", SNAPSHOT, SIZE).action).toBeUndefined();
    expect(press(NEW_VIEW, "enter", SNAPSHOT, SIZE).action).toBeUndefined();
    expect(type(["details"], { ...NEW_VIEW, message: "what" })).toMatchObject({ details: false, message: undefined });
    expect(press(NEW_VIEW, "quit", SNAPSHOT, SIZE).action).toBe("quit");
  });
});
