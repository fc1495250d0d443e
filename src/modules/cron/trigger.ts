// What makes a cron entry run: a period, events, or points in time. A trigger calls `fire` each time, between start and stop.
import type { Flux, Subscription } from "../../client/flux.ts";
import { type DatePattern, DATE_UNITS, type DateUnit, datePattern, nextMatch } from "../../formats/date-pattern.ts";
import type { Json, JsonObject } from "../../formats/json.ts";
import { errno, FluxError, toFluxError } from "../../message/errno.ts";
import { def, int, num, opt, type Reader, str, unpack } from "../../message/unpack.ts";
import type { Clock, Timer } from "../../os/clock.ts";

export interface Trigger {
  start(): void;
  stop(): void;
  /** For good. */
  end(): Promise<void>;
  /** Its part of an entry's description. */
  describe(): JsonObject;
}

export interface TriggerContext {
  readonly h: Flux;
  readonly clock: Clock;
  readonly fire: () => void;
  /** When the entry last ran, seconds. */
  readonly lastRun_s: () => number;
  /** No more will come: `text` says why when that is an error. */
  readonly exhausted: (text: string) => void;
  readonly log: (level: 3 | 7, text: string) => void;
}

/** Throws FluxError ENOSYS for an unknown type, EPROTO for arguments that don't fit. */
export async function newTrigger(type: string, args: JsonObject, context: TriggerContext): Promise<Trigger> {
  if (type === "interval") return intervalTrigger(args, context);
  if (type === "event") return eventTrigger(args, context);
  if (type === "datetime") return datetimeTrigger(args, context);
  throw new FluxError(errno.ENOSYS, `there is no cron entry of type '${type}'`);
}

function intervalTrigger(args: JsonObject, { clock, fire }: TriggerContext): Trigger {
  const { interval, after } = unpack(args, { interval: num, after: opt(num) });
  if (interval < 0) throw new FluxError(errno.EINVAL, "an interval can't be negative");
  const first = after === undefined || after < 0 ? interval : after;
  let timer: Timer | undefined;
  let due_ms = 0;
  const arm = (): void => {
    timer = clock.setTimer(due_ms - clock.monotonic_ms(), () => {
      // Times that were missed are not made up for.
      due_ms = Math.max(due_ms + interval * 1000, clock.monotonic_ms());
      timer = undefined;
      if (interval > 0) arm();
      fire();
    });
  };
  return {
    start() {
      due_ms = clock.monotonic_ms() + first * 1000;
      arm();
    },
    stop() {
      clock.clear(timer);
      timer = undefined;
    },
    end: async () => clock.clear(timer),
    describe: () => ({ interval, after: first, next_wakeup: timer === undefined ? 0 : clock.now_s() + (due_ms - clock.monotonic_ms()) / 1000 }),
  };
}

async function eventTrigger(args: JsonObject, { h, clock, fire, lastRun_s, log }: TriggerContext): Promise<Trigger> {
  const { topic, nth, after, min_interval } = unpack(args, { topic: str, nth: def(int, 0), after: def(int, 0), min_interval: def(num, 0) });
  let counter = 0;
  let running = false;
  let timer: Timer | undefined;
  const receive = (): void => {
    if (!running) return;
    counter++;
    if (timer !== undefined || counter < after || (nth > 0 && (counter - after) % nth !== 0)) return;
    const left_s = min_interval - (clock.now_s() - lastRun_s());
    if (min_interval <= 0 || left_s <= 1e-5) return fire();
    log(7, `delaying ${left_s.toFixed(3)}s due to min interval`);
    timer = clock.setTimer(left_s * 1000, () => {
      timer = undefined;
      fire();
    });
  };
  const subscription: Subscription = await h.subscribe(topic, receive);
  return {
    start() {
      counter = 0;
      running = true;
    },
    stop() {
      running = false;
      clock.clear(timer);
      timer = undefined;
    },
    end: () => subscription.unsubscribe(),
    describe: () => ({ topic, nth, after, counter, min_interval: min_interval }),
  };
}

const dateField: Reader<string | number | undefined> = (value, path) => {
  if (value === undefined || typeof value === "number") return value;
  return str(value, path);
};

function datetimeTrigger(args: JsonObject, { clock, fire, exhausted }: TriggerContext): Trigger {
  const pattern = parsePattern(args);
  let timer: Timer | undefined;
  let next_s: number | undefined = nextMatch(pattern, clock.now_s());
  const arm = (): void => {
    next_s = nextMatch(pattern, clock.now_s());
    if (next_s === undefined) return exhausted("Unable to get next wakeup. Stopping.");
    timer = clock.setTimer((next_s - clock.now_s()) * 1000, () => {
      timer = undefined;
      // Timers may be early by a little, and clocks are set.
      if (next_s !== undefined && clock.now_s() < next_s) return arm();
      fire();
      if (running) arm();
    });
  };
  let running = false;
  return {
    start() {
      running = true;
      arm();
    },
    stop() {
      running = false;
      clock.clear(timer);
      timer = undefined;
    },
    end: async () => clock.clear(timer),
    describe: () => ({ next_wakeup: next_s ?? 0, ...(Object.fromEntries(DATE_UNITS.map((unit) => [unit, pattern[unit].toString()])) as Record<string, Json>) }),
  };
}

function parsePattern(args: JsonObject): DatePattern {
  const given: Partial<Record<DateUnit, string | number>> = {};
  for (const unit of DATE_UNITS) {
    const value = dateField(args[unit], unit);
    if (value !== undefined) given[unit] = value;
  }
  try {
    return datePattern(given);
  } catch (err) {
    throw new FluxError(errno.EINVAL, toFluxError(err).message);
  }
}
