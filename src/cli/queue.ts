// flux queue: the job queues: whether they take jobs, whether these are scheduled, and what limits they have (RFC 33).
import type { Flux } from "../client/flux.ts";
import { isJsonObject, type Json, type JsonObject } from "../formats/json.ts";
import { parseDuration } from "../formats/fsd.ts";
import { queueTables } from "../formats/queue-config.ts";
import type { OutputValue } from "../formats/outputformat.ts";
import { errno, FluxError, isErrno } from "../message/errno.ts";
import { arr, bool, int, opt, str, unpack } from "../message/unpack.ts";
import { defineCommand, flag, hidden, list as listOption, text, UsageError, value } from "./command.ts";
import { withFlux } from "./connect.ts";
import { print } from "./output.ts";
import { fetchResources, queueResources, type ResourceSets, setOfState } from "./resource/sets.ts";
import { chooseFormat, type NamedFormats } from "./named-formats.ts";
import { type Fields, parseTable, printTable, realText } from "./table.ts";

interface QueueStatus {
  readonly enable: boolean;
  readonly start: boolean;
  readonly disable_reason: string | undefined;
  readonly stop_reason: string | undefined;
  /** Why a started queue does not schedule: "scheduler", "parent". */
  readonly blocked: string | undefined;
  readonly parent: string | undefined;
}

/** The service's words after the subcommand's name. */
async function named<T>(what: string, answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (err) {
    throw err instanceof FluxError ? new UsageError(`${what}: ${err.message}`) : err;
  }
}

export async function queueNames(h: Flux): Promise<string[]> {
  return unpack(await h.rpc("job-manager.queue-list"), { queues: arr(str) }).queues;
}

export async function queueStatus(h: Flux, name: string | undefined): Promise<QueueStatus> {
  const request = name === undefined ? {} : { name };
  const answer = await named("status", h.rpc("job-manager.queue-status", request, { nodeid: 0 }));
  return unpack(answer, { enable: bool, start: bool, disable_reason: opt(str), stop_reason: opt(str), blocked: opt(str), parent: opt(str) });
}

type Show = (name: string | undefined, status: QueueStatus) => string[];

const prefix = (name: string | undefined): string => (name === undefined ? "" : `${name}: `);
const showEnabled: Show = (name, { enable, disable_reason: reason = "" }) => [
  `${prefix(name)}${enable ? "Job submission is enabled" : `Job submission is disabled: ${reason}`}`,
];
const showStarted: Show = (name, { start, stop_reason: reason }) => [
  `${prefix(name)}${start ? "Scheduling is started" : `Scheduling is stopped${reason === undefined ? "" : `: ${reason}`}`}`,
];
const showBoth: Show = (name, status) => [...showEnabled(name, status), ...showStarted(name, status)];

async function printStatus(h: Flux, queue: string | undefined, all: boolean, show: Show): Promise<void> {
  const names = await queueNames(h);
  const chosen = queue !== undefined && !all ? [queue] : names.length > 0 ? names : [queue];
  const statuses = await Promise.all(chosen.map((name) => queueStatus(h, name)));
  print(...chosen.flatMap((name, i) => show(name, statuses[i] as QueueStatus)));
}

async function printAllocations(h: Flux): Promise<void> {
  const answer = await named("alloc-query", h.rpc("job-manager.alloc-query"));
  const { queue_length: queued, alloc_pending: pending, running } = unpack(answer, { queue_length: int, alloc_pending: int, running: int });
  print(`${queued} alloc requests queued`, `${pending} alloc requests pending to scheduler`, `${running} running jobs`);
}

const status = defineCommand({
  name: "status",
  style: "argparse",
  summary: "show whether queues take jobs and schedule them",
  usage: "[-v] [QUEUE]",
  options: { verbose: flag("-v, --verbose", "also the number of requests to the scheduler") },
  run({ options, args }) {
    return withFlux(async (h) => {
      await printStatus(h, args[0], options.verbose, showBoth);
      if (options.verbose) await printAllocations(h);
      return 0;
    });
  },
});

const SWITCH_OPTIONS = {
  /** Before the queue was an argument. */
  queue: hidden(text("-q, --queue NAME", "the queue")),
  all: flag("-a, --all", "all queues"),
  quiet: flag("--quiet", "don't print the status afterwards"),
  verbose: flag("-v, --verbose", "print more"),
} as const;
const REASON_OPTIONS = {
  ...SWITCH_OPTIONS,
  nocheckpoint: flag("--nocheckpoint", "forget this when the instance restarts"),
  message: text("-m, --message REASON", "why"),
} as const;

interface Switch {
  readonly queue: string | undefined;
  readonly all: boolean;
  readonly reason?: string | undefined;
  readonly nocheckpoint?: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
}

function setEnabled(enable: boolean, { queue, all, reason, quiet, verbose }: Switch): Promise<number> {
  return withFlux(async (h) => {
    const request = { enable, all, ...(queue === undefined ? {} : { name: queue }), ...(reason === undefined ? {} : { reason }) };
    await named("enable", h.rpc("job-manager.queue-enable", request, { nodeid: 0 }));
    if (!quiet) await printStatus(h, queue, verbose, showEnabled);
    return 0;
  });
}

function setStarted(start: boolean, { queue, all, reason, nocheckpoint = false, quiet, verbose }: Switch): Promise<number> {
  return withFlux(async (h) => {
    if (queue === undefined && !all && (await queueNames(h)).length > 0) {
      throw new UsageError("Named queues are defined. Specify queues or use --all.");
    }
    const request = { start, all, nocheckpoint, ...(queue === undefined ? {} : { name: queue }), ...(reason === undefined ? {} : { reason }) };
    await named("start", h.rpc("job-manager.queue-start", request, { nodeid: 0 }));
    if (!quiet) await printStatus(h, queue, verbose, showStarted);
    if (!quiet && verbose) await printAllocations(h);
    return 0;
  });
}

const enable = defineCommand({
  name: "enable",
  style: "argparse",
  summary: "let queues take jobs",
  usage: "[-a] [--quiet] [-v] [QUEUE]",
  options: SWITCH_OPTIONS,
  run: ({ options, args }) => setEnabled(true, { ...options, queue: args[0] ?? options.queue }),
});

const disable = defineCommand({
  name: "disable",
  style: "argparse",
  summary: "let queues refuse jobs",
  usage: "[-a] [--quiet] [-v] [-m REASON] [QUEUE]",
  details: "Let a queue, or all, refuse new jobs.\n\nExample:\n  flux queue disable --all -m 'maintenance from 6 pm'",
  options: REASON_OPTIONS,
  run: ({ options, args }) => setEnabled(false, { ...options, queue: args[0] ?? options.queue, reason: options.message ?? "disabled by administrator" }),
});

const start = defineCommand({
  name: "start",
  style: "argparse",
  summary: "schedule the jobs of queues",
  usage: "[-a] [--quiet] [-v] [QUEUE]",
  options: SWITCH_OPTIONS,
  run: ({ options, args }) => setStarted(true, { ...options, queue: args[0] ?? options.queue }),
});

const stop = defineCommand({
  name: "stop",
  style: "argparse",
  summary: "schedule no more jobs of queues",
  usage: "[-a] [--quiet] [-v] [--nocheckpoint] [-m REASON] [QUEUE]",
  options: REASON_OPTIONS,
  run: ({ options, args }) => setStarted(false, { ...options, queue: args[0] ?? options.queue, reason: options.message }),
});

// ---- waiting

const timeoutOption = value("-t, --timeout DURATION", "give up after this long", (word) => word);

function timeout_ms(word: string | undefined): { timeout_ms?: number } {
  if (word === undefined) return {};
  try {
    return { timeout_ms: parseDuration(word) * 1000 };
  } catch {
    throw new UsageError("invalid Flux standard duration");
  }
}

async function wait(h: Flux, what: "drain" | "idle", limit: { timeout_ms?: number }): Promise<JsonObject> {
  try {
    return await h.rpc(`job-manager.${what}`, undefined, limit);
  } catch (err) {
    if (isErrno(err, errno.ETIMEDOUT)) throw new UsageError(`${what}: timeout`);
    throw err instanceof FluxError ? new UsageError(`${what}: ${err.message}`) : err;
  }
}

const drain = defineCommand({
  name: "drain",
  style: "argparse",
  summary: "wait until no job is active",
  usage: "[-t DURATION]",
  options: { timeout: timeoutOption },
  run({ options }) {
    const limit = timeout_ms(options.timeout);
    return withFlux(async (h) => {
      await wait(h, "drain", limit);
      return 0;
    });
  },
});

const idle = defineCommand({
  name: "idle",
  style: "argparse",
  summary: "wait until no job runs",
  usage: "[-t DURATION] [--quiet]",
  options: { timeout: timeoutOption, quiet: flag("--quiet", "don't print the number of pending jobs") },
  run({ options }) {
    const limit = timeout_ms(options.timeout);
    return withFlux(async (h) => {
      const { pending } = unpack(await wait(h, "idle", limit), { pending: int });
      if (!options.quiet || pending > 0) print(`${pending} jobs`);
      return 0;
    });
  },
});

// ---- list

interface QueueRow {
  /** "" for the one queue of an instance without names. */
  readonly name: string;
  readonly isDefault: boolean;
  readonly status: QueueStatus;
  readonly config: JsonObject;
  readonly resources: ResourceSets;
}

const START = "?:{queuem:<8.8} ?:{parent:<8.8} {color_enabled}{enabled:>2}{color_off} {color_started}{started:>2}{color_off} ";
const LIMITS = "{defaults.timelimit!F:>8} {limits.timelimit!F:>8} ";
const FORMATS: NamedFormats = {
  default: {
    description: "Default flux-queue list format string",
    format: `${START}${LIMITS}{limits.range.effective.nnodes:>10} {limits.range.effective.ncores:>10} {limits.range.effective.ngpus:>10}`,
  },
  policy: {
    description: "flux-queue list with policy limits only",
    format: `${START}${LIMITS}{limits.range.nnodes:>10} {limits.range.ncores:>10} {limits.range.ngpus:>10}`,
  },
  nodes: {
    description: "Show queue status plus all/up/allocated/free nodes",
    format: `${START}{resources.all.nnodes:>6} {resources.up.nnodes:>10} {resources.down.nnodes:>10} {resources.allocated.nnodes:>11} {resources.free.nnodes:>10}`,
  },
};

type Counted = "nnodes" | "ncores" | "ngpus";
const COUNTED: readonly Counted[] = ["nnodes", "ncores", "ngpus"];
const GREEN = "\x1b[01;32m";
const YELLOW = "\x1b[01;33m";
const RED = "\x1b[01;31m";
const OFF = "\x1b[0;0m";

function member(object: Json | undefined, path: string): Json | undefined {
  let found = object;
  for (const name of path.split(".")) found = isJsonObject(found) ? found[name] : undefined;
  return found;
}

/** A setting of a queue's policy, else of the instance's. */
function policy(row: QueueRow, path: string): Json | undefined {
  return member(queueTables(row.config).get(row.name), `policy.${path}`) ?? member(row.config, `policy.${path}`);
}

function duration(given: Json | undefined): OutputValue {
  const seconds = typeof given === "number" ? given : typeof given === "string" ? parseDuration(given) : Number.POSITIVE_INFINITY;
  return Number.isFinite(seconds) ? realText(seconds) : seconds;
}

function limit(row: QueueRow, bound: "min" | "max", what: Counted): number {
  const given = policy(row, `limits.job-size.${bound}.${what}`);
  if (typeof given === "number" && given >= 0) return given;
  return bound === "min" ? 0 : Number.POSITIVE_INFINITY;
}

const unlimited = (n: number): string => (n === Number.POSITIVE_INFINITY ? "inf" : String(n));

const mark = (yes: boolean, ascii: boolean): string => (ascii ? (yes ? "y" : "n") : yes ? "✔" : "✗");

/** Started, stopped, or waiting for its parent. */
function schedule({ start, blocked }: QueueStatus): { word: string; glyph: string; ascii: string; color: string } {
  if (start) return { word: "started", glyph: "✔", ascii: "y", color: GREEN };
  if (blocked === "parent") return { word: "stopped (parent)", glyph: "⏸", ascii: "p", color: YELLOW };
  return { word: "stopped", glyph: "✗", ascii: "n", color: RED };
}

type QueueField = readonly [heading: string, value: (row: QueueRow) => OutputValue];

const QUEUE_FIELDS: Record<string, QueueField> = {
  queue: ["QUEUE", (row) => row.name],
  queuem: ["QUEUE", (row) => (row.name !== "" && row.isDefault ? `${row.name}*` : row.name)],
  submission: ["SUBMIT", (row) => (row.status.enable ? "enabled" : "disabled")],
  parent: ["PARENT", (row) => row.status.parent ?? ""],
  scheduling: ["SCHED", (row) => schedule(row.status).word],
  enabled: ["EN", (row) => mark(row.status.enable, false)],
  started: ["ST", (row) => schedule(row.status).glyph],
  "enabled.ascii": ["EN", (row) => mark(row.status.enable, true)],
  "started.ascii": ["ST", (row) => schedule(row.status).ascii],
  color_enabled: ["", (row) => (row.status.enable ? GREEN : RED)],
  color_started: ["", (row) => schedule(row.status).color],
  color_off: ["", () => OFF],
  "defaults.timelimit": ["TDEFAULT", (row) => duration(policy(row, "jobspec.defaults.system.duration"))],
  "limits.timelimit": ["TLIMIT", (row) => duration(policy(row, "limits.duration"))],
};
for (const what of COUNTED) {
  const title = what.toUpperCase();
  const short = title.slice(1);
  QUEUE_FIELDS[`limits.range.${what}`] = [title, (row) => `${limit(row, "min", what)}-${unlimited(limit(row, "max", what))}`];
  QUEUE_FIELDS[`limits.range.effective.${what}`] = [title, (row) => `${limit(row, "min", what)}-${Math.min(limit(row, "max", what), row.resources.all[what])}`];
  QUEUE_FIELDS[`limits.min.${what}`] = [`MIN${short}`, (row) => limit(row, "min", what)];
  QUEUE_FIELDS[`limits.max.${what}`] = [`MAX${short}`, (row) => unlimited(limit(row, "max", what))];
  for (const state of ["all", "up", "down", "allocated", "free"] as const) {
    QUEUE_FIELDS[`resources.${state}.${what}`] = [state === "all" ? short : `${short}:${state.slice(0, 5).toUpperCase()}`, (row) => setOfState(row.resources, state)[what]];
  }
}

const FIELDS: Fields<QueueRow> = {
  heading: (name) => (Object.hasOwn(QUEUE_FIELDS, name) ? QUEUE_FIELDS[name]?.[0] : undefined),
  value: (row, name) => (Object.hasOwn(QUEUE_FIELDS, name) ? QUEUE_FIELDS[name]?.[1](row) : ""),
};

async function queueRows(h: Flux, wanted: readonly string[]): Promise<QueueRow[]> {
  const { sets, config } = await fetchResources(h);
  const defined = isJsonObject(config["queues"]) ? Object.keys(config["queues"]).toSorted() : [];
  for (const name of wanted) if (!defined.includes(name)) throw new UsageError(`No such queue: ${name}`);
  const names = defined.length === 0 ? [undefined] : wanted.length > 0 ? wanted : defined;
  const byDefault = member(config, "policy.jobspec.defaults.system.queue");
  return Promise.all(
    names.map(async (name): Promise<QueueRow> => ({
      name: name ?? "",
      isDefault: name === byDefault,
      status: await queueStatus(h, name),
      config,
      resources: name === undefined ? sets : queueResources(sets, config, name),
    })),
  );
}

const list = defineCommand({
  name: "list",
  style: "argparse",
  summary: "list queues with their limits",
  usage: "[-q QUEUE,...] [-o FORMAT] [-n]",
  options: {
    queue: listOption("-q, --queue QUEUE,...", "only these queues"),
    format: text("-o, --format FORMAT", "a named format (see --format=help), or one such as '{queue} {enabled}'"),
    noHeader: flag("-n, --no-header", "no line of titles"),
  },
  async run({ options }) {
    const source = { file: "flux-queue", table: "list", tables: ["list"], builtin: FORMATS, variable: "FLUX_QUEUE_LIST_FORMAT_DEFAULT" };
    const chosen = await chooseFormat(options.format, source);
    if (chosen === undefined) return 0;
    const format = parseTable(chosen, FIELDS);
    return withFlux(async (h) => {
      const rows = await queueRows(h, options.queue.flatMap((word) => word.split(",")));
      printTable(format, rows, FIELDS, { header: !options.noHeader });
      return 0;
    });
  },
});

export default defineCommand({
  name: "queue",
  style: "argparse",
  summary: "list, enable, disable, start and stop queues",
  details: "Administer the job queues.\n\nExamples:\n  flux queue list\n  flux queue stop --all -m maintenance\n  flux queue drain",
  subcommands: [list, status, enable, disable, start, stop, drain, idle],
});
