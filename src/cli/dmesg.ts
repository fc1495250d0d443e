// flux dmesg: the broker's ring of recent log messages ("log.dmesg" streams them as text, "log.clear" empties it).
import { LOG_LEVELS, type LogEntry, type LogLevel, parseLogEntry } from "../client/log.ts";
import { defineCommand, flag, optional, UsageError } from "./command.ts";
import { explain, explained, withFlux } from "./connect.ts";
import { type HumanTime, humanTimes, isoTime } from "./human-time.ts";
import { COLOR, print, wantsColor } from "./output.ts";

const LEVEL_COLORS: Readonly<Partial<Record<LogLevel, string>>> = {
  0: COLOR.reverse + COLOR.red,
  1: COLOR.reverse + COLOR.red,
  2: COLOR.bold + COLOR.red,
  3: COLOR.red,
  4: COLOR.bold,
  7: COLOR.blue,
};

export default defineCommand({
  name: "dmesg",
  style: "getopt",
  summary: "print or clear the broker's log",
  usage: "[OPTIONS]",
  options: {
    clear: flag("-C, --clear", "clear the log"),
    readClear: flag("-c, --read-clear", "print the log, then clear it"),
    follow: flag("-f, --follow", "go on with new messages as they come"),
    new: flag("-n, --new", "only new messages"),
    human: flag("-H, --human", "times for people"),
    delta: flag("-d, --delta", "with --human, the time since the message before"),
    color: optional("-L, --color [WHEN]", "colours: always (default if WHEN is left out), never or auto (default)", "always"),
  },
  async run({ options, args }) {
    if (args.length > 0) throw new UsageError("flux-dmesg accepts no free arguments");
    if (options.delta && !options.human) throw new UsageError("--delta can only be used with --human");
    const format = lineFormatter(options.human, options.delta, wantsColor(options.color));
    return withFlux(async (h) => {
      if (!options.clear) {
        try {
          for await (const line of h.streamText("log.dmesg", { follow: options.follow, nobacklog: options.new })) {
            print(format(line));
          }
        } catch (err) {
          throw explained("log.dmesg", err, true);
        }
      }
      if (options.clear || options.readClear) await explain("log.clear", h.rpc("log.clear"), true);
      return 0;
    });
  },
});

/** From a line of the log to what is shown; a line that isn't one is shown as it is. */
export function lineFormatter(human: boolean, delta: boolean, color: boolean): (line: string) => string {
  const times = humanTimes(delta);
  const paint = (code: string, text: string): string => (color ? `${code}${text}${COLOR.reset}` : text);
  return (line) => {
    const entry = parseLogEntry(line);
    if (entry === undefined) return line;
    const time = human ? times(Date.parse(entry.timestamp) / 1000 + microsecondsOf(entry)) : plainTime(entry);
    const name = `${entry.appname}.${LOG_LEVELS[entry.level]}[${Number.parseInt(entry.hostname, 10) || 0}]`;
    const stamp = paint(time.isBreak ? COLOR.bold + COLOR.green : COLOR.green, time.text);
    const body = entry.text.replace(/\n+$/, "");
    const levelColor = LEVEL_COLORS[entry.level];
    // A message without a colour of its own still ends in a reset, as people's filters know it.
    const shown = color && levelColor === undefined ? `${body}${COLOR.reset}` : paint(levelColor ?? "", body);
    return `${stamp} ${paint(COLOR.yellow, name)}: ${shown}`;
  };
}

/** Date.parse() keeps milliseconds; the log has microseconds. */
function microsecondsOf({ timestamp }: LogEntry): number {
  const digits = /\.\d{3}(\d{1,3})/.exec(timestamp)?.[1] ?? "";
  return Number(digits.padEnd(3, "0")) / 1e6;
}

function plainTime(entry: LogEntry): HumanTime {
  const time_s = Date.parse(entry.timestamp) / 1000;
  if (new Date(time_s * 1000).getTimezoneOffset() === 0 || Number.isNaN(time_s)) return { text: entry.timestamp, isBreak: false };
  return { text: isoTime(time_s + microsecondsOf(entry)), isBreak: false };
}
