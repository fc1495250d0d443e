// .update-queue: moves a pending job to another queue. Its constraints become those of the queue, so it must not have others.
import { defineJobtap } from "../../../client/jobtap.ts";
import { RUNNING } from "../../../client/jobs.ts";
import { isJsonObject, type JsonObject } from "../../../formats/json.ts";
import { queueOf, systemAttribute } from "../job.ts";
import type { Queues } from "../queues.ts";

export function updateQueue(queues: Queues) {
  return defineJobtap({
    start: () => ({
      "job.update.attributes.system.queue": ({ value, state, jobspec }) => {
        if (typeof value !== "string") throw new Error("queue must be a string");
        if ((state & RUNNING) !== 0) throw new Error("update of queue for running job not supported");
        const current = queueOf(jobspec);
        if (current === value) throw new Error(`job queue is already set to ${value}`);
        const queue = queues.find(value);
        if (!queue.enabled) throw new Error(`queue ${value} is currently disabled`);
        const constraints = systemAttribute(jobspec, "constraints");
        if (!sameConstraints(isJsonObject(constraints) ? constraints : {}, properties(queues.find(current).requires))) {
          throw new Error(`job appears to have non-queue constraints, unable to update queue to ${String(current)}`);
        }
        return { feasibility: true, updates: { "attributes.system.constraints": properties(queue.requires) } };
      },
    }),
  });
}

const properties = (requires: readonly string[]): JsonObject => (requires.length === 0 ? {} : { properties: requires });

function sameConstraints(a: JsonObject, b: JsonObject): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
