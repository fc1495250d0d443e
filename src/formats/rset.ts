// R, version 1 (RFC 20): concrete resources: which cores and GPUs of which execution targets, on which hosts, until when.

import { FormatError, fieldError } from "./error.ts";
import { Hostlist } from "./hostlist.ts";
import { IdSet } from "./idset.ts";
import { decodeJson, encodeJson, isJsonObject, type JsonObject } from "./json.ts";

/** Resources of one execution target. The sets may be shared between nodes: treat them as frozen. */
export interface RsetNode {
  readonly rank: number;
  readonly host: string | undefined;
  readonly cores: IdSet;
  readonly gpus: IdSet;
}

const WHAT = "R";
/** Bound on execution targets in one R. */
const MAX_NODES = 1 << 20;
const NONE = new IdSet();

function idsetField(value: unknown, field: string): IdSet {
  if (typeof value !== "string") throw fieldError(WHAT, field, "must be an idset string");
  try {
    return IdSet.parse(value);
  } catch (cause) {
    throw cause instanceof FormatError ? fieldError(WHAT, field, cause.message) : cause;
  }
}

function timeField(value: unknown, field: string): number {
  if (value === undefined) return 0;
  if (typeof value !== "number" || !(value >= 0)) throw fieldError(WHAT, field, "must be a number of seconds, not negative");
  return value;
}

const fromZero = (ids: IdSet) => (ids.isEmpty ? ids : IdSet.range(0, ids.count - 1));
const isEmptyNode = (node: RsetNode) => node.cores.isEmpty && node.gpus.isEmpty;

/** Which resources two nodes share under `combine`, host kept. */
function combineNodes(a: RsetNode, b: RsetNode, combine: (x: IdSet, y: IdSet) => IdSet): RsetNode {
  return { rank: a.rank, host: a.host ?? b.host, cores: combine(a.cores, b.cores), gpus: combine(a.gpus, b.gpus) };
}

export class Rset {
  readonly #nodes = new Map<number, RsetNode>();
  readonly #ranks = new IdSet();
  #properties = new Map<string, IdSet>();
  /** Seconds since the epoch; 0 is unset. */
  starttime = 0;
  expiration = 0;
  /** Slots of an allocation; undefined in an inventory. */
  nslots: number | undefined;
  /** The scheduler's own data, carried along unread. */
  scheduling: JsonObject | undefined;

  /** Text or a decoded value. Throws FormatError that names the member. */
  static parse(input: unknown): Rset {
    const value = typeof input === "string" ? decodeJson(input) : input;
    if (!isJsonObject(value)) throw fieldError(WHAT, "", "must be an object");
    if (value["version"] !== 1) throw fieldError(WHAT, "version", `must be 1, not ${JSON.stringify(value["version"])}`);
    const execution = value["execution"];
    if (!isJsonObject(execution)) throw fieldError(WHAT, "execution", "must be an object");
    const set = new Rset();
    set.#parseRlite(execution["R_lite"]);
    set.#parseNodelist(execution["nodelist"]);
    set.#parseProperties(execution["properties"]);
    set.starttime = timeField(execution["starttime"], "execution.starttime");
    set.expiration = timeField(execution["expiration"], "execution.expiration");
    const nslots = execution["nslots"];
    if (nslots !== undefined) {
      if (typeof nslots !== "number" || !Number.isInteger(nslots) || nslots < 1)
        throw fieldError(WHAT, "execution.nslots", "must be a positive integer");
      set.nslots = nslots;
    }
    const scheduling = value["scheduling"];
    if (scheduling !== undefined && scheduling !== null) {
      if (!isJsonObject(scheduling)) throw fieldError(WHAT, "scheduling", "must be an object");
      set.scheduling = scheduling;
    }
    return set;
  }

  #parseRlite(entries: unknown): void {
    // An empty object is what some programs write for no targets.
    if (isJsonObject(entries) && Object.keys(entries).length === 0) return;
    if (!Array.isArray(entries)) throw fieldError(WHAT, "execution.R_lite", "must be a list");
    entries.forEach((entry: unknown, i) => {
      const field = `execution.R_lite[${i}]`;
      if (!isJsonObject(entry)) throw fieldError(WHAT, field, "must be an object");
      const ranks = idsetField(entry["rank"], `${field}.rank`);
      const children = entry["children"];
      if (!isJsonObject(children)) throw fieldError(WHAT, `${field}.children`, "must be an object");
      const cores = children["core"] === undefined ? NONE : idsetField(children["core"], `${field}.children.core`);
      const gpus = children["gpu"] === undefined ? NONE : idsetField(children["gpu"], `${field}.children.gpu`);
      if (this.#nodes.size + ranks.count > MAX_NODES) throw fieldError(WHAT, field, `more than ${MAX_NODES} execution targets`);
      for (const rank of ranks) {
        const node = { rank, host: undefined, cores, gpus };
        const before = this.#nodes.get(rank);
        this.#set(before ? combineNodes(before, node, (a, b) => a.union(b)) : node);
      }
    });
  }

  #parseNodelist(nodelist: unknown): void {
    if (nodelist === undefined) return;
    if (!Array.isArray(nodelist)) throw fieldError(WHAT, "execution.nodelist", "must be a list of hostlists");
    const hosts = new Hostlist();
    nodelist.forEach((entry: unknown, i) => {
      if (typeof entry !== "string") throw fieldError(WHAT, `execution.nodelist[${i}]`, "must be a hostlist string");
      hosts.append(entry);
    });
    if (hosts.length !== this.#nodes.size) {
      throw fieldError(WHAT, "execution.nodelist", `names ${hosts.length} hosts for ${this.#nodes.size} execution targets`);
    }
    const names = hosts[Symbol.iterator]();
    for (const rank of this.#ranks) {
      const node = this.#nodes.get(rank);
      const host = names.next();
      if (node && host.done !== true) this.#nodes.set(rank, { ...node, host: host.value });
    }
  }

  #parseProperties(properties: unknown): void {
    if (properties === undefined || properties === null) return;
    if (!isJsonObject(properties)) throw fieldError(WHAT, "execution.properties", "must be an object");
    for (const name of Object.keys(properties)) {
      this.setProperty(name, idsetField(properties[name], `execution.properties.${name}`));
    }
  }

  #set(node: RsetNode): void {
    this.#nodes.set(node.rank, node);
    this.#ranks.add(node.rank);
  }

  /** Adds one execution target, or its further resources. */
  add(rank: number, resources: { readonly cores?: IdSet; readonly gpus?: IdSet; readonly host?: string | undefined }): void {
    const node = { rank, host: resources.host, cores: resources.cores ?? NONE, gpus: resources.gpus ?? NONE };
    const before = this.#nodes.get(rank);
    this.#set(before ? combineNodes(before, node, (a, b) => a.union(b)) : node);
  }

  get ranks(): IdSet {
    return this.#ranks.clone();
  }
  get nnodes(): number {
    return this.#nodes.size;
  }
  get isEmpty(): boolean {
    return this.#nodes.size === 0;
  }

  get ncores(): number {
    let count = 0;
    for (const node of this.#nodes.values()) count += node.cores.count;
    return count;
  }

  get ngpus(): number {
    let count = 0;
    for (const node of this.#nodes.values()) count += node.gpus.count;
    return count;
  }

  node(rank: number): RsetNode | undefined {
    return this.#nodes.get(rank);
  }

  /** The execution targets in ascending order of rank. */
  *nodes(): IterableIterator<RsetNode> {
    for (const rank of this.#ranks) {
      const node = this.#nodes.get(rank);
      if (node) yield node;
    }
  }

  hostOf(rank: number): string | undefined {
    return this.#nodes.get(rank)?.host;
  }

  /** Host names in order of rank; empty when R has no nodelist. */
  get hosts(): Hostlist {
    const hosts = new Hostlist();
    for (const { host } of this.nodes()) if (host !== undefined) hosts.push(host);
    return hosts;
  }

  /** Ranks on any of the given hosts. */
  ranksOf(hosts: Hostlist | string): IdSet {
    const names = new Set(typeof hosts === "string" ? Hostlist.parse(hosts) : hosts);
    const ranks = new IdSet();
    for (const { rank, host } of this.nodes()) if (host !== undefined && names.has(host)) ranks.add(rank);
    return ranks;
  }

  /** Gives a property to ranks; those that are not in this R are ignored. Throws FormatError for a character RFC 20 forbids. */
  setProperty(name: string, ranks: IdSet): void {
    const illegal = /[!&'"^`|()]/.exec(name);
    if (name === "" || illegal) {
      throw fieldError(
        WHAT,
        "execution.properties",
        name === "" ? "a name is empty" : `invalid character '${illegal?.[0]}' in property "${name}"`,
      );
    }
    const kept = ranks.intersect(this.#ranks);
    const before = this.#properties.get(name);
    if (!kept.isEmpty) this.#properties.set(name, before ? before.union(kept) : kept);
  }

  /** Names of all properties and the ranks that have them. */
  get properties(): ReadonlyMap<string, IdSet> {
    return this.#properties;
  }

  propertiesOf(rank: number): string[] {
    return [...this.#properties].filter(([, ranks]) => ranks.has(rank)).map(([name]) => name);
  }

  /** A new R of `nodes`, with the properties of their ranks and the times of this one; nodes without resources are left out. */
  #derive(nodes: Iterable<RsetNode>, ...others: readonly Rset[]): Rset {
    const result = new Rset();
    for (const node of nodes) if (!isEmptyNode(node)) result.#set(node);
    for (const source of [this, ...others]) {
      for (const [name, ranks] of source.#properties) result.setProperty(name, ranks);
    }
    result.starttime = this.starttime;
    result.expiration = this.expiration;
    result.scheduling = this.scheduling ?? others.find((other) => other.scheduling)?.scheduling;
    return result;
  }

  clone(): Rset {
    const result = this.#derive(this.nodes());
    result.nslots = this.nslots;
    return result;
  }

  /** What either has. */
  union(other: Rset): Rset {
    const nodes = new Map(this.#nodes);
    for (const node of other.nodes()) {
      const mine = nodes.get(node.rank);
      nodes.set(node.rank, mine ? combineNodes(mine, node, (a, b) => a.union(b)) : node);
    }
    return this.#derive(nodes.values(), other);
  }

  /** What either has; resources that both have are an error. Throws FormatError. */
  append(other: Rset): Rset {
    const both = this.intersect(other);
    if (!both.isEmpty) throw fieldError(WHAT, "", `resources are in both sets: ${rsetShort(both)}`);
    return this.union(other);
  }

  /** What this has and `other` has not. */
  diff(other: Rset): Rset {
    return this.#derive(
      [...this.nodes()].map((node) => {
        const its = other.#nodes.get(node.rank);
        return its ? combineNodes(node, its, (a, b) => a.subtract(b)) : node;
      }),
    );
  }

  /** What both have. */
  intersect(other: Rset): Rset {
    return this.#derive(
      [...this.nodes()].flatMap((node) => {
        const its = other.#nodes.get(node.rank);
        return its ? [combineNodes(node, its, (a, b) => a.intersect(b))] : [];
      }),
    );
  }

  /** Only these ranks. */
  slice(ranks: IdSet): Rset {
    return this.#derive([...this.nodes()].filter((node) => ranks.has(node.rank)));
  }

  /** The same resources under other ranks. */
  #rerank(rankOf: ReadonlyMap<number, number>, change: (node: RsetNode) => RsetNode = (node) => node): Rset {
    const result = new Rset();
    for (const node of this.nodes()) result.#set({ ...change(node), rank: rankOf.get(node.rank) ?? node.rank });
    for (const [name, ranks] of this.#properties) {
      result.setProperty(name, IdSet.from([...ranks].map((rank) => rankOf.get(rank) ?? rank)));
    }
    result.starttime = this.starttime;
    result.expiration = this.expiration;
    result.nslots = this.nslots;
    result.scheduling = this.scheduling;
    return result;
  }

  /**
   * Ranks and cores numbered from zero, as a nested instance sees its allocation: it is bound to its cores and knows no others. GPUs keep
   * their ids, since nothing hides the others, and CUDA_VISIBLE_DEVICES means those of the host.
   */
  remap(): Rset {
    return this.#rerank(new Map([...this.#ranks].map((rank, i) => [rank, i])), (node) => ({
      ...node,
      cores: fromZero(node.cores),
    }));
  }

  /** Ranks by the position of each host in `hosts`. Throws FormatError when the hosts are not those of this R. */
  rerank(hosts: Hostlist | string): Rset {
    const order = typeof hosts === "string" ? Hostlist.parse(hosts) : hosts;
    if (order.length !== this.nnodes)
      throw fieldError(WHAT, "", `cannot rank ${this.nnodes} execution targets by ${order.length} hosts`);
    const places = new Map<string, number[]>(); // several targets on one host take its places in turn
    let place = 0;
    for (const host of order) places.set(host, [...(places.get(host) ?? []), place++]);
    return this.#rerank(
      new Map(
        [...this.nodes()].map(({ rank, host }) => {
          const next = host === undefined ? undefined : places.get(host)?.shift();
          if (next === undefined) throw fieldError(WHAT, "", `host ${host ?? `of rank ${rank}`} is not in ${order.toString()}`);
          return [rank, next];
        }),
      ),
    );
  }

  equals(other: Rset): boolean {
    return this.toString() === other.toString();
  }

  /** Targets with equal resources, in order of their first rank. */
  groups(): { ranks: IdSet; cores: IdSet; gpus: IdSet }[] {
    const groups = new Map<string, { ranks: IdSet; cores: IdSet; gpus: IdSet }>();
    const keys = new Map<IdSet, string>(); // nodes mostly share their sets
    const keyOf = (ids: IdSet) => {
      const key = keys.get(ids) ?? ids.toString();
      keys.set(ids, key);
      return key;
    };
    for (const { rank, cores, gpus } of this.nodes()) {
      const key = `${keyOf(cores)}/${keyOf(gpus)}`;
      const group = groups.get(key);
      if (group) group.ranks.add(rank);
      else groups.set(key, { ranks: IdSet.of(rank), cores, gpus });
    }
    return [...groups.values()];
  }

  /** The JSON value, ready for a payload. */
  encode(): JsonObject {
    const hosts = this.hosts;
    const execution = {
      R_lite: this.groups().map(({ ranks, cores, gpus }) => ({
        rank: ranks.toString(),
        children: { ...(cores.isEmpty ? {} : { core: cores.toString() }), ...(gpus.isEmpty ? {} : { gpu: gpus.toString() }) },
      })),
      ...(this.nslots === undefined ? {} : { nslots: this.nslots }),
      starttime: this.starttime,
      expiration: this.expiration,
      ...(hosts.length === 0 ? {} : { nodelist: [hosts.toString()] }),
      ...(this.#properties.size === 0
        ? {}
        : { properties: Object.fromEntries([...this.#properties].map(([name, ranks]) => [name, ranks.toString()])) }),
    };
    return { version: 1, execution, ...(this.scheduling === undefined ? {} : { scheduling: this.scheduling }) };
  }

  /** Compact JSON. */
  toString(): string {
    return encodeJson(this.encode());
  }
}

const shortIds = (name: string, ids: IdSet) => (ids.isEmpty ? [] : [`${name}${ids.toString({ brackets: true })}`]);

/** One line for people: `rank[0-1]/core[0-3],gpu0 rank2/core0`. */
export function rsetShort(set: Rset): string {
  return set
    .groups()
    .map(
      ({ ranks, cores, gpus }) =>
        `rank${ranks.toString({ brackets: true })}/${[...shortIds("core", cores), ...shortIds("gpu", gpus)].join(",")}`,
    )
    .join(" ");
}
