// Jobtap: the plugins of the job manager: loading and removing them, and calling them (src/client/jobtap.ts is what they see).
//
//   job-manager.jobtap {load?, conf?, remove?, query_only?} → {plugins} for query_only
//   job-manager.jobtap-query {name} → {name, path, …}
//
// Which callbacks match a topic is remembered until a plugin comes or goes: a topic that nobody wants costs one lookup.
import type { Flux } from "../../../client/flux.ts";
import type { JobCallback, JobtapAnswer, JobtapArgs, JobtapCallbacks, JobtapPlugin } from "../../../client/jobtap.ts";
import { type JobState, PRIORITY, STATE, stateName, URGENCY } from "../../../client/jobs.ts";
import type { OpenMethod, Method } from "../../../client/service.ts";
import type { EventlogEntry } from "../../../formats/eventlog.ts";
import { formatJobId } from "../../../formats/fluid.ts";
import { isJsonObject, type Json, type JsonObject } from "../../../formats/json.ts";
import { errno, FluxError, toFluxError } from "../../../message/errno.ts";
import type { Clock } from "../../../os/clock.ts";
import type { Core } from "../core.ts";
import type { InactiveJob } from "../inactive.ts";
import { type Job, jobspecOf, newJob, priorityOf, systemAttribute } from "../job.ts";
import { mergeAnnotations, NEW_JOB } from "../state.ts";
import { nextTurn } from "../turn.ts";
import { argsOf } from "./args.ts";
import { bundledPlugin, importPlugin } from "./load.ts";
import { createTap } from "./tap.ts";

export interface Loaded {
  readonly name: string;
  /** "builtin", or the file. */
  readonly path: string;
  readonly callbacks: JobtapCallbacks;
  readonly plugin: JobtapPlugin;
  /** Services it offers. */
  readonly services: string[];
  isRemoved: boolean;
}

export interface JobtapPorts {
  readonly h: Flux;
  readonly clock: Clock;
  readonly owner: number;
  readonly core: Core;
  readonly raise: (job: Job, type: string, severity: number, note: string) => void;
  /** The methods of service job-manager. */
  readonly methods: Record<string, Method | OpenMethod>;
}

interface Bound {
  readonly by: Loaded;
  readonly run: (args: never) => unknown;
}

const NONE: readonly Bound[] = [];
const PLUGINS_MAX = 100;
const TOPICS_MAX = 1000;
/** Jobs whose priority is asked for in one turn. */
const SLICE = 500;
/** The plugin whose priority is the urgency. */
export const PRIORITY_DEFAULT = ".priority-default";

const STATE_TOPICS = new Map<number, string>(Object.values(STATE).map((state) => [state, `job.state.${stateName(state).toLowerCase()}`]));

export class Jobtap {
  readonly ports: JobtapPorts;
  readonly #builtins: Readonly<Record<string, JobtapPlugin>>;
  #plugins: readonly Loaded[] = [];
  /** Loaded because the configuration needs them. */
  readonly #needed = new Set<string>();
  #topics = new Map<string, readonly Bound[]>();
  #subscribers = new WeakMap<Job, Set<Loaded>>();
  #subscriptions = 0;
  #config: JsonObject = {};
  #isConfigured = false;
  #reprioritizing = false;

  constructor(ports: JobtapPorts, builtins: Readonly<Record<string, JobtapPlugin>>) {
    this.ports = ports;
    this.#builtins = builtins;
  }

  /** Loads the builtin plugins and those that the configuration names. Throws FluxError. */
  async start(config: JsonObject): Promise<void> {
    this.#config = config;
    for (const name of Object.keys(this.#builtins)) await this.#add(name, {});
    const table = config["job-manager"];
    const plugins = isJsonObject(table) ? table["plugins"] : undefined;
    if (plugins !== undefined && !Array.isArray(plugins)) throw new FluxError(errno.EINVAL, "[job-manager.plugins] config must be an array");
    for (const [i, entry] of ((plugins ?? []) as readonly Json[]).entries()) await this.#configured(entry, `[job-manager.plugins][${i}]`);
    this.#isConfigured = true;
  }

  async #configured(entry: Json, where: string): Promise<void> {
    if (!isJsonObject(entry)) throw new FluxError(errno.EINVAL, `${where}: Expected object`);
    const { load, conf, remove } = entry;
    for (const [key, word] of Object.entries({ load, remove })) {
      if (word !== undefined && typeof word !== "string") throw new FluxError(errno.EINVAL, `${where}: ${key} must be a string`);
    }
    try {
      if (typeof remove === "string") this.remove(remove);
    } catch (err) {
      throw new FluxError(toFluxError(err).errno, `${where}: remove ${remove as string}: ${toFluxError(err).message}`, { cause: err });
    }
    try {
      if (typeof load === "string") await this.load(load, conf);
    } catch (err) {
      throw new FluxError(toFluxError(err).errno, `${where}: load: ${toFluxError(err).message}`, { cause: err });
    }
  }

  /** A new configuration: every plugin is asked. Throws what one throws. */
  configure(config: JsonObject): void {
    this.#config = config;
    for (const { callbacks, name } of this.#plugins) configured(callbacks, config, name);
  }

  /** Names in the order of loading. */
  list(): string[] {
    return this.#plugins.map(({ name }) => name);
  }

  has(name: string): boolean {
    return this.#plugins.some((plugin) => plugin.name === name);
  }

  /** Throws FluxError when the plugin isn't loaded, or fails. */
  query(name: string): JsonObject {
    const plugin = this.#plugins.find((other) => other.name === name);
    if (plugin === undefined) throw new FluxError(errno.EINVAL, `${name}: plugin not found`);
    try {
      return { name, path: plugin.path, ...plugin.callbacks["plugin.query"]?.() };
    } catch (err) {
      throw new FluxError(errno.EINVAL, `plugin.query failed: ${messageOf(err)}`, { cause: err });
    }
  }

  /** Loads a plugin that the configuration needs. Who loads it himself later on finds nothing to do, once. */
  async loadNeeded(path: string): Promise<void> {
    await this.load(path);
    this.#needed.add(path);
  }

  /** Loads a builtin plugin, one that comes with Flux, or a file, and announces all jobs to it. Throws FluxError. */
  async load(path: string, conf?: Json): Promise<void> {
    if (this.#needed.delete(path) && conf === undefined && this.has(path)) return;
    if (conf !== undefined && conf !== null && !isJsonObject(conf)) throw new FluxError(errno.EINVAL, "jobtap: plugin conf must be a JSON object");
    const loaded = await this.#add(path, conf ?? {});
    const jobs = [...this.ports.core.active.values()];
    const direction = loaded.plugin.order === "-state" ? -1 : 1;
    if (loaded.plugin.order !== undefined) jobs.sort((a, b) => direction * (a.facts.state - b.facts.state || (a.id < b.id ? -1 : 1)));
    for (const job of jobs) this.#announce(loaded, job);
    if (this.#isConfigured) this.reprioritizeAll();
  }

  async #add(path: string, conf: JsonObject): Promise<Loaded> {
    if (this.#plugins.length >= PLUGINS_MAX) throw new FluxError(errno.ENOSPC, `there are ${PLUGINS_MAX} plugins already`);
    const isBuiltin = path.startsWith(".") && !path.includes("/");
    const bundled = isBuiltin ? undefined : bundledPlugin(path);
    const plugin = isBuiltin ? this.#builtins[path] : (bundled ?? (await importPlugin(path)));
    if (plugin === undefined) throw new FluxError(errno.ENOENT, `${path}: No such plugin found`);
    const name = isBuiltin ? path : (path.split("/").pop() ?? path);
    if (this.has(name)) throw new FluxError(errno.EEXIST, `${name} already loaded`);
    const services: string[] = [];
    const holder: { loaded?: Loaded } = {};
    const tap = createTap(this, { name, conf, services, serviceName: plugin.name ?? name.replace(/^\./, "").replace(/\..*$/, "") }, () => holder.loaded);
    let callbacks: JobtapCallbacks;
    try {
      callbacks = await plugin.start(tap);
      checkCallbacks(callbacks, name);
      configured(callbacks, this.#config, name);
    } catch (err) {
      for (const service of services) delete this.ports.methods[service];
      throw err instanceof FluxError ? err : new FluxError(errno.EINVAL, `${name}: ${messageOf(err)}`, { cause: err });
    }
    const loaded: Loaded = { name, path: isBuiltin || bundled !== undefined ? "builtin" : path, callbacks, plugin, services, isRemoved: false };
    holder.loaded = loaded;
    this.#plugins = [...this.#plugins, loaded];
    this.#topics = new Map();
    return loaded;
  }

  /** Tells a plugin of a job that was there before it. */
  #announce(loaded: Loaded, job: Job): void {
    const { facts } = job;
    this.#callOne(loaded, "job.create", job);
    this.#callOne(loaded, "job.new", job);
    if (facts.state !== STATE.DEPEND) return;
    for (const dependency of dependenciesOf(jobspecOf(job))) {
      const { scheme } = dependency;
      if (typeof scheme === "string") this.#callOne(loaded, `job.dependency.${scheme}`, job, { dependency });
    }
    this.#callOne(loaded, "job.state.depend", job);
  }

  #callOne(loaded: Loaded, topic: string, job: Job, more?: Partial<JobtapArgs>): void {
    const bound = this.#bound(topic).filter(({ by }) => by === loaded);
    if (bound.length > 0) this.#answered(topic, job, this.#runLogged(bound, topic, job, more));
  }

  /** Removes a plugin by name, those that match a pattern, or "all" (not the builtin ones). Throws FluxError ENOENT. */
  remove(which: string): void {
    const pattern = /[*?[]/.test(which) ? globPattern(which) : undefined;
    const matches = ({ name }: Loaded): boolean =>
      which === name || (which === "all" && !name.startsWith(".")) || (pattern?.test(name) === true && (which.startsWith(".") || !name.startsWith(".")));
    const removed = this.#plugins.filter(matches);
    if (removed.length === 0 && which !== "all") throw new FluxError(errno.ENOENT, "Failed to find plugin to remove");
    this.#plugins = this.#plugins.filter((plugin) => !removed.includes(plugin));
    this.#topics = new Map();
    for (const plugin of removed) this.#stop(plugin);
  }

  /** The job manager ends. */
  stop(): void {
    const plugins = this.#plugins;
    this.#plugins = [];
    this.#topics = new Map();
    for (const plugin of plugins) this.#stop(plugin);
  }

  #stop(loaded: Loaded): void {
    loaded.isRemoved = true;
    for (const service of loaded.services) delete this.ports.methods[service];
    try {
      loaded.plugin.stop?.();
    } catch (err) {
      this.#log(`${loaded.name}: stop: ${messageOf(err)}`);
    }
  }

  // ---- what the job manager asks

  /** A job arrives: job.create and job.validate. Throws FluxError EINVAL with why it is refused. */
  admit(job: Job): void {
    for (const topic of ["job.create", "job.validate"]) {
      const bound = this.#bound(topic);
      if (bound.length > 0) this.#refusing(bound, topic, job, undefined, "rejected by job-manager plugin");
    }
  }

  /** Would this jobspec be acceptable for the job? Throws FluxError EINVAL. */
  validate(job: Job, jobspec: JsonObject): void {
    const bound = this.#bound("job.validate");
    if (bound.length > 0) this.#refusing(bound, "job.validate", job, { jobspec }, "rejected by job-manager plugin");
  }

  /** One of the job's dependencies. Throws FluxError EINVAL when nobody knows the scheme, or whoever knows it refuses. */
  dependency(job: Job, dependency: JsonObject, index: number): void {
    const { scheme } = dependency;
    if (typeof scheme !== "string") throw new FluxError(errno.EINVAL, `dependency[${index}] missing string scheme`);
    const topic = `job.dependency.${scheme}`;
    const bound = this.#bound(topic);
    if (bound.length === 0) throw new FluxError(errno.EINVAL, `dependency scheme "${scheme}" not supported`);
    this.#refusing(bound, topic, job, { dependency }, "rejected by job-manager dependency plugin");
  }

  /** job.update.KEY; undefined when nobody allows this key to be changed. Throws FluxError EINVAL when it is refused. */
  update(job: Job, key: string, value: Json, cred: { readonly userid: number; readonly rolemask: number }): JobtapAnswer | undefined {
    const topic = `job.update.${key}`;
    const bound = this.#bound(topic);
    if (bound.length === 0) return undefined;
    return this.#refusing(bound, topic, job, { key, value, cred }, `update of ${key} rejected by job-manager plugin`);
  }

  /** A topic of one job that is only told. */
  tell(topic: `job.${string}`, job: Job): void {
    const bound = this.#bound(topic);
    if (bound.length > 0) this.#answered(topic, job, this.#runLogged(bound, topic, job));
  }

  /** An inactive job was purged. */
  forgotten({ id, userid, t_submit }: InactiveJob): void {
    const bound = this.#bound("job.inactive-remove");
    if (bound.length === 0) return;
    const job = newJob(id, { ...NEW_JOB, userid, t_submit, state: STATE.INACTIVE, closed: true }, undefined, {});
    this.#runLogged(bound, "job.inactive-remove", job);
  }

  /** An event was applied; `previous` is the state before. */
  applied(job: Job, entry: EventlogEntry, previous: JobState): void {
    if (this.#subscriptions > 0) this.#tellSubscribers(job, entry);
    if (entry.name === "jobspec-update" && entry.context !== undefined) this.#tellMore("job.update", job, { updates: entry.context });
    const { state } = job.facts;
    // Entering PRIORITY is asked about by priority().
    if (state === previous || state === STATE.PRIORITY) return;
    const topic = STATE_TOPICS.get(state) ?? "";
    if (this.#bound(topic).length > 0) this.#tellMore(topic, job, { entry, prev_state: previous });
    if (state === STATE.INACTIVE) this.#forget(job);
  }

  /** Priority of a job that entered PRIORITY; undefined: not yet. */
  priority(job: Job): number | undefined {
    const bound = this.#bound("job.state.priority");
    if (bound.length === 0) return undefined;
    if (bound.length === 1 && bound[0]?.by.name === PRIORITY_DEFAULT) return priorityOf(job.facts);
    const answer = this.#runLogged(bound, "job.state.priority", job, { prev_state: job.facts.state });
    this.#answered("job.state.priority", job, answer);
    return overridden(job, answer.priority);
  }

  /** Asks for every pending job's priority again, in slices. */
  reprioritizeAll(): void {
    if (this.#reprioritizing) return;
    this.#reprioritizing = true;
    this.#reprioritizeAll().catch((err: unknown) => this.#log(`reprioritize: ${toFluxError(err).message}`));
  }

  async #reprioritizeAll(): Promise<void> {
    await nextTurn();
    this.#reprioritizing = false;
    const jobs = [...this.ports.core.active.values()].filter(({ facts }) => facts.state === STATE.PRIORITY || facts.state === STATE.SCHED);
    for (const [i, job] of jobs.entries()) {
      if (i % SLICE === SLICE - 1) await nextTurn();
      const { state, priority } = job.facts;
      if (state !== STATE.PRIORITY && state !== STATE.SCHED) continue;
      const bound = this.#bound("job.priority.get");
      const answer = bound.length === 0 ? {} : this.#runLogged(bound, "job.priority.get", job);
      const wanted = overridden(job, answer.priority);
      if (wanted !== undefined && wanted !== priority) this.reprioritize(job, wanted);
    }
  }

  /** A priority from a plugin; hold and expedite are stronger. Without effect for a job that isn't waiting for resources. */
  reprioritize(job: Job, priority: number): void {
    const { state } = job.facts;
    if (state !== STATE.PRIORITY && state !== STATE.SCHED) return;
    const wanted = overridden(job, priority) ?? priority;
    if (wanted === job.facts.priority && state === STATE.SCHED) return;
    this.ports.core.post(job, "priority", { priority: wanted });
  }

  /** For tap.call(). */
  callOthers(topic: string, args: unknown): unknown {
    if (topic.startsWith("job.")) throw new FluxError(errno.EINVAL, `${topic} is for the job manager`);
    let answer: unknown;
    for (const { run } of this.#bound(topic)) answer = run(args as never) ?? answer;
    return answer;
  }

  // ---- subscriptions

  subscribe(loaded: Loaded, job: Job): void {
    const subscribers = this.#subscribers.get(job) ?? new Set();
    if (subscribers.has(loaded)) return;
    this.#subscribers.set(job, subscribers.add(loaded));
    this.#subscriptions++;
  }

  unsubscribe(loaded: Loaded, job: Job): void {
    if (this.#subscribers.get(job)?.delete(loaded) === true) this.#subscriptions--;
  }

  #forget(job: Job): void {
    if (this.#subscriptions === 0) return;
    this.#subscriptions -= this.#subscribers.get(job)?.size ?? 0;
    this.#subscribers.delete(job);
  }

  #tellSubscribers(job: Job, entry: EventlogEntry): void {
    const subscribers = this.#subscribers.get(job);
    if (subscribers === undefined || subscribers.size === 0) return;
    const topic = `job.event.${entry.name}`;
    const bound = this.#bound(topic).filter(({ by }) => subscribers.has(by));
    if (bound.length > 0) this.#answered(topic, job, this.#runLogged(bound, topic, job, { entry }));
  }

  // ---- calling

  #tellMore(topic: string, job: Job, more: Partial<JobtapArgs>): void {
    const bound = this.#bound(topic);
    if (bound.length > 0) this.#answered(topic, job, this.#runLogged(bound, topic, job, more));
  }

  #bound(topic: string): readonly Bound[] {
    const known = this.#topics.get(topic);
    if (known !== undefined) return known;
    const found = this.#plugins.flatMap((by) => {
      const run = matching(by.callbacks, topic);
      return run === undefined ? [] : [{ by, run }];
    });
    const bound = found.length === 0 ? NONE : found;
    // Schemes and keys come from outside: they must not fill the table.
    if (this.#topics.size < TOPICS_MAX) this.#topics.set(topic, bound);
    return bound;
  }

  /** The answers of all callbacks, later ones over earlier ones. Throws what a callback throws. */
  #run(bound: readonly Bound[], topic: string, job: Job, more?: Partial<JobtapArgs>): JobtapAnswer {
    let answer: JobtapAnswer = {};
    const args = argsOf(topic, job, more);
    for (const { by, run } of bound) {
      if (by.isRemoved) continue;
      const one = (run as JobCallback)(args);
      if (one !== undefined && one !== null) answer = { ...answer, ...one };
    }
    return answer;
  }

  #refusing(bound: readonly Bound[], topic: string, job: Job, more: Partial<JobtapArgs> | undefined, otherwise: string): JobtapAnswer {
    try {
      return this.#run(bound, topic, job, more);
    } catch (err) {
      const message = messageOf(err);
      throw new FluxError(errno.EINVAL, message === "" ? otherwise : message, { cause: err });
    }
  }

  #runLogged(bound: readonly Bound[], topic: string, job: Job, more?: Partial<JobtapArgs>): JobtapAnswer {
    try {
      return this.#run(bound, topic, job, more);
    } catch (err) {
      this.#log(`${formatJobId(job.id, "f58")}: ${topic}: callback returned error: ${messageOf(err)}`);
      return {};
    }
  }

  /** Does what a callback that is only told wants done. */
  #answered(topic: string, job: Job, { annotations, R, priority }: JobtapAnswer): void {
    const { core } = this.ports;
    if (R !== undefined) {
      if (topic !== "job.state.sched") this.#log(`${formatJobId(job.id, "f58")}: ${topic}: R may only be set in SCHED state`);
      else if (job.facts.R !== undefined) this.#log(`${formatJobId(job.id, "f58")}: ${topic}: R is already set`);
      else job.facts = { ...job.facts, R };
    }
    if (annotations !== undefined) {
      const merged = mergeAnnotations(job.facts.annotations, annotations);
      if (topic === "job.new") job.facts = { ...job.facts, annotations: merged };
      else core.post(job, "annotations", { annotations: merged ?? null }, { volatile: true });
    }
    if (typeof priority === "number" && topic !== "job.state.priority" && topic !== "job.new" && topic !== "job.create") this.reprioritize(job, priority);
  }

  #log(text: string): void {
    this.ports.h.log(3, `jobtap: ${text}`);
  }
}

/** The dependencies that a jobspec asks for. Throws FluxError EINVAL when they aren't a list of objects. */
export function dependenciesOf(jobspec: JsonObject): readonly JsonObject[] {
  const dependencies = systemAttribute(jobspec, "dependencies");
  if (dependencies === undefined) return [];
  if (!Array.isArray(dependencies)) throw new FluxError(errno.EINVAL, "dependencies object must be an array");
  for (const item of dependencies as readonly Json[]) if (!isJsonObject(item)) throw new FluxError(errno.EINVAL, "a dependency must be an object");
  return dependencies as readonly JsonObject[];
}

function overridden(job: Job, priority: number | "unavailable" | undefined): number | undefined {
  if (typeof priority !== "number") return undefined;
  if (job.facts.urgency === URGENCY.HOLD || job.facts.urgency === URGENCY.EXPEDITE) return priorityOf(job.facts);
  return Math.min(PRIORITY.MAX, Math.max(PRIORITY.MIN, Math.floor(priority)));
}

function matching(callbacks: JobtapCallbacks, topic: string): ((args: never) => unknown) | undefined {
  if (Object.hasOwn(callbacks, topic)) return callbacks[topic];
  for (const [name, run] of Object.entries(callbacks)) if (name.includes("*") && globPattern(name).test(topic)) return run;
  return undefined;
}

function globPattern(glob: string): RegExp {
  const source = glob.replace(/[.+^${}()|\\]/g, "\\$&").replace(/\*/g, ".*").replace(/\?/g, ".").replace(/\[!/g, "[^");
  try {
    return new RegExp(`^${source}$`);
  } catch (err) {
    throw new FluxError(errno.EINVAL, `${glob}: not a pattern`, { cause: err });
  }
}

function checkCallbacks(callbacks: unknown, name: string): void {
  if (typeof callbacks !== "object" || callbacks === null) throw new FluxError(errno.EINVAL, `${name}: start() gave no callbacks`);
  for (const [topic, run] of Object.entries(callbacks)) {
    if (run !== undefined && typeof run !== "function") throw new FluxError(errno.EINVAL, `${name}: ${topic} is not a function`);
  }
}

function configured(callbacks: JobtapCallbacks, config: JsonObject, name: string): void {
  try {
    callbacks["conf.update"]?.(config);
  } catch (err) {
    const message = messageOf(err);
    throw new FluxError(errno.EINVAL, message === "" ? `config rejected by ${name} jobtap plugin` : message, { cause: err });
  }
}

function messageOf(err: unknown): string {
  return err instanceof Error ? err.message : String(err);
}
