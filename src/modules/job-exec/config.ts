// Settings of job-exec: the [exec] table of the configuration, then module arguments NAME=VALUE.
import { configTable } from "../../client/config-table.ts";
import { parseDuration } from "../../formats/fsd.ts";
import type { Json, JsonObject } from "../../formats/json.ts";
import { parseSignal, signalName } from "../../formats/signal.ts";
import { errno, FluxError } from "../../message/errno.ts";

export interface ExecConfig {
  /** From the first signal to the next, and between those to a job's tasks; five times as long to the first one to its shells. */
  readonly killTimeout_s: number;
  readonly maxKillCount: number;
  /** Gives up on processes that cannot be killed after this long; -1: after maxKillCount attempts. */
  readonly maxKillTimeout_s: number;
  readonly termSignal: number;
  readonly killSignal: number;
  /** A job that started later than this share (percent) of its duration gets the lost time back. */
  readonly maxStartDelay_percent: number;
  /** Other shells may outlive the leader by this; 0: for ever. */
  readonly shellExitTimeout_s: number;
  /** All shells must be ready so long after the first; 0: no limit. */
  readonly barrierTimeout_s: number;
  /** Idle shells that a broker keeps. */
  readonly poolSize: number | undefined;
  /** Jobs that one shell process runs before it is replaced. */
  readonly shellJobsMax: number;
  /** Guests may use simulated execution. */
  readonly testexecGuests: boolean;
}

const DEFAULTS: ExecConfig = {
  killTimeout_s: 5,
  maxKillCount: 8,
  maxKillTimeout_s: -1,
  termSignal: 15,
  killSignal: 9,
  maxStartDelay_percent: 25,
  shellExitTimeout_s: 30,
  barrierTimeout_s: 1800,
  poolSize: undefined,
  shellJobsMax: 1000,
  testexecGuests: false,
};

/** Throws FluxError EINVAL naming what is wrong. */
export function parseExecConfig(config: JsonObject, args: readonly string[]): ExecConfig {
  const table: Record<string, Json> = { ...configTable(config, "exec") };
  for (const arg of args) {
    const at = arg.indexOf("=");
    if (at > 0) table[arg.slice(0, at)] = arg.slice(at + 1);
  }
  const guests = configTable(config, "exec", "testexec")["allow-guests"] ?? false;
  if (typeof guests !== "boolean") throw invalid("testexec.allow-guests", guests);
  return {
    killTimeout_s: duration(table, "kill-timeout", DEFAULTS.killTimeout_s),
    maxKillCount: count(table, "max-kill-count", DEFAULTS.maxKillCount),
    maxKillTimeout_s: duration(table, "max-kill-timeout", DEFAULTS.maxKillTimeout_s),
    termSignal: signal(table, "term-signal", DEFAULTS.termSignal),
    killSignal: signal(table, "kill-signal", DEFAULTS.killSignal),
    maxStartDelay_percent: numeric(table, "max-start-delay-percent", DEFAULTS.maxStartDelay_percent),
    shellExitTimeout_s: table["shell-exit-timeout"] === "none" ? 0 : limit(table, "shell-exit-timeout", DEFAULTS.shellExitTimeout_s),
    barrierTimeout_s: limit(table, "barrier-timeout", DEFAULTS.barrierTimeout_s),
    poolSize: table["shell-pool-size"] === undefined ? undefined : numeric(table, "shell-pool-size", 0),
    shellJobsMax: count(table, "shell-jobs-max", DEFAULTS.shellJobsMax),
    testexecGuests: guests,
  };
}

/** Keys of the table that this module reads, or another part does. */
const KEYS: ReadonlySet<string> = new Set([
  "kill-timeout",
  "max-kill-count",
  "max-kill-timeout",
  "term-signal",
  "kill-signal",
  "max-start-delay-percent",
  "shell-exit-timeout",
  "barrier-timeout",
  "shell-pool-size",
  "shell-jobs-max",
  "testexec",
  "imp",
]);
/** Settings that name what is done anyway. */
const AS_IT_IS: Readonly<Record<string, Json>> = { service: "rexec", method: "bulk-exec" };

/** What an administrator has set in vain, in words: keys of flux-core that ask for another way to run jobs, and misspelt ones. */
export function vainSettings(config: JsonObject): string[] {
  const table = Object.entries(configTable(config, "exec"));
  return table.filter(([key, value]) => !KEYS.has(key) && AS_IT_IS[key] !== value).map(([key]) => `the key '${key}' of the table [exec] has no effect here`);
}

/** As "job-exec.stats-get" shows them. */
export function describeConfig(config: ExecConfig): JsonObject {
  const most = config.maxKillTimeout_s > 0 ? config.maxKillTimeout_s : longestKill_s(config);
  return {
    method: "bulk-exec",
    "kill-timeout": config.killTimeout_s,
    "term-signal": signalName(config.termSignal),
    "kill-signal": signalName(config.killSignal),
    "max-kill-count": config.maxKillCount,
    "max-kill-timeout": config.maxKillTimeout_s,
    "effective-max-kill-timeout": most,
    config: { default_barrier_timeout: config.barrierTimeout_s, shell_exit_timeout: config.shellExitTimeout_s },
  };
}

const KILL_WAIT_MAX_S = 300;

/** The wait between signals to a job's shells doubles with each. */
export function nextKillWait_s(wait_s: number): number {
  return Math.min(KILL_WAIT_MAX_S, wait_s * 2);
}

/** How long it takes until maxKillCount signals have been sent to a job's shells. */
function longestKill_s(config: ExecConfig): number {
  let wait_s = config.killTimeout_s;
  let total_s = wait_s * 5;
  for (let i = 1; i < config.maxKillCount; i++) {
    total_s += wait_s;
    wait_s = nextKillWait_s(wait_s);
  }
  return total_s;
}

function textOf(value: Json | undefined): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function invalid(name: string, value: Json | undefined): FluxError {
  return new FluxError(errno.EINVAL, `invalid ${name}: ${textOf(value)}`);
}

/** A duration (RFC 23), which is text. */
function limit(table: Readonly<Record<string, Json>>, name: string, fallback: number): number {
  const value = table[name];
  if (value === undefined) return fallback;
  try {
    if (typeof value === "string") return parseDuration(value);
  } catch {
    // said below
  }
  throw invalid(name, value);
}

function duration(table: Readonly<Record<string, Json>>, name: string, fallback: number): number {
  const seconds = limit(table, name, fallback);
  if (seconds === 0) throw invalid(name, table[name]);
  return seconds;
}

function numeric(table: Readonly<Record<string, Json>>, name: string, fallback: number): number {
  const value = table[name];
  if (value === undefined) return fallback;
  const number = Number(value);
  if (!Number.isFinite(number) || number < 0) throw invalid(name, value);
  return number;
}

function count(table: Readonly<Record<string, Json>>, name: string, fallback: number): number {
  const number = numeric(table, name, fallback);
  if (!Number.isInteger(number) || number <= 0) throw new FluxError(errno.EINVAL, `invalid ${name}=${textOf(table[name])}`);
  return number;
}

function signal(table: Readonly<Record<string, Json>>, name: string, fallback: number): number {
  const value = table[name];
  if (value === undefined) return fallback;
  try {
    return parseSignal(textOf(value));
  } catch {
    throw invalid(name, value);
  }
}
