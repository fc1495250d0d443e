// R of an instance (RFC 20): what it is made of, whichever way it became known.
//
//   configuration       the [resource] table
//   kvs                 an earlier life of the instance left it in the KVS
//   job-info            the enclosing instance gave it to the job that this instance is
//   dynamic-discovery   every broker looked at its own host
//   reload              `flux resource reload`
import { FormatError } from "../../formats/error.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { IdSet } from "../../formats/idset.ts";
import type { JsonObject } from "../../formats/json.ts";
import { Rset } from "../../formats/rset.ts";
import { errno, FluxError } from "../../message/errno.ts";

export type RMethod = "configuration" | "kvs" | "job-info" | "dynamic-discovery" | "reload";

/** R without the scheduler's part. */
export function withoutScheduling(R: Rset): Rset {
  if (R.scheduling === undefined) return R;
  const copy = R.clone();
  copy.scheduling = undefined;
  return copy;
}

/** A configured R, ranked as the brokers are when the configuration says who they are ([bootstrap]). */
export function rankConfigured(R: Rset, config: JsonObject, hostlist: string): Rset {
  return config["bootstrap"] === undefined ? R : R.rerank(hostlist);
}

/**
 * R of the job that this instance is, renumbered for its own brokers: by host where each broker has one of its own, and
 * from zero. Undefined when it has another number of targets than there are brokers: then they look for themselves.
 */
export function fromParent(R: Rset, size: number, hostlist: string): Rset | undefined {
  if (R.nnodes !== size) return undefined;
  return byHost(R, hostlist).remap();
}

function byHost(R: Rset, hostlist: string): Rset {
  const hosts = Hostlist.parse(hostlist);
  if (new Set(hosts).size !== hosts.length) return R;
  try {
    return R.rerank(hosts);
  } catch (err) {
    if (err instanceof FormatError) return R; // other names than the brokers know: keep the order
    throw err;
  }
}

/** Execution targets of an idset or hostlist, as `flux resource drain` takes them. Throws EINVAL. */
export function targetsToRanks(targets: string, R: Rset | undefined): IdSet {
  try {
    return IdSet.parse(targets);
  } catch {
    // Not an idset: a hostlist, perhaps.
  }
  if (R === undefined) throw new FluxError(errno.EINVAL, "R is unavailable for mapping hostnames to ranks");
  let hosts: Hostlist;
  try {
    hosts = Hostlist.parse(targets);
  } catch {
    throw new FluxError(errno.EINVAL, "invalid targets: Hostlist cannot be decoded");
  }
  const known = new Set(R.hosts);
  const unknown = [...hosts].filter((host) => !known.has(host));
  if (unknown.length > 0) throw new FluxError(errno.EINVAL, `invalid targets: invalid hosts: ${Hostlist.from(unknown).toString()}`);
  return R.ranksOf(hosts);
}
