// Resources, as clients see them: what the instance has, what of it is up, free and allocated, and draining.
// A typed face of the service "resource" (RFCs 20, 28, 44).
//
//   const { all, free } = await schedResources(h);
//   await drain(h, "node[3-4]", { reason: "broken disk" });
import { type EventlogEntry, toEventlogEntry } from "../formats/eventlog.ts";
import { IdSet } from "../formats/idset.ts";
import type { JsonObject } from "../formats/json.ts";
import { Rset } from "../formats/rset.ts";
import { errno, FluxError, toFluxError } from "../message/errno.ts";
import { arr, dict, fields, num, obj, opt, str, unpack } from "../message/unpack.ts";
import type { Flux } from "./flux.ts";

/** What a scheduler may give out: excluded targets are in none of these. */
export interface SchedResources {
  readonly all: Rset;
  readonly up: Rset;
  /** Offline, drained or slow to answer. */
  readonly down: Rset;
  readonly allocated: Rset;
  /** Up and not allocated. */
  readonly free: Rset;
}

export interface DrainInfo {
  readonly ranks: IdSet;
  /** Seconds since the epoch. */
  readonly timestamp: number;
  /** "" when none was given. */
  readonly reason: string;
}

export interface ResourceStatus {
  readonly R: Rset;
  readonly online: IdSet;
  readonly offline: IdSet;
  readonly exclude: IdSet;
  readonly torpid: IdSet;
  /** Drained targets, those of one time and reason together. */
  readonly drain: readonly DrainInfo[];
}

export interface DrainOptions {
  readonly reason?: string | undefined;
  /**
   * What to do with targets that are drained already. Default: refuse (EEXIST). "update": set a reason where there is none;
   * "overwrite": set the reason; "force-overwrite": the time as well.
   */
  readonly mode?: "update" | "overwrite" | "force-overwrite" | undefined;
}

function malformed(err: unknown): FluxError {
  return new FluxError(errno.EPROTO, `malformed answer of the resource service: ${toFluxError(err).message}`, { cause: err });
}

/** R of a payload. Throws FluxError EPROTO. */
function toRset(value: unknown): Rset {
  try {
    return Rset.parse(withoutEmptyHosts(value));
  } catch (err) {
    throw malformed(err);
  }
}

/** An empty set is written with the nodelist [""]. */
function withoutEmptyHosts(value: unknown): unknown {
  const { execution } = unpack(obj(value, "R"), { execution: obj });
  const { nodelist, ...rest } = execution;
  return Array.isArray(nodelist) && nodelist.length === 1 && nodelist[0] === "" ? { version: 1, execution: rest } : value;
}

function toIdset(text: string): IdSet {
  try {
    return IdSet.parse(text);
  } catch (err) {
    throw malformed(err);
  }
}

/** Rejects with ENOENT while the resources are not known yet. */
export async function schedResources(h: Flux): Promise<SchedResources> {
  const payload = await h.rpc("resource.sched-status", undefined, { nodeid: 0 });
  const all = toRset(payload["all"]);
  const down = toRset(payload["down"]);
  const allocated = toRset(payload["allocated"]);
  const up = all.diff(down);
  return { all, up, down, allocated, free: up.diff(allocated) };
}

/** Rejects with ENOENT while the resources are not known yet. */
export async function resourceStatus(h: Flux): Promise<ResourceStatus> {
  const payload = await h.rpc("resource.status", undefined, { nodeid: 0 });
  const status = unpack(payload, {
    R: obj,
    online: str,
    offline: str,
    exclude: str,
    torpid: opt(str),
    drain: dict(fields({ timestamp: num, reason: str })),
  });
  return {
    R: toRset(status.R),
    online: toIdset(status.online),
    offline: toIdset(status.offline),
    exclude: toIdset(status.exclude),
    torpid: toIdset(status.torpid ?? ""),
    drain: Object.entries(status.drain).map(([ranks, info]) => ({ ranks: toIdset(ranks), ...info })),
  };
}

/** Takes targets (an idset or a hostlist) out of scheduling. Rejects with EEXIST, EINVAL or EPERM. */
export async function drain(h: Flux, targets: string, options: DrainOptions = {}): Promise<void> {
  await h.rpc("resource.drain", drainRequest(targets, options), { nodeid: 0 });
}

/** Gives targets back. Rejects with EEXIST when one is not drained, unless there is a mode. */
export async function undrain(h: Flux, targets: string, options: DrainOptions = {}): Promise<void> {
  await h.rpc("resource.undrain", drainRequest(targets, options), { nodeid: 0 });
}

function drainRequest(targets: string, { reason, mode }: DrainOptions): JsonObject {
  return { targets, ...(reason !== undefined && { reason }), ...(mode !== undefined && { mode }) };
}

export interface ResourceEvent extends EventlogEntry {
  /** With resource-define: the resources. */
  readonly R?: Rset;
}

/** Every resource event so far, then those to come, until the loop is left. `onInitial` is called between the two. */
export async function* resourceEvents(h: Flux, onInitial?: () => void): AsyncGenerator<ResourceEvent, void, undefined> {
  for await (const payload of h.stream("resource.journal", {}, { nodeid: 0, cancelTopic: "resource.journal-cancel" })) {
    const { events, R } = unpack(payload, { events: arr(obj), R: opt(obj) });
    if (events.length === 0) onInitial?.();
    for (const event of events) {
      const entry = toEventlogEntry(event);
      yield R !== undefined && entry.name === "resource-define" ? { ...entry, R: toRset(R) } : entry;
    }
  }
}

/** Replaces R (tests): from a file with R, or a directory of hwloc XML files. The path is read on rank 0. */
export async function reloadResources(h: Flux, path: string, options: { readonly xml?: boolean; readonly force?: boolean } = {}): Promise<void> {
  await h.rpc("resource.reload", { path, xml: options.xml ?? false, force: options.force ?? false }, { nodeid: 0 });
}

/** hwloc XML of a broker's host (default: the one that h is connected to). */
export async function topologyXml(h: Flux, rank?: number): Promise<string> {
  const bytes = await h.rpcBytes("resource.topo-get", undefined, rank === undefined ? {} : { nodeid: rank });
  return Buffer.from(bytes.subarray(0, bytes.at(-1) === 0 ? -1 : undefined)).toString();
}

/** R as payloads have it: an empty set keeps an (empty) nodelist, which stock clients expect. */
export function encodeR(R: Rset): JsonObject {
  if (!R.isEmpty) return R.encode();
  return { version: 1, execution: { R_lite: [], starttime: R.starttime, expiration: R.expiration, nodelist: [""] } };
}
