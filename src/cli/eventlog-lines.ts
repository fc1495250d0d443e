// Eventlog entries (RFC 18) as lines for people:
//
//   1795227143.919160 start note="x"          raw (the default), offset from the first, iso or human times
import { type EventlogEntry, formatEventlogEntry } from "../formats/eventlog.ts";
import { encodeJson, type Json } from "../formats/json.ts";
import { humanTimes, isoTime } from "./human-time.ts";
import { COLOR } from "./output.ts";

export const TIME_FORMATS = ["raw", "offset", "iso", "human"] as const;
export type TimeFormat = (typeof TIME_FORMATS)[number];

export interface EventlogFormat {
  readonly time: TimeFormat;
  /** Entries as they are stored, one JSON object a line. */
  readonly json?: boolean;
  readonly color?: boolean;
  /** Times are right-aligned in so many columns. */
  readonly timeWidth?: number;
}

export interface EventlogLines {
  /** The line of an entry, without its newline. */
  line(entry: EventlogEntry): string;
  /** Offsets count from the first entry that was seen, shown or not. */
  seen(entry: EventlogEntry): void;
}

export function eventlogLines({ time, json = false, color = false, timeWidth = 0 }: EventlogFormat): EventlogLines {
  const paint = (code: string, text: string): string => (color ? `${code}${text}${COLOR.reset}` : text);
  const human = humanTimes();
  let first_s: number | undefined;
  const stamp = (time_s: number): string => {
    first_s ??= time_s;
    if (time === "offset") return paint(COLOR.green, (time_s - first_s).toFixed(6).padStart(timeWidth));
    if (time === "iso") return paint(COLOR.green, isoTime(time_s));
    if (time === "raw") return paint(COLOR.green, time_s.toFixed(6));
    const { text, isBreak } = human(time_s);
    return paint(isBreak ? COLOR.bold + COLOR.green : COLOR.green, text);
  };
  return {
    seen(entry) {
      first_s ??= entry.timestamp;
    },
    line(entry) {
      if (json) return formatEventlogEntry(entry).trimEnd();
      const name = paint(entry.name === "exception" ? COLOR.bold + COLOR.red : COLOR.yellow, entry.name);
      const context = Object.entries(entry.context ?? {}).map(([key, value]) => {
        const shown = paint(typeof value === "number" || typeof value === "bigint" ? COLOR.gray : COLOR.magenta, memberText(key, value));
        return ` ${paint(COLOR.blue, key)}=${shown}`;
      });
      return `${stamp(entry.timestamp)} ${name}${context.join("")}`;
    },
  };
}

/** Whether "KEY=VAL" holds for an entry's context; VAL is a text, or JSON as it is shown. */
export function contextHas(entry: EventlogEntry, test: string): boolean {
  const equals = test.indexOf("=");
  const key = test.slice(0, equals);
  const wanted = test.slice(equals + 1);
  const member = entry.context?.[key];
  return member !== undefined && (member === wanted || encodeJson(member) === wanted || memberText(key, member) === wanted);
}

/** A member's value as JSON has it under that name: those that are reals are written as reals. */
export function memberText(key: string, value: Json): string {
  return encodeJson({ [key]: value }).slice(encodeJson(key).length + 2, -1);
}
