// flux resource eventlog, reload, acquire-mute: the resource module's events (RFC 44), and its administration.
import { resolve } from "node:path";
import type { EventlogEntry } from "../../formats/eventlog.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { IdSet } from "../../formats/idset.ts";
import { isJsonObject, type Json, type JsonObject } from "../../formats/json.ts";
import { defineCommand, flag, optional, text, UsageError, value } from "../command.ts";
import { withFlux } from "../connect.ts";
import { contextHas, eventlogLines, TIME_FORMATS, type TimeFormat } from "../eventlog-lines.ts";
import { seconds } from "../options.ts";
import { print, wantsColor } from "../output.ts";
import { decodeRset, targetRanks } from "./sets.ts";

const OFFSET_WIDTH = 15;

export const eventlog = defineCommand({
  name: "eventlog",
  style: "argparse",
  summary: "print what happened to the resources",
  usage: "[-HF] [-f FORMAT] [-T FORMAT] [-t TIME] [-w EVENT] [-m KEY=VAL] [-i TARGETS]",
  details: "Print what happened to the resources: nodes that came, went, were drained.\n\nExample:\n  flux resource eventlog -H --wait=drain",
  options: {
    format: text("-f, --format FORMAT", "text (default) or json"),
    timeFormat: text("-T, --time-format FORMAT", "raw (default), iso, offset or human"),
    human: flag("-H, --human", "times for people"),
    color: optional("-L, --color [WHEN]", "never, always or auto (default)", "always"),
    follow: flag("-F, --follow", "print new events as they come"),
    timeout: value("-t, --timeout TIME", "with --follow or --wait: give up after this long", seconds),
    wait: text("-w, --wait EVENT", "print events until this one"),
    matchContext: text("-m, --match-context KEY=VAL", "with --wait: only with this in its context"),
    include: text("-i, --include TARGETS", "only events that concern these hosts or ranks"),
  },
  async run({ options }) {
    const format = options.format ?? "text";
    if (format !== "text" && format !== "json") throw new UsageError(`invalid format type '${format}'`);
    const time = options.human ? "human" : (options.timeFormat ?? "raw");
    if (!TIME_FORMATS.some((known) => known === time)) throw new UsageError(`invalid time-format type '${time}'`);
    const lines = eventlogLines({ time: time as TimeFormat, json: format === "json" && !options.human, color: wantsColor(options.color), timeWidth: OFFSET_WIDTH });
    if (options.matchContext?.includes("=") === false) throw new UsageError("must specify a context test as key=value");
    return withFlux(async (h) => {
      const stream = h.stream("resource.journal", {}, { nodeid: 0, cancelTopic: "resource.journal-cancel" });
      let timedOut = false;
      const expire = (): void => {
        timedOut = true;
        void stream.return();
      };
      const timer = options.timeout === undefined ? undefined : setTimeout(expire, options.timeout * 1000);
      let concerns: (entry: EventlogEntry) => boolean = () => true;
      try {
        for await (const response of stream) {
          if (options.include !== undefined && isJsonObject(response["R"])) concerns = targetTest(response["R"], options.include);
          const events = entriesOf(response["events"]);
          for (const entry of events) {
            lines.seen(entry);
            if (concerns(entry)) print(lines.line(entry));
            if (entry.name === options.wait && (options.matchContext === undefined || contextHas(entry, options.matchContext))) return 0;
          }
          // An empty list parts what was from what comes.
          if (events.length === 0 && !options.follow && options.wait === undefined) return 0;
        }
      } finally {
        clearTimeout(timer);
      }
      if (timedOut) throw new UsageError("ETIMEDOUT: Connection timed out");
      return 0;
    });
  },
});

function entriesOf(events: Json | undefined): EventlogEntry[] {
  return Array.isArray(events) ? (events as readonly object[] as EventlogEntry[]) : [];
}

/** Whether an event names one of the targets, by rank or by host. */
function targetTest(R: JsonObject, targets: string): (entry: EventlogEntry) => boolean {
  const all = decodeRset(R);
  const ranks = targetRanks(all, targets);
  const hosts = new Set(all.slice(ranks).hosts);
  return ({ context = {} }) => {
    const { idset, ranks: named, nodelist } = context;
    for (const ids of [idset, named]) if (typeof ids === "string" && IdSet.parse(ids).intersects(ranks)) return true;
    return typeof nodelist === "string" && [...Hostlist.parse(nodelist)].some((host) => hosts.has(host));
  };
}

export const reload = defineCommand({
  name: "reload",
  style: "argparse",
  summary: "read R, or a directory of hwloc XML files, instead of the resources that are known",
  usage: "[-x] [-f] path",
  options: {
    xml: flag("-x, --xml", "path is a directory with RANK.xml files"),
    force: flag("-f, --force", "allow ranks that don't exist"),
  },
  run({ options, args }) {
    const [path] = args;
    if (path === undefined || args.length !== 1) throw new UsageError("the following arguments are required: path", 2);
    return withFlux(async (h) => {
      await h.rpc("resource.reload", { path: resolve(path), xml: options.xml, force: options.force }, { nodeid: 0 });
      return 0;
    });
  },
});

export const acquireMute = defineCommand({
  name: "acquire-mute",
  style: "argparse",
  summary: "tell the scheduler nothing more of nodes that go down (used in a shutdown)",
  run() {
    return withFlux(async (h) => {
      await h.rpc("resource.acquire-mute", {}, { nodeid: 0 });
      return 0;
    });
  },
});
