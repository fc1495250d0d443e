// Dependencies (RFC 26): what keeps a job in DEPEND. Schemes: afterstart (and the older after), afterany, afterok,
// afternotok, afterexcept with a job id; begin-time with a time; singleton for jobs of one name and user. Any other
// scheme is refused, unless another plugin knows it (jobtap/builtins.ts registers these).
import { RESULT, STATE } from "../../client/jobs.ts";
import { type JobId, parseJobId } from "../../formats/fluid.ts";
import { isJsonObject, type JsonObject } from "../../formats/json.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { str, unpack } from "../../message/unpack.ts";
import type { Clock, Timer } from "../../os/clock.ts";
import type { InactiveJob } from "./inactive.ts";
import { type Job, jobspecOf, systemAttribute } from "./job.ts";
import { Line } from "./line.ts";

type After = "after-start" | "after-finish" | "after-success" | "after-failure" | "after-except";

const AFTER: Readonly<Record<string, After>> = {
  after: "after-start",
  afterstart: "after-start",
  afterany: "after-finish",
  afterok: "after-success",
  afternotok: "after-failure",
  afterexcept: "after-except",
};

/** What can be seen of a job that another one waits for. */
type Target = Pick<InactiveJob, "userid" | "result" | "allocated" | "started" | "excepted"> & { readonly isOver: boolean };

interface Dependent {
  readonly job: Job;
  readonly kind: After;
  readonly description: string;
}

export interface DependencyPorts {
  readonly clock: Clock;
  readonly findActive: (id: JobId) => Job | undefined;
  readonly findInactive: (id: JobId) => InactiveJob | undefined;
  readonly post: (job: Job, name: string, context: JsonObject) => void;
  readonly raise: (job: Job, type: string, severity: number, note: string) => void;
}

/** Nothing is 0, as strtod(3) has it. */
const BEGIN_TIME = /^(\d+(\.\d*)?)?$/;

export class Dependencies {
  readonly #ports: DependencyPorts;
  /** Job → who waits for it, by id: thousands that wait for one go one by one. */
  readonly #dependents = new Map<JobId, Map<JobId, Dependent[]>>();
  /** Job → for whom it waits. */
  readonly #references = new Map<JobId, Set<JobId>>();
  readonly #timers = new Map<JobId, Timer>();
  /** "userid:name" → active jobs of that name, and those of them that wait to be the only one. */
  readonly #names = new Map<string, { active: number; readonly singletons: Line<Job> }>();

  constructor(ports: DependencyPorts) {
    this.#ports = ports;
  }

  /** One dependency {scheme, value} of a job that is new or comes back. Throws FluxError EINVAL when it can't be met. */
  add(id: JobId, dependency: unknown): void {
    const job = this.#ports.findActive(id);
    if (job === undefined || !isJsonObject(dependency)) throw new FluxError(errno.EINVAL, "a dependency must be an object");
    const { scheme, value } = unpack(dependency, { scheme: str, value: str });
    this.#add(job, jobspecOf(job), scheme, value);
  }

  /** Who waits for which job: for flux jobtap query. */
  list(): JsonObject[] {
    return [...this.#dependents].flatMap(([depid, dependents]) =>
      [...dependents.values()].flat().map(({ job, kind, description }) => ({ id: job.id, depid, type: kind, description })));
  }

  /** The job has been accepted. */
  accepted(job: Job, jobspec: JsonObject): void {
    const name = nameKey(job, jobspec);
    if (name === undefined) return;
    const named = this.#names.get(name) ?? { active: 0, singletons: new Line<Job>() };
    this.#names.set(name, named);
    named.active++;
  }

  /** The job's tasks have started. */
  started(job: Job): void {
    this.#resolve(job.id, (kind) => (kind === "after-start" ? true : undefined));
  }

  /** The job needs nothing more: it is on its way, or over. */
  left(job: Job): void {
    this.#ports.clock.clear(this.#timers.get(job.id));
    this.#timers.delete(job.id);
    const references = this.#references.get(job.id);
    if (references === undefined) return;
    this.#references.delete(job.id);
    for (const id of references) {
      const dependents = this.#dependents.get(id);
      dependents?.delete(job.id);
      if (dependents?.size === 0) this.#dependents.delete(id);
    }
  }

  /** The job is inactive: whoever waited for it goes on, or never will. */
  ended(job: Job, jobspec: () => JsonObject): void {
    this.left(job);
    const over = this.#dependents.has(job.id) ? this.#ports.findInactive(job.id) : undefined;
    if (over !== undefined) {
      const target: Target = { ...over, isOver: true };
      const why = over.allocated ? "can never be satisfied" : "job never started";
      this.#resolve(job.id, (kind) => refusal(kind, target, "") === undefined, why);
    }
    if (this.#names.size > 0) this.#nameEnded(job, jobspec());
  }

  stop(): void {
    for (const timer of this.#timers.values()) this.#ports.clock.clear(timer);
    this.#timers.clear();
  }

  #add(job: Job, jobspec: JsonObject, scheme: string, value: string): void {
    const kind = Object.hasOwn(AFTER, scheme) ? AFTER[scheme] : undefined;
    if (kind !== undefined) return this.#addAfter(job, scheme, kind, value);
    if (scheme === "begin-time") return this.#addBeginTime(job, value);
    if (scheme === "singleton") return this.#addSingleton(job, jobspec);
    throw new FluxError(errno.EINVAL, `dependency scheme "${scheme}" not supported`);
  }

  #addAfter(job: Job, scheme: string, kind: After, value: string): void {
    if (scheme === "after") {
      this.#ports.raise(job, "dependency", 3, "dependency scheme 'after' is deprecated, use 'afterstart'");
    }
    const id = idOf(scheme, value);
    const target = this.#target(id);
    if (target === undefined) throw new FluxError(errno.EINVAL, `dependency: ${scheme}: id ${value}: job not found`);
    if (target.userid !== job.facts.userid) throw new FluxError(errno.EINVAL, `${scheme}: Permission denied for job ${value}`);
    const description = `${kind}=${value}`;
    if (target.isOver) {
      const why = refusal(kind, target, value);
      if (why !== undefined) throw new FluxError(errno.EINVAL, why);
    }
    this.#wait(job, description);
    if (target.isOver || (kind === "after-start" && target.started)) return this.#remove(job, description);
    const dependents = this.#dependents.get(id) ?? new Map<JobId, Dependent[]>();
    this.#dependents.set(id, dependents.set(job.id, [...(dependents.get(job.id) ?? []), { job, kind, description }]));
    this.#references.set(job.id, (this.#references.get(job.id) ?? new Set()).add(id));
  }

  #addBeginTime(job: Job, value: string): void {
    const time_s = Number(value);
    if (!BEGIN_TIME.test(value) || !Number.isFinite(time_s)) throw new FluxError(errno.EINVAL, `Invalid begin-time=${value}`);
    const description = `begin-time=${time_s.toFixed(3)}`;
    this.#wait(job, description);
    const { clock } = this.#ports;
    const timer = clock.setTimer((time_s - clock.now_s()) * 1000, () => {
      this.#timers.delete(job.id);
      this.#remove(job, description);
    });
    this.#timers.set(job.id, timer);
  }

  #addSingleton(job: Job, jobspec: JsonObject): void {
    const name = nameKey(job, jobspec);
    if (name === undefined) throw new FluxError(errno.EINVAL, "singleton jobs require a job name");
    const named = this.#names.get(name);
    if (named === undefined || named.active === 0) return;
    this.#wait(job, "singleton");
    named.singletons.add(job);
  }

  #nameEnded(job: Job, jobspec: JsonObject): void {
    const name = nameKey(job, jobspec);
    const named = name === undefined ? undefined : this.#names.get(name);
    if (name === undefined || named === undefined) return;
    named.singletons.delete(job);
    if (--named.active <= 0) this.#names.delete(name);
    // All that are left wait for each other: the first may go.
    if (named.active !== named.singletons.size) return;
    const next = named.singletons.takeFirst();
    if (next !== undefined) this.#remove(next, "singleton");
  }

  #target(id: JobId): Target | undefined {
    const active = this.#ports.findActive(id);
    if (active !== undefined) {
      const { userid, allocated, started } = active.facts;
      return { userid, allocated, started, result: RESULT.FAILED, excepted: false, isOver: false };
    }
    const inactive = this.#ports.findInactive(id);
    return inactive === undefined ? undefined : { ...inactive, isOver: true };
  }

  /** `met`: true removes the dependency, false makes it impossible, undefined leaves it. */
  #resolve(id: JobId, met: (kind: After) => boolean | undefined, why = ""): void {
    const dependents = this.#dependents.get(id);
    if (dependents === undefined) return;
    for (const dependent of [...dependents.values()].flat()) {
      const answer = met(dependent.kind);
      if (answer === undefined) continue;
      this.#drop(dependents, dependent);
      if (answer) this.#remove(dependent.job, dependent.description);
      else if (!dependent.job.facts.closed) this.#ports.raise(dependent.job, "dependency", 0, `dependency ${dependent.description} ${why}`);
    }
    if (dependents.size === 0) this.#dependents.delete(id);
  }

  #drop(dependents: Map<JobId, Dependent[]>, dependent: Dependent): void {
    const { id } = dependent.job;
    const left = dependents.get(id)?.filter((other) => other !== dependent) ?? [];
    if (left.length > 0) dependents.set(id, left);
    else dependents.delete(id);
  }

  /** After a restart the eventlog has the dependency already. */
  #wait(job: Job, description: string): void {
    if (!job.facts.dependencies.includes(description)) this.#ports.post(job, "dependency-add", { description });
  }

  #remove(job: Job, description: string): void {
    const { state, closed } = job.facts;
    if (closed || (state !== STATE.NEW && state !== STATE.DEPEND)) return;
    this.#ports.post(job, "dependency-remove", { description });
  }
}

function idOf(scheme: string, value: string): JobId {
  try {
    const id = parseJobId(value);
    if (id !== 0n) return id;
  } catch {
    // Said below, in the words that users know.
  }
  throw new FluxError(errno.EINVAL, `dependency: ${scheme}: "${value}" is not a valid jobid`);
}

/** Why a job that is over can't meet the dependency; undefined when it does. All but afterany want it to have run. */
function refusal(kind: After, target: Target, name: string): string | undefined {
  if (kind === "after-finish") return undefined;
  if (!target.allocated || (kind === "after-start" && !target.started)) return `dependency: after: ${name} never started`;
  const completed = target.result === RESULT.COMPLETED;
  if (kind === "after-success" && !completed) return `dependency: afterok: job ${name} failed or was canceled`;
  if (kind === "after-failure" && completed) return `dependency: afternotok: job ${name} succeeded`;
  if (kind === "after-except" && !target.excepted) return `dependency: afterexcept: job ${name}: no exception`;
  return undefined;
}

function nameKey(job: Job, jobspec: JsonObject): string | undefined {
  const settings = systemAttribute(jobspec, "job");
  const name = isJsonObject(settings) ? settings["name"] : undefined;
  return typeof name === "string" ? `${job.facts.userid}:${name}` : undefined;
}
