import { expect, test } from "bun:test";
import type { JobId } from "../../../src/formats/fluid.ts";
import { History } from "../../../src/modules/job-manager/history.ts";

test("what was purged is forgotten, though nobody reads the history", () => {
  const known = new Set<JobId>();
  let asked = 0;
  const history = new History((id) => {
    asked++;
    return known.has(id);
  });
  const KEPT = 100n;
  for (let id = 1n; id <= 10_000n; id++) {
    known.add(id);
    history.add(5, id, Number(id));
    if (id <= KEPT) continue;
    known.delete(id - KEPT);
    history.removed(5);
  }
  expect(asked).toBeLessThan(50_000);
  asked = 0;
  expect(history.slice(5, "[:2]")).toEqual([10_000n, 9999n]);
  // Only those that may still be there are looked at.
  expect(asked).toBeLessThan(300);
  expect(history.slice(5, ":").length).toBe(Number(KEPT));
  for (const id of known) {
    known.delete(id);
    history.removed(5);
  }
  expect(history.slice(5, ":")).toEqual([]);
  history.add(5, 20_000n, 20_000);
  known.add(20_000n);
  expect(history.slice(5, ":")).toEqual([20_000n]);
});
