// The [resource] table of the configuration (flux-config-resource(5)): where R comes from, what is excluded, and how the
// resources found on a broker are compared with R.
import { readFileSync } from "node:fs";

import { FormatError } from "../../formats/error.ts";
import { parseDuration } from "../../formats/fsd.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { IdSet } from "../../formats/idset.ts";
import { decodeJson, encodeJson, isJsonObject, type Json, type JsonObject } from "../../formats/json.ts";
import { Rset } from "../../formats/rset.ts";
import { errno, FluxError, strerror, toFluxError } from "../../message/errno.ts";

export type VerifyMode = "strict" | "allow-extra" | "allow-missing" | "ignore";

export interface VerifyConfig {
  readonly hostname: VerifyMode;
  readonly core: VerifyMode;
  readonly gpu: VerifyMode;
  /** The configuration has a `verify` key. */
  readonly explicit: boolean;
}

export interface ResourceConfig {
  /** R of `config` or `path`, as configured. */
  readonly R: Rset | undefined;
  /** Targets never scheduled: an idset or a hostlist. */
  readonly exclude: string | undefined;
  readonly verify: VerifyConfig;
  readonly noverify: boolean;
  readonly norestrict: boolean;
  readonly rediscover: boolean;
  readonly noUpdateWatch: boolean;
  /** Events kept for resource.journal. */
  readonly journalMax: number;
  /** Events of earlier lives that are older, and older than the last checkpoint, are forgotten at the start. */
  readonly history_s: number;
}

const MODES: readonly VerifyMode[] = ["strict", "allow-extra", "allow-missing", "ignore"];
const KEYS = ["path", "scheduling", "config", "verify", "exclude", "norestrict", "noverify", "no-update-watch", "rediscover", "journal-max", "history"];
const JOURNAL_MAX = 100_000;
const HISTORY_S = 90 * 86_400;

/** Checks and reads the table; `rank` because only rank 0 needs the scheduler's part. Throws FluxError EINVAL. */
export function parseResourceConfig(config: JsonObject, rank: number, args: readonly string[] = []): ResourceConfig {
  const table = config["resource"] ?? {};
  if (!isJsonObject(table)) throw bad("it must be a table");
  for (const key of Object.keys(table)) if (!KEYS.includes(key)) throw bad(`unknown key ${key}`);
  const text = (key: string): string | undefined => typed(table, key, "string") as string | undefined;
  const flag = (key: string): boolean => typed(table, key, "boolean") === true;
  const journalMax = typed(table, "journal-max", "number") as number | undefined;
  const history = text("history");
  return {
    R: configuredR(table, text("path"), text("scheduling"), rank),
    exclude: text("exclude"),
    verify: parseVerify(table["verify"]),
    noverify: flag("noverify") || args.includes("noverify"),
    norestrict: flag("norestrict"),
    rediscover: flag("rediscover"),
    noUpdateWatch: flag("no-update-watch"),
    journalMax: journalMax ?? JOURNAL_MAX,
    history_s: history === undefined ? HISTORY_S : parseHistory(history),
  };
}

function bad(problem: string): FluxError {
  return new FluxError(errno.EINVAL, `error parsing [resource] configuration: ${problem}`);
}

function typed(table: JsonObject, key: string, type: "string" | "boolean" | "number"): Json | undefined {
  const value = table[key];
  if (value === undefined) return undefined;
  if (typeof value !== type) throw bad(`${key} must be a ${type}`);
  return value;
}

function parseHistory(text: string): number {
  try {
    return parseDuration(text);
  } catch {
    throw new FluxError(errno.EINVAL, "invalid history time");
  }
}

function configuredR(table: JsonObject, path: string | undefined, scheduling: string | undefined, rank: number): Rset | undefined {
  const entries = table["config"];
  let R: Rset | undefined;
  if (entries !== undefined) R = rsetFromEntries(entries);
  else if (path !== undefined) R = loadR(path);
  if (scheduling === undefined || rank !== 0) return R;
  if (R === undefined) throw new FluxError(errno.EINVAL, "resource.scheduling requires resource.path or [resource.config]");
  const value = loadJson(scheduling, `error loading resource.scheduling: `);
  if (!isJsonObject(value)) throw new FluxError(errno.EINVAL, "error loading resource.scheduling: it is no JSON object");
  R.scheduling = value;
  return R;
}

/** R of a JSON file. Throws FluxError with the file's name. */
export function loadR(path: string): Rset {
  try {
    return Rset.parse(loadJson(path, ""));
  } catch (err) {
    if (err instanceof FormatError) throw new FluxError(errno.EINVAL, `${path}: ${err.message}`, { cause: err });
    throw err;
  }
}

function loadJson(path: string, prefix: string): unknown {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    const { errno: number } = toFluxError(cause, errno.EIO);
    throw new FluxError(number, `${prefix}${path}:-1 unable to open ${path}: ${strerror(number)}`, { cause });
  }
  try {
    return decodeJson(text);
  } catch (cause) {
    throw new FluxError(errno.EPROTO, `${prefix}${path}: ${toFluxError(cause).message}`, { cause });
  }
}

/** R of the `[[resource.config]]` array: hosts are ranked in order of appearance. */
export function rsetFromEntries(entries: Json): Rset {
  const fail = (problem: string): FluxError => new FluxError(errno.EINVAL, `error parsing [resource.config] array: ${problem}`);
  if (!Array.isArray(entries)) throw fail("resource config must be an array");
  if (entries.length === 0) throw fail("no hosts configured");
  const R = new Rset();
  const rankOf = new Map<string, number>();
  const properties = new Map<string, IdSet>();
  entries.forEach((entry: Json, i) => {
    const at = (problem: string): FluxError => fail(`config[${i}]: ${problem}`);
    if (!isJsonObject(entry)) throw at("must be a table");
    for (const key of Object.keys(entry)) if (!["hosts", "cores", "gpus", "properties"].includes(key)) throw at(`unknown key ${key}`);
    const hosts = entryHosts(entry["hosts"], at);
    const cores = entryIds(entry, "cores", at);
    const gpus = entryIds(entry, "gpus", at);
    const names = entryProperties(entry["properties"], at);
    for (const host of hosts) {
      let rank = rankOf.get(host);
      if (rank === undefined) rankOf.set(host, (rank = rankOf.size));
      R.add(rank, { host, cores, gpus });
      for (const name of names) {
        let ranks = properties.get(name);
        if (ranks === undefined) properties.set(name, (ranks = new IdSet()));
        ranks.add(rank);
      }
    }
  });
  const empty = [...R.nodes()].filter((node) => node.cores.isEmpty && node.gpus.isEmpty).map((node) => node.host ?? "");
  if (empty.length > 0) throw fail(`resource.config: ${Hostlist.from(empty).toString()} assigned no resources`);
  for (const [name, ranks] of properties) R.setProperty(name, ranks);
  return R;
}

type EntryError = (problem: string) => FluxError;

function entryHosts(value: Json | undefined, at: EntryError): Hostlist {
  if (typeof value !== "string") throw at("hosts is missing or no string");
  let hosts: Hostlist;
  try {
    hosts = Hostlist.parse(value);
  } catch {
    throw at(`invalid hostlist '${value}'`);
  }
  if (hosts.length === 0) throw at("empty hostlist specified");
  return hosts;
}

function entryIds(entry: JsonObject, key: "cores" | "gpus", at: EntryError): IdSet {
  const value = entry[key];
  if (value === undefined) return new IdSet();
  try {
    if (typeof value === "string") return IdSet.parse(value);
  } catch {
    // Falls through to the same message.
  }
  throw at(`invalid idset ${key}='${typeof value === "string" ? value : encodeJson(value)}'`);
}

function entryProperties(value: Json | undefined, at: EntryError): string[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw at("properties must be an array");
  return value.map((name: Json) => {
    if (typeof name !== "string" || name === "" || /[!&'"^`|()]/.test(name)) {
      throw at(`invalid property "${typeof name === "string" ? name : encodeJson(name)}"`);
    }
    return name;
  });
}

/** The `verify` key: a boolean or a table of modes by resource type. */
function parseVerify(value: Json | undefined): VerifyConfig {
  if (value === undefined) return { hostname: "strict", core: "allow-extra", gpu: "ignore", explicit: false };
  if (typeof value === "boolean") {
    const mode = value ? "strict" : "ignore";
    return { hostname: mode, core: mode, gpu: mode, explicit: true };
  }
  if (!isJsonObject(value)) throw new FluxError(errno.EINVAL, "verify must be a table or boolean");
  for (const [key, mode] of Object.entries(value)) {
    if (!["default", "hostname", "core", "gpu"].includes(key)) throw new FluxError(errno.EINVAL, `verify: unsupported resource type: ${key}`);
    if (typeof mode !== "string") throw new FluxError(errno.EINVAL, `verify.${key} mode must be a string`);
    if (!isMode(mode)) throw new FluxError(errno.EINVAL, `verify.${key}: unknown verify mode '${mode}'`);
  }
  const mode = (key: string): VerifyMode => (value[key] ?? value["default"] ?? "strict") as VerifyMode;
  return { hostname: mode("hostname"), core: mode("core"), gpu: mode("gpu"), explicit: true };
}

function isMode(text: string): text is VerifyMode {
  return (MODES as readonly string[]).includes(text);
}

/** What is wrong with the resources found on a rank, in one sentence; undefined when R agrees with them. */
export function verifyNode(R: Rset, found: Rset, rank: number, config: VerifyConfig): string | undefined {
  const expected = R.node(rank);
  const actual = found.node(rank);
  if (expected === undefined || actual === undefined) return `rank ${rank} not found in expected ranks`;
  // A host has one name: with any other mode than strict it may be another one.
  if (config.hostname === "strict" && expected.host !== actual.host) {
    return `rank ${rank} got hostname '${actual.host ?? "unknown"}', expected '${expected.host ?? "unknown"}'`;
  }
  const where = `rank ${rank} (${actual.host ?? "unknown"})`;
  const missing = differing(expected, actual, config, "allow-missing");
  if (missing !== "") return `${where} missing resources: ${missing}`;
  const extra = differing(actual, expected, config, "allow-extra");
  return extra === "" ? undefined : `${where} has extra resources: ${extra}`;
}

interface NodeIds {
  readonly cores: IdSet;
  readonly gpus: IdSet;
}

/** Ids of `a` that `b` has not, of the types that care: "core[0-3],gpu0". */
function differing(a: NodeIds, b: NodeIds, config: VerifyConfig, tolerant: VerifyMode): string {
  const parts: string[] = [];
  for (const [name, mode, x, y] of [["core", config.core, a.cores, b.cores], ["gpu", config.gpu, a.gpus, b.gpus]] as const) {
    if (mode === "ignore" || mode === tolerant) continue;
    const ids = x.subtract(y);
    if (!ids.isEmpty) parts.push(`${name}${ids.toString({ brackets: true })}`);
  }
  return parts.join(",");
}
