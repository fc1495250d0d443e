// Clocks and randomness that are given.

import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";

import { createVirtualClock, realClock, wallClock_ms } from "../../src/os/clock.ts";
import { createSeededRandom, systemRandom } from "../../src/os/random.ts";

describe("the real clock", () => {
  test("fires, forgets, and does not fire early for a very long time", async () => {
    const fired: string[] = [];
    const long = realClock.setTimer(2 ** 31 + 1000, () => fired.push("long"));
    const never = realClock.setTimer(Infinity, () => fired.push("never"));
    const cleared = realClock.setTimer(1, () => fired.push("cleared"));
    realClock.clear(cleared);
    const before_ms = realClock.monotonic_ms();
    await realClock.sleep(20);
    expect(realClock.monotonic_ms() - before_ms).toBeGreaterThanOrEqual(19);
    realClock.clear(long);
    realClock.clear(never);
    realClock.clear(undefined);
    expect(fired).toEqual([]);
    expect(Math.abs(realClock.now_s() - Date.now() / 1000)).toBeLessThan(1);
  });
});

test("the wall clock follows one that is set, and takes a correction of it without going back", () => {
  const dateNow = Date.now;
  try {
    const real_ms = dateNow();
    const at = (shift_ms: number): number => {
      Date.now = () => real_ms + shift_ms;
      return wallClock_ms();
    };
    const first_ms = at(5000);
    expect(at(4500)).toBe(first_ms);
    expect(at(6000)).toBeGreaterThan(first_ms);
    expect(at(-60_000)).toBeLessThan(real_ms - 59_000);
    expect(at(3_600_000)).toBeGreaterThan(real_ms + 3_599_000);
  } finally {
    Date.now = dateNow;
    wallClock_ms();
  }
});

describe("the virtual clock", () => {
  test("fires in order of time, then of setting", () => {
    fc.assert(
      fc.property(fc.array(fc.record({ delay: fc.integer({ min: 0, max: 20 }), drop: fc.boolean() }), { maxLength: 40 }), (timers) => {
        const clock = createVirtualClock();
        const fired: number[] = [];
        const set = timers.map(({ delay }, i) => clock.setTimer(delay, () => fired.push(i)));
        for (const [i, { drop }] of timers.entries()) if (drop) clock.clear(set[i]);
        while (clock.step());
        const wanted = timers
          .map(({ delay, drop }, i) => ({ delay, drop, i }))
          .filter(({ drop }) => !drop)
          .sort((a, b) => a.delay - b.delay || a.i - b.i)
          .map(({ i }) => i);
        expect(fired).toEqual(wanted);
        expect(clock.pending).toBe(0);
      }),
    );
  });

  test("advance runs what hangs on a timer before the next timer", async () => {
    const clock = createVirtualClock(100);
    const log: string[] = [];
    const work = (async () => {
      await clock.sleep(1000);
      log.push(`a ${clock.now_s()}`);
      await clock.sleep(1000);
      log.push(`b ${clock.now_s()}`);
    })();
    clock.setTimer(2500, () => log.push("c"));
    await clock.advance(2400);
    expect([log, clock.monotonic_ms(), clock.nextDue_ms()]).toEqual([["a 101", "b 102"], 2400, 2500]);
    await work;
    await clock.advance(200);
    expect(log).toEqual(["a 101", "b 102", "c"]);
  });
});

function draw(seed: number): number[] {
  const random = createSeededRandom(seed);
  return Array.from({ length: 50 }, () => random.next());
}

describe("randomness", () => {
  test("a seed repeats, another differs, values are in range", () => {
    expect(draw(7)).toEqual(draw(7));
    expect(draw(7)).not.toEqual(draw(8));
    for (const value of draw(9)) expect(value >= 0 && value < 1).toBe(true);
    const counts = [0, 0, 0];
    const random = createSeededRandom(1);
    for (let i = 0; i < 3000; i++) {
      const at = random.below(3);
      counts[at] = (counts[at] ?? 0) + 1;
    }
    for (const count of counts) expect(count).toBeGreaterThan(800);
    expect(systemRandom.bytes(16).length).toBe(16);
  });
});
