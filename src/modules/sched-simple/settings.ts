// Settings of the scheduler: from the configuration and, before it, from module arguments.
//
//   [sched-simple]                                        flux module load sched-simple queue-policy=easy …
//   queue-policy = "fcfs" | "easy" | "hybrid" | "conservative"
//   queue-policy-per-queue = "batch:easy debug:fcfs"
//   queue-depth = 1000 | "unlimited"
//   reservation-depth = 64
//   placement = "worst-fit" …                             see placement.ts; also match-policy
//   log-level = "info"
//
// Sites that come from Fluxion keep their tables: of [sched-fluxion-qmanager] queue-policy, queue-policy-per-queue,
// queue-params.queue-depth, policy-params.reservation-depth and max-reservation-depth are taken (the parameters as tables
// or as "name=value,…"), of [sched-fluxion-resource] match-policy. What [sched-simple] says comes first.
import { isJsonObject, type Json, type JsonObject } from "../../formats/json.ts";
import { parentQueue, queueTables } from "../../formats/queue-config.ts";
import { errno, FluxError } from "../../message/errno.ts";
import type { BitSet } from "./bitset.ts";
import type { LaneSettings } from "./engine.ts";
import { parsePlacement, type Placement, WORST_FIT } from "./placement.ts";
import type { Pool } from "./pool.ts";

export interface Settings {
  /** Alloc requests that the job manager may have open with us; Infinity: unlimited. Undefined: as fits the policy. */
  readonly depth: number | undefined;
  readonly logLevel: number;
  readonly partialOk: boolean;
  /** Jobs with reservations; 0: first come, first served. */
  readonly reservationDepth: number;
  readonly policy: Policy;
  readonly perQueue: ReadonlyMap<string, number>;
  readonly placement: Placement;
}

const POLICIES = ["fcfs", "easy", "hybrid", "conservative"] as const;
export type Policy = (typeof POLICIES)[number];

const LEVELS = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"] as const;
/** Open alloc requests: a queue that is served in order needs no more ahead than this. */
const DEFAULT_DEPTH = 8;
/** With backfill: so many jobs are looked through for one that fits. */
const BACKFILL_DEPTH = 1000;
const HYBRID_RESERVATIONS = 64;
const RESERVATIONS_MAX = 100_000;

/** Names and values as they were given, not looked at yet. */
type Given = Record<string, string>;

const KEYS = ["queue-policy", "queue-policy-per-queue", "queue-depth", "reservation-depth", "placement", "match-policy", "log-level"];

/** Throws FluxError EINVAL. */
export function parseSettings(args: readonly string[], config: JsonObject = {}): Settings {
  const ours = tableOf(config, "sched-simple");
  const unknown = Object.keys(ours).find((key) => !KEYS.includes(key));
  if (unknown !== undefined) throw new FluxError(errno.EINVAL, `sched-simple: unknown key '${unknown}'`);
  let partialOk = true;
  const given: Given = { ...fromFluxion(config), ...ours };
  // A placement that is more ours than the other takes its place.
  if (ours["match-policy"] !== undefined && ours["placement"] === undefined) given["placement"] = ours["match-policy"];
  for (const arg of args) {
    if (arg === "test-hello-nopartial") partialOk = false;
    else Object.assign(given, fromArgument(arg));
  }
  const limits = { depth: given["reservation-depth"], max: given["max-reservation-depth"] };
  const policy = policyName(given["queue-policy"] ?? "fcfs");
  return {
    depth: given["queue-depth"] === undefined ? undefined : queueDepth(given["queue-depth"]),
    logLevel: logLevel(given["log-level"] ?? "info"),
    partialOk,
    policy,
    reservationDepth: reservations(policy, limits),
    perQueue: new Map(pairs(given["queue-policy-per-queue"] ?? "").map(([queue, name]) => [queue, reservations(policyName(name), limits)])),
    placement: given["placement"] === undefined ? WORST_FIT : parsePlacement(given["placement"]),
  };
}

function fromArgument(arg: string): Given {
  if (arg === "mode=unlimited") return { "queue-depth": "unlimited" };
  const [, key = "", value = ""] = /^(mode=limited|[\w-]+)=(.*)$/.exec(arg) ?? [];
  if (key === "mode=limited") return { "queue-depth": value };
  if (key === "match-policy") return { placement: value };
  if (KEYS.includes(key)) return { [key]: value };
  throw new FluxError(errno.EINVAL, `unknown argument '${arg}': built-in options are ${KEYS.join(", ")}`);
}

function fromFluxion(config: JsonObject): Given {
  const qmanager = tableOf(config, "sched-fluxion-qmanager");
  const match = tableOf(config, "sched-fluxion-resource")["match-policy"];
  const queueParams = paramsOf(config, "queue-params");
  const policyParams = paramsOf(config, "policy-params");
  const given: Given = {};
  const set = (key: string, value: string | undefined): void => {
    if (value !== undefined) given[key] = value;
  };
  set("queue-policy", qmanager["queue-policy"]);
  set("queue-policy-per-queue", qmanager["queue-policy-per-queue"]);
  set("queue-depth", queueParams["queue-depth"]);
  set("reservation-depth", policyParams["reservation-depth"] ?? queueParams["reservation-depth"]);
  set("max-reservation-depth", policyParams["max-reservation-depth"]);
  set("placement", match);
  return given;
}

/** The scalars of a table, as text. Throws FluxError EINVAL when it is none. */
function tableOf(config: JsonObject, name: string): Given {
  return scalars(config[name], name);
}

function scalars(table: Json | undefined, name: string): Given {
  if (table === undefined) return {};
  if (!isJsonObject(table)) throw new FluxError(errno.EINVAL, `${name}: must be a table`);
  const texts: Given = {};
  for (const [key, value] of Object.entries(table)) {
    if (typeof value === "string" || typeof value === "number") texts[key] = String(value);
  }
  return texts;
}

/** Parameters of Fluxion: a table, or "name=value,name=value". */
function paramsOf(config: JsonObject, name: string): Given {
  const qmanager = config["sched-fluxion-qmanager"];
  const value = isJsonObject(qmanager) ? qmanager[name] : undefined;
  if (typeof value !== "string") return scalars(value, `sched-fluxion-qmanager.${name}`);
  const result: Given = {};
  for (const part of value.split(/[\s,]+/).filter((text) => text !== "")) {
    const [, key, text] = /^([\w-]+)=(.*)$/.exec(part) ?? [];
    if (key === undefined || text === undefined) throw new FluxError(errno.EINVAL, `sched-fluxion-qmanager.${name}: '${part}' is not name=value`);
    result[key] = text;
  }
  return result;
}

/** "batch:easy debug:fcfs". Throws FluxError EINVAL. */
function pairs(text: string): [string, string][] {
  return text.split(/[\s,]+/).filter((part) => part !== "").map((part) => {
    const [, queue, name] = /^([^:]+):(.+)$/.exec(part) ?? [];
    if (queue === undefined || name === undefined) throw new FluxError(errno.EINVAL, `queue-policy-per-queue: '${part}' is not queue:policy`);
    return [queue, name];
  });
}

function policyName(text: string): Policy {
  const name = text === "fifo" ? "fcfs" : text;
  const policy = POLICIES.find((known) => known === name);
  if (policy === undefined) throw new FluxError(errno.EINVAL, `queue-policy=${text} is invalid: expected one of ${POLICIES.join(", ")}`);
  return policy;
}

function positive(name: string, text: string, more = ""): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new FluxError(errno.EINVAL, `${name}=${text} is invalid: expected a positive integer${more}`);
  return Number(text);
}

function queueDepth(text: string): number {
  return text === "unlimited" ? Infinity : positive("queue-depth", text, " or 'unlimited'");
}

function reservations(policy: Policy, given: { readonly depth: string | undefined; readonly max: string | undefined }): number {
  const max = given.max === undefined ? RESERVATIONS_MAX : positive("max-reservation-depth", given.max);
  const depth = given.depth === undefined ? undefined : positive("reservation-depth", given.depth);
  if (policy === "fcfs") return 0;
  if (policy === "easy") return Math.min(depth ?? 1, max);
  return Math.min(depth ?? (policy === "hybrid" ? HYBRID_RESERVATIONS : RESERVATIONS_MAX), max);
}

function logLevel(text: string): number {
  const level = (LEVELS as readonly string[]).indexOf(text.toLowerCase());
  if (level < 0) throw new FluxError(errno.EINVAL, `log-level=${text} is invalid: expected one of ${LEVELS.join(", ")}`);
  return level;
}

/**
 * The lanes of the queues in a configuration: queues with nodes in common share one, and then the policy among theirs
 * that reserves for most jobs.
 */
export function lanesOf(settings: Settings, config: JsonObject, pool: Pool): LaneSettings[] {
  const queues = queueTables(config);
  if (queues.size === 0) return [{ queues: [undefined], reservationDepth: settings.reservationDepth }];
  const lanes: { queues: string[]; reservationDepth: number; nodes: (BitSet | undefined)[] }[] = [];
  for (const [name, table] of queues) {
    const requires = Array.isArray(table["requires"]) ? (table["requires"] as readonly Json[]) : [];
    const nodes = pool.inventory.eligible(requires.length === 0 ? undefined : { properties: requires });
    const mine = { queues: [name], reservationDepth: settings.perQueue.get(parentQueue(table) ?? name) ?? settings.reservationDepth, nodes: [nodes] };
    for (const other of lanes.filter((lane) => lane.nodes.some((theirs) => overlap(theirs, nodes)))) {
      lanes.splice(lanes.indexOf(other), 1);
      mine.queues.push(...other.queues);
      mine.nodes.push(...other.nodes);
      mine.reservationDepth = Math.max(mine.reservationDepth, other.reservationDepth);
    }
    lanes.push(mine);
  }
  return lanes.map(({ queues: names, reservationDepth }) => ({ queues: names, reservationDepth }));
}

function overlap(a: BitSet | undefined, b: BitSet | undefined): boolean {
  if (a === undefined || b === undefined) return true;
  for (let node = a.next(0); node >= 0; node = a.next(node + 1)) if (b.has(node)) return true;
  return false;
}

/** Open alloc requests to ask for. A queue that waits must not keep the jobs of another from us. */
export function depthOf(settings: Settings, lanes: readonly LaneSettings[]): number {
  if (settings.depth !== undefined) return settings.depth;
  if (lanes.length > 1) return Infinity;
  return lanes.some(({ reservationDepth }) => reservationDepth > 0) ? BACKFILL_DEPTH : DEFAULT_DEPTH;
}
