// Moments as people write them: "now", "+30m", "-2h", "3pm", "tomorrow 9:30", "2026-11-21 18:00", "Jun 3".
import { parseDuration } from "../formats/fsd.ts";
import { UsageError } from "./command.ts";

const DAY_WORDS: Readonly<Record<string, number>> = { yesterday: -1, today: 0, tomorrow: 1 };
const WEEKDAYS = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

/** Seconds since the epoch. `now_s` is given for tests. Throws UsageError. */
export function parseMoment(text: string, now_s: number = Date.now() / 1000): number {
  const word = text.trim().toLowerCase();
  if (word === "now") return now_s;
  if (/^[+-]/.test(word)) return now_s + (word[0] === "-" ? -1 : 1) * offset(word.slice(1));
  const absolute = absoluteMoment(word, new Date(now_s * 1000));
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

function absoluteMoment(text: string, now: Date): Date | undefined {
  const clock = parseClock(text);
  if (clock !== undefined) return at(now, 0, clock);
  const [first = "", ...more] = text.split(/[\s,]+|(?<=\d)t(?=\d)/);
  const rest = parseClock(more.join(" ").replace(/^at /, "")) ?? (more.length === 0 ? [0, 0, 0] : undefined);
  if (rest === undefined) return dateText(text, now);
  const word = first.replace(/^next$/, "");
  if (Object.hasOwn(DAY_WORDS, word)) return at(now, DAY_WORDS[word] ?? 0, rest);
  const weekday = WEEKDAYS.findIndex((day) => day === word || (word.length === 3 && day.startsWith(word)));
  if (weekday >= 0) return at(now, (weekday - now.getDay() + 7) % 7 || 7, rest);
  return dateText(text, now);
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
