// job-list: lists of jobs, kept from the job manager's journal of events (RFC 21, 43).
//
//   job-list.list { max_entries, attrs, since?, constraint? }   → { jobs: […] }, as a stream or in one answer: pending jobs by
//                                                                 priority, running ones and finished ones newest first
//   job-list.list-id { id, attrs, state? }                      → { job }, once it is known and has been in `state`
//   job-list.list-attrs                                         → { attrs }
//   job-list.job-stats                                          → counts; as a stream, again whenever they change
//   job-list.job-state-pause, job-state-unpause                 stop and go on reading the journal, for tests; any user may, as
//                                                                 in flux-core, but only for PAUSED_RECORDS_MAX records
//
// Questions wait until everything the journal knows from before has been read.
import { configTable } from "../../client/config-table.ts";
import type { Flux } from "../../client/flux.ts";
import { JOB_LOOKUP } from "../../client/job-info.ts";
import { type JobState, STATE } from "../../client/jobs.ts";
import { defineModule, type ModuleContext } from "../../client/module.ts";
import { PrivateMode } from "../../client/private-mode.ts";
import { DEFERRED, type Request } from "../../client/request.ts";
import { allowUser, type Answer } from "../../client/service.ts";
import { lastingDirectory } from "../../client/statedir.ts";
import { type EventlogEntry, toEventlogEntry } from "../../formats/eventlog.ts";
import { type JobId, jobKvsPath } from "../../formats/fluid.ts";
import { isJsonObject, type Json, type JsonObject } from "../../formats/json.ts";
import { parentQueue, queueTables } from "../../formats/queue-config.ts";
import { errno, FluxError, isErrno, toFluxError } from "../../message/errno.ts";
import { arr, int, jobid, json, num, obj, opt, str, uint, unpack } from "../../message/unpack.ts";
import { Archive, type ArchiveEntry } from "./archive.ts";
import { type Candidate, compileJobConstraint, type JobConstraint, type VirtualQueues } from "./constraint.ts";
import {
  advance, type Attribute, attributeOf, ATTRIBUTES, describe, type Job, newJob, pick, resultOf, revert,
  takeDependency, takeException, takeJobspec, takeJobspecUpdate, takeMemo, takeR,
} from "./job.ts";
import { KeptList } from "./kept-list.ts";
import { listRequest, parseAttrs } from "./list-request.ts";
import { OrderedJobs } from "./ordered-jobs.ts";
import { JobStats } from "./stats.ts";
import { type JobRequest, Waiting } from "./waiting.ts";

const LOG_ERR = 3;
const LOG_DEBUG = 7;

/** Jobs in one response of a stream. */
const BATCH = 50;
/** Jobs looked at before others get a turn. */
const SLICE = 1000;
/** Statistics are told at most this often. */
const STATS_DELAY_MS = 200;
const COMPARISONS_MAX = 1_000_000;
/** Records of the journal that are held back while it is paused: one more, and it goes on. */
const PAUSED_RECORDS_MAX = 100_000;

const PENDING = STATE.DEPEND | STATE.PRIORITY | STATE.SCHED;
const RUNNING = STATE.RUN | STATE.CLEANUP;

interface Options {
  readonly comparisonsMax: number;
  readonly queues: readonly string[];
  readonly virtual: VirtualQueues;
}

function virtualQueues(config: JsonObject): VirtualQueues {
  const virtual = new Map<string, string[]>();
  for (const [name, queue] of queueTables(config)) {
    const parent = parentQueue(queue);
    if (parent !== undefined) virtual.set(parent, [...(virtual.get(parent) ?? []), name]);
  }
  return virtual;
}

/** Throws FluxError EINVAL. */
function parseConfig(config: JsonObject): Options {
  const max = configTable(config, "job-list")["max_comparisons"] ?? COMPARISONS_MAX;
  if (typeof max !== "number" || !(max >= 0)) throw new FluxError(errno.EINVAL, "job-list.max_comparisons must be >= 0");
  return { comparisonsMax: max, queues: Object.keys(configTable(config, "queues")), virtual: virtualQueues(config) };
}

export default defineModule({
  name: "job-list",
  async start(h, context) {
    const list = new JobList(h, context);
    await list.serve();
    return { stop: () => list.stop(), stats: (req) => list.stats(req), reconfigure: (config) => list.configure(config) };
  },
});

class JobList {
  readonly #h: Flux;
  readonly #context: ModuleContext;
  #options: Options;
  readonly #active = new Map<JobId, Job>();
  readonly #pending = new OrderedJobs((a, b) => b.priority - a.priority || (a.id < b.id ? -1 : 1));
  readonly #running = new OrderedJobs((a, b) => b.t_run - a.t_run || (a.id < b.id ? 1 : -1));
  readonly #archive = new Archive();
  readonly #privateMode = new PrivateMode();
  #kept: KeptList | undefined;
  /** While the kept list is read: which of its jobs there are. */
  #known = new Set<JobId>();
  readonly #counts = new JobStats();
  readonly #statsWatchers = new Set<Request>();
  #statsTimer = false;
  readonly #waiting = new Waiting((request) => this.#answerFor(request));
  #lookups = 0;
  readonly #ready = Promise.withResolvers<void>();
  #isReady = false;
  #paused: JsonObject[] | undefined;
  #stopped = false;

  constructor(h: Flux, context: ModuleContext) {
    this.#h = h;
    this.#context = context;
    this.#options = parseConfig(context.config);
    this.#privateMode.configure(context.config);
    this.#counts.setQueues(this.#options.queues);
  }

  configure(config: JsonObject): void {
    this.#options = parseConfig(config);
    this.#privateMode.configure(config);
    this.#counts.setQueues(this.#options.queues);
  }

  async serve(): Promise<void> {
    await this.#h.subscribe("job-purge-inactive", (event) => this.#purge(event.payload));
    await this.#h.serve("job-list", {
      list: allowUser((req) => this.#whenReady(() => this.#list(req))),
      "list-id": allowUser((req) => this.#whenReady(() => this.#listId(req))),
      "list-attrs": allowUser(() => ({ attrs: [...ATTRIBUTES, "all"] })),
      "job-stats": allowUser((req) => this.#jobStats(req)),
      "job-state-pause": allowUser(() => {
        this.#paused ??= [];
      }),
      "job-state-unpause": allowUser(() => this.#unpause()),
    });
    this.#follow().catch((err: unknown) => {
      if (!this.#stopped && !this.#h.isClosed) this.#h.log(LOG_ERR, `job-manager.events-journal: ${toFluxError(err).message}`);
      this.#ready.reject(err);
    });
    this.#ready.promise.catch(() => undefined); // each request that waits for it is answered with its error
  }

  stop(): void {
    this.#stopped = true;
    this.#kept?.close();
    this.#ready.reject(new FluxError(errno.ENOSYS));
  }

  stats(req: Request): JsonObject {
    this.#privateMode.check(req);
    return {
      jobs: { pending: this.#pending.count, running: this.#running.count, inactive: this.#archive.count },
      idsync: { lookups: this.#lookups, waits: this.#waiting.jobs },
      stats_watchers: this.#statsWatchers.size,
    };
  }

  #whenReady<T>(run: () => T | Promise<T>): T | Promise<T> {
    return this.#isReady ? run() : this.#ready.promise.then(run);
  }

  // ---- the journal

  /** Takes the jobs that an earlier run kept, as far as the job manager knows them; resolves to their ids. */
  async #readKept(): Promise<JobId[]> {
    const directory = await lastingDirectory(this.#h);
    if (directory === undefined) return [];
    const { ids, index } = unpack(await this.#h.rpc("job-manager.inactive-list"), { ids: json, index: opt(str) });
    if (index === undefined || !Array.isArray(ids)) return [];
    const kept = KeptList.open(this.#h, this.#context.clock, directory, index);
    this.#known = new Set(ids as readonly JobId[]);
    const taken: JobId[] = [];
    const strange: JobId[] = [];
    let looked = 0;
    for (const entry of kept.read()) {
      if (this.#known.has(entry.id)) this.#takeKept(entry, taken);
      else strange.push(entry.id);
      if (++looked % SLICE === 0) await turn();
    }
    if (strange.length > 0) kept.remove(strange);
    this.#known.clear();
    this.#kept = kept;
    return taken;
  }

  #takeKept(entry: ArchiveEntry, taken: JobId[]): void {
    taken.push(entry.id);
    this.#archive.addEntry(entry);
    const queue = this.#archive.get(entry.id)?.get("queue");
    this.#counts.move(typeof queue === "string" ? queue : undefined, STATE.NEW, STATE.INACTIVE, entry.result);
  }

  async #follow(): Promise<void> {
    const except = await this.#readKept();
    const journal = this.#h.stream("job-manager.events-journal", { full: true, ...(except.length === 0 ? {} : { except }) }, { cancelTopic: "job-manager.events-journal-cancel" });
    for await (const record of journal) {
      if (isSentinel(record["id"])) {
        this.#isReady = true;
        this.#ready.resolve();
        continue;
      }
      if (this.#paused !== undefined && this.#paused.length >= PAUSED_RECORDS_MAX) {
        this.#h.log(LOG_ERR, `job-state-pause: ${PAUSED_RECORDS_MAX} records wait: the journal is read again`);
        this.#unpause();
      }
      if (this.#paused === undefined) this.#take(record);
      else this.#paused.push(record);
    }
    if (!this.#stopped) throw new FluxError(errno.EPROTO, "the journal has ended");
  }

  #unpause(): void {
    const records = this.#paused ?? [];
    this.#paused = undefined;
    for (const record of records) this.#take(record);
  }

  /** A record that makes no sense costs itself only. */
  #take(record: JsonObject): void {
    try {
      const { id, events, jobspec, R } = unpack(record, { id: jobid, events: arr(obj), jobspec: opt(obj), R: opt(obj) });
      for (const event of events) this.#event(id, toEventlogEntry(event), jobspec, R);
    } catch (err) {
      this.#h.log(LOG_ERR, `journal: ${toFluxError(err).message}`);
    }
  }

  #event(id: JobId, event: EventlogEntry, jobspec: JsonObject | undefined, R: JsonObject | undefined): void {
    const { name, timestamp, context = {} } = event;
    let job = this.#active.get(id);
    if (job === undefined) {
      if (name !== "submit" || this.#archive.has(id)) return;
      job = newJob(id);
      this.#active.set(id, job);
    }
    const from = job.state;
    const queue = job.queue;
    switch (name) {
      case "submit": this.#submitted(job, event, jobspec); break;
      case "validate": advance(job, STATE.DEPEND, timestamp); break;
      case "invalidate": return this.#forget(job);
      case "depend": advance(job, STATE.PRIORITY, timestamp); break;
      case "priority":
        job.priority = num(context["priority"], "priority");
        advance(job, STATE.SCHED, timestamp);
        this.#pending.touch();
        break;
      case "alloc":
        if (isJsonObject(context["annotations"])) job.annotations ??= context["annotations"];
        if (R !== undefined) takeR(job, R);
        advance(job, STATE.RUN, timestamp);
        break;
      case "finish":
        job.waitstatus = int(context["status"], "status");
        job.success = job.waitstatus === 0;
        advance(job, STATE.CLEANUP, timestamp);
        break;
      case "exception":
        takeException(job, event);
        if (context["severity"] === 0) advance(job, STATE.CLEANUP, timestamp);
        break;
      case "clean": advance(job, STATE.INACTIVE, timestamp); break;
      case "urgency":
        job.urgency = int(context["urgency"], "urgency");
        revert(job, timestamp);
        break;
      case "annotations": job.annotations = isJsonObject(context["annotations"]) ? context["annotations"] : undefined; break;
      case "memo": takeMemo(job, context); break;
      case "jobspec-update":
        if (takeJobspecUpdate(job, context)) this.#recount(job);
        this.#counts.requeue(queue, job.queue, job.state);
        revert(job, timestamp);
        break;
      case "resource-update":
        if (typeof context["expiration"] === "number") job.expiration = context["expiration"];
        break;
      case "flux-restart": revert(job, timestamp); break;
      case "dependency-add": case "dependency-remove":
        takeDependency(job, name.slice("dependency-".length), str(context["description"], "description"));
        break;
      default: return;
    }
    if (job.state !== from) this.#moved(job, from);
  }

  #submitted(job: Job, { timestamp, context }: EventlogEntry, jobspec: JsonObject | undefined): void {
    const { userid, urgency, version } = unpack(context ?? {}, { userid: uint, urgency: int, version: opt(int) });
    job.userid = userid;
    job.urgency = urgency;
    job.t_submit = timestamp;
    if (jobspec !== undefined) takeJobspec(job, jobspec);
    // Instances of long ago had no validate event.
    if (version === undefined || version < 1) advance(job, STATE.DEPEND, timestamp);
  }

  /** Counts again what only the whole jobspec tells. */
  #recount(job: Job): void {
    this.#h.rpc("job-info.lookup", { id: job.id, keys: ["jobspec"], flags: JOB_LOOKUP.JSON_DECODE | JOB_LOOKUP.CURRENT }).then(
      ({ jobspec }) => {
        if (isJsonObject(jobspec) && job.state !== STATE.INACTIVE) takeJobspec(job, jobspec);
      },
      (err: unknown) => this.#h.log(LOG_ERR, `job ${describe(job.id)}: jobspec after an update: ${toFluxError(err).message}`),
    );
  }

  #listOf(state: JobState): OrderedJobs | undefined {
    if ((state & PENDING) !== 0) return this.#pending;
    return (state & RUNNING) === 0 ? undefined : this.#running;
  }

  #moved(job: Job, from: JobState): void {
    const [old, now] = [this.#listOf(from), this.#listOf(job.state)];
    if (old !== now) {
      old?.delete(job);
      now?.add(job);
    } else now?.touch();
    const over = job.state === STATE.INACTIVE;
    this.#counts.move(job.queue, from, job.state, over ? resultOf(job) : undefined);
    if (over) {
      const entry = this.#archive.add(job);
      this.#kept?.add(entry);
      this.#active.delete(job.id);
    }
    this.#tellStats();
    this.#waiting.tell(job.id);
  }

  /** The job was never accepted. */
  #forget(job: Job): void {
    this.#listOf(job.state)?.delete(job);
    this.#counts.move(job.queue, job.state, STATE.NEW);
    this.#active.delete(job.id);
    this.#waiting.refuse(job.id);
  }

  #purge(payload: JsonObject): void {
    let count = 0;
    const ids = arr(jobid)(payload["jobs"], "jobs");
    this.#kept?.remove(ids);
    for (const id of ids) {
      this.#known.delete(id);
      const job = this.#archive.purge(id);
      if (job === undefined) continue;
      count++;
      const queue = job.get("queue");
      this.#counts.purge(typeof queue === "string" ? queue : undefined, Number(job.get("result")));
    }
    this.#h.log(LOG_DEBUG, `purged ${count} inactive jobs`);
    this.#tellStats();
  }

  // ---- access

  #visible(req: Request, userid: number): boolean {
    return !this.#privateMode.restricts(req) || req.userid === userid;
  }

  // ---- list

  #list(req: Request): Answer | Promise<Answer> {
    const { max_entries, attrs, since, constraint } = listRequest(req);
    const own: readonly Json[] = this.#privateMode.restricts(req) ? [{ userid: [req.userid] }] : [];
    const wanted = own.length === 0 ? constraint : { and: [...own, ...(constraint === undefined ? [] : [constraint])] };
    const compiled = compileJobConstraint(wanted, this.#options.comparisonsMax, this.#options.virtual);
    const jobs = this.#matching(compiled, since, max_entries, attrs);
    return req.isStreaming ? this.#streamJobs(req, jobs) : collect(jobs);
  }

  /** The jobs that match, in order; undefined where it is time to let others go first. */
  *#matching(constraint: JobConstraint, since: number, max: number, attrs: readonly Attribute[]): Generator<JsonObject | undefined, void, undefined> {
    let left = max === 0 ? Infinity : max;
    let looked = 0;
    const { states } = constraint;
    const lists = [...((states & PENDING) === 0 ? [] : [this.#pending.list()]), ...((states & RUNNING) === 0 ? [] : [this.#running.list()])];
    // From the archive as it is now: what ends while this goes on is in the lists above already.
    const inactive = (states & STATE.INACTIVE) === 0 ? [] : this.#archive.newestFirst(since);
    const candidates = (function* (): Generator<Candidate & { readonly id: JobId }, void, undefined> {
      for (const list of lists) for (const job of list) yield { id: job.id, get: (name) => attributeOf(job, name) };
      yield* inactive;
    })();
    for (const job of candidates) {
      if (++looked % SLICE === 0) yield undefined;
      if (!constraint.match(job)) continue;
      yield pick(job.id, attrs, (name) => job.get(name));
      if (--left === 0) return;
    }
  }

  async #streamJobs(req: Request, jobs: Iterable<JsonObject | undefined>): Promise<typeof DEFERRED> {
    let batch: JsonObject[] = [];
    let first = true;
    const flush = (): void => {
      if (batch.length === 0) return;
      req.respond(first ? { jobs: batch, version: 1 } : { jobs: batch });
      first = false;
      batch = [];
    };
    for (const job of jobs) {
      if (!req.isOpen) return DEFERRED;
      if (job === undefined) await turn();
      else if (batch.push(job) === BATCH) flush();
    }
    flush();
    req.finish();
    return DEFERRED;
  }

  // ---- list-id

  #listId(req: Request): Answer | Promise<Answer> {
    const { id, attrs: names, state = 0 } = req.unpack({ id: jobid, attrs: json, state: opt(int) });
    const attrs = parseAttrs(names);
    if ((state & ~(PENDING | RUNNING | STATE.INACTIVE)) !== 0) throw new FluxError(errno.EPROTO, "invalid payload: invalid state specified");
    const request: JobRequest = { id, req, attrs, state };
    return this.#active.has(id) || this.#archive.has(id) ? this.#answerOrWait(request) : this.#waitForUnknown(request);
  }

  #answerOrWait(request: JobRequest): Answer {
    const job = this.#answerFor(request);
    if (job !== undefined) return { job };
    this.#waiting.add(request);
    return DEFERRED;
  }

  /** The job's attributes; undefined when it is not known or has not been in `state` yet. Throws ENOENT when it must not be seen. */
  #answerFor({ id, req, attrs, state }: JobRequest): JsonObject | undefined {
    const archived = this.#archive.get(id);
    if (archived !== undefined) {
      if (!this.#visible(req, Number(archived.get("userid")))) throw new FluxError(errno.ENOENT);
      return pick(id, attrs, (name) => archived.get(name));
    }
    const job = this.#active.get(id);
    if (job === undefined) return undefined;
    if (!this.#visible(req, job.userid)) throw new FluxError(errno.ENOENT);
    if (job.state === STATE.NEW || (state !== 0 && (job.states & state) === 0)) return undefined;
    return pick(id, attrs, (name) => attributeOf(job, name));
  }

  /** The journal may be a little behind: whether the job exists is asked of the KVS. */
  async #waitForUnknown(request: JobRequest): Promise<Answer> {
    this.#lookups++;
    try {
      await this.#h.rpc("kvs.lookup", { key: jobKvsPath(request.id, "eventlog"), namespace: "primary", flags: 0 });
    } catch (err) {
      throw isErrno(err, errno.ENOENT) ? new FluxError(errno.ENOENT) : err;
    } finally {
      this.#lookups--;
    }
    return request.req.isOpen ? this.#answerOrWait(request) : DEFERRED;
  }

  // ---- job-stats

  #jobStats(req: Request): Answer {
    this.#privateMode.check(req);
    if (!req.isStreaming) return this.#counts.encode();
    this.#statsWatchers.add(req);
    req.onCancel(() => this.#statsWatchers.delete(req));
    req.respond(this.#counts.encode());
    return DEFERRED;
  }

  #tellStats(): void {
    if (this.#statsTimer || this.#statsWatchers.size === 0) return;
    this.#statsTimer = true;
    this.#context.clock
      .setTimer(STATS_DELAY_MS, () => {
        this.#statsTimer = false;
        if (this.#stopped) return;
        const payload = this.#counts.encode();
        for (const req of this.#statsWatchers) {
          if (!this.#privateMode.restricts(req)) req.respond(payload);
          else {
            this.#statsWatchers.delete(req);
            req.fail(new FluxError(errno.EPERM));
          }
        }
      })
      .unref();
  }
}

/** The id that ends the journal's backlog: -1, as a signed or an unsigned number. */
function isSentinel(id: Json | undefined): boolean {
  return id === -1 || id === -1n || (typeof id === "bigint" && id === 0xffff_ffff_ffff_ffffn);
}

async function turn(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  setImmediate(resolve);
  return promise;
}

async function collect(jobs: Iterable<JsonObject | undefined>): Promise<JsonObject> {
  const all: JsonObject[] = [];
  for (const job of jobs) {
    if (job === undefined) await turn();
    else all.push(job);
  }
  return { jobs: all };
}
