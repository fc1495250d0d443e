// flux startlog: when the instance ran, from the eventlog at the key "admin.eventlog" (events start and finish).
import { type EventlogEntry, parseEventlog } from "../formats/eventlog.ts";
import { formatSignificant } from "../formats/fsd.ts";
import { defineCommand, flag } from "./command.ts";
import { explain, withFlux } from "./connect.ts";
import { lookup, valueBytes } from "./kvs/request.ts";
import { print } from "./output.ts";

const STARTLOG_KEY = "admin.eventlog";

export default defineCommand({
  name: "startlog",
  style: "getopt",
  summary: "list when the instance ran",
  usage: "[OPTIONS]",
  options: {
    check: flag("--check", "exit with 1 when the run before this one was not shut down properly"),
    quiet: flag("--quiet", "print nothing"),
    version: flag("-v, --show-version", "print the version of each run too"),
  },
  run: ({ options }) =>
    withFlux(async (h) => {
      const log = valueBytes(await explain("Error fetching eventlog", lookup(h, STARTLOG_KEY, 0, { namespace: "primary" }), true));
      const { lines, crashed } = startLines(parseEventlog(log.toString()), options.version, Date.now() / 1000);
      if (!options.quiet) print(...lines);
      return options.check && crashed ? 1 : 0;
    }),
});

/** One line a run: "2026-11-21 02:22 - running (1.2s)". `crashed`: the last run that ended did not finish. */
export function startLines(log: readonly EventlogEntry[], showVersion: boolean, now_s: number): { lines: string[]; crashed: boolean } {
  const lines: string[] = [];
  let crashed = false;
  let start: string | undefined;
  let last_s = 0;
  for (const { timestamp, name, context } of log) {
    if (name === "start") {
      if (start !== undefined) {
        lines.push(`${start}crashed`);
        crashed = true;
      }
      const version = context?.["core_version"];
      const prefix = showVersion ? `${(typeof version === "string" ? version : "").padStart(25)}  ` : "";
      start = `${prefix}${minuteOf(timestamp)} - `;
    } else if (name === "finish") {
      if (start !== undefined) {
        lines.push(`${start}${minuteOf(timestamp)} (${shortDuration(timestamp - last_s)})`);
        crashed = false;
      }
      start = undefined;
    }
    last_s = timestamp;
  }
  if (start !== undefined) lines.push(`${start}running (${shortDuration(now_s - last_s)})`);
  return { lines, crashed };
}

function minuteOf(time_s: number): string {
  const date = new Date(time_s * 1000);
  const two = (n: number): string => String(n).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

/** Two significant digits of the largest unit. */
function shortDuration(seconds: number): string {
  const units = [
    [86_400, "d"],
    [3600, "h"],
    [60, "m"],
    [1, "s"],
  ] as const;
  const [size, unit] = units.find(([s]) => seconds >= s) ?? [0.001, "ms"];
  return `${formatSignificant(Math.max(0, seconds) / size, 2)}${unit}`;
}
