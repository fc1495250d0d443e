// Defaults: what the configuration adds to a jobspec: [policy.jobspec.defaults.system] and the same of its queue, and the
// properties that its queue requires (RFC 33). Pure.
import { parseDuration } from "../../formats/fsd.ts";
import { isJsonObject, type Json, type JsonObject } from "../../formats/json.ts";
import { queueTables } from "../../formats/queue-config.ts";
import { errno, FluxError } from "../../message/errno.ts";

export type ApplyDefaults = (jobspec: JsonObject) => JsonObject;

/** A function that gives a jobspec with what it lacks; undefined when nothing is configured. Throws FluxError EINVAL for a wrong configuration. */
export function createDefaults(config: JsonObject): ApplyDefaults | undefined {
  const general = defaultsOf(config, "policy");
  const queues = config["queues"] ?? {};
  if (!isJsonObject(queues)) throw new FluxError(errno.EINVAL, "queues must be a table");
  if (Object.keys(general).length === 0 && Object.keys(queues).length === 0) return undefined;
  const defaultQueue = general["queue"];
  if (typeof defaultQueue === "string" && !Object.hasOwn(queues, defaultQueue)) {
    throw new FluxError(errno.EINVAL, `default queue '${defaultQueue}' must be in [queues]`);
  }
  const byQueue = new Map(Array.from(queueTables(config), ([name, queue]) => [name, { ...general, ...defaultsOf(queue, `queues.${name}.policy`) }]));
  return (jobspec) => {
    const queue = queueOf(jobspec) ?? defaultQueue;
    if (queue === undefined && byQueue.size > 0) throw new FluxError(errno.EINVAL, "no queue specified");
    if (typeof queue !== "string") return withDefaults(jobspec, general);
    const defaults = byQueue.get(queue);
    if (defaults === undefined && byQueue.size > 0) throw new FluxError(errno.EINVAL, `Invalid queue '${queue}' specified`);
    return withDefaults(jobspec, defaults ?? general);
  };
}

/** A function that adds what the job's queue requires of nodes; undefined when there are no queues. */
export function createConstraints(config: JsonObject): ApplyDefaults | undefined {
  const queues = queueTables(config);
  if (queues.size === 0) return undefined;
  return (jobspec) => {
    const queue = queueOf(jobspec);
    if (queue === undefined) return jobspec;
    if (!queues.has(queue)) throw new FluxError(errno.EINVAL, `Invalid queue '${queue}' specified`);
    return withRequired(jobspec, queues.get(queue));
  };
}

/** policy.jobspec.defaults.system with its duration in seconds. */
function defaultsOf(table: JsonObject, where: string): JsonObject {
  let found: Json | undefined = table;
  for (const name of ["policy", "jobspec", "defaults", "system"]) found = isJsonObject(found) ? found[name] : undefined;
  if (!isJsonObject(found)) return {};
  const { duration } = found;
  if (typeof duration !== "string") return found;
  try {
    return { ...found, duration: parseDuration(duration) };
  } catch (err) {
    throw new FluxError(errno.EINVAL, `${where}.jobspec.defaults.system.duration: invalid duration "${duration}"`, { cause: err });
  }
}

function systemOf(jobspec: JsonObject): JsonObject {
  const attributes = jobspec["attributes"];
  const system = isJsonObject(attributes) ? attributes["system"] : undefined;
  return isJsonObject(system) ? system : {};
}

function withSystem(jobspec: JsonObject, system: JsonObject): JsonObject {
  const attributes = isJsonObject(jobspec["attributes"]) ? jobspec["attributes"] : {};
  return { ...jobspec, attributes: { ...attributes, system } };
}

function queueOf(jobspec: JsonObject): string | undefined {
  const { queue } = systemOf(jobspec);
  return typeof queue === "string" ? queue : undefined;
}

function withDefaults(jobspec: JsonObject, defaults: JsonObject): JsonObject {
  const system: Record<string, Json> = { ...systemOf(jobspec) };
  for (const [name, value] of Object.entries(defaults)) {
    if (system[name] === undefined || (name === "duration" && system[name] === 0)) system[name] = value;
  }
  return withSystem(jobspec, system);
}

/** The nodes of a job must have the properties that its queue requires. */
function withRequired(jobspec: JsonObject, queue: Json | undefined): JsonObject {
  const requires = isJsonObject(queue) ? queue["requires"] : undefined;
  if (!Array.isArray(requires) || requires.length === 0) return jobspec;
  const system = systemOf(jobspec);
  return withSystem(jobspec, { ...system, constraints: bothConstraints(system["constraints"], requires as readonly Json[]) });
}

function bothConstraints(constraints: Json | undefined, requires: readonly Json[]): JsonObject {
  if (!isJsonObject(constraints)) return { properties: requires };
  const { properties } = constraints;
  if (!Array.isArray(properties)) return { and: [constraints, { properties: requires }] };
  return { ...constraints, properties: [...new Set([...(properties as readonly Json[]), ...requires])] };
}

/** A jobspec without its environment: it is large, and whoever needs it takes it from J. */
export function withoutEnvironment(jobspec: JsonObject): JsonObject {
  const system = systemOf(jobspec);
  if (!("environment" in system)) return jobspec;
  const { environment: _, ...rest } = system;
  return withSystem(jobspec, rest);
}
