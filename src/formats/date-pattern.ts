// Date patterns: which seconds of local time are meant, as crontab(5) has them for each unit of time: "*", "5", "1-5", "mon-fri",
// "*/15", "0,30". All units must fit. Months count from 0, as flux-cron(1) has them, and years from 1900.
import { FormatError } from "./error.ts";
import { IdSet } from "./idset.ts";

export const DATE_UNITS = ["second", "minute", "hour", "mday", "month", "year", "weekday"] as const;
export type DateUnit = (typeof DATE_UNITS)[number];

const WHAT = "date pattern";
const LIMITS: Readonly<Record<DateUnit, readonly [min: number, max: number]>> = {
  second: [0, 60],
  minute: [0, 59],
  hour: [0, 23],
  mday: [1, 31],
  month: [0, 11],
  year: [0, 3000 - 1900],
  weekday: [0, 6],
};
const NAMES: Partial<Record<DateUnit, readonly string[]>> = {
  weekday: ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"],
  month: ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"],
};
/** A pattern that fits at all does so within the leap years of a generation. */
const STEPS_MAX = 100_000;

export type DatePattern = Readonly<Record<DateUnit, IdSet>>;

/** What isn't given is "*". Throws FormatError that names the unit. */
export function datePattern(given: Partial<Record<DateUnit, string | number>>): DatePattern {
  return Object.fromEntries(DATE_UNITS.map((unit) => [unit, parseUnit(unit, String(given[unit] ?? "*"))])) as Record<DateUnit, IdSet>;
}

function parseUnit(unit: DateUnit, text: string): IdSet {
  const ids = new IdSet();
  const [min, max] = LIMITS[unit];
  for (const part of text.split(",")) {
    const [, first = "", last, stride = "1"] = /^([^-/]+)(?:-([^/]+))?(?:\/(\d+))?$/.exec(part) ?? [];
    const lo = first === "*" ? min : parseValue(unit, first, text);
    const hi = first === "*" ? max : last === undefined ? lo : parseValue(unit, last, text);
    if (lo < min || hi > max || lo > hi || Number(stride) < 1) throw new FormatError(WHAT, text, `${unit}: expected numbers from ${min} to ${max}`);
    for (let id = lo; id <= hi; id += Number(stride)) ids.add(id);
  }
  return ids;
}

/** A number, or the beginning of a name. */
function parseValue(unit: DateUnit, word: string, text: string): number {
  if (/^\d+$/.test(word)) return Number(word);
  const named = (NAMES[unit] ?? []).findIndex((name) => name.startsWith(word.toLowerCase()));
  if (named < 0 || word === "") throw new FormatError(WHAT, text, `${unit}: '${word}' is not a number${NAMES[unit] === undefined ? "" : " or name"}`);
  return named;
}

/** The first time after `after_s` (seconds since the epoch) that fits; undefined when there is none. */
export function nextMatch(pattern: DatePattern, after_s: number): number | undefined {
  const date = new Date((Math.floor(after_s) + 1) * 1000);
  for (let step = 0; step < STEPS_MAX; step++) {
    if (!pattern.year.has(date.getFullYear() - 1900)) {
      const year = pattern.year.next(date.getFullYear() - 1900);
      if (year === undefined) return undefined;
      setTo(date, year + 1900, 0, 1, 0, 0, 0);
    } else if (!pattern.month.has(date.getMonth())) setTo(date, date.getFullYear(), date.getMonth() + 1, 1, 0, 0, 0);
    else if (!pattern.mday.has(date.getDate()) || !pattern.weekday.has(date.getDay())) setTo(date, date.getFullYear(), date.getMonth(), date.getDate() + 1, 0, 0, 0);
    else if (!pattern.hour.has(date.getHours())) advance(date, 3600 - date.getMinutes() * 60 - date.getSeconds());
    else if (!pattern.minute.has(date.getMinutes())) advance(date, 60 - date.getSeconds());
    else if (!pattern.second.has(date.getSeconds())) advance(date, 1);
    else return date.getTime() / 1000;
  }
  return undefined;
}

function setTo(date: Date, year: number, month: number, mday: number, hour: number, minute: number, second: number): void {
  date.setFullYear(year, month, mday);
  date.setHours(hour, minute, second, 0);
}

/** In elapsed time, so that it gets over the hour that a change of clocks repeats. */
function advance(date: Date, seconds: number): void {
  date.setTime(date.getTime() + seconds * 1000);
}
