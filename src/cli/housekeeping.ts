// flux housekeeping: the programs that run on nodes between jobs ([job-manager.housekeeping]).
import type { Flux } from "../client/flux.ts";
import { formatJobId, type JobId, parseJobId } from "../formats/fluid.ts";
import { Hostlist } from "../formats/hostlist.ts";
import { IdSet } from "../formats/idset.ts";
import type { OutputFormat, OutputValue } from "../formats/outputformat.ts";
import { dict, fields, num, str, unpack } from "../message/unpack.ts";
import { defineCommand, flag, text, UsageError, value, valueOr } from "./command.ts";
import { withFlux } from "./connect.ts";
import { jobIdArgument } from "./job-id.ts";
import { integer } from "./options.ts";
import { chooseFormat, type NamedFormats } from "./named-formats.ts";
import { type Fields, parseTable, printTable, realText } from "./table.ts";

const FORMATS: NamedFormats = {
  default: {
    description: "Default flux-housekeeping format string",
    format: "{id.f58:>12} {nnodes:>6} {pending.nnodes:>7} {runtime!F:>8} {nodelist}",
  },
  pending: {
    description: "flux-housekeeping format string including active nodes only",
    format: "{id.f58:>12} {pending.nnodes:>7} {runtime!F:>8} {pending.nodelist}",
  },
};

interface Row {
  readonly id: JobId;
  readonly t_start: number;
  readonly runtime_s: number;
  readonly allocated: IdSet;
  readonly pending: IdSet;
  readonly hosts: Hostlist;
}

type Field = readonly [heading: string, value: (row: Row) => OutputValue];

const hostsOf = (row: Row, ranks: IdSet): string => row.hosts.slice(ranks).toString();

const TABLE: Record<string, Field> = {
  id: ["JOBID", ({ id }) => formatJobId(id, "f58")],
  t_start: ["T_START", ({ t_start }) => realText(t_start)],
  runtime: ["RUNTIME", ({ runtime_s }) => realText(runtime_s)],
};
for (const form of ["dec", "hex", "f58", "f58plain", "emoji", "kvs", "words", "dothex"] as const) TABLE[`id.${form}`] = ["JOBID", ({ id }) => formatJobId(id, form)];
for (const prefix of ["", "allocated."]) {
  TABLE[`${prefix}ranks`] = ["RANKS", ({ allocated }) => allocated.toString()];
  TABLE[`${prefix}nodelist`] = ["NODELIST", (row) => hostsOf(row, row.allocated)];
  TABLE[`${prefix}nnodes`] = ["NNODES", ({ allocated }) => allocated.count];
}
TABLE["pending.ranks"] = ["ACTIVE_RANKS", ({ pending }) => pending.toString()];
TABLE["pending.nodelist"] = ["ACTIVE_NODES", (row) => hostsOf(row, row.pending)];
TABLE["pending.nnodes"] = ["#ACTIVE", ({ pending }) => pending.count];

const FIELDS: Fields<Row> = {
  heading: (name) => (Object.hasOwn(TABLE, name) ? TABLE[name]?.[0] : undefined),
  value: (row, name) => (Object.hasOwn(TABLE, name) ? TABLE[name]?.[1](row) : ""),
};

async function hostlist(h: Flux): Promise<Hostlist> {
  return Hostlist.parse(await h.attr("hostlist"));
}

/** Ranks of an idset, or of hosts. Throws UsageError. */
function ranksOf(words: string, hosts: Hostlist): IdSet {
  try {
    return IdSet.parse(words);
  } catch {
    // Then they are hosts.
  }
  let wanted: Hostlist;
  try {
    wanted = Hostlist.parse(words);
  } catch {
    throw new UsageError("--targets must be a valid Idset or Hostlist");
  }
  return IdSet.from(
    Array.from(wanted, (host) => {
      const rank = hosts.find(host);
      if (rank < 0) throw new UsageError(`didn't find ${host} in instance hostlist`);
      return rank;
    }),
  );
}

const STATS = { housekeeping: fields({ running: dict(fields({ t_start: num, pending: str, allocated: str })) }) };

async function rows(h: Flux, include: string | undefined): Promise<Row[]> {
  const hosts = await hostlist(h);
  const only = include === undefined ? undefined : ranksOf(include, hosts);
  const { housekeeping } = unpack(await h.rpc("job-manager.stats-get", undefined, { nodeid: 0 }), STATS);
  const within = (ranks: string): IdSet => (only === undefined ? IdSet.parse(ranks) : IdSet.parse(ranks).intersect(only));
  return Object.entries(housekeeping.running)
    .map(([id, { t_start, pending, allocated }]) => ({
      id: parseJobId(id), t_start, runtime_s: Math.max(0, Date.now() / 1000 - t_start), allocated: within(allocated), pending: within(pending), hosts,
    }))
    .filter((row) => !row.allocated.isEmpty);
}

/** Without anything that tells jobs apart, they are one line. */
function combined(found: readonly Row[], { columns }: OutputFormat): readonly Row[] {
  const [first] = found;
  if (first === undefined || columns.some(({ field }) => field.startsWith("id") || field === "t_start" || field === "runtime")) return found;
  const all = (of: (row: Row) => IdSet): IdSet => found.map(of).reduce((a, b) => a.union(b));
  return [{ ...first, allocated: all((row) => row.allocated), pending: all((row) => row.pending) }];
}

const list = defineCommand({
  name: "list",
  style: "argparse",
  summary: "list jobs whose nodes are in housekeeping",
  usage: "[-i HOSTS|RANKS] [-n] [-o FORMAT]",
  options: {
    include: text("-i, --include HOSTS|RANKS", "only these"),
    noHeader: flag("-n, --no-header", "no line of titles"),
    format: text("-o, --format FORMAT", "a named format (see --format=help), or one such as '{id} {nodelist}'"),
  },
  async run({ options }) {
    const chosen = await chooseFormat(options.format, { file: "flux-housekeeping", builtin: FORMATS, variable: "FLUX_HOUSEKEEPING_FORMAT_DEFAULT" });
    if (chosen === undefined) return 0;
    const format = parseTable(chosen, FIELDS, "Error in user format: ");
    return withFlux(async (h) => {
      printTable(format, combined(await rows(h, options.include), format), FIELDS, { header: !options.noHeader });
      return 0;
    });
  },
});

const SIGTERM = 15;

const kill = defineCommand({
  name: "kill",
  style: "argparse",
  summary: "signal housekeeping programs",
  usage: "[-s SIGNUM] [-t RANKS|HOSTS] [-j JOBID] [--all]",
  details: "Signal housekeeping programs: those of a job, those on some nodes, or all.\n\nExample:\n  flux housekeeping kill --targets=node[3-4] -s 9",
  options: {
    signal: valueOr("-s, --signal SIGNUM", `signal number (default ${SIGTERM})`, integer(1), SIGTERM),
    targets: text("-t, --targets RANKS|HOSTS", "only on these"),
    jobid: value("-j, --jobid JOBID", "only those of this job", jobIdArgument),
    all: flag("--all", "all of them"),
  },
  run({ options }) {
    const { signal, targets, jobid, all } = options;
    if (jobid === undefined && targets === undefined && !all) throw new UsageError("specify at least one of --targets, --jobid, or --all");
    if (all && jobid !== undefined) throw new UsageError("do not specify --jobid with --all");
    return withFlux(async (h) => {
      const ranks = targets === undefined ? {} : { ranks: ranksOf(targets, await hostlist(h)).toString() };
      await h.rpc("job-manager.housekeeping-kill", { signum: signal, ...(jobid === undefined ? {} : { jobid }), ...ranks }, { nodeid: 0 });
      return 0;
    });
  },
});

export default defineCommand({
  name: "housekeeping",
  style: "argparse",
  summary: "list and signal programs that tidy up nodes between jobs",
  details: "List and signal the programs that tidy up nodes between jobs.\n\nExample:\n  flux housekeeping list",
  subcommands: [list, kill],
});
