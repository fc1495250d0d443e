// Tap: what one jobtap plugin is given (see src/client/jobtap.ts).
import type { Tap } from "../../../client/jobtap.ts";
import { type JobResult, RESULT, resultOf, RUNNING, STATE } from "../../../client/jobs.ts";
import { allowUser } from "../../../client/service.ts";
import { type EventlogEntry, parseEventlog } from "../../../formats/eventlog.ts";
import { formatJobId, type JobId } from "../../../formats/fluid.ts";
import { decodeJsonObject, type JsonObject } from "../../../formats/json.ts";
import { errno, FluxError } from "../../../message/errno.ts";
import type { Job } from "../job.ts";
import { updatedJobspec } from "../state.ts";
import { argsOf } from "./args.ts";
import type { Jobtap, Loaded } from "./jobtap.ts";

export interface TapIdentity {
  readonly name: string;
  readonly conf: JsonObject;
  /** For service names. */
  readonly serviceName: string;
  /** Filled with what it offers. */
  readonly services: string[];
}

export function createTap(jobtap: Jobtap, { name, conf, serviceName, services }: TapIdentity, loaded: () => Loaded | undefined): Tap {
  const { core, h, clock, owner, raise, methods } = jobtap.ports;
  const aux = new WeakMap<Job, Map<string, unknown>>();
  const find = (id: JobId): Job => {
    const job = core.active.get(id);
    if (job === undefined) throw new FluxError(errno.ENOENT, `job ${formatJobId(id, "f58")} is not active`);
    return job;
  };
  const self = (): Loaded => {
    const found = loaded();
    if (found === undefined) throw new FluxError(errno.EINVAL, `${name} is still being loaded`);
    return found;
  };
  return {
    h,
    clock,
    name,
    conf,
    owner,
    job: (id) => {
      const job = core.active.get(id);
      return job === undefined ? undefined : argsOf("", job);
    },
    jobs: () => Array.from(core.active.values(), (job) => argsOf("", job)),
    result: (id) => resultOfJob(jobtap, id),
    events: (id) => postedEvents(find(id)),
    wasPosted: (id, event) => postedEvents(find(id)).some((entry) => entry.name === event),
    aux: (id) => {
      const job = find(id);
      const map = aux.get(job) ?? new Map<string, unknown>();
      aux.set(job, map);
      return map;
    },
    post: (id, event, context) => core.post(find(id), event, context),
    raise: (id, type, severity, note) => raise(find(id), type, severity, note),
    addDependency(id, description) {
      const job = find(id);
      if (job.facts.state !== STATE.NEW && job.facts.state !== STATE.DEPEND) throw new FluxError(errno.EINVAL, "the job is past DEPEND");
      if (postedEvents(job).some((entry) => entry.name === "dependency-add" && entry.context?.["description"] === description)) return false;
      core.post(job, "dependency-add", { description });
      return true;
    },
    removeDependency: (id, description) => core.post(find(id), "dependency-remove", { description }),
    startProlog(id, description) {
      const job = find(id);
      if (job.startPending || (job.facts.state & (STATE.CLEANUP | STATE.INACTIVE)) !== 0) throw new FluxError(errno.EINVAL, "it is too late for a prolog");
      core.post(job, "prolog-start", { description });
    },
    finishProlog: (id, description, status) => core.post(find(id), "prolog-finish", { description, status }),
    startEpilog(id, description) {
      const job = find(id);
      if (job.facts.state !== STATE.CLEANUP || job.freePosted) throw new FluxError(errno.EINVAL, "an epilog needs a job in CLEANUP that has its resources");
      core.post(job, "epilog-start", { description });
    },
    finishEpilog: (id, description, status) => core.post(find(id), "epilog-finish", { description, status }),
    setFlag: (id, flag) => core.post(find(id), "set-flags", { flags: [flag] }),
    updateJobspec(id, updates) {
      const job = find(id);
      if ((job.facts.state & RUNNING) !== 0) throw new FluxError(errno.EINVAL, "the job runs already");
      jobtap.validate(job, decodeJsonObject(updatedJobspec(job.facts.jobspec, updates)));
      core.post(job, "jobspec-update", updates);
    },
    reprioritize: (id, priority) => jobtap.reprioritize(find(id), priority),
    reprioritizeAll: () => jobtap.reprioritizeAll(),
    subscribe: (id) => jobtap.subscribe(self(), find(id)),
    unsubscribe: (id) => {
      const job = core.active.get(id);
      if (job !== undefined) jobtap.unsubscribe(self(), job);
    },
    call: (topic, args) => jobtap.callOthers(topic, args),
    serve(method, run, { users = false } = {}) {
      const topic = `${serviceName}.${method}`;
      if (Object.hasOwn(methods, topic)) throw new FluxError(errno.EEXIST, `job-manager.${topic} is served already`);
      methods[topic] = users ? allowUser(run) : run;
      services.push(topic);
    },
  };
}

/** What is in the eventlog, and what waits to get there. */
function postedEvents(job: Job): EventlogEntry[] {
  return [...parseEventlog(job.eventlog), ...job.inbox.map(({ entry }) => entry)];
}

function resultOfJob({ ports: { core } }: Jobtap, id: JobId): JobResult | undefined {
  const job = core.active.get(id);
  if (job === undefined) return core.inactive.get(id)?.result;
  const { end, status, state } = job.facts;
  if (state !== STATE.CLEANUP && state !== STATE.INACTIVE) return undefined;
  return end === undefined ? RESULT.FAILED : resultOf(status, end.name === "exception" ? end.context?.["type"] : undefined);
}
