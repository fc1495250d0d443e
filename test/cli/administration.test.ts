// flux update, jobtap and perilog-run: their words, without an instance.
import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { objectOfWords } from "../../src/cli/object-words.ts";
import { scriptsIn } from "../../src/cli/perilog-run.ts";
import { newDuration, updateKey } from "../../src/cli/update.ts";

describe("flux update", () => {
  test.each([
    ["duration", "attributes.system.duration"],
    ["name", "attributes.system.job.name"],
    ["attributes.user.x", "attributes.user.x"],
    ["tasks.x", "tasks.x"],
    ["nope.x", "attributes.system.nope.x"],
  ])("%s is %s", (word, key) => {
    expect(updateKey(word)).toBe(key);
  });

  test.each([
    ["90", 90],
    ["1h", 3600],
    ["inf", 0],
    ["+5m", 900],
    ["-5m", 300],
    ["+inf", 0],
  ])("duration %s of a job of ten minutes is %d s", (word, seconds) => {
    expect(newDuration(word, () => 600, "ƒX")).toBe(seconds);
  });

  test.each([
    ["soon", 600, "invalid Flux standard duration"],
    ["+soon", 600, "invalid Flux standard duration"],
    ["-10m", 600, "current duration for ƒX (10m) cannot be reduced by 10m"],
    ["-3h", 7260, "current duration for ƒX (2.017h) cannot be reduced by 3h"],
    ["+1h", 0, "duration for ƒX is unlimited, can't update by +1h"],
  ])("duration %s of a job of %d s is refused", (word, current_s, message) => {
    expect(() => newDuration(word, () => current_s, "ƒX")).toThrow(message);
  });
});

test("an object from words, such as the configuration of a plugin", () => {
  expect(objectOfWords(["a.b=1", "a.c=x", "list=[1,2]", "flag", "text=1x=2"])).toEqual({ a: { b: 1, c: "x" }, list: [1, 2], flag: true, text: "1x=2" });
});

describe("flux perilog-run", () => {
  const folder = mkdtempSync(join(tmpdir(), "perilog-run-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test("takes executable files in order, nothing from a folder that isn't there", () => {
    for (const [name, mode] of [["b", 0o755], ["a", 0o755], ["c.txt", 0o644]] as const) writeFileSync(join(folder, name), "", { mode });
    mkdirSync(join(folder, "d"));
    expect(scriptsIn(folder)).toEqual([join(folder, "a"), join(folder, "b")]);
    expect(scriptsIn(join(folder, "none"))).toEqual([]);
  });
});
