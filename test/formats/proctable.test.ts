// Process tables: what is written reads back, and what stock Flux writes reads as it is meant.
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { decodeProctable, encodeProctable } from "../../src/formats/proctable.ts";

const entry = fc.record({
  host: fc.oneof(fc.stringMatching(/^[a-z]{1,4}\d{0,3}$/), fc.constantFrom("n007", "10", "a-1-2", "")),
  executable: fc.constantFrom("app", "app2", "/usr/bin/x"),
  taskid: fc.nat(5000),
  pid: fc.integer({ min: -1, max: 4_194_304 }),
  rank: fc.nat(5000),
});

test("any table reads back", () => {
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 40 }), (table) => {
      expect(decodeProctable(encodeProctable(table))).toEqual(table);
    }),
  );
});

test("runs are short", () => {
  const table = Array.from({ length: 1000 }, (_, i) => ({ host: `node${i >> 1}`, executable: "app", taskid: i, pid: 100 + i, rank: i >> 1 }));
  const { executables, ids, pids } = encodeProctable(table);
  expect({ executables, ids, pids }).toEqual({ executables: [["app", [[-1, -999]]]], ids: [[0, 999]], pids: [[100, 999]] });
});

test("as flux-core 0.88 writes it", () => {
  const table = decodeProctable({ hosts: [["vm", [[-1, -3]]]], executables: [["sleep", [[-1, -3]]]], ids: [[0, 3]], pids: [16730, 2, -3, 2], ranks: [[0, -1], [1, -1]] });
  expect(table.map(({ host, taskid, pid, rank }) => `${host} ${taskid} ${pid} ${rank}`)).toEqual(["vm 0 16730 0", "vm 1 16732 0", "vm 2 16729 1", "vm 3 16731 1"]);
});

test("what is no table", () => {
  expect(() => decodeProctable([])).toThrow("must be an object");
  expect(() => decodeProctable({ hosts: "x" })).toThrow("names must be a list");
  expect(() => decodeProctable({ hosts: [["n", [[0, 1e9]]]] })).toThrow("more than");
});
