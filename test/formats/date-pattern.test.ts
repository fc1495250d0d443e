// Date patterns: which times they mean, and when the next one is.
import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { datePattern, nextMatch } from "../../src/formats/date-pattern.ts";

const at = (text: string): number => new Date(text).getTime() / 1000;
const crontab = (minute: string, hour = "*", mday = "*", month = "*", weekday = "*") => datePattern({ second: 0, minute, hour, mday, month, weekday });
const text = (time_s: number | undefined): string | undefined => {
  if (time_s === undefined) return undefined;
  const date = new Date(time_s * 1000);
  const two = (n: number): string => String(n).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}T${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
};

describe("the next time", () => {
  test.each([
    [crontab("*"), "2026-11-28T23:11:37", "2026-11-28T23:12:00"],
    [crontab("*"), "2026-11-28T23:12:00", "2026-11-28T23:13:00"],
    [crontab("*/15"), "2026-11-28T23:46:00", "2026-11-29T00:00:00"],
    [crontab("30", "4"), "2026-12-31T05:00:00", "2027-01-01T04:30:00"],
    [crontab("0", "0", "29", "1"), "2026-01-01T00:00:00", "2028-02-29T00:00:00"],
    [crontab("0", "0", "31"), "2026-11-01T00:00:00", "2026-12-31T00:00:00"],
    [crontab("0", "12", "*", "*", "mon"), "2026-11-28T00:00:00", "2026-11-30T12:00:00"],
    [crontab("0", "12", "13", "*", "fri"), "2026-11-28T00:00:00", "2027-08-13T12:00:00"],
    [crontab("0,30", "8-10", "*", "jan-mar"), "2026-03-31T10:30:00", "2027-01-01T08:00:00"],
    [datePattern({ second: 5, minute: 4, hour: 3, mday: 2, month: 0, year: 126 }), "2025-01-01T00:00:00", "2026-01-02T03:04:05"],
  ])("%#", (pattern, after, expected) => {
    expect(text(nextMatch(pattern, at(after)))).toBe(expected);
  });

  test("is none when it is past, or there is no such day", () => {
    expect(nextMatch(datePattern({ year: 100 }), at("2026-01-01T00:00:00"))).toBeUndefined();
    expect(nextMatch(crontab("0", "0", "31", "1"), at("2026-01-01T00:00:00"))).toBeUndefined();
  });

  test("fits, and nothing before it does", () => {
    const minutes = fc.uniqueArray(fc.nat(59), { minLength: 1, maxLength: 5 });
    const hours = fc.uniqueArray(fc.nat(23), { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(minutes, hours, fc.integer({ min: at("2026-01-01T00:00:00"), max: at("2027-01-01T00:00:00") }), (minute, hour, after) => {
        const next = nextMatch(crontab(minute.join(","), hour.join(",")), after) as number;
        expect(next).toBeGreaterThan(after);
        const fits = (time_s: number): boolean => minute.includes(new Date(time_s * 1000).getMinutes()) && hour.includes(new Date(time_s * 1000).getHours());
        expect(fits(next)).toBe(true);
        for (let time_s = Math.ceil((after + 1) / 60) * 60; time_s < next; time_s += 60) expect(fits(time_s)).toBe(false);
      }),
      { numRuns: 50 },
    );
  });
});

test.each([
  [{ minute: "60" }, "minute: expected numbers from 0 to 59"],
  [{ month: "12" }, "month: expected numbers from 0 to 11"],
  [{ hour: "x" }, "hour: 'x' is not a number"],
  [{ weekday: "noday" }, "weekday: 'noday' is not a number or name"],
  [{ mday: "5-1" }, "mday: expected numbers"],
  [{ minute: "*/0" }, "minute: expected numbers"],
  [{ minute: "" }, "minute"],
])("%p is refused", (given, message) => {
  expect(() => datePattern(given)).toThrow(message);
});
