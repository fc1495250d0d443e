// Moments as people write them: "now", "+30m", "-2h", "3pm", "tomorrow 9:30", "2026-11-21 18:00", "Jun 3", "2 hours ago",
// "in a week", "last monday".
import { parseDuration } from "../formats/fsd.ts";
import { UsageError } from "./command.ts";

const DAY_WORDS: Readonly<Record<string, number>> = { yesterday: -1, today: 0, tomorrow: 1 };
const WEEKDAYS = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

/** Seconds since the epoch. `now_s` is given for tests. Throws UsageError. */
export function parseMoment(text: string, now_s: number = Date.now() / 1000): number {
  const word = text.trim().toLowerCase();
  if (word === "now") return now_s;
  if (/^[+-]/.test(word)) return now_s + (word[0] === "-" ? -1 : 1) * offset(word.slice(1));
  const absolute = relativeMoment(word, new Date(now_s * 1000)) ?? absoluteMoment(word, new Date(now_s * 1000));
  if (absolute === undefined) throw new UsageError(`Invalid datetime: "${text}"`);
  return absolute.getTime() / 1000;
}

function offset(text: string): number {
  try {
    return parseDuration(text);
  } catch {
    throw new UsageError("invalid Flux standard duration");
  }
}

const COUNTS: Readonly<Record<string, number>> = { a: 1, an: 1, one: 1, two: 2, three: 3, four: 4, five: 5, six: 6, seven: 7, eight: 8, nine: 9, ten: 10 };
/** Seconds, or months, in each. */
const UNITS: readonly (readonly [words: RegExp, seconds: number, months: number])[] = [
  [/^s(ecs?|econds?)?$/, 1, 0],
  [/^m(ins?|inutes?)?$/, 60, 0],
  [/^h(rs?|ours?)?$/, 3600, 0],
  [/^d(ays?)?$/, 86_400, 0],
  [/^w(ks?|eeks?)?$/, 604_800, 0],
  [/^mon(ths?)?$/, 0, 1],
  [/^y(rs?|ears?)?$/, 0, 12],
];

/** "2 hours ago", "in 5 minutes", "a day from now", "last week", "next monday". */
function relativeMoment(text: string, now: Date): Date | undefined {
  const span = /^(?:(\S+) ?(\p{L}+) (ago|from now)|in (\S+) ?(\p{L}+))$/u.exec(text.replace(/(?<=\d)(?=\p{L})/u, " ").replaceAll(/\s+/g, " "));
  if (span !== null) return moved(now, (span[3] === "ago" ? -1 : 1) * countOf(span[1] ?? span[4] ?? ""), span[2] ?? span[5] ?? "");
  const [, which, what = ""] = /^(last|next) (\p{L}+)$/u.exec(text) ?? [];
  if (which === undefined) return undefined;
  const sign = which === "last" ? -1 : 1;
  const weekday = WEEKDAYS.indexOf(what);
  if (weekday < 0) {
    const there = moved(now, sign, what);
    return there === undefined ? undefined : at(there, 0, [0, 0, 0]);
  }
  return at(now, (weekday - now.getDay() + 7 * (sign > 0 ? 1 : -1)) % 7 || 7 * sign, [0, 0, 0]);
}

const countOf = (word: string): number => (Object.hasOwn(COUNTS, word) ? (COUNTS[word] ?? 0) : Number(word));

function moved(now: Date, count: number, unit: string): Date | undefined {
  const found = UNITS.find(([words]) => words.test(unit));
  if (found === undefined || Number.isNaN(count)) return undefined;
  const [, seconds, months] = found;
  const there = new Date(now.getTime() + count * seconds * 1000);
  there.setMonth(there.getMonth() + count * months);
  return there;
}

function absoluteMoment(text: string, now: Date): Date | undefined {
  const clock = parseClock(text);
  if (clock !== undefined) return at(now, 0, clock);
  const [first = "", ...more] = text.split(/[\s,]+|(?<=\d)t(?=\d)/);
  const rest = parseClock(more.join(" ").replace(/^at /, "")) ?? (more.length === 0 ? [0, 0, 0] : undefined);
  if (rest === undefined) return clockFirst(text, now) ?? dateText(text, now);
  const word = first.replace(/^next$/, "");
  if (Object.hasOwn(DAY_WORDS, word)) return at(now, DAY_WORDS[word] ?? 0, rest);
  const weekday = WEEKDAYS.findIndex((day) => day === word || (word.length === 3 && day.startsWith(word)));
  if (weekday >= 0) return at(now, (weekday - now.getDay() + 7) % 7 || 7, rest);
  return dateText(text, now);
}

/** "8pm tomorrow", "8:00 on monday". */
function clockFirst(text: string, now: Date): Date | undefined {
  const [, clock = "", day = ""] = /^(.+?)\s+(?:on )?(\p{L}+)$/u.exec(text) ?? [];
  const time = parseClock(clock);
  if (time === undefined || (!Object.hasOwn(DAY_WORDS, day) && !WEEKDAYS.some((name) => name.startsWith(day) && day.length >= 3))) return undefined;
  return absoluteMoment(`${day} ${clock}`, now);
}

type ClockTime = readonly [hours: number, minutes: number, seconds: number];

/** "15:30", "3pm", "3:30:10 pm", "noon", "midnight". */
function parseClock(text: string): ClockTime | undefined {
  if (text === "noon") return [12, 0, 0];
  if (text === "midnight") return [0, 0, 0];
  const match = /^(\d{1,2})(?::(\d{2})(?::(\d{2}))?)?\s*([ap])?\.?m?\.?$/.exec(text);
  if (match === null || (match[2] === undefined && match[4] === undefined)) return undefined;
  const hours = Number(match[1]);
  if (hours > (match[4] === undefined ? 23 : 12) || Number(match[2] ?? 0) > 59 || Number(match[3] ?? 0) > 59) return undefined;
  const shifted = match[4] === undefined ? hours : (hours % 12) + (match[4] === "p" ? 12 : 0);
  return [shifted, Number(match[2] ?? 0), Number(match[3] ?? 0)];
}

function at(now: Date, days: number, [hours, minutes, seconds]: ClockTime): Date {
  return new Date(now.getFullYear(), now.getMonth(), now.getDate() + days, hours, minutes, seconds);
}

/** A calendar date, with a time or without; local time unless it says otherwise. */
function dateText(text: string, now: Date): Date | undefined {
  const plain = /^\d{4}-\d{1,2}-\d{1,2}$/.test(text) ? `${text} 00:00` : text;
  const dated = /\d{4}/.test(plain) ? plain : `${plain} ${now.getFullYear()}`;
  if (!/\d{1,2}[-/.]\d{1,2}|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec/.test(dated)) return undefined;
  const parsed = new Date(dated);
  return Number.isNaN(parsed.getTime()) ? undefined : parsed;
}
