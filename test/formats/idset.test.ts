import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { IdSet, MAX_ID } from "../../src/formats/idset.ts";

const ids = fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 40 });
const sorted = (values: Iterable<number>) => [...new Set(values)].sort((a, b) => a - b);

describe("idset", () => {
  test("text forms", () => {
    expect(IdSet.parse("1-3,5-6,42").toArray()).toEqual([1, 2, 3, 5, 6, 42]);
    expect(IdSet.parse("[1,2,3,5,6,42]").toString()).toBe("1-3,5-6,42");
    expect(IdSet.of(5, 0, 1, 2, 3).toString({ brackets: true })).toBe("[0-3,5]");
    expect(IdSet.of(5).toString({ brackets: true })).toBe("5");
    expect(IdSet.parse("").count).toBe(0);
    expect(IdSet.parse("[]").toString()).toBe("");
    expect(IdSet.of(0, 1).toString()).toBe("0-1");
  });
  test("a huge range costs one range", () => {
    const all = IdSet.parse(`0-${MAX_ID}`);
    expect(all.count).toBe(MAX_ID + 1);
    expect(all.has(123456789)).toBe(true);
    all.remove(7);
    expect(all.toString()).toBe(`0-6,8-${MAX_ID}`);
  });
  test("errors say where", () => {
    expect(() => IdSet.parse("1,,2")).toThrow('invalid idset "1,,2": expected a number at character 2');
    for (const text of [
      "x",
      "1-",
      "-1",
      "2-1",
      "1-1",
      "01",
      "1,1",
      "3,2",
      "1-5,4",
      "[1",
      "1]",
      "1,",
      " 1",
      "1 2",
      "4294967295",
      "1.5",
    ]) {
      expect(() => IdSet.parse(text), text).toThrow("invalid idset");
    }
    expect(() => IdSet.of(-1)).toThrow("invalid idset");
    expect(() => IdSet.range(3, 2)).toThrow("invalid idset");
  });
  test("next, prev, first, last", () => {
    const set = IdSet.parse("2-4,8");
    expect([set.first, set.last, set.next(0), set.next(2), set.next(4), set.next(8)]).toEqual([2, 8, 2, 3, 8, undefined]);
    expect([set.prev(2), set.prev(4), set.prev(8), set.prev(100), set.prev(0)]).toEqual([undefined, 3, 4, 8, undefined]);
    expect(new IdSet().first).toBeUndefined();
  });
  test("behaves as a set of numbers does", () => {
    const step = fc.record({
      op: fc.constantFrom("add", "remove"),
      lo: fc.integer({ min: 0, max: 40 }),
      more: fc.integer({ min: 0, max: 8 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const set = new IdSet();
        const model = new Set<number>();
        for (const { op, lo, more } of steps) {
          if (op === "add") set.addRange(lo, lo + more);
          else set.removeRange(lo, lo + more);
          for (let id = lo; id <= lo + more; id++) {
            if (op === "add") model.add(id);
            else model.delete(id);
          }
          expect(set.toArray()).toEqual(sorted(model));
          expect(set.count).toBe(model.size);
          expect(IdSet.parse(set.toString()).equals(set)).toBe(true);
          expect(IdSet.parse(set.toString({ brackets: true })).equals(set)).toBe(true);
        }
      }),
      { numRuns: 500 },
    );
  });
  test("set algebra", () => {
    fc.assert(
      fc.property(ids, ids, (a, b) => {
        const x = IdSet.from(a);
        const y = IdSet.from(b);
        const inA = new Set(a);
        const inB = new Set(b);
        expect(x.union(y).toArray()).toEqual(sorted([...a, ...b]));
        expect(x.intersect(y).toArray()).toEqual(sorted(a.filter((id) => inB.has(id))));
        expect(x.subtract(y).toArray()).toEqual(sorted(a.filter((id) => !inB.has(id))));
        expect(x.intersects(y)).toBe(a.some((id) => inB.has(id)));
        expect(x.contains(y)).toBe(b.every((id) => inA.has(id)));
        expect(x.union(y).equals(y.union(x))).toBe(true);
        expect(x.toArray()).toEqual(sorted(a));
        for (let id = 0; id < 42; id++) expect(x.has(id)).toBe(inA.has(id));
      }),
    );
  });
});
