// Where a task's output is cut into events.
import { expect, test } from "bun:test";
import { splitCharacters, splitLines, type Splitter } from "../../src/formats/lines.ts";

function cut(split: (emit: (data: Uint8Array) => void) => Splitter, chunks: readonly (string | Uint8Array)[]): string[] {
  const got: string[] = [];
  const splitter = split((data) => got.push(Buffer.from(data).toString("latin1")));
  for (const chunk of chunks) splitter.push(typeof chunk === "string" ? Buffer.from(chunk) : chunk);
  splitter.end();
  return got;
}

test("every line is an event of its own, however it arrives", () => {
  expect(cut(splitLines, ["a\nb\n\nc\n"])).toEqual(["a\n", "b\n", "\n", "c\n"]);
  expect(cut(splitLines, ["a", "b\nc", "d", "\n"])).toEqual(["ab\n", "cd\n"]);
  expect(cut(splitLines, ["a\nrest"])).toEqual(["a\n", "rest"]);
  expect(cut(splitLines, [])).toEqual([]);
});

test("large chunks may go on with all their lines at once", () => {
  const bulk = (emit: (data: Uint8Array) => void): Splitter => splitLines(emit, 8);
  expect(cut(bulk, ["a\nb\n", "1\n2\n3\n4\n5", "\nc\n"])).toEqual(["a\n", "b\n", "1\n2\n3\n4\n", "5\n", "c\n"]);
});

test("a line without end is passed on in pieces", () => {
  const got = cut(splitLines, Array.from({ length: 20 }, () => Buffer.alloc(100_000, "x")));
  expect(got.length).toBeGreaterThan(1);
  expect(got.join("").length).toBe(2_000_000);
});

test("characters are not cut in two", () => {
  const snowman = Buffer.from("a☃");
  expect(cut(splitCharacters, [snowman.subarray(0, 2), snowman.subarray(2)])).toEqual(["a", Buffer.from("☃").toString("latin1")]);
});
