// flux kvs eventlog: append to an eventlog (RFC 18) at any key, print it, wait for an event in it.
import type { Flux } from "../../client/flux.ts";
import { KVS } from "../../client/kvs.ts";
import type { Stream } from "../../client/stream.ts";
import { FormatError } from "../../formats/error.ts";
import { type EventlogEntry, EventlogParser, formatEventlogEntry, parseEventlog } from "../../formats/eventlog.ts";
import { decodeJsonObject, type JsonObject } from "../../formats/json.ts";
import { errno, FluxError, isErrno } from "../../message/errno.ts";
import { obj, unpack } from "../../message/unpack.ts";
import { defineCommand, flag, optional, UsageError, value, valueOr } from "../command.ts";
import { explain, explained, withFlux } from "../connect.ts";
import { eventlogLines, type EventlogLines } from "../eventlog-lines.ts";
import { integer, real, seconds } from "../options.ts";
import { print, wantsColor, wrongUsage } from "../output.ts";
import { commit, lookup, namespaceOption, normalKey, valDirent, valueBytes, watch } from "./request.ts";

const append = defineCommand({
  name: "append",
  style: "getopt",
  summary: "append an event",
  usage: "[OPTIONS] key name [context ...]",
  options: { namespace: namespaceOption, timestamp: value("-t, --timestamp SECONDS", "time of the event (default: now)", real) },
  async run({ options, args }) {
    const [key, name, ...words] = args;
    if (key === undefined || name === undefined) throw wrongUsage("flux kvs eventlog append [OPTIONS] key name [context ...]");
    const entry = { timestamp: options.timestamp ?? Date.now() / 1000, name, ...parseContext(words) };
    const dirent = valDirent(Buffer.from(formatEventlogEntry(entry)));
    return withFlux(async (h) => {
      await explain("flux_kvs_commit", commit(h, options.namespace, [{ key: normalKey(key), flags: KVS.APPEND, dirent }]));
      return 0;
    });
  },
});

function parseContext(words: readonly string[]): { context?: JsonObject } {
  if (words.length === 0) return {};
  try {
    return { context: decodeJsonObject(words.join(" ")) };
  } catch {
    throw explained("eventlog_entry_create", new FluxError(errno.EINVAL));
  }
}

const formatOptions = {
  unformatted: flag("-u, --unformatted", "print events as they are stored (RFC 18)"),
  human: flag("-H, --human", "times for people"),
  color: optional("-L, --color [WHEN]", "colours: always (default if WHEN is left out), never or auto (default)", "always"),
} as const;

function formatterOf(options: { unformatted: boolean; human: boolean; color: string | undefined }): EventlogLines {
  if (options.unformatted && (options.human || options.color === "always")) {
    throw new UsageError("Do not specify --unformatted with --human or --color=always");
  }
  const color = wantsColor(options.color);
  return eventlogLines({ time: options.human ? "human" : "raw", json: options.unformatted, color });
}

const get = defineCommand({
  name: "get",
  style: "getopt",
  summary: "print an eventlog",
  usage: "[OPTIONS] key",
  options: {
    namespace: namespaceOption,
    waitcreate: flag("-W, --waitcreate", "wait until the key exists"),
    watch: flag("-w, --watch", "go on with new events as they come"),
    count: valueOr("-c, --count COUNT", "with --watch, end after so many events", integer(0), 0),
    stream: flag("-S, --stream", "fetch a large eventlog in pieces"),
    ...formatOptions,
  },
  async run({ options, args }) {
    const [key] = args;
    if (key === undefined || args.length !== 1) throw wrongUsage("flux kvs eventlog get [OPTIONS] key");
    const lines = formatterOf(options);
    const flags = (options.waitcreate ? KVS.WAITCREATE : 0) | (options.watch ? KVS.WATCH | KVS.WATCH_APPEND : 0) | (options.stream ? KVS.STREAM : 0);
    return withFlux(async (h) => {
      try {
        if (!options.watch && !options.stream) {
          const log = parseEventlog(valueBytes(await lookup(h, key, flags, options)).toString());
          print(...log.map((entry) => lines.line(entry)));
          return 0;
        }
        let count = 0;
        for await (const entry of entries(watch(h, key, flags, options))) {
          print(lines.line(entry));
          if (++count === options.count && options.watch) break;
        }
        return 0;
      } catch (err) {
        throw failure(err);
      }
    });
  },
});

function failure(err: unknown): unknown {
  if (err instanceof FormatError) return new FluxError(errno.EINVAL, `cannot decode improperly formatted eventlog: ${err.message}`);
  return explained("flux_kvs_lookup_get", err);
}

async function* entries(answers: Stream): AsyncGenerator<EventlogEntry> {
  const parser = new EventlogParser();
  for await (const answer of answers) {
    yield* parser.push(valueBytes(unpack(answer, { val: obj }).val));
    // Entries are appended whole: the rest of one will not come, and to wait for it would be for ever.
    parser.end();
  }
}

interface WaitOptions {
  readonly namespace: string | undefined;
  readonly waitcreate: boolean;
  readonly timeout: number | undefined;
  readonly quiet: boolean;
  readonly verbose: boolean;
}

const waitEvent = defineCommand({
  name: "wait-event",
  style: "getopt",
  summary: "wait for an event",
  usage: "[OPTIONS] key event",
  options: {
    namespace: namespaceOption,
    waitcreate: flag("-W, --waitcreate", "wait until the key exists"),
    timeout: value("-t, --timeout DURATION", "give up when nothing comes for so long", seconds),
    quiet: flag("-q, --quiet", "don't print the event"),
    verbose: flag("-v, --verbose", "print the events before it too"),
    ...formatOptions,
  },
  async run({ options, args }) {
    const [key, event] = args;
    if (key === undefined || event === undefined || args.length !== 2) {
      throw wrongUsage("flux kvs eventlog wait-event [OPTIONS] key event");
    }
    const lines = formatterOf(options);
    return withFlux((h) => waitFor(h, key, event, options, lines));
  },
});

async function waitFor(h: Flux, key: string, event: string, options: WaitOptions, lines: EventlogLines): Promise<number> {
  const flags = KVS.WATCH | KVS.WATCH_APPEND | (options.waitcreate ? KVS.WAITCREATE : 0);
  const answers = watch(h, key, flags, options);
  let hasTimedOut = false;
  const timer = setTimer(options.timeout, () => {
    hasTimedOut = true;
    void answers.return();
  });
  try {
    for await (const entry of entries(answers)) {
      lines.seen(entry);
      timer.restart();
      const isIt = entry.name === event;
      if (isIt ? !options.quiet : options.verbose) print(lines.line(entry));
      if (isIt) return 0;
    }
  } catch (err) {
    if (isErrno(err, errno.ENOENT)) throw new UsageError(`eventlog path ${key} not found`);
    throw failure(err);
  } finally {
    timer.stop();
  }
  throw new UsageError(hasTimedOut ? `wait-event timeout on event '${event}'` : `event '${event}' never received`);
}

function setTimer(seconds: number | undefined, run: () => void): { restart(): void; stop(): void } {
  if (seconds === undefined) return { restart() {}, stop() {} };
  let timer = setTimeout(run, seconds * 1000);
  return {
    restart() {
      clearTimeout(timer);
      timer = setTimeout(run, seconds * 1000);
    },
    stop: () => clearTimeout(timer),
  };
}

export const eventlog = defineCommand({
  name: "eventlog",
  style: "getopt",
  summary: "append to, print and watch eventlogs",
  subcommands: [append, get, waitEvent],
});
