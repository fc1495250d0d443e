// The resources of an instance as the scheduler sees them: all, down and allocated (RFC 20), whole or of a queue.
import { readFileSync } from "node:fs";
import type { Flux } from "../../client/flux.ts";
import { matchConstraint } from "../../formats/constraint.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { IdSet } from "../../formats/idset.ts";
import { decodeJsonObject, isJsonObject, type Json, type JsonObject } from "../../formats/json.ts";
import { queueTables } from "../../formats/queue-config.ts";
import { Rset } from "../../formats/rset.ts";
import { errno, isErrno } from "../../message/errno.ts";
import { flag, hidden, type OptionValues, text, UsageError } from "../command.ts";
import { readObjects } from "../json-input.ts";

/** Tables of the file flux-resource.toml, for named formats. */
export const FORMAT_TABLES = ["list", "status", "drain"] as const;

export interface ResourceSets {
  readonly all: Rset;
  readonly down: Rset;
  readonly allocated: Rset;
}

export const RESOURCE_STATES = ["all", "up", "down", "allocated", "free"] as const;
export type ResourceState = (typeof RESOURCE_STATES)[number];

/** A set of resources in a message: some members may be left out when it is empty. */
export function decodeRset(value: Json | undefined): Rset {
  if (!isJsonObject(value)) return new Rset();
  const execution = value["execution"];
  if (!isJsonObject(execution) || !Array.isArray(execution["R_lite"]) || execution["R_lite"].length === 0) return new Rset();
  return Rset.parse(value);
}

/** What there is, and the configuration, in one round trip. */
export async function fetchResources(h: Flux): Promise<{ sets: ResourceSets; config: JsonObject }> {
  const [status, config] = await Promise.all([schedulerStatus(h), h.rpc("config.get")]);
  return { sets: decodeSets(status), config };
}

/** A response of resource.sched-status. */
export function decodeSets(status: JsonObject): ResourceSets {
  const all = decodeRset(status["all"]);
  return { all, down: withProperties(decodeRset(status["down"]), all), allocated: withProperties(decodeRset(status["allocated"]), all) };
}

/** Options, for tests of what is shown: answers of services from stdin, and a configuration from a file. */
export const INPUT_OPTIONS = {
  fromStdin: hidden(flag("--from-stdin", "read the answer of the service from stdin")),
  configFile: hidden(text("--config-file FILE", "with --from-stdin: the configuration, as JSON")),
} as const;
export type InputOptions = OptionValues<typeof INPUT_OPTIONS>;

/** What --from-stdin stands for. Throws UsageError. */
export async function readInput({ configFile }: InputOptions): Promise<{ answer: JsonObject; config: JsonObject }> {
  const [object] = await readObjects("object");
  const answer = object === undefined ? {} : decodeJsonObject(object);
  const config = configFile === undefined ? {} : decodeJsonObject(readFileSync(configFile, "utf8"));
  return { answer, config };
}

async function schedulerStatus(h: Flux): Promise<JsonObject> {
  try {
    return await h.rpc(process.env["FLUX_RESOURCE_LIST_RPC"] ?? "resource.sched-status", undefined, { nodeid: 0 });
  } catch (err) {
    if (!isErrno(err, errno.ENOSYS)) throw err;
    return h.rpc("sched.resource-status", undefined, { nodeid: 0 });
  }
}

/** Only the whole set is sure to name properties. */
function withProperties(set: Rset, all: Rset): Rset {
  for (const [name, ranks] of all.properties) {
    const own = ranks.intersect(set.ranks);
    if (!own.isEmpty) set.setProperty(name, own);
  }
  return set;
}

export function setOfState({ all, down, allocated }: ResourceSets, state: ResourceState): Rset {
  switch (state) {
    case "all":
      return all;
    case "down":
      return down;
    case "allocated":
      return allocated;
    case "up":
      return all.diff(down);
    case "free":
      return all.diff(down).diff(allocated);
    default:
      return state satisfies never;
  }
}

export function sliceSets({ all, down, allocated }: ResourceSets, ranks: IdSet): ResourceSets {
  return { all: all.slice(ranks), down: down.slice(ranks), allocated: allocated.slice(ranks) };
}

/** Properties that a queue requires of its nodes; undefined for a queue that doesn't exist. */
export function queueRequirements(config: JsonObject, queue: string): readonly string[] | undefined {
  const found = queueTables(config).get(queue);
  if (found === undefined) return undefined;
  return Array.isArray(found["requires"]) ? (found["requires"] as readonly Json[]).map(String) : [];
}

/** Ranks of the nodes that belong to a queue. Throws UsageError. */
export function queueRanks(all: Rset, config: JsonObject, queue: string): IdSet {
  const properties = queueRequirements(config, queue);
  if (properties === undefined) throw new UsageError(`--queue: ${queue}: no such queue`);
  const ranks = IdSet.of();
  for (const { rank, host } of all.nodes()) {
    if (matchConstraint({ properties }, { rank, hostname: host ?? "", properties: new Set(all.propertiesOf(rank)) })) ranks.add(rank);
  }
  return ranks;
}

export function queueResources(sets: ResourceSets, config: JsonObject, queue: string): ResourceSets {
  return sliceSets(sets, queueRanks(sets.all, config, queue));
}

/** Ranks of an idset or hostlist. Throws UsageError. */
export function targetRanks(all: Rset, targets: string): IdSet {
  try {
    return IdSet.parse(targets);
  } catch {
    // Not an idset: then hosts.
  }
  let hosts: Hostlist;
  try {
    hosts = Hostlist.parse(targets);
  } catch {
    throw new UsageError(`--include: invalid targets: ${targets}`);
  }
  const ranks = IdSet.of();
  const wanted = new Set(hosts);
  for (const { rank, host } of all.nodes()) if (host !== undefined && wanted.has(host)) ranks.add(rank);
  return ranks;
}
