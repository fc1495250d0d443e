// Keys of a terminal, and what is sent to it.
import { expect, test } from "bun:test";
import { keyReader } from "../../../src/cli/top/keys.ts";
import { changes } from "../../../src/cli/top/terminal.ts";

test("letters, cursor keys in both modes, control characters", () => {
  expect(keyReader()("jk\x1b[A\x1bOBqx\r\x03\x1a\x0c")).toEqual(["down", "up", "up", "down", "quit", "enter", "interrupt", "suspend", "redraw"]);
});

test("a sequence may come in pieces; unknown ones are no keys", () => {
  const read = keyReader();
  expect(read("\x1b")).toEqual([]);
  expect(read("[")).toEqual([]);
  expect(read("B\x1b[5")).toEqual(["down"]);
  expect(read("~")).toEqual(["page-up"]);
  expect(read("\x1b[1;5Dj\x1b[200~\x1bOPk")).toEqual(["down", "up"]);
  expect(read(`\x1b[${"1;".repeat(1000)}`)).toEqual([]);
  expect(read("qj")).toContain("down");
});

test("only lines that changed are sent", () => {
  expect(changes([], ["a", "b"])).toBe("\x1b[2J\x1b[1;1Ha\x1b[K\x1b[2;1Hb\x1b[K");
  expect(changes(["a", "b", "c"], ["a", "x"])).toBe("\x1b[2;1Hx\x1b[K\x1b[3;1H\x1b[K");
  expect(changes(["a"], ["a"])).toBe("");
});
