// Who waits for a version of a namespace.
import { expect, test } from "bun:test";
import { errno, FluxError } from "../../../src/message/errno.ts";
import { VersionWaiters } from "../../../src/modules/kvs/waiters.ts";
import { errnoOf } from "./support.ts";

test("those who wait for a version or an earlier one are answered, in order; the others are not", async () => {
  const waiters = new VersionWaiters();
  const answered: string[] = [];
  const forgets: (() => void)[] = [];
  const wait = (seq: number, name: string): Promise<void> => waiters.wait(seq, (forget) => forgets.push(forget)).then(() => void answered.push(name));
  const all = [wait(5, "a"), wait(3, "b"), wait(9, "c"), wait(3, "d"), wait(4, "e")];
  waiters.reached(2);
  expect(waiters.count).toBe(5);
  forgets[4]?.();
  forgets[4]?.();
  expect(waiters.count).toBe(4);
  waiters.reached(6);
  await Promise.all([all[0], all[1], all[3]]);
  expect(answered).toEqual(["b", "d", "a"]);
  forgets[0]?.();
  expect(waiters.count).toBe(1);
  waiters.close(new FluxError(errno.EOPNOTSUPP));
  expect(await errnoOf(all[2] as Promise<void>)).toBe(errno.EOPNOTSUPP);
  expect(await errnoOf(waiters.wait(1))).toBe(errno.EOPNOTSUPP);
  expect(waiters.count).toBe(0);
});

test("a new version costs nothing for those who wait for later ones", () => {
  const waiters = new VersionWaiters();
  const far = 1_000_000;
  for (let i = 0; i < 100_000; i++) void waiters.wait(far + (i % 100));
  const begun_ms = performance.now();
  for (let seq = 1; seq <= 10_000; seq++) waiters.reached(seq);
  // Looking at each of them every time takes half a minute.
  expect(performance.now() - begun_ms).toBeLessThan(1000);
  expect(waiters.count).toBe(100_000);
});
