// flux pstree: jobs as a tree, with the jobs of instances that run as jobs below them.
import { Flux } from "../client/flux.ts";
import { STATE } from "../client/jobs.ts";
import { parseJobId, toJobId, type JobId } from "../formats/fluid.ts";
import type { JsonObject } from "../formats/json.ts";
import { formatHeader, formatRow, type OutputFormat } from "../formats/outputformat.ts";
import { FluxError } from "../message/errno.ts";
import { defineCommand, flag, type OptionValues, text, UsageError, value } from "./command.ts";
import { withFlux } from "./connect.ts";
import { wantsInstanceInfo, withInstanceInfo } from "./instance-info.ts";
import { openInstance } from "./instance-uri.ts";
import { findJobs, type JobQuery, listJobs, parseFilters } from "./job-list.ts";
import { attributesOf, JOB_FIELDS, type JobRow, jobUri, toJobRow } from "./job-row.ts";
import { integer } from "./options.ts";
import { argparseJobId } from "./job-id.ts";
import { print, printError, windowWidth } from "./output.ts";
import { parseTable } from "./table.ts";
import { isTerminal } from "../os/terminal.ts";

const DETAILS: Readonly<Record<string, string>> = {
  default: "{id.f58:>12} {username:<8.8} {status_abbrev:>2.2} {ntasks:>6h} {nnodes:>6h} {runtime!F:>8h}",
  resources:
    "{id.f58:>12} {instance.resources.all.nnodes:>5} {instance.resources.allocated.nnodes:>5} {instance.resources.all.ncores:>5} {instance.resources.allocated.ncores:>5} {instance.resources.all.ngpus:>5} {instance.resources.allocated.ngpus:>5}",
  progress:
    "{id.f58:>12} {ntasks:>6h} {instance.stats.total:>6} {instance.progress!P:>5} {instance.utilization!P:>5} {instance.gpu_utilization!P:>5} {runtime!H:>10}",
  stats: "{id.f58:>12} {instance.stats:^25} {runtime!H:>10}",
};

const STYLES = {
  box: { pipe: "│   ", tee: "├── ", elbow: "└── ", blank: "    " },
  ascii: { pipe: "|   ", tee: "|-- ", elbow: "`-- ", blank: "    " },
  compact: { pipe: "│ ", tee: "├─", elbow: "└─", blank: "  " },
} as const;
type Style = (typeof STYLES)[keyof typeof STYLES];

const OPTIONS = {
  all: flag("-a, --all", "jobs in all states"),
  count: value("-c, --count N", "at most N jobs of an instance (default 1000)", integer(0)),
  filter: text("-f, --filter STATE|RESULT", "only jobs in these states or with these results"),
  extended: flag("-x, --extended", "details before the tree"),
  long: flag("-l, --long", "don't cut lines at the width of the terminal"),
  level: value("-L, --level N", "descend at most N levels", integer(0)),
  parentIds: flag("-p, --parent-ids", "job ids of instances"),
  noHeader: flag("-n, --no-header", "no line of titles with -x"),
  noCombine: flag("-X, --no-combine", "a line for each of several jobs that look alike"),
  label: text("-o, --label FORMAT", "what to show of a job (default '{name}')"),
  parentLabel: text("--parent-label FORMAT", "what to show of an instance"),
  detailFormat: text("--detail-format FORMAT", "details to show with -x"),
  details: text("-d, --details NAME", `named details: ${Object.keys(DETAILS).join(", ")}`),
  compact: flag("-C, --compact", "narrow lines"),
  ascii: flag("--ascii", "lines of ASCII characters"),
  skipRoot: text("--skip-root [yes|no]", "leave out the enclosing instance (default: yes with details or JOBIDs)"),
} as const;
type Options = OptionValues<typeof OPTIONS>;

const COUNT_DEFAULT = 1000;
const LEVEL_MAX = 999;

export default defineCommand({
  name: "pstree",
  style: "argparse",
  summary: "show jobs and the jobs in them as a tree",
  usage: "[OPTIONS...] [JOBID ...]",
  details: `Show running jobs as a tree: below an instance that runs as a job stand its own jobs.

Examples:
  flux pstree -x     with ids, users and times
  flux pstree -a -p  jobs in all states, ids of instances`,
  options: OPTIONS,
  async run({ options, args }) {
    if (options.ascii && options.compact) throw new UsageError("Choose only one of --ascii, --compact");
    const filtered = options.all || options.filter !== undefined || options.count !== undefined;
    if (args.length > 0 && filtered) printError("flux-pstree: WARNING: filtering options ignored with jobid list");
    const view = viewOf(options);
    const skipRoot = options.skipRoot === undefined ? view.details !== undefined || args.length > 0 : yes(options.skipRoot);
    const asked = args.map((word) => ({ word, id: argparseJobId(word, "pstree", "[OPTIONS...] [JOBID ...]") }));
    return withFlux(async (h) => {
      const root = skipRoot ? { label: ".", prefix: "", copies: 1, children: [] } : nodeOf(await enclosingJob(h), view, true);
      root.children = await childrenOf(h, view, options, asked, skipRoot, 0);
      if (view.details !== undefined && !options.noHeader) print(formatHeader(view.details, (field) => JOB_FIELDS.heading(field) ?? ""));
      const style = STYLES[options.compact ? "compact" : options.ascii ? "ascii" : "box"];
      const width = options.long || !isTerminal(1) ? Infinity : windowWidth(undefined);
      const lines: string[] = [];
      if (skipRoot) for (const child of root.children) drawRoot(child, style, lines);
      else drawRoot(root, style, lines);
      print(...lines.map((line) => cut(line, width)));
      return 0;
    });
  },
});

function yes(word: string): boolean {
  if (word !== "yes" && word !== "no") throw new UsageError("--skip-root requires either 'yes' or 'no'");
  return word === "yes";
}

// ---- what is shown of a job

/** A job as it was asked for. */
interface AskedJob {
  readonly word: string;
  readonly id: JobId;
}

interface View {
  readonly label: OutputFormat;
  readonly parent: OutputFormat;
  readonly details: OutputFormat | undefined;
  readonly attributes: readonly string[];
  readonly asksInstances: boolean;
}

function viewOf(options: Options): View {
  const label = options.label ?? (options.all ? "{name}:{status_abbrev}" : "{name}");
  const parent = options.parentLabel ?? options.label ?? "{name}";
  const name = options.details ?? (options.extended || options.detailFormat !== undefined ? "default" : undefined);
  const details = options.detailFormat ?? (name === undefined ? undefined : DETAILS[name]);
  if (name !== undefined && details === undefined) throw new UsageError(`Unknown --details format '${name}'`);
  const parse = (format: string): OutputFormat => parseTable(format, JOB_FIELDS);
  const view = {
    label: parse(label),
    parent: parse(options.parentIds ? `{id.f58} ${parent}` : parent),
    details: details === undefined ? undefined : parse(details),
  };
  const fields = [view.label, view.parent, view.details].flatMap((format) => format?.columns.map(({ field }) => field) ?? []);
  return { ...view, attributes: attributesOf([...fields, "annotations", "state", "userid"]), asksInstances: wantsInstanceInfo(fields) };
}

/** The instance at the top may be no job. */
const NO_JOB = toJobId(0);

interface TreeNode {
  readonly label: string;
  /** Details before the tree. */
  readonly prefix: string;
  /** Jobs that this line stands for. */
  copies: number;
  children: TreeNode[];
}

function nodeOf(row: JobRow, view: View, isParent: boolean): TreeNode {
  const value = (field: string): ReturnType<typeof JOB_FIELDS.value> => (row.id === NO_JOB && /^id\b/.test(field) ? "." : JOB_FIELDS.value(row, field));
  const show = (format: OutputFormat): string => formatRow(format, value);
  return { label: show(isParent ? view.parent : view.label), prefix: view.details === undefined ? "" : `${show(view.details)} `, copies: 1, children: [] };
}

// ---- the tree

async function childrenOf(h: Flux, view: View, options: Options, asked: readonly AskedJob[], skipRoot: boolean, level: number): Promise<TreeNode[]> {
  if (level > (options.level ?? LEVEL_MAX)) return [];
  const found = asked.length > 0 ? await knownJobs(h, asked, view) : await listJobs(h, queryOf(view, options, level === 0 && skipRoot));
  const rows = view.asksInstances ? await withInstanceInfo(found) : found;
  const nodes = await Promise.all(
    rows.map(async (row) => {
      const uri = jobUri(row);
      const isParent = uri !== undefined && row.info["state"] === STATE.RUN;
      const node = nodeOf(row, view, isParent);
      if (isParent) node.children = await jobsOf(uri, view, options, level + 1);
      return node;
    }),
  );
  return options.noCombine ? nodes : combined(nodes);
}

async function knownJobs(h: Flux, asked: readonly AskedJob[], view: View): Promise<JobRow[]> {
  const ids = asked.map(({ id }) => id);
  return findJobs(h, ids, view.attributes, (index) => printError(`JobID ${asked[index]?.word} unknown`));
}

/** What --filter asks for holds below the outermost level only, where that isn't shown as a job itself. */
function queryOf(view: View, options: Options, isTop: boolean): JobQuery {
  const filter = isTop ? "running" : options.all ? "pending,running,inactive" : (options.filter ?? "running");
  return { attributes: view.attributes, max: options.count ?? COUNT_DEFAULT, userid: process.getuid?.() ?? 0, ...parseFilters([filter]) };
}

/** Jobs of an instance; none when it can't be reached: it may have ended, or be of another user or on another host. */
async function jobsOf(uri: string, view: View, options: Options, level: number): Promise<TreeNode[]> {
  let h: Flux;
  try {
    h = await openInstance(uri);
  } catch (err) {
    if (err instanceof FluxError || err instanceof UsageError) return [];
    throw err;
  }
  try {
    return await childrenOf(h, view, options, [], false, level);
  } catch (err) {
    if (err instanceof FluxError) return [];
    throw err;
  } finally {
    h.close();
  }
}

/** Jobs without children that look alike become one line. */
function combined(nodes: readonly TreeNode[]): TreeNode[] {
  const seen = new Map<string, TreeNode>();
  const result: TreeNode[] = [];
  for (const node of nodes) {
    const key = `${node.prefix}${node.label}`;
    const before = node.children.length === 0 ? seen.get(key) : undefined;
    if (before !== undefined) before.copies++;
    else {
      result.push(node);
      if (node.children.length === 0) seen.set(key, node);
    }
  }
  return result;
}

/** This instance as a job: as its parent lists it, or made up where there is none. */
async function enclosingJob(h: Flux): Promise<JobRow> {
  const [jobid, parent] = await Promise.all([h.optionalAttr("jobid"), h.optionalAttr("parent-uri")]);
  if (jobid !== undefined && parent !== undefined) {
    try {
      const outer = await Flux.open(parent);
      try {
        const [row] = await findJobs(outer, [parseJobId(jobid)], ["all"], () => {});
        if (row !== undefined) return row;
      } finally {
        outer.close();
      }
    } catch (err) {
      if (!(err instanceof FluxError)) throw err; // A parent that doesn't answer: then without it.
    }
  }
  const [size, owner, hosts, start] = await Promise.all([h.attr("size"), h.attr("security.owner"), h.attr("hostlist"), h.optionalAttr("broker.starttime")]);
  const info: JsonObject = {
    id: NO_JOB,
    userid: Number(owner),
    state: STATE.RUN,
    name: ".",
    ntasks: Number(size),
    nnodes: Number(size),
    nodelist: hosts,
    t_run: Number(start ?? 0),
  };
  return toJobRow(info, Date.now() / 1000);
}

// ---- drawing

function drawRoot(node: TreeNode, style: Style, lines: string[]): void {
  draw(node, "", "", style, lines);
}

/** `stem` is what stands left of the connector of this node. */
function draw(node: TreeNode, stem: string, connector: string, style: Style, lines: string[]): void {
  const label = node.copies > 1 ? `${node.copies}*[${node.label}]` : node.label;
  lines.push(`${node.prefix}${stem}${connector}${label}`);
  const below = connector === "" ? "" : stem + (connector === style.elbow ? style.blank : style.pipe);
  for (const [i, child] of node.children.entries()) draw(child, below, i === node.children.length - 1 ? style.elbow : style.tee, style, lines);
}

function cut(line: string, width: number): string {
  const chars = Array.from(line);
  return chars.length <= width ? line : `${chars.slice(0, width - 1).join("")}+`;
}
