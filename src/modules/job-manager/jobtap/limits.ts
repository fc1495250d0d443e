// .limit-duration and .limit-job-size: jobs that are longer or larger (or smaller) than [policy.limits], or than
// [queues.NAME.policy.limits], are refused (RFC 33).
import { defineJobtap } from "../../../client/jobtap.ts";
import { formatDuration } from "../../../formats/fsd.ts";
import { jobspecCounts, type Jobspec } from "../../../formats/jobspec.ts";
import type { JsonObject } from "../../../formats/json.ts";
import { systemAttribute } from "../job.ts";
import { durationIn, intIn, tablesOf } from "./config.ts";

/** As long as it likes; also what 0 means. */
const UNLIMITED = Number.POSITIVE_INFINITY;

interface Limits<T> {
  readonly general: T;
  readonly queues: ReadonlyMap<string, T>;
}

/** The limits of all queues, undefined when there are none: the ordinary case must cost nothing. */
function readLimits<T>(config: JsonObject, read: (policy: JsonObject, where: string) => T | undefined): Limits<T | undefined> | undefined {
  const { general, queues } = tablesOf(config);
  const own = read(general, "policy");
  const named = new Map(Array.from(queues, ([name, policy]) => [name, read(policy, `queues.${name}.policy`)]));
  return own === undefined && [...named.values()].every((limits) => limits === undefined) ? undefined : { general: own, queues: named };
}

function queueName(jobspec: JsonObject): string | undefined {
  const queue = systemAttribute(jobspec, "queue");
  return typeof queue === "string" ? queue : undefined;
}

const forQueue = (queue: string | undefined): string => (queue === undefined ? "" : ` for queue ${queue}`);

export const limitDuration = defineJobtap({
  start() {
    let limits: Limits<number | undefined> | undefined;
    return {
      "conf.update": (config) => {
        limits = readLimits(config, (policy, where) => {
          const limit_s = durationIn(policy, ["limits", "duration"], where);
          return limit_s === 0 ? UNLIMITED : limit_s;
        });
      },
      "job.validate": (args) => {
        if (limits === undefined) return;
        const { jobspec } = args;
        const queue = queueName(jobspec);
        const limit_s = (queue === undefined ? undefined : limits.queues.get(queue)) ?? limits.general ?? UNLIMITED;
        const wanted = systemAttribute(jobspec, "duration");
        const duration_s = typeof wanted === "number" ? wanted : 0;
        if (limit_s === UNLIMITED || (duration_s > 0 && duration_s <= limit_s)) return;
        const requested = duration_s === 0 ? "unlimited" : formatDuration(duration_s, 2);
        throw new Error(`requested duration (${requested}) exceeds policy limit of ${formatDuration(limit_s, 2)}${forQueue(queue)}`);
      },
    };
  },
});

const RESOURCES = ["nnodes", "ncores", "ngpus"] as const;
type Sizes = Readonly<Partial<Record<(typeof RESOURCES)[number], number>>>;

interface SizeLimits {
  readonly max: Sizes;
  readonly min: Sizes;
}

function sizes(policy: JsonObject, bound: "max" | "min", where: string): Sizes {
  const found: Partial<Record<(typeof RESOURCES)[number], number>> = {};
  for (const name of RESOURCES) {
    const size = intIn(policy, ["limits", "job-size", bound, name], where);
    if (size !== undefined) found[name] = size;
  }
  return found;
}

function sizeLimits(policy: JsonObject, where: string): SizeLimits | undefined {
  const max = sizes(policy, "max", where);
  const min = sizes(policy, "min", where);
  return Object.keys(max).length + Object.keys(min).length === 0 ? undefined : { max, min };
}

export const limitJobSize = defineJobtap({
  start() {
    let limits: Limits<SizeLimits | undefined> | undefined;
    return {
      "conf.update": (config) => {
        limits = readLimits(config, sizeLimits);
      },
      "job.validate": (args) => {
        if (limits === undefined) return;
        const { jobspec } = args;
        const queue = queueName(jobspec);
        const own = queue === undefined ? undefined : limits.queues.get(queue);
        const max = { ...limits.general?.max, ...own?.max };
        const min = { ...limits.general?.min, ...own?.min };
        const counts = jobspecCounts(jobspec as object as Jobspec);
        const wanted = { nnodes: counts.nnodes, ncores: counts.nslots * counts.coresPerSlot, ngpus: counts.nslots * counts.gpusPerSlot };
        for (const name of RESOURCES) check(name, wanted[name], max[name], "exceeds", queue);
        for (const name of RESOURCES) check(name, wanted[name], min[name], "is under", queue);
      },
    };
  },
});

/** -1 is no limit. */
function check(name: string, wanted: number, limit: number | undefined, verb: "exceeds" | "is under", queue: string | undefined): void {
  if (limit === undefined || limit < 0 || (verb === "exceeds" ? wanted <= limit : wanted >= limit)) return;
  throw new Error(`requested ${name} (${wanted}) ${verb} policy limit of ${limit}${forQueue(queue)}`);
}
