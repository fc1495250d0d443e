import { describe, expect, test } from "bun:test";
import { startHeartbeat } from "../../../src/transport/zmtp/heartbeat.ts";
import { handClock } from "./support.ts";

function scene(settings: { interval_ms: number; timeout_ms: number; ttl_ms: number } | undefined) {
  const clock = handClock();
  const state = { last_ms: clock.now_ms(), pings: 0, expired: "" };
  const heartbeat = startHeartbeat({
    clock,
    settings,
    lastReceived_ms: () => state.last_ms,
    sendPing: () => state.pings++,
    expired: (why) => {
      state.expired = why;
    },
  });
  return { clock, state, heartbeat };
}

describe("heartbeats", () => {
  test("go on while the peer answers", () => {
    const { clock, state } = scene({ interval_ms: 100, timeout_ms: 300, ttl_ms: 0 });
    for (let i = 0; i < 100; i++) {
      clock.advance(50);
      state.last_ms = clock.now_ms();
      clock.advance(1);
    }
    expect(state.expired).toBe("");
    expect(state.pings).toBeGreaterThan(30);
  });

  test("a silent peer is dead a timeout after the PING", () => {
    const { clock, state } = scene({ interval_ms: 100, timeout_ms: 300, ttl_ms: 0 });
    clock.advance(399);
    expect([state.pings, state.expired]).toEqual([1, ""]);
    clock.advance(20);
    expect(state.expired).toBe("no answer to a heartbeat within 300 ms");
  });

  test("bytes that were unread when the event loop was held save the peer", () => {
    const { clock, state } = scene({ interval_ms: 100, timeout_ms: 300, ttl_ms: 0 });
    clock.advance(401);
    state.last_ms = clock.now_ms();
    clock.advance(50);
    expect(state.expired).toBe("");
  });

  test("the peer's time to live holds without PINGs of our own", () => {
    const { clock, state, heartbeat } = scene(undefined);
    clock.advance(60_000);
    state.last_ms = clock.now_ms();
    heartbeat.pinged(500);
    clock.advance(400);
    state.last_ms = clock.now_ms();
    clock.advance(499);
    expect(state.expired).toBe("");
    clock.advance(20);
    expect(state.expired).toBe("nothing within the peer's time to live of 500 ms");
    expect(state.pings).toBe(0);
  });

  test("nothing happens after stop", () => {
    const { clock, state, heartbeat } = scene({ interval_ms: 100, timeout_ms: 300, ttl_ms: 0 });
    heartbeat.stop();
    clock.advance(10_000);
    expect([state.pings, state.expired]).toEqual([0, ""]);
  });
});
