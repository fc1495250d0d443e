import { expect, test } from "bun:test";
import { parseSlurmTime } from "../../src/formats/slurm-time.ts";

test("times as Slurm prints them", () => {
  expect(parseSlurmTime("1-02:03:04")).toBe(93_784);
  expect(parseSlurmTime("11:00:01")).toBe(39_601);
  expect(parseSlurmTime("29:59")).toBe(1799);
  expect(parseSlurmTime("0:00")).toBe(0);
  expect(parseSlurmTime("UNLIMITED")).toBeUndefined();
  for (const text of ["INVALID", "", "12", "1-02:03", "a:b"]) expect(() => parseSlurmTime(text), text).toThrow("Slurm time");
});
