// Heartbeats of one connection (ZeroMQ RFC 37, PING and PONG): after an interval a PING goes out; a peer from which nothing
// comes within the timeout after that is dead. A PING received with a time to live obliges us to hang up when nothing
// follows within it. Any traffic counts as a sign of life.
import type { Clock } from "./clock.ts";

export interface HeartbeatSettings {
  /** From one PING to the next. */
  interval_ms: number;
  /** How long after a PING the peer may be silent. */
  timeout_ms: number;
  /** What we tell the peer to expect of us, in tenths of a second; 0 is nothing. */
  ttl_ms: number;
}

export interface Heartbeat {
  /** A PING came with this time to live. */
  pinged(ttl_ms: number): void;
  stop(): void;
}

/** An expired deadline is looked at once more after this: when the event loop was held, the peer's bytes are still unread. */
const SECOND_LOOK_MS = 5;

export function startHeartbeat(options: {
  clock: Clock;
  /** Undefined: no PINGs of our own, but the peer's time to live holds. */
  settings: HeartbeatSettings | undefined;
  lastReceived_ms(): number;
  sendPing(): void;
  expired(why: string): void;
}): Heartbeat {
  const { clock, settings } = options;
  let peerTtl_ms = 0;
  let pingedAt_ms: number | undefined;
  let nextPing_ms = settings === undefined ? Infinity : clock.now_ms() + settings.interval_ms;
  let suspected = false;
  let stopped = false;
  let cancelTimer: (() => void) | undefined;

  function deadline(): { at_ms: number; why: string } {
    const last_ms = options.lastReceived_ms();
    if (pingedAt_ms !== undefined && last_ms > pingedAt_ms) pingedAt_ms = undefined;
    const pong_ms = pingedAt_ms === undefined || settings === undefined ? Infinity : pingedAt_ms + settings.timeout_ms;
    const ttl_ms = peerTtl_ms === 0 ? Infinity : last_ms + peerTtl_ms;
    if (pong_ms <= ttl_ms) return { at_ms: pong_ms, why: `no answer to a heartbeat within ${settings?.timeout_ms} ms` };
    return { at_ms: ttl_ms, why: `nothing within the peer's time to live of ${peerTtl_ms} ms` };
  }

  function check(): void {
    cancelTimer = undefined;
    const now_ms = clock.now_ms();
    const { at_ms, why } = deadline();
    if (now_ms >= at_ms && suspected) {
      stop();
      options.expired(why);
      return;
    }
    suspected = now_ms >= at_ms;
    if (settings !== undefined && now_ms >= nextPing_ms && pingedAt_ms === undefined) {
      options.sendPing();
      pingedAt_ms = now_ms;
      nextPing_ms = now_ms + settings.interval_ms;
    }
    arm();
  }

  function arm(): void {
    cancelTimer?.();
    cancelTimer = undefined;
    if (stopped) return;
    const now_ms = clock.now_ms();
    const ping_ms = pingedAt_ms === undefined ? nextPing_ms : Math.max(nextPing_ms, now_ms + 1);
    const next_ms = suspected ? now_ms + SECOND_LOOK_MS : Math.min(ping_ms, deadline().at_ms);
    if (next_ms !== Infinity) cancelTimer = clock.timer(Math.max(1, Math.ceil(next_ms - now_ms)), check);
  }

  function stop(): void {
    stopped = true;
    cancelTimer?.();
    cancelTimer = undefined;
  }

  arm();
  return {
    pinged(ttl_ms) {
      if (ttl_ms === peerTtl_ms || stopped) return;
      peerTtl_ms = ttl_ms;
      arm();
    },
    stop,
  };
}
