import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { Taskmap } from "../../src/formats/taskmap.ts";

const VECTORS: [string, string][] = [
  ["0", "[[0,1,1,1]]"],
  ["0;1", "[[0,2,1,1]]"],
  ["0-1", "[[0,1,2,1]]"],
  ["0-1;2-3", "[[0,2,2,1]]"],
  ["0,2;1,3", "[[0,2,1,2]]"],
  ["1;0", "[[1,1,1,1],[0,1,1,1]]"],
  ["0-3;4-7;8-11;12-15", "[[0,4,4,1]]"],
  ["0,4,8,12;1,5,9,13;2,6,10,14;3,7,11,15", "[[0,4,1,4]]"],
  ["0-1,8-9;2-3,10-11;4-5,12-13;6-7,14-15", "[[0,4,2,2]]"],
  ["0-1;2-3;4-5;6-7;8-11;12-15", "[[0,4,2,1],[4,2,4,1]]"],
  ["0,6;1,7;2,8;3,9;4,10,12,14;5,11,13,15", "[[0,6,1,2],[4,2,1,2]]"],
  ["14-15;12-13;10-11;8-9;4-7;0-3", "[[5,1,4,1],[4,1,4,1],[3,1,2,1],[2,1,2,1],[1,1,2,1],[0,1,2,1]]"],
  ["0-1;2-3;4-5;6-7;8-9;12-13;10-11;14-15", "[[0,5,2,1],[6,1,2,1],[5,1,2,1],[7,1,2,1]]"],
  ["12-15;8-11;4-7;0-3", "[[3,1,4,1],[2,1,4,1],[1,1,4,1],[0,1,4,1]]"],
];

describe("taskmap", () => {
  test("test vectors of RFC 34, both ways", () => {
    for (const [raw, json] of VECTORS) {
      expect(Taskmap.parse(raw).toString(), raw).toBe(json);
      expect(Taskmap.parse(json).toString("raw"), json).toBe(raw);
      expect(Taskmap.parse(Taskmap.parse(json).toString("wrapped")).toString()).toBe(json);
      expect(Taskmap.parse(Taskmap.parse(json).toString("pmi")).toString("raw")).toBe(raw);
    }
    expect(Taskmap.parse("[]").isUnknown).toBe(true);
  });
  test("PMI form", () => {
    expect(Taskmap.parse("(vector,(0,4,1),(0,4,1),(0,4,1),(0,4,1))").toString()).toBe("[[0,4,1,4]]");
    expect(Taskmap.parse("[[0,6,1,2],[4,2,1,2]]").toString("pmi")).toBe("(vector,(0,6,1),(0,6,1),(4,2,1),(4,2,1))");
    expect(Taskmap.parse("(vector, (0, 2, 2))").toString()).toBe("[[0,2,2,1]]");
  });
  test("block and cyclic", () => {
    expect(Taskmap.block([2, 2, 2, 2, 4, 4]).toString()).toBe("[[0,4,2,1],[4,2,4,1]]");
    expect(Taskmap.cyclic([2, 2, 2, 2, 4, 4]).toString()).toBe("[[0,6,1,2],[4,2,1,2]]");
    expect(Taskmap.cyclic([2, 2, 2, 2, 4, 4], 2).toString()).toBe("[[0,6,2,1],[4,2,2,1]]");
  });
  test("any assignment of tasks to nodes survives", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 30 }), (nodeids) => {
        const map = Taskmap.fromNodeids(nodeids);
        expect(map.ntasks).toBe(nodeids.length);
        expect([...map.nodeids()]).toEqual(nodeids);
        nodeids.forEach((nodeid, task) => {
          expect(map.nodeid(task)).toBe(nodeid);
          expect(map.taskids(nodeid).has(task)).toBe(true);
        });
        expect(map.nodeid(nodeids.length)).toBeUndefined();
        for (let node = 0; node < map.nnodes; node++) expect(map.ntasksOf(node)).toBe(map.taskids(node).count);
      }),
    );
  });
  test("errors", () => {
    for (const text of [
      "",
      "0;0",
      "0;2",
      "[[0,1,1]]",
      "[[0,0,1,1]]",
      "[[-1,1,1,1]]",
      '{"version":2,"map":[]}',
      "(vector,(0,1))",
      "[[0,1,1,1]",
      "x",
      "[[0,1,2000000000,1]]",
    ]) {
      expect(() => Taskmap.parse(text), text).toThrow("invalid");
    }
  });
});
