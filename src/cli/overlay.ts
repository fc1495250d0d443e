// flux overlay: the tree of brokers and how its branches are ("overlay.health", "overlay.topology").
import type { Flux } from "../client/flux.ts";
import { formatDuration } from "../formats/fsd.ts";
import { Hostlist } from "../formats/hostlist.ts";
import { IdSet } from "../formats/idset.ts";
import type { JsonObject } from "../formats/json.ts";
import { errno, FluxError } from "../message/errno.ts";
import { arr, fields, num, obj, opt, str, uint, unpack } from "../message/unpack.ts";
import { defineCommand, flag, optional, text, UsageError, value, valueOr } from "./command.ts";
import { explain, withFlux } from "./connect.ts";
import { TRACE_OPTIONS, traceOverlay } from "./message-trace.ts";
import { integer, seconds } from "./options.ts";
import { COLOR, print, printError, wantsColor, wrongUsage } from "./output.ts";

const STATES = ["full", "partial", "offline", "degraded", "lost"] as const;
const DEFAULT_COLOR = "\x1b[39m";

interface TreeNode {
  readonly rank: number;
  readonly children: readonly TreeNode[];
}

/** What is printed of a broker. */
interface Entry {
  readonly rank: number;
  readonly status: string;
  readonly duration_s: number;
  readonly error: string;
  /** Not asked: it is below one that can't be reached. */
  readonly isGhost: boolean;
}

interface Walk {
  readonly h: Flux;
  readonly tree: TreeNode;
  readonly hosts: Hostlist;
  readonly highlight: IdSet;
  readonly verbose: number;
  readonly timeout_ms: number | undefined;
  readonly wait: string | undefined;
  readonly color: boolean;
  readonly pretty: boolean;
  readonly ghosts: boolean;
  readonly onlyDown: boolean;
}

const healthEntry = { rank: uint, status: str, duration: num, error: opt(str) };

const status = defineCommand({
  name: "status",
  style: "getopt",
  summary: "show the state of the brokers as a tree",
  usage: "[OPTIONS]",
  options: {
    rank: valueOr("-r, --rank NODEID", "only the branch below this rank (default 0)", integer(0), 0),
    verbose: optional("-v, --verbose [LEVEL]", "1: since when; 2: how long each answer took", "1"),
    timeout: valueOr("-t, --timeout FSD", "wait so long for each answer; 0 is without limit (default 0.5s)", seconds, 0.5),
    summary: flag("--summary", "only the state of the whole"),
    down: flag("--down", "only what isn't full"),
    noPretty: flag("--no-pretty", "no lines of a tree"),
    noGhost: flag("--no-ghost", "nothing about brokers behind those that can't be reached"),
    color: optional("-L, --color [WHEN]", "colours: always (default if WHEN is left out), never or auto (default)", "always"),
    highlight: text("-H, --highlight TARGET", "mark these ranks or hosts and the way to them"),
    wait: text("-w, --wait STATE", `wait until the branch is ${STATES.join(", ")}`),
  },
  async run({ options }) {
    if (options.wait !== undefined && !STATES.some((state) => state === options.wait)) throw new UsageError("invalid --wait state");
    const verbose = verbosity(options.verbose);
    return withFlux(async (h) => {
      const { tree, hosts } = await topology(h);
      const walk: Walk = {
        h,
        tree,
        hosts,
        highlight: options.highlight === undefined ? new IdSet() : ranksOf(options.highlight, hosts),
        verbose,
        timeout_ms: options.timeout === 0 || options.wait !== undefined ? undefined : options.timeout * 1000,
        wait: options.wait,
        color: wantsColor(options.color),
        pretty: !options.noPretty,
        ghosts: !options.noGhost,
        onlyDown: options.down,
      };
      const limit_ms = options.wait !== undefined && options.timeout !== 0.5 && options.timeout > 0 ? options.timeout * 1000 : walk.timeout_ms;
      if (options.summary) {
        const { entry, took } = await health({ ...walk, timeout_ms: limit_ms }, options.rank);
        print(`${paintStatus(walk, entry)}${since(walk, entry)}${took}`);
      } else {
        await showBranch({ ...walk, timeout_ms: limit_ms }, options.rank, "", "", true);
      }
      return 0;
    });
  },
});

function verbosity(level: string | undefined): number {
  if (level === undefined) return 0;
  // "-vv" is "-v" with the value "v".
  if (/^v+$/.test(level)) return level.length + 1;
  const number = Number(level);
  if (!Number.isInteger(number) || number < 0) throw new UsageError(`invalid value '${level}' for --verbose: expected a level`);
  return number;
}

async function topology(h: Flux): Promise<{ tree: TreeNode; hosts: Hostlist }> {
  const [answer, hosts] = await Promise.all([h.rpc("overlay.topology", { rank: 0 }, { nodeid: 0 }), h.attr("hostlist")]);
  return { tree: treeOf(answer), hosts: Hostlist.parse(hosts) };
}

function treeOf(payload: JsonObject): TreeNode {
  const { rank, children } = unpack(payload, { rank: uint, children: arr(obj) });
  return { rank, children: children.map(treeOf) };
}

function find(tree: TreeNode, rank: number): TreeNode | undefined {
  if (tree.rank === rank) return tree;
  for (const child of tree.children) {
    const found = find(child, rank);
    if (found !== undefined) return found;
  }
  return undefined;
}

function ranksBelow(tree: TreeNode, into: IdSet = new IdSet()): IdSet {
  into.add(tree.rank);
  for (const child of tree.children) ranksBelow(child, into);
  return into;
}

/** Ranks of an idset, or of hosts. Throws UsageError. */
function ranksOf(words: string, hosts: Hostlist): IdSet {
  try {
    const ids = IdSet.parse(words);
    if ((ids.last ?? 0) < hosts.length) return ids;
  } catch {
    // Not an idset: host names, then.
  }
  const ranks = new IdSet();
  for (const host of hostsOf(words)) {
    const found = hosts.findAll(host);
    if (found.length === 0) throw new UsageError(`Error decoding ${words}: host ${host} not found in host map`);
    for (const rank of found) ranks.add(rank);
  }
  return ranks;
}

function hostsOf(words: string): Hostlist {
  try {
    return Hostlist.parse(words);
  } catch (err) {
    throw new UsageError(`Error decoding ${words}: ${err instanceof Error ? err.message : String(err)}`);
  }
}

interface Health {
  readonly entry: Entry;
  readonly children: readonly Entry[];
  readonly took: string;
}

async function health(walk: Walk, rank: number): Promise<Health> {
  const asked_ms = performance.now();
  const answer = unpack(await askHealth(walk, rank), { ...healthEntry, children: arr(fields(healthEntry)) });
  const entryOf = (e: { rank: number; status: string; duration: number; error: string | undefined }): Entry => ({
    rank: e.rank,
    status: e.status,
    duration_s: e.duration,
    error: e.error ?? "",
    isGhost: false,
  });
  return { entry: entryOf(answer), children: answer.children.map(entryOf), took: tookText(walk, asked_ms) };
}

function tookText(walk: Walk, asked_ms: number): string {
  return walk.verbose < 2 ? "" : ` (${(performance.now() - asked_ms).toFixed(3)} ms)`;
}

async function askHealth(walk: Walk, rank: number): Promise<JsonObject> {
  const options = { nodeid: rank, ...(walk.timeout_ms === undefined ? {} : { timeout_ms: walk.timeout_ms }) };
  if (walk.wait === undefined) return walk.h.rpc("overlay.health", undefined, options);
  const stream = walk.h.stream("overlay.health", undefined, { nodeid: rank, cancelTopic: "overlay.health-cancel" });
  let hasTimedOut = false;
  const timer =
    walk.timeout_ms === undefined
      ? undefined
      : setTimeout(() => {
          hasTimedOut = true;
          void stream.return();
        }, walk.timeout_ms);
  try {
    for await (const answer of stream) if (answer["status"] === walk.wait) return answer;
  } finally {
    clearTimeout(timer);
  }
  throw new FluxError(hasTimedOut ? errno.ETIMEDOUT : errno.ENODATA);
}

/** Prints a broker and what is below it. `isTop`: its failure is the command's. Returns false when it didn't answer. */
async function showBranch(walk: Walk, rank: number, indent: string, connector: string, isTop: boolean): Promise<boolean> {
  const asked_ms = performance.now();
  let found: Health;
  try {
    found = await health(walk, rank);
  } catch (err) {
    if (!(err instanceof FluxError)) throw err;
    const reason = err.errno === errno.ETIMEDOUT ? new FluxError(errno.ETIMEDOUT).message : err.message;
    if (isTop) throw new UsageError(reason);
    print(`${lineStart(walk, rank, indent, connector)}: ${reason}${tookText(walk, asked_ms)}`);
    return false;
  }
  if (walk.onlyDown && found.entry.status === "full") return true;
  show(walk, found.entry, indent, connector, found.took);
  const below = { ...walk, wait: undefined, timeout_ms: walk.timeout_ms ?? (walk.wait === undefined ? undefined : 500) };
  for (const [i, child] of found.children.entries()) {
    const isLast = i === found.children.length - 1;
    await showChild(below, child, isTop ? "" : indent + (connector === "└─ " ? "   " : "│  "), isLast ? "└─ " : "├─ ");
  }
  return true;
}

async function showChild(walk: Walk, child: Entry, indent: string, connector: string): Promise<void> {
  if (walk.onlyDown && child.status === "full") return;
  const branch = find(walk.tree, child.rank);
  const isDown = child.status === "offline" || child.status === "lost";
  const isLeaf = branch === undefined || branch.children.length === 0;
  if (isDown || (isLeaf && walk.verbose < 2)) show(walk, child, indent, connector, "");
  if (isLeaf && walk.verbose < 2) return;
  const answered = !isDown && (await showBranch(walk, child.rank, indent, connector, false));
  if (!answered && walk.ghosts && branch !== undefined) showGhosts(walk, branch, child.status, indent + (connector === "└─ " ? "   " : "│  "));
}

/** Brokers behind one that can't be reached are taken to be as it is. */
function showGhosts(walk: Walk, branch: TreeNode, state: string, indent: string): void {
  for (const [i, child] of branch.children.entries()) {
    const isLast = i === branch.children.length - 1;
    show(walk, { rank: child.rank, status: state, duration_s: -1, error: "", isGhost: true }, indent, isLast ? "└─ " : "├─ ", "");
    showGhosts(walk, child, state, indent + (isLast ? "   " : "│  "));
  }
}

function show(walk: Walk, entry: Entry, indent: string, connector: string, took: string): void {
  const error = entry.error === "" ? "" : ` ${entry.error}`;
  print(`${lineStart(walk, entry.rank, indent, connector)}: ${paintStatus(walk, entry)}${since(walk, entry)}${error}${took}`);
}

function lineStart(walk: Walk, rank: number, indent: string, connector: string): string {
  const branch = find(walk.tree, rank);
  const name = `${rank} ${walk.hosts.nth(rank) ?? ""}`;
  const isMarked = branch !== undefined && ranksBelow(branch).intersects(walk.highlight);
  const shown = !isMarked ? name : walk.color ? `${COLOR.boldBlue}${name}${COLOR.reset}` : `<<${name}>>`;
  return walk.pretty ? indent + connector + shown : shown;
}

function paintStatus(walk: Walk, entry: Entry): string {
  if (!walk.color) return entry.status;
  if (entry.isGhost) return `${COLOR.darkGray}${entry.status}${DEFAULT_COLOR}`;
  if (entry.status === "lost") return `${COLOR.red}lost${DEFAULT_COLOR}`;
  return entry.status === "offline" ? `${COLOR.yellow}offline${DEFAULT_COLOR}` : entry.status;
}

function since(walk: Walk, entry: Entry): string {
  return walk.verbose < 1 || entry.duration_s <= 0 ? "" : ` for ${formatDuration(entry.duration_s)}`;
}

const lookup = defineCommand({
  name: "lookup",
  style: "getopt",
  summary: "ranks to hosts, or hosts to ranks",
  usage: "TARGET",
  async run({ args }) {
    const [words] = args;
    if (words === undefined || args.length !== 1) throw wrongUsage("flux overlay lookup TARGET");
    return withFlux(async (h) => {
      print(lookUp(words, Hostlist.parse(await h.attr("hostlist"))));
      return 0;
    });
  },
});

/** "0-1" → "node[0-1]", "node1" → "1". Throws UsageError. */
export function lookUp(words: string, hosts: Hostlist): string {
  let ids: IdSet | undefined;
  try {
    ids = IdSet.parse(words);
  } catch {
    ids = undefined;
  }
  if (ids !== undefined && !ids.isEmpty) {
    if ((ids.last ?? 0) >= hosts.length) throw new UsageError(`rank ${ids.last} is not found in host map`);
    return hosts.slice(ids).toString();
  }
  return IdSet.from(
    [...hostsOf(words)].map((host) => {
      const rank = hosts.find(host);
      if (rank < 0) throw new UsageError(`host ${host} not found in host map`);
      return rank;
    }),
  ).toString();
}

const parentof = defineCommand({
  name: "parentof",
  style: "getopt",
  summary: "the rank above a rank",
  usage: "RANK",
  async run({ args }) {
    const [word] = args;
    if (word === undefined || args.length !== 1) throw wrongUsage("flux overlay parentof RANK");
    if (!/^\d+$/.test(word)) throw new UsageError(`'${word}' is not a rank`);
    return withFlux(async (h) => {
      const tree = await wholeTree(h);
      const rank = Number(word);
      if (find(tree, rank) === undefined) throw new UsageError(`${rank} is not a valid rank in this instance`);
      const parent = parentOf(tree, rank);
      if (parent === undefined) throw new UsageError(`${rank} has no parent`);
      print(String(parent));
      return 0;
    });
  },
});

function parentOf(tree: TreeNode, rank: number): number | undefined {
  for (const child of tree.children) {
    if (child.rank === rank) return tree.rank;
    const found = parentOf(child, rank);
    if (found !== undefined) return found;
  }
  return undefined;
}

const disconnect = defineCommand({
  name: "disconnect",
  style: "getopt",
  summary: "cut a branch off the tree",
  usage: "[OPTIONS] TARGET",
  options: { parent: value("-r, --parent NODEID", "the rank above it, if the tree is not to be asked", integer(0)) },
  async run({ options, args }) {
    const [target] = args;
    if (target === undefined || args.length > 1) throw new UsageError("TARGET is required");
    return withFlux(async (h) => {
      const hosts = Hostlist.parse(await h.attr("hostlist"));
      const rank = /^\d+$/.test(target) ? Number(target) : hosts.find(target);
      if (rank < 0) throw new UsageError("TARGET must be a valid rank or hostname");
      const parent = options.parent ?? parentOf(await wholeTree(h), rank);
      if (parent === undefined) throw new UsageError(`${target} has no parent`);
      const nameOf = (r: number): string => hosts.slice(IdSet.of(r)).toString();
      printError(`flux-overlay: asking ${nameOf(parent)} (rank ${parent}) to disconnect child ${nameOf(rank)} (rank ${rank})`);
      await explain("overlay.disconnect-subtree", h.rpc("overlay.disconnect-subtree", { rank }, { nodeid: parent }), true);
      return 0;
    });
  },
});

const errors = defineCommand({
  name: "errors",
  style: "getopt",
  summary: "list brokers that were lost, and why",
  usage: "[OPTIONS]",
  options: { timeout: valueOr("-t, --timeout FSD", "wait so long for each answer; 0 is without limit (default 0.5s)", seconds, 0.5) },
  async run({ options, args }) {
    if (args.length > 0) throw wrongUsage("flux overlay errors [OPTIONS]");
    return withFlux(async (h) => {
      const hosts = Hostlist.parse(await h.attr("hostlist"));
      const found = new Map<string, IdSet>();
      const add = (error: string, ranks: Iterable<number>): void => {
        const ids = found.get(error) ?? new IdSet();
        for (const rank of ranks) ids.add(rank);
        found.set(error, ids);
      };
      await gatherErrors(h, await wholeTree(h), options.timeout, add);
      print(...[...found].map(([error, ranks]) => `${hosts.slice(ranks).toString()}: ${error}`));
      return 0;
    });
  },
});

/** Asks every broker that can be reached what has become of its children. */
async function gatherErrors(h: Flux, branch: TreeNode, timeout_s: number, add: (error: string, ranks: Iterable<number>) => void): Promise<void> {
  const limit = timeout_s === 0 ? {} : { timeout_ms: timeout_s * 1000 };
  let children: readonly { rank: number; status: string; error: string | undefined }[];
  try {
    ({ children } = unpack(await h.rpc("overlay.health", undefined, { nodeid: branch.rank, ...limit }), { children: arr(fields({ rank: uint, status: str, error: opt(str) })) }));
  } catch (err) {
    if (!(err instanceof FluxError)) throw err;
    return add(err.message, [branch.rank]);
  }
  await Promise.all(
    children.map(async ({ rank, status: state, error }) => {
      const below = find(branch, rank) ?? { rank, children: [] };
      if (state === "lost") return add(error ?? "unknown error", ranksIn(below));
      if (state === "offline") return error === undefined || error === "" ? undefined : add(error, [rank]);
      if (below.children.length > 0) await gatherErrors(h, below, timeout_s, add);
    }),
  );
}

function ranksIn(branch: TreeNode): number[] {
  return [branch.rank, ...branch.children.flatMap(ranksIn)];
}

async function wholeTree(h: Flux): Promise<TreeNode> {
  return treeOf(await explain("overlay.topology", h.rpc("overlay.topology", { rank: 0 }, { nodeid: 0 })));
}

const trace = defineCommand({
  name: "trace",
  style: "getopt",
  summary: "show the messages between this broker and its neighbours",
  usage: "[OPTIONS] [TOPIC-GLOB]",
  options: { rank: value("-r, --rank NODEID", "only those to and from this neighbour", integer(0)), ...TRACE_OPTIONS },
  async run({ options, args }) {
    const [topic] = args;
    if (args.length > 1) throw wrongUsage("flux overlay trace [OPTIONS] [TOPIC-GLOB]");
    return withFlux((h) => traceOverlay(h, options.rank, { ...options, topic }));
  },
});

export default defineCommand({
  name: "overlay",
  style: "getopt",
  summary: "show the tree of brokers and its state",
  subcommands: [status, errors, lookup, parentof, disconnect, trace],
});
