import { expect, test } from "bun:test";
import { Attributes } from "../../src/broker/attributes.ts";
import { TorpidWatch } from "../../src/broker/overlay/torpid-watch.ts";
import { applyTorpidConfig, torpidSettings } from "../../src/broker/torpid.ts";
import { createVirtualClock, type VirtualClock } from "../../src/os/clock.ts";

interface Setup {
  readonly clock: VirtualClock;
  readonly watch: TorpidWatch;
  /** What was reported. */
  readonly changes: [rank: number, isTorpid: boolean][];
  readonly hear: (rank: number) => void;
}

function setup(max_ms: number): Setup {
  const clock = createVirtualClock();
  const heard_ms = new Map([[1, 0], [2, 0]]);
  const torpid = new Set<number>();
  const changes: [number, boolean][] = [];
  const watch = new TorpidWatch({
    clock,
    settings: { min_ms: 100, max_ms },
    children: () => [...heard_ms].map(([rank, at_ms]) => ({ rank, silent_ms: clock.monotonic_ms() - at_ms, isTorpid: torpid.has(rank) })),
    changed(rank, isTorpid) {
      changes.push([rank, isTorpid]);
      if (isTorpid) torpid.add(rank);
      else torpid.delete(rank);
    },
  });
  return { clock, watch, changes, hear: (rank) => heard_ms.set(rank, clock.monotonic_ms()) };
}

test("a child that is silent is torpid, until it is heard again", async () => {
  const { clock, watch, changes, hear } = setup(1000);
  await clock.advance(900);
  hear(1);
  await clock.advance(300);
  expect(changes).toEqual([[2, true]]);
  hear(2);
  await clock.advance(100);
  expect(changes).toEqual([[2, true], [2, false]]);
  watch.stop();
  expect(clock.pending).toBe(0);
});

test("one who was heard between two looks was only read late", async () => {
  const { clock, changes, hear } = setup(1000);
  await clock.advance(1010);
  while (changes.length === 0 && clock.monotonic_ms() < 1100) {
    hear(1);
    hear(2);
    await clock.advance(10);
  }
  expect(changes).toEqual([]);
});

test("other settings hold at once, and 0 is for never", async () => {
  const { clock, watch, changes } = setup(0);
  await clock.advance(1e6);
  expect(changes).toEqual([]);
  watch.settings = { min_ms: 10, max_ms: 50 };
  await clock.advance(60);
  expect(changes).toEqual([[1, true], [2, true]]);
  watch.settings = { min_ms: 10, max_ms: 0 };
  expect(changes.slice(2)).toEqual([[1, false], [2, false]]);
});

test("attributes and configuration are checked before anything changes", () => {
  const attrs = new Attributes();
  attrs.set("tbon.torpid_min", "5s");
  attrs.set("tbon.torpid_max", "30");
  expect(torpidSettings(attrs)).toEqual({ min_ms: 5000, max_ms: 30_000 });
  expect(attrs.get("tbon.torpid_max")).toBe("30s");
  expect(applyTorpidConfig(attrs, {})).toEqual({ min_ms: 5000, max_ms: 30_000 });
  expect(applyTorpidConfig(attrs, { tbon: { torpid_max: "1m" } })).toEqual({ min_ms: 5000, max_ms: 60_000 });
  expect(attrs.get("tbon.torpid_max")).toBe("1m");
  expect(() => applyTorpidConfig(attrs, { tbon: { torpid_min: 3 } })).toThrow("torpid_min: expected a duration");
  expect(() => applyTorpidConfig(attrs, { tbon: { torpid_min: "x" } })).toThrow("tbon.torpid_min: 'x' is not a duration");
  expect(() => applyTorpidConfig(attrs, { tbon: { torpid_min: "0" } })).toThrow("tbon.torpid_min must be more than 0");
  expect(() => applyTorpidConfig(attrs, { tbon: { torpid_max: "4s" } })).toThrow("tbon.torpid_max must be more than tbon.torpid_min");
  expect(attrs.get("tbon.torpid_min")).toBe("5s");
  expect(applyTorpidConfig(attrs, { tbon: { torpid_max: "0" } }).max_ms).toBe(0);
});
