import { describe, expect, test } from "bun:test";
import { parseConstraintQuery } from "../../src/formats/constraint-query.ts";
import { matchConstraint, parseConstraint } from "../../src/formats/constraint.ts";

const target = { hostname: "host1", rank: 3, properties: new Set(["ssd", "gpu"]) };
const matches = (constraint: unknown) => matchConstraint(parseConstraint(constraint), target);

describe("constraint", () => {
  test("operators of RFC 31", () => {
    expect(matches({ properties: ["ssd"] })).toBe(true);
    expect(matches({ properties: ["ssd", "^slow"] })).toBe(true);
    expect(matches({ properties: ["^ssd"] })).toBe(false);
    expect(matches({ properties: ["host1"] })).toBe(true);
    expect(matches({ hostlist: ["host[0-1]"] })).toBe(true);
    expect(matches({ hostlist: ["host[2-3]", "other"] })).toBe(false);
    expect(matches({ ranks: ["0", "2-4"] })).toBe(true);
    expect(matches({ not: [{ properties: ["ssd", "huge"] }] })).toBe(true);
    expect(matches({ or: [{ ranks: ["0"] }, { properties: ["gpu"] }] })).toBe(true);
    expect(matches({ and: [{ ranks: ["0"] }, { properties: ["gpu"] }] })).toBe(false);
  });
  test("empty conditionals", () => {
    expect(matches({})).toBe(true);
    expect(matches({ or: [] })).toBe(true);
    expect(matches({ and: [] })).toBe(true);
    expect(matches({ not: [] })).toBe(false);
  });
  test("errors", () => {
    const cases: [unknown, string][] = [
      [[], "constraint must be JSON object"],
      [{ foo: [] }, "unknown constraint operator: foo"],
      [{ and: 1 }, "and operator value must be an array"],
      [{ and: [{ or: [{ bad: [] }] }] }, "unknown constraint operator: bad"],
      [{ properties: [1] }, "non-string"],
      [{ properties: ["a|b"] }, "invalid character '|' in property \"a|b\""],
      [{ ranks: ["x"] }, "invalid idset 'x'"],
      [{ hostlist: ["a["] }, "invalid hostlist 'a['"],
      [{ and: [], or: [] }, "only contain 1"],
    ];
    for (const [constraint, message] of cases) expect(() => parseConstraint(constraint), message).toThrow(message);
    let deep: object = {};
    for (let i = 0; i < 100; i++) deep = { not: [deep] };
    expect(() => parseConstraint(deep)).toThrow("more than 64");
  });
});

const n = (value: string) => ({ name: [value] });

describe("constraint query", () => {
  const name = { defaultOperator: "name" };
  test("examples of RFC 35", () => {
    expect(parseConstraintQuery("foo", name)).toEqual(n("foo"));
    expect(parseConstraintQuery("foo bar state:started", name)).toEqual({ and: [n("foo"), n("bar"), { state: ["started"] }] });
    expect(parseConstraintQuery("a|b|c", name)).toEqual({ or: [n("a"), n("b"), n("c")] });
    expect(parseConstraintQuery("a|b&c", name)).toEqual({ or: [n("a"), { and: [n("b"), n("c")] }] });
    expect(parseConstraintQuery("(a|b)&c", name)).toEqual({ and: [{ or: [n("a"), n("b")] }, n("c")] });
    expect(parseConstraintQuery("(a|-b)&c", name)).toEqual({ and: [{ or: [n("a"), { not: [n("b")] }] }, n("c")] });
    expect(parseConstraintQuery("foo:'this is args' android not x", name)).toEqual({
      and: [{ foo: ["this is args"] }, n("android"), { not: [n("x")] }],
    });
  });
  test("--requires", () => {
    expect(parseConstraintQuery("a,b c")).toEqual({ properties: ["a", "b", "c"] });
    expect(parseConstraintQuery("host:fluke[1-5] -rank:0")).toEqual({
      and: [{ hostlist: ["fluke[1-5]"] }, { not: [{ ranks: ["0"] }] }],
    });
    expect(parseConstraintQuery("(a and b) or (b and ^c)")).toEqual({
      or: [{ properties: ["a", "b"] }, { properties: ["b", "^c"] }],
    });
  });
  test("errors", () => {
    const cases: [string, string][] = [
      ["-(a|b)", "Invalid token '('"],
      ["(a", "Unclosed parenthesis at character 0"],
      ["a)", "Mismatched parentheses at character 1"],
      ["a 'b", "Unclosed quote '"],
      ["host:", "Missing argument to token 'host:'"],
      ["a&", "Unexpected end of input"],
      ["", "Unexpected end of input"],
      ["o!p:x", "invalid character '!'"],
      ["(".repeat(100), "more than 64"],
    ];
    for (const [text, message] of cases) expect(() => parseConstraintQuery(text), text).toThrow(message);
    expect(() => parseConstraintQuery("a", {})).toThrow("Missing required operator");
  });
});
