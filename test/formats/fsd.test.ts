import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { displayDuration, formatDuration, formatSignificant, parseDuration } from "../../src/formats/fsd.ts";

describe("duration", () => {
  test("test vectors of RFC 23", () => {
    const vectors: [string, number][] = [
      ["2ms", 0.002],
      ["0.1s", 0.1],
      ["30", 30],
      ["1.2h", 4320],
      ["5m", 300],
      ["0s", 0],
      ["5d", 432000],
      ["inf", Infinity],
      ["INF", Infinity],
      ["infinity", Infinity],
      ["1e3", 1000],
      [".5m", 30],
    ];
    for (const [text, seconds] of vectors) expect(parseDuration(text), text).toBeCloseTo(seconds, 9);
  });
  test("what is no duration", () => {
    for (const text of ["", "x", "-1", "1w", "1 s", "1S", "infs", "nan", "1mm", "s"])
      expect(() => parseDuration(text), text).toThrow("invalid duration");
  });
  test("shown in the unit that fits", () => {
    expect([0, 0.0621, 7.2, 78, 3600, 86400, 90000, Infinity].map((seconds) => formatDuration(seconds))).toEqual([
      "0s",
      "62.1ms",
      "7.2s",
      "1.3m",
      "1h",
      "1d",
      "1.04167d",
      "infinity",
    ]);
    expect([0.0005, 0.25, 12.5, 5400, 86400, Infinity].map(displayDuration)).toEqual([
      "0s",
      "0.250s",
      "12.5s",
      "1.5h",
      "1d",
      "inf",
    ]);
    expect(() => formatDuration(-1)).toThrow("not negative");
  });
  test("significant digits as printf counts them", () => {
    expect([100000, 1000000, 0.0001, 0.00001234, 123.456789, 99999.96].map((n) => formatSignificant(n, 6))).toEqual([
      "100000",
      "1e+06",
      "0.0001",
      "1.234e-05",
      "123.457",
      "100000",
    ]);
  });
  test("comes back within six digits", () => {
    fc.assert(
      fc.property(fc.double({ min: 0.001, max: 1e6, noNaN: true }), (seconds) => {
        expect(Math.abs(parseDuration(formatDuration(seconds)) / seconds - 1)).toBeLessThan(1e-5);
      }),
    );
  });
});
