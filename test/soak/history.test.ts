// The checker of the soak finds what it is for.
import { expect, test } from "bun:test";
import { parseEventlog } from "../../src/formats/eventlog.ts";
import { checkHistory, type JobHistory } from "./history.ts";

/** A job that has one core of rank 0 from `alloc_s` to `free_s`, and ends in order. */
function job(id: string, alloc_s: number, free_s: number, edit: (names: string[]) => string[] = (names) => names): JobHistory {
  const times: Record<string, number> = { alloc: alloc_s, start: alloc_s, finish: free_s, release: free_s, free: free_s, clean: free_s };
  const contexts: Record<string, object> = { submit: { userid: 1, urgency: 16, flags: 0, version: 1 }, priority: { priority: 16 }, finish: { status: 0 }, release: { ranks: "all", final: true } };
  const names = edit(["submit", "validate", "depend", "priority", "alloc", "start", "finish", "release", "free", "clean"]);
  const text = names.map((name) => `${JSON.stringify({ timestamp: times[name] ?? 0.5, name, ...(contexts[name] && { context: contexts[name] }) })}\n`).join("");
  return { id, events: [...parseEventlog(text)], R: { version: 1, execution: { R_lite: [{ rank: "0", children: { core: "3" } }] } } };
}

test("jobs one after another on a core are fine", () => {
  expect(checkHistory([job("a", 1, 2), job("b", 2, 3), job("c", 5, 6)])).toEqual([]);
});

test("a core given twice", () => {
  expect(checkHistory([job("a", 1, 3), job("b", 2, 4)])).toEqual(["core 0/3 was given to b at 2 while a had it until 3"]);
});

test("a job without an end, with two, and one that kept its resources", () => {
  expect(checkHistory([job("a", 1, 2, (names) => names.slice(0, -1))])).toEqual(["a: the job ends in CLEANUP", "a: has 0 ends"]);
  expect(checkHistory([job("a", 1, 2, (names) => [...names, "clean"])])).toEqual(["a: event 10 'clean' in INACTIVE: after the end", "a: has 2 ends"]);
  expect(checkHistory([job("a", 1, 2, (names) => names.filter((name) => name !== "free"))])).toEqual([
    "a: event 8 'clean' in CLEANUP: cleaned out of turn",
    "a: its resources were never freed",
  ]);
});
