// Policy: checks the tables [policy] and [queues] of the configuration (RFC 33, flux-config-policy(5), flux-config-queues(5)).
import { parseDuration } from "../../formats/fsd.ts";
import { isJsonObject, type Json, type JsonObject } from "../../formats/json.ts";
import { parentQueue } from "../../formats/queue-config.ts";
import { errno, FluxError } from "../../message/errno.ts";

/** Characters that a property may not have (RFC 20). */
const PROPERTY_BANNED = /[ \t!&'"`|()]/;
const SIZES = ["nnodes", "ncores", "ngpus"];

/** Throws FluxError EINVAL that names the table. */
export function checkPolicies(config: JsonObject): void {
  const { policy, queues } = config;
  if (policy === undefined && queues === undefined) return;
  const byDefault = policy === undefined ? undefined : checkPolicy(policy, "policy");
  if (queues === undefined) {
    if (byDefault !== undefined) throw noQueue(byDefault);
    return;
  }
  if (!isJsonObject(queues)) throw wrong("queues", "not a table");
  for (const [name, queue] of Object.entries(queues)) checkQueue(name, queue);
  for (const [name, queue] of Object.entries(queues)) checkVirtual(name, queue as JsonObject, queues);
  if (byDefault !== undefined && !Object.hasOwn(queues, byDefault)) throw noQueue(byDefault);
}

function wrong(table: string, text: string): FluxError {
  return new FluxError(errno.EINVAL, `error parsing [${table}] config table: ${text}`);
}

function noQueue(name: string): FluxError {
  return new FluxError(errno.EINVAL, `the [policy] config table defines a default queue ${name} that is not in [queues] table`);
}

/** A table with no other members than these. */
function table(value: Json, where: string, members: readonly string[]): JsonObject {
  if (!isJsonObject(value)) throw wrong(where, "Expected object");
  const unknown = Object.keys(value).find((key) => !members.includes(key));
  if (unknown !== undefined) throw wrong(where, `1 object item(s) left unpacked: ${unknown}`);
  return value;
}

function checkQueue(name: string, queue: Json): void {
  if (!isJsonObject(queue)) throw new FluxError(errno.EINVAL, `queue ${name}: configuration must be a table`);
  const { requires, policy } = table(queue, `queues.${name}`, ["policy", "requires", "parent"]);
  if (policy !== undefined && checkPolicy(policy, `queues.${name}.policy`) !== undefined) {
    throw wrong(`queues.${name}`, "'policy' must not define a default queue!");
  }
  if (requires !== undefined && !isStrings(requires, PROPERTY_BANNED)) {
    throw wrong(`queues.${name}`, "'requires' must be an array of property strings (RFC 20)");
  }
}

/** A virtual queue has the nodes and the schedule of its parent. */
function checkVirtual(name: string, { parent, requires, policy }: JsonObject, queues: JsonObject): void {
  if (parent === undefined) return;
  const fail = (text: string): FluxError => wrong(`queues.${name}`, text);
  if (typeof parent !== "string") throw fail("'parent' must be a string");
  if (parent === name) throw fail("parent queue is itself");
  if (!Object.hasOwn(queues, parent)) throw fail(`parent queue '${parent}' is not configured`);
  if (parentQueue(queues[parent]) !== undefined) throw fail(`parent queue '${parent}' is itself a virtual queue`);
  if (requires !== undefined) throw fail("a virtual queue must not set 'requires'");
  if (isJsonObject(policy) && policy["scheduler"] !== undefined) throw fail("a virtual queue must not set 'policy.scheduler'");
}

/** The default queue. */
function checkPolicy(policy: Json, where: string): string | undefined {
  const { jobspec, limits, access } = table(policy, where, ["jobspec", "limits", "access", "scheduler"]);
  if (limits !== undefined) checkLimits(limits, `${where}.limits`);
  if (access !== undefined) checkAccess(access, `${where}.access`);
  return jobspec === undefined ? undefined : checkJobspec(jobspec, `${where}.jobspec`);
}

function checkJobspec(jobspec: Json, where: string): string | undefined {
  const { defaults = {} } = table(jobspec, where, ["defaults"]);
  const { system = {} } = table(defaults, where, ["system"]);
  const { duration, queue } = table(system, where, ["duration", "queue"]);
  if (duration !== undefined && !isDuration(duration)) throw wrong(where, "'defaults.system.duration' is not a valid FSD");
  if (queue !== undefined && typeof queue !== "string") throw wrong(where, "'defaults.system.queue' is not a string");
  return queue;
}

function checkLimits(limits: Json, where: string): void {
  const { "job-size": size, duration } = table(limits, where, ["job-size", "duration"]);
  if (duration !== undefined && !isDuration(duration)) throw wrong(where, "'duration' is not a valid FSD");
  if (size === undefined) return;
  for (const [bound, values] of Object.entries(table(size, `${where}.job-size`, ["min", "max"]))) {
    for (const [name, value] of Object.entries(table(values, `${where}.${bound}`, SIZES))) {
      if (typeof value !== "number" || !Number.isInteger(value)) throw wrong(`${where}.${bound}`, `Expected integer for ${name}`);
      if (value < -1) throw wrong(`${where}.${bound}`, "values must be >= -1");
    }
  }
}

function checkAccess(access: Json, where: string): void {
  for (const [name, value] of Object.entries(table(access, where, ["allow-user", "allow-group"]))) {
    if (!isStrings(value)) throw wrong(where, `'${name}' must be a string array`);
  }
}

function isStrings(value: Json, banned?: RegExp): boolean {
  return Array.isArray(value) && (value as readonly Json[]).every((item) => typeof item === "string" && banned?.test(item) !== true);
}

function isDuration(value: Json): boolean {
  if (typeof value !== "string") return false;
  try {
    parseDuration(value);
    return true;
  } catch {
    return false;
  }
}
