// The values that a broker's attributes begin with: facts about it, and the defaults of what was not set.
import { IdSet } from "../formats/idset.ts";
import { isJsonObject, type JsonObject } from "../formats/json.ts";
import { Taskmap } from "../formats/taskmap.ts";
import { errno, FluxError } from "../message/errno.ts";
import { FLUX_VERSION } from "../version.ts";
import type { Attributes } from "./attributes.ts";
import { BUILTIN_CONFIG } from "./builtin-config.ts";
import type { Boot } from "./boot/boot.ts";
import type { Enclosing } from "./environment.ts";
import { childrenOf, descendantsOf, levelOf, maxLevel, type Topology } from "./overlay/topology.ts";

/** What broker.rc1_path and broker.rc3_path say when the broker loads and unloads its modules itself. */
export const RC1_DEFAULT = BUILTIN_CONFIG.rc1_path;
export const RC3_DEFAULT = BUILTIN_CONFIG.rc3_path;

const DEFAULTS: Readonly<Record<string, string>> = {
  "broker.rc1_path": RC1_DEFAULT,
  "broker.rc3_path": RC3_DEFAULT,
  "broker.quorum-warn": "1m",
  "broker.shutdown-warn": "1m",
  "broker.shutdown-timeout": "none",
  "broker.cleanup-timeout": "none",
  "broker.sd-stop-timeout": "none",
  "broker.unload-builtins-timeout": "1m",
  "content.hash": "sha1",
  "tbon.prefertcp": "0",
  "tbon.interface-hint": "default-route",
  "tbon.zmqdebug": "0",
  "tbon.zmq_io_threads": "1",
  "tbon.child_rcvhwm": "0",
  "tbon.connect_timeout": "30s",
  "tbon.tcp_user_timeout": "20s",
  "tbon.torpid_min": "5s",
  "tbon.torpid_max": "30s",
  "conf.shell_initrc": "",
  "conf.shell_pluginpath": "",
};

const EXIT_CODE_MAX = 255;

/** Keys of the configuration's table [tbon] (flux-config-tbon(5)); the command line goes before them. */
const TREE_KEYS = ["topo", "torpid_min", "torpid_max", "tcp_user_timeout", "connect_timeout", "zmqdebug", "zmq_io_threads", "child_rcvhwm", "interface-hint"];

/** Takes over tbon.fanout, the older name of a k-ary tbon.topo, and the table [tbon]. Throws FluxError EINVAL for what is not in flux-config-tbon(5). */
export function setupTree(attrs: Attributes, config: JsonObject): void {
  const fanout = attrs.get("tbon.fanout");
  if (fanout !== undefined) attrs.setDefault("tbon.topo", `kary:${fanout}`);
  const table = config["tbon"];
  if (table === undefined) return;
  if (!isJsonObject(table)) throw new FluxError(errno.EINVAL, "Config file error [tbon]: expected a table");
  for (const [key, value] of Object.entries(table)) {
    if (!TREE_KEYS.includes(key)) throw new FluxError(errno.EINVAL, `Config file error [tbon]: unknown key '${key}'`);
    if (typeof value !== "string" && typeof value !== "number") throw new FluxError(errno.EINVAL, `Config file error [tbon]: ${key}: expected a string or a number`);
    attrs.setDefault(`tbon.${key}`, String(value));
  }
}

export interface Facts {
  readonly boot: Boot;
  readonly topology: Topology;
  readonly enclosing: Enclosing;
  readonly uuid: string;
  readonly owner: number;
  readonly hostname: string;
}

export function setupAttributes(attrs: Attributes, facts: Facts): void {
  const { boot, topology, enclosing } = facts;
  const { rank, size } = boot;
  const isJob = boot.jobid !== undefined;
  attrs.set("rank", String(rank));
  attrs.set("size", String(size));
  attrs.set("version", FLUX_VERSION);
  attrs.set("broker.pid", String(process.pid));
  attrs.set("broker.uuid", facts.uuid);
  attrs.set("broker.starttime", (Date.now() / 1000).toFixed(2));
  attrs.set("security.owner", String(facts.owner));
  attrs.setDefault("hostname", facts.hostname);
  attrs.setDefault("broker.boot-method", boot.method);
  attrs.set("broker.mapping", mappingText(boot));
  attrs.setDefault("broker.critical-ranks", criticalRanks(topology).toString());
  checkCriticalRanks(attrs.require("broker.critical-ranks"), size);
  attrs.setDefault("broker.quorum", String(size));
  attrs.set("instance-level", String(boot.instanceLevel));
  attrs.set("parent-uri", isJob ? enclosing.uri : undefined);
  attrs.set("jobid-path", (isJob ? enclosing.jobidPath : undefined) ?? "/");
  if (isJob) {
    attrs.set("jobid", boot.jobid);
    attrs.set("parent-kvs-namespace", enclosing.kvsNamespace);
  }
  attrs.set("tbon.descendants", String(descendantsOf(topology, rank).length));
  attrs.set("tbon.level", String(levelOf(topology, rank)));
  attrs.set("tbon.maxlevel", String(maxLevel(topology)));
  for (const [name, value] of Object.entries(DEFAULTS)) attrs.setDefault(name, value);
  checkNumbers(attrs);
}

/** What is read only later, or on some brokers. Throws FluxError EINVAL. */
export function checkNumbers(attrs: Attributes): void {
  if (!/^-?\d+$/.test(attrs.get("tbon.prefertcp") ?? "0")) throw new FluxError(errno.EINVAL, "tbon.prefertcp value must be an integer");
  const code = attrs.get("broker.exit-norestart") ?? "0";
  if (!/^\d{1,3}$/.test(code) || Number(code) > EXIT_CODE_MAX) throw new FluxError(errno.EINVAL, `broker.exit-norestart: value must be an exit code from 0 to ${EXIT_CODE_MAX}`);
}

/** Rank 0 and every broker that routes for others. */
function criticalRanks(topology: Topology): IdSet {
  const ranks = IdSet.of(0);
  for (let rank = 1; rank < topology.size; rank++) if (childrenOf(topology, rank).length > 0) ranks.add(rank);
  return ranks;
}

function checkCriticalRanks(text: string, size: number): void {
  const last = lastOf(text);
  if (last === undefined || last >= size) throw new FluxError(errno.EINVAL, `invalid value for broker.critical-ranks='${text}': ranks of this instance are 0 to ${size - 1}`);
}

function lastOf(text: string): number | undefined {
  try {
    return IdSet.parse(text).last;
  } catch {
    return undefined; // it is no set
  }
}

/** One broker a node when the launcher does not say where they are. */
function mappingText(boot: Boot): string {
  const nodeids = boot.nodeOfRank ?? Array.from({ length: boot.size }, (_, rank) => rank);
  return Taskmap.fromNodeids(nodeids).toString();
}
