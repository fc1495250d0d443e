// A short soak in every test run; the long one is in soak.ts.
import { expect, test } from "bun:test";
import { soak } from "./soak.ts";

test("nothing is lost through cancels, signals, updates, drains, deaths of brokers, ends and crashes", async () => {
  const report = await soak({ jobs: 1200, seed: 1, lives: 5 });
  expect(report.wrong).toEqual([]);
  expect(Object.values(report.results).reduce((sum, n) => sum + n, 0)).toBeGreaterThanOrEqual(1200);
  expect(report.done).toMatchObject({ crashes: 2, "orderly ends": 2, "brokers killed": 1 });
  for (const what of ["cancels", "updates", "urgencies"]) expect(report.done[what]).toBeGreaterThan(0);
}, 120_000);
