// flux job eventlog, flux job wait-event: the events of a job (RFC 18, 21), or of its execution, output or input.
import { EVENTLOG_WATCH } from "../../client/job-info.ts";
import type { JobId } from "../../formats/fluid.ts";
import { type EventlogEntry, parseEventlog, parseEventlogEntry } from "../../formats/eventlog.ts";
import { errno, isErrno } from "../../message/errno.ts";
import { str, unpack } from "../../message/unpack.ts";
import { defineCommand, flag, optional, type OptionValues, text, UsageError, value, valueOr } from "../command.ts";
import { withFlux } from "../connect.ts";
import { contextHas, eventlogLines, type EventlogLines, TIME_FORMATS, type TimeFormat } from "../eventlog-lines.ts";
import { jobIdArgument } from "../job-id.ts";
import { integer, seconds } from "../options.ts";
import { print, wantsColor, wrongUsage } from "../output.ts";

/** Short names of eventlogs. */
const PATHS: Readonly<Record<string, string>> = { exec: "guest.exec.eventlog", output: "guest.output", input: "guest.input" };

const FORMAT_OPTIONS = {
  format: text("-f, --format FORMAT", "text (default) or json"),
  timeFormat: text("-T, --time-format FORMAT", "raw (default), iso, offset or human"),
  human: flag("-H, --human", "times for people"),
  color: optional("-L, --color [WHEN]", "always (default if WHEN is left out), never or auto (default)", "always"),
  path: text("-p, --path PATH", "another eventlog: exec, output, input, or a key of the job"),
} as const;
type FormatOptions = OptionValues<typeof FORMAT_OPTIONS>;

function linesOf({ format = "text", timeFormat = "raw", human, color }: FormatOptions): EventlogLines {
  if (!human && format !== "text" && format !== "json") throw new UsageError(`invalid format type '${format}'`);
  const time = human ? "human" : timeFormat;
  if (!TIME_FORMATS.some((known) => known === time)) throw new UsageError(`invalid time-format type '${time}'`);
  return eventlogLines({ time: time as TimeFormat, json: !human && format === "json", color: wantsColor(color) });
}

const pathOf = ({ path = "eventlog" }: FormatOptions): string => (Object.hasOwn(PATHS, path) ? (PATHS[path] as string) : path);

function notFound(err: unknown, word: string, path: string): unknown {
  if (!isErrno(err, errno.ENOENT)) return err;
  return new UsageError(path === "eventlog" ? `job ${word} not found` : `eventlog path ${path} not found`);
}

export const eventlog = defineCommand({
  name: "eventlog",
  style: "getopt",
  summary: "print a job's events",
  usage: "[OPTIONS] id",
  details: `Print the events of a job.

Examples:
  flux job eventlog -H ƒ2d4mS3y        with times for people
  flux job eventlog -p exec ƒ2d4mS3y   of its execution`,
  options: { ...FORMAT_OPTIONS, follow: flag("-F, --follow", "follow events until the job is inactive") },
  async run({ options, args }) {
    const [word] = args;
    if (word === undefined || args.length !== 1) throw wrongUsage("flux job eventlog [OPTIONS] id");
    const id = jobIdArgument(word);
    const path = pathOf(options);
    const lines = linesOf(options);
    if (options.follow) return follow({ id, word, path, lines, name: "clean", count: 1, flags: EVENTLOG_WATCH.WAITCREATE, before: true, matched: true });
    return withFlux(async (h) => {
      let payload;
      try {
        payload = await h.rpc("job-info.lookup", { id, keys: [path], flags: 0 });
      } catch (err) {
        throw notFound(err, word, path);
      }
      const entries = parseEventlog(unpack({ text: payload[path] ?? null }, { text: str }).text);
      print(...entries.map((entry) => lines.line(entry)));
      return 0;
    });
  },
});

export const waitEvent = defineCommand({
  name: "wait-event",
  style: "getopt",
  summary: "wait for an event of a job and print it",
  usage: "[OPTIONS] id event",
  details: `Wait for an event of a job and print it.

Examples:
  flux job wait-event ƒ2d4mS3y start
  flux job wait-event -t 10s -p exec ƒ2d4mS3y shell.start`,
  options: {
    ...FORMAT_OPTIONS,
    timeout: value("-t, --timeout DURATION", "give up after this long", seconds),
    matchContext: text("-m, --match-context KEY=VAL", "only an event with this in its context"),
    count: valueOr("-c, --count COUNT", "wait for so many of them (default 1)", integer(), 1),
    quiet: flag("-q, --quiet", "don't print the event"),
    verbose: flag("-v, --verbose", "print all events before it"),
    waitcreate: flag("-W, --waitcreate", "wait for the eventlog to come into being"),
  },
  run({ options, args }) {
    const [word, name] = args;
    if (word === undefined || name === undefined || args.length !== 2) throw wrongUsage("flux job wait-event [OPTIONS] id event");
    if (options.count <= 0) throw new UsageError("count must be > 0");
    if (options.matchContext?.includes("=") === false) throw new UsageError("must specify a context test as key=value");
    return follow({
      id: jobIdArgument(word),
      word,
      path: pathOf(options),
      lines: linesOf(options),
      name,
      context: options.matchContext,
      count: options.count,
      timeout_s: options.timeout,
      flags: options.waitcreate ? EVENTLOG_WATCH.WAITCREATE : 0,
      before: options.verbose,
      matched: !options.quiet,
    });
  },
});

interface Wanted {
  readonly id: JobId;
  readonly word: string;
  readonly path: string;
  readonly lines: EventlogLines;
  readonly name: string;
  readonly context?: string | undefined;
  readonly count: number;
  /** Longest time without a new event. */
  readonly timeout_s?: number | undefined;
  readonly flags: number;
  /** Print events before the wanted one, and that one. */
  readonly before: boolean;
  readonly matched: boolean;
}

function follow(wanted: Wanted): Promise<number> {
  const { id, word, path, lines } = wanted;
  return withFlux(async (h) => {
    const stream = h.stream("job-info.eventlog-watch", { id, path, flags: wanted.flags }, { cancelTopic: "job-info.eventlog-watch-cancel" });
    let timedOut = false;
    const expire = (): void => {
      timedOut = true;
      void stream.return();
    };
    const arm = (): ReturnType<typeof setTimeout> | undefined =>
      wanted.timeout_s === undefined ? undefined : setTimeout(expire, wanted.timeout_s * 1000);
    let timer = arm();
    let matches = 0;
    try {
      for await (const response of stream) {
        clearTimeout(timer);
        const entry = parseEventlogEntry(unpack(response, { event: str }).event);
        lines.seen(entry);
        const found = isWanted(entry, wanted) && ++matches === wanted.count;
        if (found ? wanted.matched : wanted.before) print(lines.line(entry));
        if (found) return 0;
        timer = arm();
      }
    } catch (err) {
      throw notFound(err, word, path);
    } finally {
      clearTimeout(timer);
    }
    throw new UsageError(timedOut ? `wait-event timeout on event '${wanted.name}'` : `event '${wanted.name}' never received`);
  });
}

function isWanted(entry: EventlogEntry, { name, context }: Wanted): boolean {
  return entry.name === name && (context === undefined || contextHas(entry, context));
}
