// flux resource status, drain, undrain: which nodes are up, and which are kept from jobs (RFC 44).
import type { Flux } from "../../client/flux.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { IdSet } from "../../formats/idset.ts";
import { isJsonObject, type Json, type JsonObject } from "../../formats/json.ts";
import { type OutputFormat, type OutputValue, textOf } from "../../formats/outputformat.ts";
import type { Rset } from "../../formats/rset.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { counter, defineCommand, flag, list as listOption, optional, text, UsageError } from "../command.ts";
import { withFlux } from "../connect.ts";
import { wantsColor, writeError } from "../output.ts";
import { chooseFormat, type NamedFormats } from "../named-formats.ts";
import { type Fields, parseTable, printTable } from "../table.ts";
import { decodeRset, FORMAT_TABLES, INPUT_OPTIONS, type InputOptions, queueRanks, readInput, targetRanks } from "./sets.ts";

const STATES = ["all", "online", "avail", "offline", "exclude", "drain", "draining", "drained", "torpid", "allocated", "housekeeping"] as const;
type NodeState = "avail" | "exclude" | "allocated" | "torpid" | "housekeeping" | "draining" | "drained";
const GROUPED: readonly NodeState[] = ["avail", "exclude", "allocated", "torpid", "housekeeping"];
const DEFAULT_STATES = ["avail", "exclude", "draining", "drained", "torpid", "housekeeping"];

const STATUS_START = "{state:>12} {color_up}{up:>2}{color_off} {nnodes:>6} ";
const STATUS_FORMATS: NamedFormats = {
  default: { description: "Default flux-resource status format string", format: `${STATUS_START}{nodelist}` },
  long: { description: "Long flux-resource status format string", format: `${STATUS_START}+:{reason:<30.30} {nodelist}` },
};
const DRAIN_FORMATS: NamedFormats = {
  long: {
    description: "Long flux-resource drain format string",
    format: "{timestamp!d:%b%d %R::<12} {state:<8.8} {ranks:<8.8+} +:{reason:<30.30} {nodelist}",
  },
  default: {
    description: "Default flux-resource drain format string",
    format: "{timestamp!d:%b%d %R::<12} {state:<8.8} {reason:<30.30+} {nodelist}",
  },
};

interface Row {
  readonly state: NodeState;
  readonly online: boolean;
  readonly ranks: IdSet;
  readonly hosts: Hostlist;
  readonly timestamp: number | undefined;
  readonly reason: string;
}

const mark = (yes: boolean, ascii: boolean): string => (ascii ? (yes ? "y" : "n") : yes ? "✔" : "✗");

const FIELD_TABLE: Readonly<Record<string, readonly [heading: string, value: (row: Row) => OutputValue]>> = {
  state: ["STATE", (row) => (row.online ? row.state : `${row.state}*`)],
  statex: ["STATE", (row) => row.state],
  nnodes: ["NNODES", (row) => row.hosts.length],
  ranks: ["RANKS", (row) => row.ranks.toString({ brackets: false })],
  nodelist: ["NODELIST", (row) => row.hosts.toString()],
  reason: ["REASON", (row) => row.reason],
  timestamp: ["TIME", (row) => row.timestamp ?? ""],
  status: ["STATUS", (row) => (row.online ? "online" : "offline")],
  up: ["UP", (row) => mark(row.online, false)],
  "up.ascii": ["UP", (row) => mark(row.online, true)],
  color_up: ["", (row) => (row.online ? "\x1b[01;32m" : "\x1b[01;31m")],
  color_off: ["", () => "\x1b[0;0m"],
};

const FIELDS: Fields<Row> = {
  heading: (name) => (Object.hasOwn(FIELD_TABLE, name) ? FIELD_TABLE[name]?.[0] : undefined),
  value: (row, name) => (Object.hasOwn(FIELD_TABLE, name) ? FIELD_TABLE[name]?.[1](row) : ""),
};

// ---- what the services say

interface NodeStatus {
  readonly all: Rset;
  readonly online: IdSet;
  readonly sets: Readonly<Record<NodeState, IdSet>>;
  /** Why and since when each drained rank is drained. */
  readonly drained: ReadonlyMap<number, { readonly timestamp: number; readonly reason: string }>;
}

const idset = (value: Json | undefined): IdSet => IdSet.parse(typeof value === "string" ? value : "");

/** Answers of services that are not there count as empty. */
async function optionalAnswer(answer: Promise<JsonObject>): Promise<JsonObject> {
  try {
    return await answer;
  } catch (err) {
    if (err instanceof FluxError) return {};
    throw err;
  }
}

interface Answers {
  readonly status: JsonObject;
  readonly scheduler: JsonObject;
  readonly stats: JsonObject;
  readonly config: JsonObject;
}

async function fetchAnswers(h: Flux): Promise<Answers> {
  const [status, scheduler, stats, config] = await Promise.all([
    h.rpc("resource.status", undefined, { nodeid: 0 }),
    optionalAnswer(h.rpc("resource.sched-status", undefined, { nodeid: 0 })),
    optionalAnswer(h.rpc("job-manager.stats-get", undefined, { nodeid: 0 })),
    h.rpc("config.get"),
  ]);
  return { status, scheduler, stats, config };
}

async function readAnswers(input: InputOptions): Promise<Answers> {
  const { answer, config } = await readInput(input);
  return { status: answer, scheduler: {}, stats: {}, config };
}

function nodeStatus({ status, scheduler, stats, config }: Answers, include: string | undefined, queues: readonly string[]): NodeStatus {
  const all = decodeRset(status["R"]);
  let shown = all.ranks;
  if (queues.length > 0) shown = shown.intersect(queues.map((queue) => queueRanks(all, config, queue)).reduce((a, b) => a.union(b), IdSet.of()));
  if (include !== undefined) shown = shown.intersect(targetRanks(all, include));
  const allocated = decodeRset(scheduler["allocated"]).ranks.intersect(shown);
  const drained = new Map<number, { timestamp: number; reason: string }>();
  const drain = isJsonObject(status["drain"]) ? status["drain"] : {};
  for (const [ranks, entry] of Object.entries(drain)) {
    const { timestamp, reason } = isJsonObject(entry) ? entry : {};
    for (const rank of idset(ranks).intersect(shown)) {
      drained.set(rank, { timestamp: Number(timestamp ?? 0), reason: typeof reason === "string" ? reason : "" });
    }
  }
  const drainedRanks = IdSet.from(drained.keys());
  const draining = drainedRanks.intersect(allocated);
  const exclude = idset(status["exclude"]).intersect(shown);
  const torpid = idset(status["torpid"]).intersect(shown);
  const housekeeping = housekeepingRanks(stats).intersect(shown);
  const avail = shown.subtract(exclude).subtract(drainedRanks).subtract(torpid);
  const sets = { avail, exclude, allocated, torpid: torpid.subtract(drainedRanks), housekeeping, draining, drained: drainedRanks.subtract(draining) };
  return { all, online: idset(status["online"]), sets, drained };
}

function housekeepingRanks(stats: JsonObject): IdSet {
  const running = isJsonObject(stats["housekeeping"]) ? stats["housekeeping"]["running"] : undefined;
  let ranks = IdSet.of();
  if (isJsonObject(running)) for (const entry of Object.values(running)) if (isJsonObject(entry)) ranks = ranks.union(idset(entry["allocated"]));
  return ranks;
}

// ---- rows

function hostsOf(all: Rset, ranks: IdSet): Hostlist {
  const hosts = new Hostlist();
  for (const { rank, host } of all.nodes()) if (ranks.has(rank)) hosts.push(host ?? "?");
  return hosts;
}

function statusRows(status: NodeStatus, states: ReadonlySet<string>, formats: readonly string[]): Row[] {
  const withOnline = states.has("online") || !states.has("offline");
  const withOffline = states.has("offline") || !states.has("online");
  const wanted = (state: NodeState): boolean => states.has("all") || states.has(state);
  const row = (state: NodeState, online: boolean, ranks: IdSet, info?: { timestamp: number; reason: string }): Row => ({
    state, online, ranks, hosts: hostsOf(status.all, ranks), timestamp: info?.timestamp, reason: info?.reason ?? "",
  });
  const rows: Row[] = [];
  for (const state of GROUPED.filter(wanted)) {
    if (withOnline) rows.push(row(state, true, status.sets[state].intersect(status.online)));
    if (withOffline) rows.push(row(state, false, status.sets[state].subtract(status.online)));
  }
  for (const state of (["draining", "drained"] as const).filter(wanted)) rows.push(...drainedRows(state, status, withOnline, withOffline, formats, row));
  return rows;
}

/** Drained nodes together that look the same in the columns shown. */
function drainedRows(
  state: "draining" | "drained",
  status: NodeStatus,
  withOnline: boolean,
  withOffline: boolean,
  shown: readonly string[],
  row: (state: NodeState, online: boolean, ranks: IdSet, info?: { timestamp: number; reason: string }) => Row,
): Row[] {
  const groups = new Map<string, { online: boolean; ranks: IdSet; info: { timestamp: number; reason: string } }>();
  for (const rank of status.sets[state]) {
    const online = status.online.has(rank);
    const info = status.drained.get(rank);
    if (info === undefined || !(online ? withOnline : withOffline)) continue;
    const key = JSON.stringify([online, shown.includes("timestamp") ? info.timestamp : 0, shown.includes("reason") ? info.reason : ""]);
    const group = groups.get(key) ?? { online, ranks: IdSet.of(), info };
    group.ranks.add(rank);
    groups.set(key, group);
  }
  if (groups.size === 0) return withOnline ? [row(state, true, IdSet.of())] : [];
  return [...groups.values()].map(({ online, ranks, info }) => row(state, online, ranks, info));
}

/** Fields that say no more than how many nodes there are, and which. */
const COUNTING_FIELDS: readonly string[] = ["nnodes", "ranks", "nodelist"];

/** Rows that differ in nothing but their nodes are one: `-o {nnodes}` alone counts all nodes. */
function combined(rows: readonly Row[], fields: readonly string[], all: Rset): Row[] {
  const telling = fields.filter((field) => !COUNTING_FIELDS.includes(field));
  const byKey = new Map<string, Row>();
  for (const row of rows) {
    const key = telling.map((field) => textOf(FIELDS.value(row, field))).join("\0");
    const known = byKey.get(key);
    const ranks = known === undefined ? row.ranks : known.ranks.union(row.ranks);
    byKey.set(key, known === undefined ? row : { ...known, ranks, hosts: hostsOf(all, ranks) });
  }
  return [...byKey.values()];
}

interface StatusTable {
  readonly format: OutputFormat;
  readonly states: ReadonlySet<string>;
  readonly skipEmpty: boolean;
  readonly include: string | undefined;
  readonly queues: readonly string[];
  readonly header: boolean;
  readonly input?: InputOptions;
}

async function showStatus({ format, states, skipEmpty, include, queues, header, input }: StatusTable): Promise<number> {
  const answers = input?.fromStdin === true ? await readAnswers(input) : await withFlux(fetchAnswers);
  const status = nodeStatus(answers, include, queues);
  const columns = format.columns.map(({ field }) => field);
  const rows = statusRows(status, states, columns).filter((row) => row.hosts.length > 0 || (!skipEmpty && (row.online || states.has("offline"))));
  printTable(format, combined(rows, columns, status.all), FIELDS, { header });
  return 0;
}

/** undefined when something was printed instead of a table. */
async function statusFormat(wanted: string | undefined, table: "status" | "drain", color: boolean): Promise<OutputFormat | undefined> {
  const builtin = table === "status" ? STATUS_FORMATS : DRAIN_FORMATS;
  const chosen = await chooseFormat(wanted, { file: "flux-resource", table, tables: FORMAT_TABLES, builtin, variable: `FLUX_RESOURCE_${table.toUpperCase()}_FORMAT_DEFAULT` });
  if (chosen === undefined) return undefined;
  const format = parseTable(chosen, FIELDS);
  if (color) return format;
  const { withoutColumns } = await import("../../formats/outputformat.ts");
  return withoutColumns(format, ({ field }) => field === "color_up" || field === "color_off");
}

const SHOW_OPTIONS = {
  format: text("-o, --format FORMAT", "a named format (see --format=help), or one such as '{state} {nodelist}'"),
  include: text("-i, --include TARGETS", "only these hosts or ranks"),
  queue: listOption("-q, --queue QUEUE,...", "only these queues"),
  noHeader: flag("-n, --no-header", "no line of titles"),
  color: optional("-L, --color [WHEN]", "never, always or auto (default)", "always"),
} as const;

export const status = defineCommand({
  name: "status",
  style: "argparse",
  summary: "show which nodes are up, down, drained or excluded",
  usage: "[-n] [-o FORMAT] [-s STATE,...] [-i TARGETS] [-q QUEUE,...]",
  details: "Show the state of nodes.\n\nExamples:\n  flux resource status\n  flux resource status -s offline",
  options: {
    ...SHOW_OPTIONS,
    states: text("-s, --states STATE,...", `only nodes in these states: ${STATES.join(", ")}`),
    skipEmpty: flag("--skip-empty", "leave out empty lines even with --states"),
    ...INPUT_OPTIONS,
  },
  async run({ options }) {
    if (options.states === "help") {
      writeError(`flux-resource: INFO: valid states: ${STATES.join(",")}\n`);
      return 0;
    }
    const states = parseStates(options.states);
    const format = await statusFormat(options.format, "status", wantsColor(options.color));
    if (format === undefined) return 0;
    return showStatus({
      format,
      states,
      skipEmpty: options.skipEmpty || options.states === undefined,
      include: options.include,
      queues: options.queue.flatMap((word) => word.split(",")),
      header: !options.noHeader,
      input: options,
    });
  },
});

function parseStates(given: string | undefined): Set<string> {
  const words = given?.split(",") ?? DEFAULT_STATES;
  for (const word of words) {
    if (STATES.some((known) => known === word)) continue;
    writeError(`flux-resource: ERROR: Invalid resource state ${word} specified\nflux-resource: INFO: valid states: ${STATES.join(",")}\n`);
    throw new UsageError("");
  }
  const states = new Set(words);
  if (words.every((word) => word === "online" || word === "offline")) for (const state of DEFAULT_STATES) states.add(state);
  if (states.has("drain")) for (const state of ["draining", "drained"]) states.add(state);
  return states;
}

// ---- drain and undrain

const CHANGE_OPTIONS = {
  force: counter("-f, --force", "replace a reason that is there; twice: the time, too"),
  update: flag("-u, --update", "no error for nodes that are in that state already"),
} as const;

function modeOf({ force, update }: { force: number; update: boolean }): { mode?: string } {
  if (force > 0 && update) throw new UsageError("Only one of --force and --update may be specified");
  if (update) return { mode: "update" };
  return force === 0 ? {} : { mode: force > 1 ? "force-overwrite" : "overwrite" };
}

export const drain = defineCommand({
  name: "drain",
  style: "argparse",
  summary: "keep jobs from nodes, or list the nodes that are drained",
  usage: "[-fu] [-o FORMAT] [targets] [reason ...]",
  details: "Drain nodes: running jobs stay, new ones don't start there. Without targets, list drained nodes.\n\nExamples:\n  flux resource drain node[3-4] bad memory\n  flux resource drain",
  options: { ...CHANGE_OPTIONS, ...SHOW_OPTIONS },
  async run({ options, args }) {
    const [targets, ...words] = args;
    if (targets === undefined) {
      const format = await statusFormat(options.format, "drain", false);
      if (format === undefined) return 0;
      const queues = options.queue.flatMap((word) => word.split(","));
      return showStatus({ format, states: new Set(["draining", "drained"]), skipEmpty: true, include: options.include, queues, header: !options.noHeader });
    }
    const request = { targets, ...modeOf(options), ...(words.length === 0 ? {} : { reason: words.join(" ") }) };
    return withFlux(async (h) => {
      try {
        await h.rpc("resource.drain", request, { nodeid: 0 });
        return 0;
      } catch (err) {
        if (!(err instanceof FluxError)) throw err;
        writeError(`flux-resource: ERROR: [Errno ${err.errno}] ${err.message}\n`);
        if (err.errno === errno.EEXIST) writeError("flux-resource: INFO: Use --force to overwrite existing drain reason\n");
        return 1;
      }
    });
  },
});

export const undrain = defineCommand({
  name: "undrain",
  style: "argparse",
  summary: "give drained nodes back to jobs",
  usage: "[-fu] targets [reason ...]",
  options: CHANGE_OPTIONS,
  run({ options, args }) {
    const [targets, ...words] = args;
    if (targets === undefined) {
      writeError("usage: flux resource undrain [-fu] targets [reason ...]\nflux-resource undrain: error: the following arguments are required: targets\n");
      throw new UsageError("", 2);
    }
    const request = { targets, ...modeOf(options), ...(words.length === 0 ? {} : { reason: words.join(" ") }) };
    return withFlux(async (h) => {
      await h.rpc("resource.undrain", request, { nodeid: 0 });
      return 0;
    });
  },
});
