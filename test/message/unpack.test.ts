import { expect, test } from "bun:test";
import { errno } from "../../src/message/errno.ts";
import { arr, bool, def, dict, fields, int, jobid, num, obj, opt, str, uint, unpack } from "../../src/message/unpack.ts";

test("fields come out typed, defaults and absences too", () => {
  const out = unpack(
    { s: "x", i: -3, u: 4, n: 0.5, b: false, o: { a: 1 }, list: [1, 2], d: { x: "y" }, f: { inner: "z" }, id: 5, extra: null },
    { s: str, i: int, u: uint, n: num, b: bool, o: obj, list: arr(uint), d: dict(str), f: fields({ inner: str }), id: jobid, missing: opt(str), extra: opt(str), z: def(uint, 9) },
  );
  expect(out).toEqual({ s: "x", i: -3, u: 4, n: 0.5, b: false, o: { a: 1 }, list: [1, 2], d: { x: "y" }, f: { inner: "z" }, id: 5n, missing: undefined, extra: undefined, z: 9 });
});

test.each([
  [() => unpack({}, { key: str }), "'key' is missing"],
  [() => unpack({ key: 1 }, { key: str }), "'key' is number, not a string"],
  [() => unpack({ key: -1 }, { key: uint }), "'key'"],
  [() => unpack({ key: 1.5 }, { key: int }), "'key'"],
  [() => unpack({ a: [1, "x"] }, { a: arr(int) }), "'a[1]'"],
  [() => unpack({ a: { b: 1 } }, { a: fields({ b: str }) }), "'a.b'"],
  [() => unpack({ id: -1 }, { id: jobid }), "'id'"],
])("a wrong field is named %#", (run, wanted) => {
  let thrown: unknown;
  try {
    run();
  } catch (err) {
    thrown = err;
  }
  expect(thrown).toMatchObject({ errno: errno.EPROTO });
  expect(String(thrown)).toContain(wanted);
});
