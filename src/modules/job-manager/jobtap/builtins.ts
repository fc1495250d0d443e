// The builtin plugins, in the order in which they are loaded and listed. Their names begin with a dot.
import { defineJobtap, type JobtapPlugin } from "../../../client/jobtap.ts";
import { errno, FluxError } from "../../../message/errno.ts";
import { jobid, json, opt, str } from "../../../message/unpack.ts";
import { priorityFromUrgency } from "../job.ts";
import type { Dependencies } from "../dependencies.ts";
import type { History } from "../history.ts";
import type { Queues } from "../queues.ts";
import { contextOf } from "../state.ts";
import { updateDuration, validateDuration } from "./durations.ts";
import { PRIORITY_DEFAULT } from "./jobtap.ts";
import { limitDuration, limitJobSize } from "./limits.ts";
import { updateQueue } from "./update-queue.ts";

export interface BuiltinPorts {
  readonly dependencies: () => Dependencies;
  readonly history: () => History;
  readonly queues: Queues;
  readonly expiration_s: () => number;
}

export function builtins({ dependencies, history, queues, expiration_s }: BuiltinPorts): Readonly<Record<string, JobtapPlugin>> {
  return {
    [PRIORITY_DEFAULT]: defineJobtap({
      start: () => ({
        "job.state.priority": ({ urgency }) => ({ priority: priorityFromUrgency(urgency) }),
        "job.priority.get": ({ urgency }) => ({ priority: priorityFromUrgency(urgency) }),
      }),
    }),
    ".limit-job-size": limitJobSize,
    ".limit-duration": limitDuration,
    ".dependency-after": defineJobtap({
      start: () => ({
        ...schemes(dependencies, ["after", "afterstart", "afterany", "afterok", "afternotok", "afterexcept"]),
        "plugin.query": () => ({ dependencies: dependencies().list() }),
      }),
    }),
    ".dependency-singleton": defineJobtap({ start: () => schemes(dependencies, ["singleton"]) }),
    ".begin-time": defineJobtap({ start: () => schemes(dependencies, ["begin-time"]) }),
    ".validate-duration": validateDuration(expiration_s),
    ".update-duration": updateDuration,
    ".history": defineJobtap({
      start(tap) {
        tap.serve("get", (req) => ({ jobs: history().slice(req.userid, req.unpack({ slice: str }).slice) }), { users: true });
        return {};
      },
    }),
    ".post-event": defineJobtap({
      start(tap) {
        tap.serve("post", (req) => {
          const { id, name, context } = req.unpack({ id: jobid, name: str, context: opt(json) });
          if (tap.job(id) === undefined) throw new FluxError(errno.ENOENT, "unknown job id");
          tap.post(id, name, contextOf(context));
        });
        return {};
      },
    }),
    ".update-queue": updateQueue(queues),
  };
}

function schemes(dependencies: () => Dependencies, names: readonly string[]) {
  return Object.fromEntries(names.map((name) => [
    `job.dependency.${name}`,
    ({ id, dependency }: { readonly id: bigint; readonly dependency?: unknown }) => dependencies().add(id, dependency),
  ]));
}
