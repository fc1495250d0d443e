// Flux Standard Duration (RFC 23): "90", "1.5m", "2h", "250ms", "infinity". In memory always seconds.

import { FormatError } from "./error.ts";

const WHAT = "duration";
const UNIT_S: Readonly<Record<string, number>> = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86400 };
const DURATION = /^\s*\+?(\d+\.?\d*(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?)(ms|s|m|h|d)?$/i;
const INFINITE = /^\s*\+?inf(?:inity)?$/i;

/** Seconds, Infinity for "inf" and "infinity". Throws FormatError. */
export function parseDuration(text: string): number {
  if (INFINITE.test(text)) return Number.POSITIVE_INFINITY;
  const match = DURATION.exec(text);
  const unit_s = UNIT_S[match?.[2] ?? "s"];
  if (!match || unit_s === undefined) {
    throw new FormatError(WHAT, text, "expected a number that is not negative, then nothing or one of ms, s, m, h, d");
  }
  return Number(match[1]) * unit_s;
}

/** What printf writes for %.Ng: N significant digits, no trailing zeroes, an exponent only for very large and small values. */
export function formatSignificant(value: number, digits: number): string {
  if (value === 0 || !Number.isFinite(value)) return String(value);
  const [mantissa = "", exponent = "0"] = value.toExponential(digits - 1).split("e");
  const power = Number(exponent);
  if (power >= -4 && power < digits) return trimZeroes(value.toFixed(digits - 1 - power));
  return `${trimZeroes(mantissa)}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
}

function trimZeroes(text: string): string {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** Seconds in the largest unit that gives at least 1, with six significant digits (or `digits`): "62.1ms", "7.2s", "1.3m", "1d", "infinity". */
export function formatDuration(seconds: number, digits = 6): string {
  if (Number.isNaN(seconds) || seconds < 0) throw new FormatError(WHAT, String(seconds), "a duration is not negative");
  if (seconds === Number.POSITIVE_INFINITY) return "infinity";
  if (seconds !== 0 && seconds < 0.1) return `${formatSignificant(seconds * 1000, digits)}ms`;
  if (seconds < 60) return `${formatSignificant(seconds, digits)}s`;
  if (seconds < 3600) return `${formatSignificant(seconds / 60, digits)}m`;
  if (seconds < 86400) return `${formatSignificant(seconds / 3600, digits)}h`;
  return `${formatSignificant(seconds / 86400, digits)}d`;
}

/** A duration as columns of commands show it: milliseconds below 10 s, else four digits: "0.250s", "12.5s", "1.5h"; "inf". */
export function displayDuration(seconds: number): string {
  if (seconds === Number.POSITIVE_INFINITY) return "inf";
  if (!(seconds >= 0.001)) return "0s";
  if (seconds < 10) return `${seconds.toFixed(3)}s`;
  if (seconds < 60) return `${formatSignificant(seconds, 4)}s`;
  if (seconds < 3600) return `${formatSignificant(seconds / 60, 4)}m`;
  if (seconds < 86400) return `${formatSignificant(seconds / 3600, 4)}h`;
  return `${formatSignificant(seconds / 86400, 4)}d`;
}

/** Two digits of a duration in its largest unit: "0s", "2.2s", "36s", "1.4m", "3d". */
export function shortDuration(seconds: number): string {
  const [unit, unit_s] = seconds < 60 ? (["s", 1] as const) : seconds < 3600 ? (["m", 60] as const) : seconds < 86_400 ? (["h", 3600] as const) : (["d", 86_400] as const);
  return `${formatSignificant(Math.max(0, seconds) / unit_s, 2)}${unit}`;
}
