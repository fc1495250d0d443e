// Module heartbeat: the pulse of the instance. Rank 0 publishes the event heartbeat.pulse every period; the others
// watch it, and cut themselves off from a parent from which none has come for too long.
//
//   event heartbeat.pulse
//   heartbeat.stats-get → { period, timeout, count, warn_thresh }
//
// Configuration: [heartbeat] period = "2s" timeout = "5m" (0 or "infinity": never) warn_thresh = 3
// Argument: period=FSD
import { defineModule } from "../../client/module.ts";
import { FormatError } from "../../formats/error.ts";
import { formatDuration, parseDuration } from "../../formats/fsd.ts";
import { isJsonObject, type JsonObject } from "../../formats/json.ts";
import { errno, FluxError } from "../../message/errno.ts";
import type { Timer } from "../../os/clock.ts";

interface Settings {
  readonly period_s: number;
  /** -1: never. */
  readonly timeout_s: number;
  readonly warnThreshold: number;
}

const DEFAULTS: Settings = { period_s: 2, timeout_s: 300, warnThreshold: 3 };

export default defineModule({
  name: "heartbeat",
  async start(h, { args, clock, config, rank }) {
    const read = (from: JsonObject): Settings => withArgs(readConfig(from), args);
    let settings = read(config);
    let count = 0;
    let last_ms = clock.monotonic_ms();
    let overdue = false;
    let timer: Timer | undefined;

    const pulse = (): void => {
      h.publish("heartbeat.pulse");
      count++;
    };
    const check = (): void => {
      const silent_s = (clock.monotonic_ms() - last_ms) / 1000;
      const isOverdue = silent_s > settings.period_s * settings.warnThreshold;
      if (isOverdue !== overdue) h.log(4, isOverdue ? "heartbeat overdue" : "heartbeat received");
      overdue = isOverdue;
      if (settings.timeout_s < 0 || silent_s < settings.timeout_s) return;
      h.notify("overlay.disconnect-parent", { reason: `no heartbeat for ${formatDuration(Math.round(silent_s))}` });
      last_ms = clock.monotonic_ms();
    };
    const tick = (): void => {
      if (rank === 0) pulse();
      else check();
      timer = clock.setTimer(settings.period_s * 1000, tick);
    };

    if (rank !== 0) {
      await h.subscribe("heartbeat.pulse", () => {
        count++;
        last_ms = clock.monotonic_ms();
      });
    }
    await h.serve("heartbeat", {});
    tick();
    return {
      stop: () => clock.clear(timer),
      stats: () => ({ period: settings.period_s, timeout: settings.timeout_s, count, warn_thresh: settings.warnThreshold }),
      reconfigure(newConfig) {
        settings = read(newConfig);
        clock.clear(timer);
        tick();
      },
    };
  },
});

function withArgs(settings: Settings, args: readonly string[]): Settings {
  let { period_s } = settings;
  for (const arg of args) {
    if (!arg.startsWith("period=")) throw new FluxError(errno.EINVAL, `${arg}: unknown option`);
    period_s = duration(arg.slice("period=".length), "period: error parsing FSD");
    if (!(period_s > 0)) throw new FluxError(errno.EINVAL, "period must be a positive FSD value");
  }
  return { ...settings, period_s };
}

function readConfig(config: JsonObject): Settings {
  const table = config["heartbeat"] ?? {};
  if (!isJsonObject(table)) throw new FluxError(errno.EINVAL, "error reading [heartbeat] config table: it is not a table");
  for (const key of Object.keys(table)) {
    if (!["period", "timeout", "warn_thresh"].includes(key)) throw new FluxError(errno.EINVAL, `error reading [heartbeat] config table: unknown key ${key}`);
  }
  const { period, timeout, warn_thresh = DEFAULTS.warnThreshold } = table;
  const period_s = period === undefined ? DEFAULTS.period_s : duration(period, "error parsing heartbeat.period FSD value");
  if (!(period_s > 0)) throw new FluxError(errno.EINVAL, "heartbeat.period must be a positive FSD value");
  let timeout_s = timeout === undefined ? DEFAULTS.timeout_s : duration(timeout, "error parsing heartbeat.timeout FSD value");
  if (timeout_s === 0 || timeout_s === Infinity) timeout_s = -1;
  if (timeout_s !== -1 && timeout_s < 2 * period_s) {
    throw new FluxError(errno.EINVAL, "heartbeat.timeout must be >= 2*heartbeat.period, infinity, or 0");
  }
  if (typeof warn_thresh !== "number" || !Number.isInteger(warn_thresh) || warn_thresh <= 0) {
    throw new FluxError(errno.EINVAL, "heartbeat.warn_thresh must be positive");
  }
  return { period_s, timeout_s, warnThreshold: warn_thresh };
}

function duration(text: unknown, what: string): number {
  if (typeof text !== "string") throw new FluxError(errno.EINVAL, what);
  try {
    return parseDuration(text);
  } catch (err) {
    if (err instanceof FormatError) throw new FluxError(errno.EINVAL, `${what}: ${err.message}`);
    throw err;
  }
}
