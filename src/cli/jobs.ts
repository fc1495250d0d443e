// flux jobs: list jobs.
import type { Flux } from "../client/flux.ts";
import { resultName, STATE, USERID_ANY } from "../client/jobs.ts";
import type { JobId } from "../formats/fluid.ts";
import { decodeJsonObject, type Json } from "../formats/json.ts";
import type { OutputFormat } from "../formats/outputformat.ts";
import { defineCommand, flag, hidden, list, optional, type OptionValues, text, UsageError, value } from "./command.ts";
import { withFlux } from "./connect.ts";
import { argparseJobId, showJobId } from "./job-id.ts";
import { findJobs, includeConstraint, type JobQuery, jobStats, listJobs, parseFilters, parseUser } from "./job-list.ts";
import { attributesOf, jobJson, type JobRow, JOB_FIELDS, jobUri, toJobRow } from "./job-row.ts";
import { integer } from "./options.ts";
import { print, wantsColor, windowWidth, writeError } from "./output.ts";
import { JOB_FORMATS } from "./job-formats.ts";
import { chooseFormat } from "./named-formats.ts";
import { fittedFormat, parseTable, printTable, type TableOptions, withSortKeys } from "./table.ts";
import { isTerminal } from "../os/terminal.ts";

const OPTIONS = {
  all: flag("-a", "jobs in all states"),
  allUsers: flag("-A", "jobs of all users"),
  count: value("-c, --count N", "at most N jobs (default 1000; 0: all)", integer(0)),
  filter: list("-f, --filter STATE|RESULT", "only jobs in these states or with these results, separated by commas"),
  since: text("--since WHEN", "also jobs that ended since WHEN, e.g. -1h"),
  noHeader: flag("-n, --no-header", "no line of titles"),
  suppressHeader: hidden(flag("--suppress-header", "no line of titles")),
  user: text("-u, --user USERNAME|UID", "jobs of this user, or of all"),
  name: text("--name JOB-NAME", "only jobs of this name"),
  queue: list("-q, --queue QUEUE,...", "only jobs of these queues"),
  include: text("-i, --include HOSTS|RANKS", "only jobs that have or had these hosts or broker ranks"),
  format: text("-o, --format FORMAT", "a named format (see --format=help), or one such as '{id} {name} {runtime!F}'"),
  sort: text("--sort KEY,...", "sort by these fields; -KEY for descending order"),
  width: optional("-w, --width [N]", "cut lines after N characters; without N at the width of the terminal", "0"),
  json: flag("--json", "JSON instead of a table"),
  color: optional("--color [WHEN]", "never, always or auto (default)", "always"),
  recursive: flag("-R, --recursive", "also the jobs of instances that run as jobs"),
  level: value("-L, --level N", "with --recursive: descend at most N levels", integer(0)),
  recurseAll: flag("--recurse-all", "with --recursive: also into other users' instances"),
  fromStdin: hidden(flag("--from-stdin", "jobs as job-list describes them, from stdin")),
  threads: hidden(text("--threads N", "has no effect: instances are always asked at the same time")),
  stats: flag("--stats", "print counts first"),
  statsOnly: flag("--stats-only", "print counts only; exit 1 when no job is active"),
} as const;
type Options = OptionValues<typeof OPTIONS>;

const COUNT_DEFAULT = 1000;
const LEVEL_MAX = 64;

export default defineCommand({
  name: "jobs",
  style: "argparse",
  summary: "list jobs",
  usage: "[-aAnR] [-c N] [-f STATE|RESULT] [-u USER] [-o FORMAT] [OPTIONS...] [JOBID ...]",
  details: `List your jobs that are pending or running.

Examples:
  flux jobs -a                          jobs in all states
  flux jobs -A -f pending               everybody's pending jobs
  flux jobs -no '{id.f58} {runtime!F}'  two columns, no titles
  flux jobs --since=-1h -f failed       what failed in the last hour`,
  options: OPTIONS,
  async run({ options, args }) {
    if (options.json && (options.stats || options.statsOnly)) throw new UsageError("--json incompatible with --stats or --stats-only");
    const ids = args.map((word) => argparseJobId(word, "jobs", "[OPTIONS...] [JOBID ...]"));
    if (ids.length > 0 && hasFilters(options) && !options.recursive) warn("Filtering options ignored with jobid list");
    const format = await tableFormat(options);
    if (format === undefined) return 0;
    const color = wantsColor(options.color);
    if (options.fromStdin) {
      printTable(format, await readRows(), JOB_FIELDS, tableOptions(options, color));
      return 0;
    }
    return withFlux(async (h) => {
      if (options.stats || options.statsOnly) {
        const active = await printStats(h, options.queue.flatMap((word) => word.split(",")), true);
        if (options.statsOnly) return active > 0 ? 0 : 1;
      }
      const query = await planQuery(options, format, color);
      const { rows, truncated } = ids.length > 0 ? await byId(h, ids, args, query) : await bySearch(h, query);
      if (ids.length > 0 && rows.length === 0) return 1;
      if (options.json) await printJson(rows, ids.length === 1, query);
      else await printRows(rows, format, query, color);
      if (truncated && !noHeader(options) && !options.json) {
        const count = options.count ?? COUNT_DEFAULT;
        writeError(`warning: output truncated at ${count} jobs.\nUse --count to increase returned results or use filters to alter results.\n`);
      }
      return 0;
    });
  },
});

function warn(message: string): void {
  writeError(`flux-jobs: WARNING: ${message}\n`);
}

const noHeader = (options: Options): boolean => options.noHeader || options.suppressHeader;

function hasFilters(options: Options): boolean {
  const { all, allUsers, count, filter, since, user, name, queue } = options;
  return all || allUsers || count !== undefined || filter.length > 0 || since !== undefined || user !== undefined || name !== undefined || queue.length > 0;
}

async function tableFormat(options: Options): Promise<OutputFormat | undefined> {
  const chosen = await chooseFormat(options.format, { file: "flux-jobs", builtin: JOB_FORMATS, variable: "FLUX_JOBS_FORMAT_DEFAULT" });
  if (chosen === undefined) return undefined;
  const format = parseTable(chosen, JOB_FIELDS, "Error in user format: ");
  return options.sort === undefined ? format : withSortKeys(format, options.sort, JOB_FIELDS);
}

async function printStats(h: Flux, queues: readonly string[], purged: boolean): Promise<number> {
  const stats = await jobStats(h, queues);
  const { running, successful, failed, pending, inactivePurged, active } = stats;
  const tail = purged ? `, ${inactivePurged} inactive purged` : "";
  print(`${running} running, ${successful} completed, ${failed} failed, ${pending} pending${tail}`);
  return active;
}

// ---- which jobs

interface Query extends JobQuery {
  readonly options: Options;
  /** Ask instances what they say of themselves. */
  readonly asksInstances: boolean;
}

async function planQuery(options: Options, format: OutputFormat, color: boolean): Promise<Query> {
  const fields = [...format.columns, ...format.sort].map((column) => column.field);
  const attributes = new Set(attributesOf(fields));
  if (color) for (const name of ["result", "annotations"]) attributes.add(name);
  if (options.recursive || options.recurseAll) for (const name of attributesOf(["annotations", "status", "userid"])) attributes.add(name);
  const count = options.count ?? COUNT_DEFAULT;
  const since_s = await sinceOf(options);
  const all = options.allUsers || (options.include !== undefined && options.user === undefined);
  return {
    options,
    asksInstances: fields.some((field) => field.startsWith("instance.")),
    attributes: options.json ? ["all"] : [...attributes],
    // One more than asked for shows that there are more.
    max: count > 0 ? count + 1 : 0,
    userid: all ? USERID_ANY : options.user === undefined ? (process.getuid?.() ?? 0) : await parseUser(options.user),
    ...chosenStates(options),
    ...(since_s === undefined ? {} : { since_s }),
    name: options.name,
    queues: options.queue.flatMap((word) => word.split(",")),
    constraint: options.include === undefined ? undefined : await includeConstraint(options.include),
  };
}

function chosenStates(options: Options): { states: number; results: number } {
  if (options.filter.length > 0) {
    if (options.all) warn("Both -a and --filter specified, ignoring -a");
    return parseFilters(options.filter);
  }
  return parseFilters(options.all || options.since !== undefined ? ["pending,running,inactive"] : ["pending,running"]);
}

async function sinceOf({ since }: Options): Promise<number | undefined> {
  if (since === undefined) return undefined;
  const { parseMoment } = await import("./moment.ts");
  const now_s = Date.now() / 1000;
  const when_s = /^\d+(\.\d*)?$/.test(since) ? Number(since) : momentOrError(since, parseMoment);
  if (when_s > now_s) throw new UsageError(`--since=${since} appears to be in the future`);
  return when_s;
}

function momentOrError(since: string, parse: (text: string) => number): number {
  try {
    return parse(since);
  } catch {
    throw new UsageError(`could not convert string to float: '${since}'`);
  }
}

async function byId(h: Flux, ids: readonly JobId[], words: readonly string[], query: Query): Promise<{ rows: JobRow[]; truncated: boolean }> {
  const unknown: number[] = [];
  const rows = await findJobs(h, ids, query.attributes, (index) => unknown.push(index));
  for (const index of unknown.toSorted((a, b) => a - b)) writeError(`JobID ${words[index]} unknown\n`);
  return { rows, truncated: false };
}

async function bySearch(h: Flux, query: Query): Promise<{ rows: JobRow[]; truncated: boolean }> {
  const rows = await listJobs(h, query);
  if (query.max === 0 || rows.length < query.max) return { rows, truncated: false };
  return { rows: rows.slice(0, query.max - 1), truncated: true };
}

// ---- output

const RESULT_COLORS: Readonly<Record<string, string>> = { COMPLETED: "\x1b[01;32m", FAILED: "\x1b[01;31m", CANCELED: "\x1b[37m", TIMEOUT: "\x1b[01;31m" };
const RESET = "\x1b[0;0m";

function colored(row: JobRow, line: string): string {
  const color = RESULT_COLORS[resultName(Number(row.info["result"] ?? 0))] ?? (jobUri(row) === undefined ? undefined : "\x1b[01;34m");
  return color === undefined ? line : `${color}${line}${RESET}`;
}

function tableOptions(options: Options, color: boolean): TableOptions<JobRow> {
  const width = options.width === undefined ? undefined : tableWidth(options.width);
  return { header: !noHeader(options), width, ...(color ? { decorate: colored } : {}) };
}

async function readRows(): Promise<JobRow[]> {
  const { readObjects } = await import("./json-input.ts");
  return (await readObjects("job")).map((object) => toJobRow(decodeJsonObject(object), Date.now() / 1000));
}

async function printRows(given: readonly JobRow[], format: OutputFormat, query: Query, color: boolean): Promise<void> {
  const { options } = query;
  const rows = await asked(given, query);
  const table = tableOptions(options, color);
  printTable(format, rows, JOB_FIELDS, table);
  if (!options.recursive && !options.recurseAll) return;
  const fitted = fittedFormat(format, rows, JOB_FIELDS);
  await descend(rows, query, "", 1, async (path, children, h) => {
    print("", `${path}:`);
    if (options.stats) await printStats(h, [], false);
    printTable(fitted, await asked(children, query), JOB_FIELDS, { ...table, header: false });
  });
}

async function asked(rows: readonly JobRow[], { asksInstances }: Query): Promise<readonly JobRow[]> {
  if (!asksInstances) return rows;
  const { withInstanceInfo } = await import("./instance-info.ts");
  return withInstanceInfo(rows);
}

function tableWidth(word: string): number | undefined {
  if (!/^\d+$/.test(word)) throw new UsageError(`--width: invalid int value: '${word}'`);
  if (Number(word) > 0) return Number(word);
  return isTerminal(1) ? windowWidth(undefined) : undefined;
}

/** Calls `visit` for every instance among `rows` that can be reached, and for those among its jobs. */
async function descend(
  rows: readonly JobRow[],
  query: Query,
  path: string,
  level: number,
  visit: (path: string, rows: readonly JobRow[], h: Flux, parent: JobRow) => Promise<void>,
): Promise<void> {
  const { options } = query;
  if (level > Math.min(options.level ?? LEVEL_MAX, LEVEL_MAX)) return;
  for (const row of rows) {
    const uri = jobUri(row);
    const mine = options.recurseAll || row.info["userid"] === process.getuid?.();
    if (uri === undefined || !mine || row.info["state"] !== STATE.RUN) continue;
    const h = await openInstance(uri);
    if (h === undefined) continue;
    try {
      const { rows: children } = await bySearch(h, query);
      const below = path === "" ? showJobId(row.id) : `${path}/${showJobId(row.id)}`;
      await visit(below, children, h, row);
      await descend(children, query, below, level + 1, visit);
    } finally {
      h.close();
    }
  }
}

/** An instance that has just ended, or is elsewhere, is left out. */
async function openInstance(uri: string): Promise<Flux | undefined> {
  const { openInstance: open } = await import("./instance-uri.ts");
  try {
    return await open(uri);
  } catch {
    return undefined;
  }
}

async function printJson(rows: readonly JobRow[], single: boolean, query: Query): Promise<void> {
  const { spacedJson } = await import("./spaced-json.ts");
  const objects = new Map<JobRow, Record<string, Json>>(rows.map((row) => [row, jobJson(row)]));
  if (query.options.recursive || query.options.recurseAll) {
    await descend(rows, query, "", 1, (_path, children, _h, parent) => {
      for (const child of children) objects.set(child, jobJson(child));
      const object = objects.get(parent);
      if (object !== undefined) object["jobs"] = children.map((child) => objects.get(child) as Record<string, Json>);
      return Promise.resolve();
    });
  }
  const top = rows.map((row) => objects.get(row) as Record<string, Json>);
  print(spacedJson(single ? top[0] : { jobs: top }));
}

