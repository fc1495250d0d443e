// ListRequest: what a list of jobs is asked for, in the form of today and in that of long ago.
import type { Request } from "../../client/request.ts";
import type { Json, JsonObject } from "../../formats/json.ts";
import { errno, FluxError, toFluxError } from "../../message/errno.ts";
import { int, json, num, opt } from "../../message/unpack.ts";
import { type Attribute, ATTRIBUTES, isAttribute } from "./job.ts";

/** Attribute names of a request; "all" stands for every one. Throws FluxError EPROTO or EINVAL. */
export function parseAttrs(value: Json): Attribute[] {
  if (!Array.isArray(value)) throw new FluxError(errno.EPROTO, "invalid payload: attrs must be an array");
  return (value as readonly Json[]).flatMap((name) => {
    if (typeof name !== "string") throw new FluxError(errno.EINVAL, "attr has no string value");
    if (name === "all") return [...ATTRIBUTES];
    if (!isAttribute(name)) throw new FluxError(errno.EINVAL, `${name} is not a valid attribute`);
    return [name];
  });
}

export interface ListRequest {
  readonly max_entries: number;
  readonly attrs: readonly Attribute[];
  readonly since: number;
  readonly constraint: Json | undefined;
}

export function listRequest(req: Request): ListRequest {
  let fields;
  try {
    fields = req.unpack({ max_entries: int, attrs: json, since: opt(num), constraint: opt(json) });
  } catch (err) {
    throw new FluxError(errno.EPROTO, `invalid payload: ${toFluxError(err).message}`, { cause: err });
  }
  const { max_entries, attrs, since = 0, constraint } = fields;
  if (max_entries < 0) throw new FluxError(errno.EPROTO, "invalid payload: max_entries < 0 not allowed");
  if (since < 0) throw new FluxError(errno.EPROTO, "invalid payload: since < 0.0 not allowed");
  return { max_entries, attrs: parseAttrs(attrs), since, constraint: constraint ?? legacyConstraint(req.payload) };
}

/** Clients of long ago name userid, states, results, name and queue beside each other. */
function legacyConstraint(payload: JsonObject): Json | undefined {
  const { userid, states, results, name, queue } = payload;
  if (typeof userid !== "number" || typeof states !== "number" || typeof results !== "number") return undefined;
  const parts: JsonObject[] = [];
  if (userid !== 0xffff_ffff && userid !== -1) parts.push({ userid: [userid] });
  if (typeof name === "string") parts.push({ name: [name] });
  if (typeof queue === "string") parts.push({ queue: [queue] });
  if (states !== 0) parts.push({ states: [states] });
  if (results !== 0) parts.push({ results: [results] });
  return { and: parts };
}
