// flux startlog: when the instance ran, from the eventlog at the key "admin.eventlog" (events start and finish).
import type { Flux } from "../client/flux.ts";
import { KVS, KVS_COMMIT } from "../client/kvs.ts";
import { type EventlogEntry, formatEventlogEntry, parseEventlog } from "../formats/eventlog.ts";
import { formatSignificant } from "../formats/fsd.ts";
import { STARTLOG_KEY, STARTLOG_VERSION } from "../broker/startlog.ts";
import { FLUX_VERSION } from "../version.ts";
import { defineCommand, flag, hidden, UsageError } from "./command.ts";
import { explain, withFlux } from "./connect.ts";
import { commit, lookup, valDirent, valueBytes } from "./kvs/request.ts";
import { print } from "./output.ts";

export default defineCommand({
  name: "startlog",
  style: "getopt",
  summary: "list when the instance ran",
  usage: "[OPTIONS]",
  options: {
    check: flag("--check", "exit with 1 when the run before this one was not shut down properly"),
    quiet: flag("--quiet", "print nothing"),
    version: flag("-v, --show-version", "print the version of each run too"),
    postStart: hidden(flag("--post-start-event", "add a start event: for rc1")),
    postFinish: hidden(flag("--post-finish-event", "add a finish event: for rc3")),
  },
  run: ({ options }) =>
    withFlux(async (h) => {
      if (options.postStart) return post(h, "start", { version: STARTLOG_VERSION, core_version: FLUX_VERSION }, KVS_COMMIT.SYNC);
      if (options.postFinish) return post(h, "finish", { version: STARTLOG_VERSION }, 0);
      const log = valueBytes(await explain("Error fetching eventlog", lookup(h, STARTLOG_KEY, 0, { namespace: "primary" }), true));
      const { lines, crashed } = startLines(parseEventlog(log.toString()), options.version, Date.now() / 1000);
      if (!options.quiet) print(...lines);
      return options.check && crashed ? 1 : 0;
    }),
});

async function post(h: Flux, name: string, context: NonNullable<EventlogEntry["context"]>, flags: number): Promise<number> {
  if ((await h.attr("rank")) !== "0") throw new UsageError("Startlog events may only be posted from rank 0");
  const dirent = valDirent(Buffer.from(formatEventlogEntry({ timestamp: Date.now() / 1000, name, context })));
  await explain(`Error committing ${name} event`, commit(h, "primary", [{ key: STARTLOG_KEY, flags: KVS.APPEND, dirent }], flags), true);
  return 0;
}

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
  const [size, unit] = units.find(([s]) => seconds >= s) ?? [1, "s"];
  return `${formatSignificant(Math.max(0, seconds) / size, 2)}${unit}`;
}
