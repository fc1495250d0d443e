// What a jobspec asks of this scheduler: nodes, slots, cores and GPUs per slot (RFC 14, RFC 25), counted as stock Flux counts.
//
// Resource types that are not known are passed over, what is in them counts. A range is served with as much as there is,
// up to its end.
import { isJsonObject, type Json, type JsonObject } from "../../formats/json.ts";
import { checkResourceRange, parseResourceCount, type ResourceRange } from "../../formats/resource-range.ts";
import { errno, FluxError } from "../../message/errno.ts";

/** How many: at least `min`, and up to `max` (Infinity: all there are) where there is more. */
export interface Count {
  readonly min: number;
  readonly max: number;
}

export interface ResourceRequest {
  /** Nodes; undefined when only slots are asked for. */
  readonly nodes: Count | undefined;
  /** Slots: on each node where nodes are asked for, otherwise of the whole job. */
  readonly slots: Count;
  readonly coresPerSlot: number;
  readonly gpusPerSlot: number;
  readonly exclusive: boolean;
  /** Seconds; 0 is unlimited. */
  readonly duration_s: number;
  readonly constraint: JsonObject | undefined;
  /** Slots of the whole job where these do not follow from its nodes. */
  readonly totalSlots?: number;
  /** Says why when counts are such as this scheduler never serves. */
  readonly unsupported: string | undefined;
}

const DEPTH_MAX = 32;

interface Walk {
  nodes: Count | undefined;
  slots: Count | undefined;
  cores: number | undefined;
  gpus: number;
  exclusive: boolean;
  nodeFactor: number;
  unsupported: string | undefined;
}

/** Throws FluxError EINVAL for a jobspec that makes no sense here. */
export function parseRequest(jobspec: JsonObject): ResourceRequest {
  const { resources, attributes, version } = jobspec;
  if (!Array.isArray(resources) || resources.length === 0) throw bad("jobspec has no resources");
  const state: Walk = { nodes: undefined, slots: undefined, cores: undefined, gpus: 0, exclusive: false, nodeFactor: 1, unsupported: undefined };
  walk(resources as readonly Json[], 1, 0, state);
  const system = isJsonObject(attributes) ? attributes["system"] : undefined;
  const { duration, constraints } = isJsonObject(system) ? system : {};
  if (version === 1) {
    if (!isJsonObject(system)) throw bad("getting duration: Object item not found: system");
    if (duration === undefined || duration === null) throw bad("getting duration: Object item not found: duration");
  }
  if (state.slots === undefined) throw bad("Unable to determine slot count");
  if (state.cores === undefined) throw bad("Unable to determine slot size");
  if (state.cores < 1) throw bad("a slot must have at least one core");
  const { nodeFactor } = state;
  let nodes = state.nodes && { min: state.nodes.min * nodeFactor, max: state.nodes.max * nodeFactor };
  let { slots } = state;
  if (state.exclusive && nodes === undefined) {
    // Exclusive slots without nodes: each has a node for itself.
    nodes = slots;
    slots = { min: 1, max: 1 };
  }
  return {
    nodes,
    slots,
    coresPerSlot: state.cores,
    gpusPerSlot: state.gpus,
    exclusive: state.exclusive,
    duration_s: typeof duration === "number" && duration > 0 ? duration : 0,
    constraint: isJsonObject(constraints) && Object.keys(constraints).length > 0 ? constraints : undefined,
    unsupported: state.unsupported,
  };
}

function bad(problem: string): FluxError {
  return new FluxError(errno.EINVAL, problem);
}

function walk(vertices: readonly Json[], nodeFactor: number, depth: number, state: Walk): void {
  if (depth > DEPTH_MAX) throw bad(`jobspec resource nesting exceeds maximum depth ${DEPTH_MAX}`);
  for (const vertex of vertices) {
    if (!isJsonObject(vertex)) throw bad("a resource of the jobspec is no object");
    const { type } = vertex;
    const count = countOf(vertex["count"] ?? 1, type, state);
    const children = Array.isArray(vertex["with"]) ? (vertex["with"] as readonly Json[]) : [];
    if (type === "node") {
      state.nodes = count;
      state.nodeFactor = nodeFactor;
      state.exclusive ||= vertex["exclusive"] === true;
      walk(children, nodeFactor, depth + 1, state);
      continue;
    }
    if (type === "slot") {
      state.slots = count;
      state.exclusive ||= vertex["exclusive"] === true;
    } else if (type === "core") state.cores = count.min;
    else if (type === "gpu") state.gpus = count.min;
    walk(children, nodeFactor * count.min, depth + 1, state);
  }
}

function countOf(value: Json, type: Json | undefined, state: Walk): Count {
  const parsed = typeof value === "string" ? parseResourceCount(value) : value;
  if (typeof parsed === "number") {
    if (!Number.isSafeInteger(parsed) || parsed < 0) throw bad(`invalid count ${parsed}`);
    return { min: parsed, max: parsed };
  }
  if (typeof parsed === "string") {
    const first = Number(/^\d+/.exec(parsed)?.[0]);
    return discrete({ min: first, max: first }, type, state);
  }
  const range: ResourceRange = checkResourceRange(parsed, "count");
  const count = { min: range.min, max: range.max ?? Infinity };
  const everyCount = (range.operator ?? "+") === "+" && (range.operand ?? 1) === 1;
  return everyCount ? count : discrete(count, type, state);
}

function discrete(count: Count, type: Json | undefined, state: Walk): Count {
  if (type === "node" || type === "slot") {
    state.unsupported ??= `${type} count specifies discrete valid values that this scheduler does not support; use a simple min-max range instead`;
  }
  return count;
}
