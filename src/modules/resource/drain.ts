// Which execution targets are drained, since when and why. Pure: the resource module posts the events.
//
// The state is what replaying "drain" and "undrain" of resource.eventlog (RFC 44) yields, from the last checkpoint on.
import type { EventlogEntry } from "../../formats/eventlog.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { IdSet } from "../../formats/idset.ts";
import { isJsonObject, type JsonObject } from "../../formats/json.ts";
import { errno, FluxError } from "../../message/errno.ts";

interface Drained {
  readonly timestamp: number;
  readonly reason: string | undefined;
}

/** What to do with targets that are drained already: `fail` with EEXIST, `update` a missing reason, replace the reason, or the time too. */
export type DrainMode = "fail" | "update" | "overwrite" | "force-overwrite";

/** The mode of a request's `mode` field. Throws EINVAL. */
export function parseDrainMode(mode: string | undefined, problem: string): DrainMode {
  if (mode === undefined) return "fail";
  if (mode === "update" || mode === "overwrite" || mode === "force-overwrite") return mode;
  throw new FluxError(errno.EINVAL, problem);
}

/** The number that stands for a mode in events. */
export function overwriteOf(mode: DrainMode): number {
  return mode === "overwrite" ? 1 : mode === "force-overwrite" ? 2 : 0;
}

export class DrainState {
  readonly #drained = new Map<number, Drained>();
  #ranks = new IdSet();

  /** The drained targets. Do not change it. */
  get ranks(): IdSet {
    return this.#ranks;
  }

  /** Throws EEXIST or EINVAL when `ranks` holds a target that is drained with a reason, or excluded. */
  check(ranks: IdSet, exclude: IdSet): void {
    const refused = new IdSet();
    let drained = false;
    let excluded = false;
    for (const rank of ranks) {
      const isDrained = this.#drained.get(rank)?.reason !== undefined;
      const isExcluded = exclude.has(rank);
      drained ||= isDrained;
      excluded ||= isExcluded;
      if (isDrained || isExcluded) refused.add(rank);
    }
    if (refused.isEmpty) return;
    const why = [...(drained ? ["already drained"] : []), ...(excluded ? ["excluded"] : [])].join(" or ");
    throw new FluxError(drained ? errno.EEXIST : errno.EINVAL, `rank${refused.count > 1 ? "s" : ""} ${refused.toString()} ${why}`);
  }

  /** Throws EEXIST when `ranks` holds a target that is not drained. */
  checkUndrain(ranks: IdSet): void {
    const refused = ranks.subtract(this.#ranks);
    if (refused.isEmpty) return;
    throw new FluxError(errno.EEXIST, `rank${refused.count > 1 ? "s" : ""} ${refused.toString()} not drained`);
  }

  drain(ranks: IdSet, timestamp: number, reason: string | undefined, overwrite: number): void {
    for (const rank of ranks) {
      const before = this.#drained.get(rank);
      if (overwrite === 0 && before?.reason !== undefined) continue;
      this.#drained.set(rank, { timestamp: before === undefined || overwrite === 2 ? timestamp : before.timestamp, reason });
    }
    this.#ranks = this.#ranks.union(ranks);
  }

  undrain(ranks: IdSet): void {
    for (const rank of ranks) this.#drained.delete(rank);
    this.#ranks = this.#ranks.subtract(ranks);
  }

  /** Targets with one time and reason together: `{"1-2": {timestamp, reason}}`, as resource.status has them. */
  info(): JsonObject {
    const groups = new Map<string, { ranks: IdSet; timestamp: number; reason: string }>();
    for (const rank of this.#ranks) {
      const { timestamp, reason = "" } = this.#drained.get(rank) ?? { timestamp: 0 };
      const key = `${Math.round(timestamp)} ${reason}`;
      const group = groups.get(key);
      if (group === undefined) groups.set(key, { ranks: IdSet.of(rank), timestamp: Math.round(timestamp), reason });
      else group.ranks.add(rank);
    }
    return Object.fromEntries([...groups.values()].map(({ ranks, timestamp, reason }) => [ranks.toString(), { timestamp, reason }]));
  }

  /** The value of the KVS key checkpoint.resource. */
  checkpoint(timestamp: number, hosts: Hostlist): JsonObject {
    const drain_state = Object.fromEntries(
      Object.entries(this.info()).map(([ranks, info]) => [ranks, { ...(info as JsonObject), nodelist: hostsOf(IdSet.parse(ranks), hosts) }]),
    );
    return { timestamp, drain_state };
  }

  /** Takes up a checkpoint; returns its time, from which events are to be replayed. Throws FluxError EPROTO. */
  restore(checkpoint: JsonObject, hosts: Hostlist): number {
    const { timestamp, drain_state } = checkpoint;
    if (typeof timestamp !== "number" || !isJsonObject(drain_state)) throw new FluxError(errno.EPROTO, "failed to load drain-state");
    for (const [ranks, entry] of Object.entries(drain_state)) {
      if (!isJsonObject(entry) || typeof entry["timestamp"] !== "number" || typeof entry["reason"] !== "string") {
        throw new FluxError(errno.EPROTO, "invalid drain state entry");
      }
      const targets = currentRanks(ranks, entry["nodelist"], hosts);
      this.drain(targets, entry["timestamp"], entry["reason"] === "" ? undefined : entry["reason"], 0);
    }
    return timestamp;
  }

  /** Takes up events of an earlier life of the instance. Those older than `since` are in the checkpoint. */
  replay(events: readonly EventlogEntry[], since: number, hosts: Hostlist): void {
    for (const { name, timestamp, context } of events) {
      if (timestamp < since || context === undefined) continue;
      const { idset, nodelist, reason, overwrite } = context;
      if (name !== "drain" && name !== "undrain") continue;
      if (typeof idset !== "string") throw new FluxError(errno.EPROTO, `resource.eventlog: ${name} event at ${timestamp} has no idset`);
      const targets = currentRanks(idset, nodelist, hosts);
      if (name === "undrain") this.undrain(targets);
      else this.drain(targets, timestamp, typeof reason === "string" ? reason : undefined, typeof overwrite === "number" ? overwrite : 1);
    }
  }
}

/** Host names of ranks: those of one host once each rank, as stock hostlists have them. */
export function hostsOf(ranks: IdSet, hosts: Hostlist): string {
  const names = new Hostlist();
  for (const rank of ranks) names.push(hosts.nth(rank) ?? `rank${rank}`);
  return names.toString();
}

/** Ranks as they are now of targets that were recorded with their hosts: a host may have another rank since, or be gone. */
function currentRanks(ranks: string, nodelist: unknown, hosts: Hostlist): IdSet {
  const recorded = typeof nodelist === "string" ? Hostlist.parse(nodelist) : new Hostlist();
  const result = new IdSet();
  let i = 0;
  for (const rank of IdSet.parse(ranks)) {
    const host = recorded.nth(i++);
    const now = host === undefined || hosts.nth(rank) === host ? rank : hosts.find(host);
    if (now >= 0 && now < hosts.length) result.add(now);
  }
  return result;
}
