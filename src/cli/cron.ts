// flux cron: commands that the brokers run at intervals, at points in time, and on events (module cron).
import { readFileSync } from "node:fs";
import type { Flux } from "../client/flux.ts";
import type { Json, JsonObject } from "../formats/json.ts";
import { strerror, toFluxError } from "../message/errno.ts";
import { arr, bool, def, fields, num, obj, opt, str, unpack } from "../message/unpack.ts";
import { wallClock_ms } from "../os/clock.ts";
import { shellExitCode } from "../formats/waitstatus.ts";
import { defineCommand, flag, list, type OptionValues, text, UsageError, value } from "./command.ts";
import { explain, withFlux } from "./connect.ts";
import { integer } from "./options.ts";
import { print, printError, wrongUsage } from "./output.ts";

const MINUTE_S = 60;
const HOUR_S = 60 * MINUTE_S;
const DAY_S = 24 * HOUR_S;

const ENTRY_OPTIONS = {
  options: list("-o, --options OPTS", "rank=R, timeout=S, task-history-count=N, stop-on-failure=N, separated by commas"),
  preserveEnv: flag("-E, --preserve-env", "give the command this environment, not the broker's"),
  directory: text("-d, --working-dir DIR", "run the command in this directory"),
} as const;
type EntryOptions = OptionValues<typeof ENTRY_OPTIONS>;

const NAMED_OPTIONS = {
  ...ENTRY_OPTIONS,
  count: value("-c, --count N", "run it N times at most", integer(1)),
  name: text("-N, --name S", "its name (default: the command's first word)"),
} as const;

const TASK = fields({ state: str, code: opt(num), "start-time": opt(num), "end-time": opt(num) });
const ENTRY = fields({
  id: num,
  name: str,
  repeat: num,
  stopped: bool,
  stats: fields({ count: num }),
  typedata: fields({ next_wakeup: def(num, 0) }),
  tasks: arr(TASK),
});
type Entry = ReturnType<typeof ENTRY>;

interface NewEntry {
  readonly type: string;
  readonly args: JsonObject;
  readonly command: string;
  readonly name?: string | undefined;
  readonly count?: number | undefined;
}

async function create(h: Flux, entry: NewEntry, options: EntryOptions): Promise<Entry> {
  const request: Record<string, Json> = {
    type: entry.type,
    args: entry.args,
    command: entry.command,
    name: entry.name ?? entry.command.trim().split(/\s+/)[0] ?? "",
    ...(entry.count !== undefined && { repeat: entry.count }),
    ...(options.directory !== undefined && { cwd: options.directory }),
    ...(options.preserveEnv && { environ: environment() }),
  };
  for (const option of options.options.flatMap((words) => words.split(","))) {
    const [, key, given] = /^(.+)=(.+)$/.exec(option) ?? [];
    if (key === undefined || !Number.isFinite(Number(given))) throw new UsageError(`invalid option '${option}': expected NAME=NUMBER`);
    request[key] = Number(given);
  }
  return ENTRY(await explain("cron.create", h.rpc("cron.create", request, { nodeid: 0 }), true), "entry");
}

function environment(): Record<string, string> {
  return Object.fromEntries(Object.entries(process.env).flatMap(([name, given]) => (given === undefined ? [] : [[name, given]])));
}

/** Seconds, with an optional s, m, h or d. */
function duration(word: string): number {
  const [, number, unit = "s"] = /^(\d+\.?\d*|\.\d+)([smhd]?)$/i.exec(word) ?? [];
  if (number === undefined) throw new UsageError(`Invalid duration '${word}'`);
  return Number(number) * ({ m: MINUTE_S, h: HOUR_S, d: DAY_S }[unit.toLowerCase()] ?? 1);
}

const interval = defineCommand({
  name: "interval",
  style: "getopt",
  summary: "run a command again and again",
  usage: "[OPTIONS] INTERVAL COMMAND...",
  details: "Run COMMAND every INTERVAL: a number of seconds, or with m, h or d of minutes, hours or days.\n\nExample: flux cron interval 1h ./tidy.sh",
  options: { ...NAMED_OPTIONS, after: value("-a, --after INTERVAL", "run it first after INTERVAL", duration) },
  passThrough: true,
  async run({ options, args }) {
    const [every, ...command] = args;
    if (every === undefined || command.length === 0) throw new UsageError("INTERVAL and COMMAND required");
    const { after, name, count } = options;
    return withFlux(async (h) => {
      const { id } = await create(h, { type: "interval", args: { interval: duration(every), ...(after !== undefined && { after }) }, command: command.join(" "), name, count }, options);
      printError(`interval: cron-${id} created`);
      return 0;
    });
  },
});

const event = defineCommand({
  name: "event",
  style: "getopt",
  summary: "run a command on events",
  usage: "[OPTIONS] TOPIC COMMAND...",
  options: {
    ...NAMED_OPTIONS,
    nth: value("-n, --nth N", "run it on every Nth event", integer(1)),
    after: value("-a, --after N", "run it first after N events", integer(0)),
    minInterval: value("-i, --min-interval T", "run it at most once within T", duration),
  },
  passThrough: true,
  async run({ options, args }) {
    const [topic, ...command] = args;
    if (topic === undefined || command.length === 0) throw new UsageError("TOPIC and COMMAND args are required");
    const { nth, after, minInterval: min_interval, name, count } = options;
    const details = { topic, ...(nth !== undefined && { nth }), ...(after !== undefined && { after }), ...(min_interval !== undefined && { min_interval }) };
    return withFlux(async (h) => {
      const { id } = await create(h, { type: "event", args: details, command: command.join(" "), name, count }, options);
      printError(`event: cron-${id} created`);
      return 0;
    });
  },
});

const tab = defineCommand({
  name: "tab",
  style: "getopt",
  summary: "run commands at the times of a crontab",
  usage: "[OPTIONS] [FILE]",
  details: "Read lines as in crontab(5), but with months from 0 to 11, from FILE or stdin.",
  options: ENTRY_OPTIONS,
  async run({ options, args }) {
    const [file = "-"] = args;
    if (args.length > 1) throw wrongUsage("flux cron tab [OPTIONS] [FILE]");
    const lines = (file === "-" ? await Bun.stdin.text() : readTab(file)).split("\n");
    return withFlux(async (h) => {
      for (const line of lines) {
        const uncommented = line.replace(/#.*$/, "");
        if (uncommented.trim() === "") continue;
        const [, minute, hour, mday, month, weekday, command] = /^\s*(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+(.+)$/.exec(uncommented) ?? [];
        if (minute === undefined || hour === undefined || mday === undefined || month === undefined || weekday === undefined || command === undefined) {
          throw new UsageError(`Failed to process crontab line: ${line}`);
        }
        await createAt(h, "tab", { second: 0, minute, hour, mday, month, weekday }, command, options);
      }
      return 0;
    });
  },
});

function readTab(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (err) {
    throw new UsageError(`${file}: ${strerror(toFluxError(err).errno)}`);
  }
}

const at = defineCommand({
  name: "at",
  style: "getopt",
  summary: "run a command at a point in time",
  usage: "[OPTIONS] TIME COMMAND...",
  details: "Run COMMAND once at TIME, which is anything that date(1) understands.\n\nExample: flux cron at 'tomorrow 4am' ./tidy.sh",
  options: ENTRY_OPTIONS,
  passThrough: true,
  async run({ options, args }) {
    const [when, ...command] = args;
    if (when === undefined || command.length === 0) throw new UsageError("TIME and COMMAND args are required");
    const date = await parseDate(when);
    const parts = { second: date.getSeconds(), minute: date.getMinutes(), hour: date.getHours(), mday: date.getDate(), month: date.getMonth(), year: date.getFullYear() - 1900 };
    return withFlux(async (h) => {
      await createAt(h, "at", parts, command.join(" "), options, 1);
      return 0;
    });
  },
});

async function parseDate(when: string): Promise<Date> {
  const { spawnProcess } = await import("../os/spawn.ts");
  const chunks: Uint8Array[] = [];
  const child = spawnProcess({ argv: ["date", "+%s", `--date=${when}`], stdout: "pipe", stderr: "null", onStdout: (chunk) => void chunks.push(chunk) });
  const { status } = await child.exited;
  if (shellExitCode(status) !== 0) throw new UsageError("Failed to parse datetime arg");
  return new Date(Number(Buffer.concat(chunks).toString()) * 1000);
}

async function createAt(h: Flux, who: string, args: JsonObject, command: string, options: EntryOptions, count?: number): Promise<void> {
  const { id, typedata } = await create(h, { type: "datetime", args, command, count }, options);
  const left_s = typedata.next_wakeup - wallClock_ms() / 1000;
  printError(`${who}: cron-${id} created: scheduled in ${left_s.toFixed(3)}s at ${dateText(typedata.next_wakeup)}`);
}

/** Sat Nov 28 23:15:00 2026 */
function dateText(time_s: number): string {
  return new Date(time_s * 1000).toString().replace(/^(\w+ \w+ \d+) (\d+) ([\d:]+).*$/, "$1 $3 $2");
}

const listEntries = defineCommand({
  name: "list",
  style: "getopt",
  summary: "list entries",
  usage: "",
  async run({ args }) {
    if (args.length > 0) throw wrongUsage("flux cron list");
    return withFlux(async (h) => {
      const entries = (await entriesOf(h)).map((entry) => ENTRY(entry, "entry"));
      print(row("ID", "CMD/NAME", "STATE", "#RUNS", "LASTRUN", "STATUS"), ...entries.map(entryRow));
      return 0;
    });
  },
});

async function entriesOf(h: Flux): Promise<JsonObject[]> {
  return unpack(await explain("cron.list", h.rpc("cron.list", {}, { nodeid: 0 }), true), { entries: arr(obj) }).entries;
}

function row(id: string, name: string, state: string, runs: string, lastRun: string, status: string): string {
  return `${id.padStart(6)} ${name.padEnd(15)} ${state.padEnd(8)} ${runs.padStart(9)} ${lastRun.padStart(18)}  ${status.padEnd(18)}`;
}

function entryRow({ id, name, stopped, stats, repeat, tasks }: Entry): string {
  const [last, before] = tasks;
  const began_s = last?.["start-time"] ?? before?.["start-time"];
  const runs = repeat > 0 ? `${stats.count}/${repeat}` : String(stats.count);
  return row(String(id), name, stopped ? "Stopped" : "Active", runs, began_s === undefined ? "None" : ago(began_s), statusOf(last));
}

function statusOf(task: ReturnType<typeof TASK> | undefined): string {
  if (task === undefined) return "None";
  if (task.state === "Exited") return "Success";
  if (task.state !== "Failed") return task.state;
  return task.code === 127 ? "Exec-Error" : `Failed:rc=${task.code ?? ""}`;
}

/** How long ago, in words. */
export function ago(time_s: number, now_s: number = wallClock_ms() / 1000): string {
  const seconds = now_s - time_s;
  if (seconds < 0) return "in the future";
  if (seconds < 2) return "a second ago";
  if (seconds < 90) return `${Math.round(seconds)} seconds ago`;
  const minutes = seconds / MINUTE_S;
  if (minutes < 2) return "a minute ago";
  if (minutes < 90) return `${Math.round(minutes)} minutes ago`;
  const hours = seconds / HOUR_S;
  if (hours < 36) return `${hours.toFixed(1)} hours ago`;
  const days = seconds / DAY_S;
  if (days < 14) return `${days.toFixed(1)} days ago`;
  if (days < 70) return `${Math.floor((days + 3) / 7)} weeks ago`;
  return days < 365 ? `${Math.floor((days + 15) / 30)} months ago` : `${(days / 365).toFixed(1)} years ago`;
}

const remove = defineCommand({
  name: "delete",
  style: "getopt",
  summary: "delete entries",
  usage: "[OPTIONS] ID...",
  options: { kill: flag("-k, --kill", "end what is running of them") },
  async run({ options, args }) {
    return eachId(args, "delete", async (h, id) => {
      const { name, tasks } = ENTRY(await explain("cron.delete", h.rpc("cron.delete", { id, kill: options.kill }, { nodeid: 0 }), true), "entry");
      print(`Removed cron-${id}: ${name}${lastRunText(tasks[0])}`);
    });
  },
});

function lastRunText(task: ReturnType<typeof TASK> | undefined): string {
  const [began_s, ended_s] = [task?.["start-time"], task?.["end-time"]];
  if (began_s === undefined) return "";
  if (ended_s === undefined) return ` still running. Started ${ago(began_s)}`;
  return ` last ran ${ago(ended_s)} for ${elapsed(ended_s - began_s)}`;
}

function elapsed(seconds: number): string {
  if (seconds > DAY_S) return `${(seconds / DAY_S).toFixed(3)}d`;
  if (seconds > HOUR_S) return `${(seconds / HOUR_S).toFixed(3)}h`;
  if (seconds > MINUTE_S) return `${(seconds / MINUTE_S).toFixed(3)}m`;
  return seconds > 1 ? `${seconds.toFixed(3)}s` : `${(seconds * 1000).toFixed(2)}ms`;
}

const stop = changing("stop", "stop entries", "Stopped");
const start = changing("start", "start stopped entries", "Started");

function changing(name: string, summary: string, done: string) {
  return defineCommand({
    name,
    style: "getopt",
    summary,
    usage: "ID...",
    run: ({ args }) =>
      eachId(args, name, async (h, id) => {
        await explain(`cron.${name}`, h.rpc(`cron.${name}`, { id }, { nodeid: 0 }), true);
        print(`${done} cron-${id}`);
      }),
  });
}

async function eachId(args: readonly string[], name: string, run: (h: Flux, id: number) => Promise<void>): Promise<number> {
  if (args.length === 0) throw wrongUsage(`flux cron ${name} ID...`);
  return withFlux(async (h) => {
    for (const word of args) await run(h, parseId(word));
    return 0;
  });
}

function parseId(word: string | undefined): number {
  const id = Number(/^(?:cron-)?(\d+)$/.exec(word ?? "")?.[1] ?? Number.NaN);
  if (!Number.isSafeInteger(id)) throw new UsageError(word === undefined ? "ID argument required" : `'${word}' is not the ID of an entry`);
  return id;
}

const dump = defineCommand({
  name: "dump",
  style: "getopt",
  summary: "print all that is known of an entry",
  usage: "[OPTIONS] ID",
  options: { key: text("-k, --key KEY", "print only the value of KEY") },
  async run({ options, args }) {
    const id = parseId(args[0]);
    return withFlux(async (h) => {
      const entry = (await entriesOf(h)).find((other) => other["id"] === id);
      if (entry === undefined) throw new UsageError(`cron-${id}: No such cron entry found`);
      const { key } = options;
      const values = flatValues(entry);
      if (key === undefined) print(...values.map(([name, given]) => `${name} = ${typeof given === "string" ? `"${given}"` : String(given)}`));
      else print(...values.flatMap(([name, given]) => (name === key ? [String(given)] : [])));
      return 0;
    });
  },
});

/** "stats.count", and "task.1.code" for the latest task. */
function flatValues(entry: JsonObject): [string, unknown][] {
  return Object.entries(entry).flatMap(([key, given]): [string, unknown][] => {
    if (key === "tasks" && Array.isArray(given)) return given.flatMap((task, i) => Object.entries(task as JsonObject).map(([name, v]): [string, unknown] => [`task.${i + 1}.${name}`, v]));
    if (typeof given === "object" && given !== null) return Object.entries(given).map(([name, v]): [string, unknown] => [`${key}.${name}`, v]);
    return [[key, given]];
  });
}

const sync = defineCommand({
  name: "sync",
  style: "getopt",
  summary: "show or set the event for which commands wait",
  usage: "[OPTIONS] [TOPIC]",
  options: {
    disable: flag("-d, --disable", "wait for no event"),
    epsilon: value("-e, --epsilon TIME", "after the event, commands may run for so long without waiting", duration),
  },
  async run({ options, args }) {
    const [topic] = args;
    if (args.length > 1) throw wrongUsage("flux cron sync [OPTIONS] [TOPIC]");
    const request = { ...(options.disable ? { disable: true } : topic !== undefined && { topic }), ...(options.epsilon !== undefined && { sync_epsilon: options.epsilon }) };
    return withFlux(async (h) => {
      const answer = await explain("cron.sync", h.rpc("cron.sync", request, { nodeid: 0 }), true);
      const { sync_event, sync_epsilon } = unpack(answer, { sync_event: opt(str), sync_epsilon: def(num, 0) });
      printError(sync_event === undefined ? "sync: sync disabled." : `sync: sync to event "${sync_event}" epsilon=${sync_epsilon.toFixed(3)}s.`);
      return 0;
    });
  },
});

export default defineCommand({
  name: "cron",
  style: "getopt",
  summary: "run commands at intervals, at points in time, and on events",
  subcommands: [interval, event, tab, at, listEntries, stop, start, remove, dump, sync],
});
