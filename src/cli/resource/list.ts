// flux resource list, info, R: the resources that the scheduler has, by state, queue and properties.
import { IdSet } from "../../formats/idset.ts";
import type { JsonObject } from "../../formats/json.ts";
import { type OutputValue, textOf } from "../../formats/outputformat.ts";
import { parentQueue, queueTables } from "../../formats/queue-config.ts";
import { Rset, rsetShort } from "../../formats/rset.ts";
import { defineCommand, flag, hidden, list as listOption, type OptionValues, text, UsageError } from "../command.ts";
import { withFlux } from "../connect.ts";
import { print } from "../output.ts";
import { spacedJson } from "../spaced-json.ts";
import { chooseFormat, type FormatSource, type NamedFormats, userSettings } from "../named-formats.ts";
import { type Fields, parseTable, printTable } from "../table.ts";
import { decodeSets, fetchResources, FORMAT_TABLES, INPUT_OPTIONS, queueRanks, queueRequirements, readInput, RESOURCE_STATES, type ResourceSets, type ResourceState, setOfState, sliceSets, targetRanks } from "./sets.ts";

const START = "{state:>10} ?+:{queue:<5} ?:{propertiesx:<10.10+} {nnodes:>6} +:{ncores:>6} ";
const FORMATS: NamedFormats = {
  default: { description: "Default flux-resource list format string", format: `${START}?+:{ngpus:>5} {nodelist}` },
  rlist: { description: "Format including resource list details", format: `${START}?+:{ngpus:>5} {rlist}` },
};
/** Queues that the column of queues leaves out, unless they are asked for. */
const HIDDEN_QUEUES = "hidden-queues";
const SOURCE: FormatSource = {
  file: "flux-resource",
  table: "list",
  tables: FORMAT_TABLES,
  settings: { [HIDDEN_QUEUES]: (value) => (Array.isArray(value) && value.every((name) => typeof name === "string") ? undefined : "must be a list of strings") },
  builtin: FORMATS,
  variable: "FLUX_RESOURCE_LIST_FORMAT_DEFAULT",
};

interface Row {
  readonly state: ResourceState;
  readonly set: Rset;
  readonly queue: string;
  /** Properties that are not names of queues. */
  readonly own: string;
}

const FIELD_TABLE: Readonly<Record<string, readonly [heading: string, value: (row: Row) => OutputValue]>> = {
  state: ["STATE", (row) => row.state],
  queue: ["QUEUE", (row) => row.queue],
  properties: ["PROPERTIES", (row) => [...row.set.properties.keys()].join(",")],
  propertiesx: ["PROPERTIES", (row) => row.own],
  nnodes: ["NNODES", (row) => row.set.nnodes],
  ncores: ["NCORES", (row) => row.set.ncores],
  ngpus: ["NGPUS", (row) => row.set.ngpus],
  ranks: ["RANKS", (row) => row.set.ranks.toString({ brackets: false })],
  nodelist: ["NODELIST", (row) => row.set.hosts.toString()],
  rlist: ["LIST", (row) => rsetShort(row.set)],
};

/** Fields by which lines differ. */
const TELLING_FIELDS: readonly string[] = ["state", "properties", "propertiesx", "queue"];

const FIELDS: Fields<Row> = {
  heading: (name) => (Object.hasOwn(FIELD_TABLE, name) ? FIELD_TABLE[name]?.[0] : undefined),
  value: (row, name) => (Object.hasOwn(FIELD_TABLE, name) ? FIELD_TABLE[name]?.[1](row) : ""),
};

const TARGET_OPTIONS = {
  states: text("-s, --states STATE,...", "resources in these states: all, up, down, allocated, free"),
  include: text("-i, --include TARGETS", "only these hosts or ranks"),
  queue: listOption("-q, --queue QUEUE,...", "only these queues"),
  ...INPUT_OPTIONS,
} as const;
type TargetOptions = OptionValues<typeof TARGET_OPTIONS>;

function statesOf({ states }: TargetOptions, initial: readonly ResourceState[]): readonly ResourceState[] {
  if (states === undefined) return initial;
  return states.split(",").map((word) => {
    const state = RESOURCE_STATES.find((known) => known === word);
    if (state === undefined) throw new UsageError(`Invalid resource state ${word} specified`);
    return state;
  });
}

const queuesOf = ({ queue }: TargetOptions): string[] => queue.flatMap((word) => word.split(","));

async function resourcesOf(options: TargetOptions): Promise<{ sets: ResourceSets; config: JsonObject }> {
  if (!options.fromStdin) return withFlux(fetchResources);
  const { answer, config } = await readInput(options);
  return { sets: decodeSets(answer), config };
}

function narrowed(sets: ResourceSets, config: JsonObject, options: TargetOptions): ResourceSets {
  let result = sets;
  const queues = queuesOf(options);
  if (queues.length > 0) result = sliceSets(result, queues.map((queue) => queueRanks(sets.all, config, queue)).reduce((a, b) => a.union(b), IdSet.of()));
  if (options.include !== undefined) result = sliceSets(result, targetRanks(sets.all, options.include));
  return result;
}

/** One row for all nodes of a state that differ neither in queues nor in properties. */
function rowsOf(state: ResourceState, set: Rset, config: JsonObject, only: readonly string[], hidden: readonly string[]): Row[] {
  const queues = queueTables(config);
  const defined = [...queues.keys()];
  // A virtual queue has no nodes of its own.
  const isHidden = (name: string): boolean => hidden.includes(name) || parentQueue(queues.get(name)) !== undefined;
  const shown = defined.filter((name) => (only.length > 0 ? only.includes(name) : !isHidden(name)));
  if (set.isEmpty) return (shown.length === 0 ? [""] : shown).map((queue) => ({ state, set, queue, own: "" }));
  const groups = new Map<string, { queue: string; own: string; ranks: IdSet }>();
  for (const rank of set.ranks) {
    const properties = set.propertiesOf(rank);
    const queue = shown.filter((name) => queueRequirements(config, name)?.every((property) => properties.includes(property))).join(",");
    const own = properties.filter((name) => !defined.includes(name)).join(",");
    const key = `${queue}\0${own}`;
    const group = groups.get(key) ?? { queue, own, ranks: IdSet.of() };
    group.ranks.add(rank);
    groups.set(key, group);
  }
  return [...groups.values()].map(({ queue, own, ranks }) => ({ state, set: set.slice(ranks), queue, own }));
}

/** Rows that the format tells apart by nothing but their numbers are one row: `-o {nnodes}` alone counts all nodes. */
function combined(rows: readonly Row[], fields: readonly string[]): Row[] {
  const telling = fields.length > 1 || fields.includes("state") ? fields.filter((name) => TELLING_FIELDS.includes(name)) : [];
  const byKey = new Map<string, Row>();
  for (const row of rows) {
    const key = telling.map((name) => textOf(FIELD_TABLE[name]?.[1](row))).join("\0");
    const known = byKey.get(key);
    byKey.set(key, known === undefined ? row : { ...known, set: known.set.union(row.set) });
  }
  return [...byKey.values()];
}

export const list = defineCommand({
  name: "list",
  style: "argparse",
  summary: "list resources by state",
  usage: "[-n] [-o FORMAT] [-s STATE,...] [-i TARGETS] [-q QUEUE,...]",
  details: "List resources by state.\n\nExamples:\n  flux resource list\n  flux resource list -s free -no '{nodelist}'",
  options: {
    ...TARGET_OPTIONS,
    format: text("-o, --format FORMAT", "a named format (see --format=help), or one such as '{state} {nnodes} {rlist}'"),
    skipEmpty: flag("--skip-empty", "leave out empty lines (the default with --include)"),
    noSkipEmpty: flag("--no-skip-empty", "show empty lines even with --include"),
    noHeader: flag("-n, --no-header", "no line of titles"),
  },
  async run({ options }) {
    const chosenFormat = await chooseFormat(options.format, SOURCE);
    if (chosenFormat === undefined) return 0;
    const states = statesOf(options, ["free", "allocated", "down"]);
    const format = parseTable(chosenFormat, FIELDS);
    const hiddenQueues = (await userSettings(SOURCE))[HIDDEN_QUEUES] ?? [];
    const { sets, config } = await resourcesOf(options);
    const chosen = narrowed(sets, config, options);
    const skip = (options.skipEmpty || options.include !== undefined) && !options.noSkipEmpty;
    const each = states.flatMap((state) => rowsOf(state, setOfState(chosen, state), config, queuesOf(options), hiddenQueues as readonly string[]));
    const rows = combined(each, format.columns.map((column) => column.field));
    printTable(format, skip ? rows.filter((row) => !row.set.isEmpty) : rows, FIELDS, { header: !options.noHeader });
    return 0;
  },
});

/** The resources of some states together. */
async function chosenSet(options: TargetOptions, initial: readonly ResourceState[]): Promise<Rset> {
  const states = statesOf(options, initial);
  const { sets, config } = await resourcesOf(options);
  const chosen = narrowed(sets, config, options);
  const [first, ...more] = states.map((state) => setOfState(chosen, state));
  // The union has the times of the first.
  return more.reduce((a, b) => a.union(b), first ?? new Rset());
}

export const info = defineCommand({
  name: "info",
  style: "argparse",
  summary: "count nodes, cores and GPUs",
  usage: "[-s STATE,...] [-i TARGETS] [-q QUEUE,...]",
  options: { ...TARGET_OPTIONS, noSkipEmpty: hidden(flag("--no-skip-empty", "has no effect: there is one line")) },
  async run({ options }) {
    const set = await chosenSet(options, ["all"]);
    print(`${set.nnodes} Nodes, ${set.ncores} Cores, ${set.ngpus} GPUs`);
    return 0;
  },
});

export const R = defineCommand({
  name: "R",
  style: "argparse",
  summary: "print resources as R (RFC 20)",
  usage: "[-s STATE,...] [-i TARGETS] [-q QUEUE,...]",
  options: TARGET_OPTIONS,
  async run({ options }) {
    print(spacedJson((await chosenSet(options, ["all"])).encode()));
    return 0;
  },
});
