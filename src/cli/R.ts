// flux R: makes, reads and computes with resource sets (RFC 20), one or more as JSON on stdin.
import { Rset, rsetShort } from "../formats/rset.ts";
import { IdSet } from "../formats/idset.ts";
import { Hostlist } from "../formats/hostlist.ts";
import { defineCommand, flag, list, text, UsageError } from "./command.ts";
import { print, wrongUsage } from "./output.ts";
import { readObjects } from "./json-input.ts";
import { spacedJson } from "./spaced-json.ts";

function printR(set: Rset): number {
  print(spacedJson(set.encode()));
  return 0;
}

async function readAll(): Promise<Rset[]> {
  const sets = (await readObjects("R object")).map((object) => Rset.parse(object));
  if (sets.length === 0) throw new UsageError("Failed to read an R object: '[' or '{' expected near end of file");
  return sets;
}

async function readUnion(): Promise<Rset> {
  return (await readAll()).reduce((a, b) => a.union(b));
}

async function readTwoOrMore(command: string, combine: (a: Rset, b: Rset) => Rset): Promise<Rset> {
  const sets = await readAll();
  if (sets.length < 2) throw new UsageError(`${command} requires at least 2 resource sets`);
  return sets.reduce(combine);
}

function parseIds(name: string, words: string): IdSet {
  try {
    return IdSet.parse(words);
  } catch {
    throw new UsageError(`Failed to decode ${name}='${words}' as idset`);
  }
}

interface EncodeOptions {
  readonly ranks: string | undefined;
  readonly cores: string | undefined;
  readonly gpus: string | undefined;
  readonly hosts: string | undefined;
  readonly property: readonly string[];
  readonly local: boolean;
  readonly xml: string | undefined;
}

const encode = defineCommand({
  name: "encode",
  style: "getopt",
  summary: "make a resource set",
  usage: "[OPTIONS]",
  options: {
    ranks: text("-r, --ranks IDSET", "ranks (default: one for each of --hosts, else 0)"),
    cores: text("-c, --cores IDS", "cores of each rank (default: 0)"),
    gpus: text("-g, --gpus IDS", "GPUs of each rank (default: none)"),
    hosts: text("-H, --hosts HOSTS", "host of each rank (default: this one)"),
    property: list("-p, --property NAME[:RANKS]", "property of all or some ranks"),
    local: flag("-l, --local", "cores and GPUs of this host"),
    xml: text("-f, --xml FILE", "cores and GPUs of an hwloc XML file"),
  },
  async run({ options }) {
    const discover = options.local || options.xml !== undefined;
    if (discover && (options.cores || options.gpus)) {
      throw new UsageError("do not specify --cores or --gpus with --local or --xml");
    }
    const { cores, gpus } = discover ? await discovered(options.xml) : givenIds(options);
    const { ranks, hosts } = await targets(options);
    const set = new Rset();
    let index = 0;
    for (const rank of ranks) set.add(rank, { cores, gpus, host: hosts.nth(index++) });
    for (const word of options.property) addProperty(set, word);
    return printR(set);
  },
});

function givenIds(options: EncodeOptions): { cores: IdSet; gpus: IdSet } {
  const gpus = parseIds("gpus", options.gpus ?? "");
  return { cores: parseIds("cores", options.cores ?? (gpus.isEmpty ? "0" : "")), gpus };
}

async function discovered(xmlFile: string | undefined): Promise<{ cores: IdSet; gpus: IdSet }> {
  const { discoverTopology } = await import("../os/topology.ts");
  const { parseHwlocXml } = await import("../os/hwloc-xml.ts");
  const topology = xmlFile === undefined ? discoverTopology() : parseHwlocXml(await Bun.file(xmlFile).text());
  const range = (count: number): IdSet => (count === 0 ? new IdSet() : IdSet.range(0, count - 1));
  return { cores: range(topology.cores.length), gpus: range(topology.gpus.length) };
}

async function targets(options: EncodeOptions): Promise<{ ranks: IdSet; hosts: Hostlist }> {
  const given = options.hosts === undefined ? undefined : Hostlist.parse(options.hosts);
  const ranks = options.ranks === undefined ? IdSet.range(0, (given?.length ?? 1) - 1) : parseIds("ranks", options.ranks);
  if (given === undefined) {
    const { hostname } = await import("../os/hostname.ts");
    return { ranks, hosts: Hostlist.from(Array.from({ length: ranks.count }, () => hostname())) };
  }
  if (given.length !== ranks.count) {
    throw new UsageError(`hostname count in '${options.hosts}' does not match nranks (${ranks.count})`);
  }
  return { ranks, hosts: given };
}

function addProperty(set: Rset, word: string): void {
  const colon = word.indexOf(":");
  const name = colon < 0 ? word : word.slice(0, colon);
  const ranks = colon < 0 ? set.ranks : parseIds("ranks", word.slice(colon + 1));
  if (!set.ranks.contains(ranks)) {
    throw new UsageError(`failed to assign properties: ranks ${ranks.subtract(set.ranks).toString()} not found in target resource list`);
  }
  set.setProperty(name, ranks);
}

const append = defineCommand({
  name: "append",
  style: "getopt",
  summary: "join sets that share no resources",
  usage: "",
  async run() {
    const joined = (await readAll()).reduce((a, b) => {
      if (!a.intersect(b).isEmpty) throw new UsageError(`R objects '${rsetShort(a)}' and '${rsetShort(b)}' overlap`);
      return a.append(b);
    });
    return printR(joined);
  },
});

const diff = defineCommand({
  name: "diff",
  style: "getopt",
  summary: "the first set without what is in the others",
  usage: "",
  run: async () => printR(await readTwoOrMore("diff", (a, b) => a.diff(b))),
});

const intersect = defineCommand({
  name: "intersect",
  style: "getopt",
  summary: "what is in all sets",
  usage: "",
  run: async () => printR(await readTwoOrMore("intersect", (a, b) => a.intersect(b))),
});

const remap = defineCommand({
  name: "remap",
  style: "getopt",
  summary: "number ranks, cores and GPUs from 0",
  usage: "",
  run: async () => printR((await readUnion()).remap()),
});

const rerank = defineCommand({
  name: "rerank",
  style: "getopt",
  summary: "number ranks by the place of their hosts in a hostlist",
  usage: "HOSTLIST",
  async run({ args }) {
    const [words] = args;
    if (words === undefined || args.length !== 1) throw wrongUsage("flux R rerank HOSTLIST");
    const set = await readUnion();
    const hosts = Hostlist.parse(words);
    if (hosts.length < set.nnodes) throw new UsageError(`Too few hosts specified (expected ${set.nnodes})`);
    if (hosts.length > set.nnodes) throw new UsageError(`Too many hosts specified (expected ${set.nnodes})`);
    return printR(set.rerank(hosts));
  },
});

const decode = defineCommand({
  name: "decode",
  style: "getopt",
  summary: "print a set, or facts about it",
  usage: "[OPTIONS]",
  options: {
    short: flag("-s, --short", "print one short line"),
    nodelist: flag("-n, --nodelist", "print the hosts"),
    ranks: flag("-r, --ranks", "print the ranks"),
    count: text("-c, --count TYPE", "print how many node, core or gpu there are"),
    include: text("-i, --include RANKS", "only these ranks"),
    exclude: text("-x, --exclude RANKS", "without these ranks"),
    properties: text("-p, --properties LIST", "only ranks that have these properties; ^NAME: that don't"),
  },
  async run({ options }) {
    let set = await readUnion();
    for (const word of options.properties?.split(",") ?? []) set = withProperty(set, word);
    if (options.include !== undefined) set = set.slice(parseIds("include", options.include));
    if (options.exclude !== undefined) set = set.slice(set.ranks.subtract(parseIds("exclude", options.exclude)));
    const lines: string[] = [];
    if (options.short) lines.push(rsetShort(set));
    if (options.nodelist) lines.push(set.hosts.toString());
    if (options.ranks) lines.push(set.ranks.toString());
    if (options.count !== undefined) lines.push(String(countOf(set, options.count)));
    if (lines.length === 0) return printR(set);
    print(...lines);
    return 0;
  },
});

function withProperty(set: Rset, word: string): Rset {
  const name = word.replace(/^\^/, "");
  const having = set.properties.get(name) ?? new IdSet();
  return set.slice(word === name ? having : set.ranks.subtract(having));
}

function countOf(set: Rset, type: string): number {
  if (type === "node") return set.nnodes;
  if (type === "core") return set.ncores;
  return type === "gpu" ? set.ngpus : 0;
}

const verify = defineCommand({
  name: "verify",
  style: "getopt",
  summary: "check that the second set has at least what the first has on its ranks",
  usage: "",
  async run() {
    const [expected, found, ...more] = await readAll();
    if (expected === undefined || found === undefined || more.length > 0) {
      throw new UsageError("verify requires exactly 2 R objects on stdin");
    }
    for (const node of found.nodes()) {
      const wanted = expected.node(node.rank);
      if (wanted === undefined) throw new UsageError(`rank ${node.rank} not found in expected ranks`);
      if (node.host !== wanted.host) {
        throw new UsageError(`rank ${node.rank} got hostname '${node.host ?? "unknown"}', expected '${wanted.host ?? "unknown"}'`);
      }
    }
    const missing = expected.slice(found.ranks).diff(found);
    if (!missing.isEmpty) throw new UsageError(missingText(missing));
    return 0;
  },
});

function missingText(missing: Rset): string {
  const [node] = missing.nodes();
  const ids = (name: string, set: IdSet): string[] => (set.isEmpty ? [] : [`${name}${set.toString({ brackets: true })}`]);
  const resources = node === undefined ? [] : [...ids("core", node.cores), ...ids("gpu", node.gpus)];
  return `rank ${node?.rank} (${node?.host ?? "unknown"}): missing resources: ${resources.join(",")}`;
}

const setProperty = defineCommand({
  name: "set-property",
  style: "getopt",
  summary: "give properties to ranks",
  usage: "PROPERTY:RANKS [PROPERTY:RANKS]...",
  async run({ args }) {
    if (args.length === 0) throw wrongUsage("flux R set-property PROPERTY:RANKS [PROPERTY:RANKS]...");
    const set = await readUnion();
    for (const word of args) addProperty(set, word);
    return printR(set);
  },
});

const parseConfig = defineCommand({
  name: "parse-config",
  style: "getopt",
  summary: "print the set that a configuration defines",
  usage: "PATH",
  details: "Print the resource set that the table [resource] of a configuration defines, by its array config or by path.\n\nExample:\n  flux R parse-config /etc/flux/system/conf.d",
  async run({ args }) {
    const [path] = args;
    if (path === undefined || args.length !== 1) throw wrongUsage("flux R parse-config PATH");
    const [{ readConfig }, { parseResourceConfig }] = await Promise.all([import("../broker/config.ts"), import("../modules/resource/config.ts")]);
    const config = await readConfig(path);
    if (config["resource"] === undefined) throw new UsageError("Config file error: there is no table [resource]");
    const { R } = parseResourceConfig(config, 0);
    if (R === undefined) throw new UsageError("Config file error: resource.config and resource.path are missing");
    return printR(R);
  },
});

export default defineCommand({
  name: "R",
  style: "getopt",
  summary: "make, read and compute with resource sets",
  subcommands: [encode, append, diff, intersect, remap, rerank, decode, verify, setProperty, parseConfig],
});
