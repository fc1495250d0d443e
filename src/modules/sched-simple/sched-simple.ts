// sched-simple: gives resources to jobs (RFC 27, RFC 28): this file speaks the protocols, engine.ts decides. By default the
// first job in the queue that does not fit makes all others wait, so that a large job gets its turn; settings.ts lists the
// other policies.
//
//   sched.alloc { id, priority, userid, t_submit, jobspec }   → { id, type, R?, annotations?, note? }: 0 allocated, 2 denied, 3 cancelled
//   sched.free { id, R, final }, sched.cancel { id }, sched.prioritize { jobs: [[id, priority]] }
//   sched.expiration { id, expiration }
//   sched.resource-status                                     → { all, allocated, down }, each an R
//   feasibility.check { jobspec }                             EOVERFLOW when it can never run here
//
// Jobs that wait are annotated with sched.t_estimate when it is known when they will start; see announcer.ts.
// `flux module debug --setbit` 1: every job is denied; 2: jobs that wait are annotated with why, and how many are before them; 4:
// expirations can't be changed.
//
// R goes to the KVS (job.ID.R) before the job manager hears of it; all allocations of a turn in one transaction. Nothing
// waits for that: the KVS keeps the order of commits, so R is there whenever the job's eventlog says that it has some.
import type { Flux } from "../../client/flux.ts";
import { ALLOC } from "../../client/sched-alloc.ts";
import { kvsCommit, kvsGetText, putJson } from "../../client/kvs.ts";
import { defineModule, type ModuleContext, type ModuleHooks } from "../../client/module.ts";
import { DEFERRED, type Request } from "../../client/request.ts";
import { allowUser } from "../../client/service.ts";
import { formatJobId, type JobId, jobKvsPath } from "../../formats/fluid.ts";
import { IdSet } from "../../formats/idset.ts";
import { isJsonObject, type JsonObject } from "../../formats/json.ts";
import { Rset, rsetShort } from "../../formats/rset.ts";
import { errno, FluxError, toFluxError } from "../../message/errno.ts";
import { arr, bool, def, dict, int, jobid, json, num, obj, opt, str, unpack } from "../../message/unpack.ts";
import { encodeR } from "../../client/resources.ts";
import type { Timer } from "../../os/clock.ts";
import { Announcer, type PendingJob } from "./announcer.ts";
import { Engine, type LaneSettings } from "./engine.ts";
import type { Decision } from "./lane.ts";
import { Pool } from "./pool.ts";
import { parseRequest, type ResourceRequest } from "./request.ts";
import { depthOf, lanesOf, parseSettings, type Settings } from "./settings.ts";

const DEBUG = { denyAll: 1, sayWhy: 2, keepExpiration: 4 } as const;

/** Allocations in one turn of the event loop, and how long it may take. */
const TURN_MAX = 256;
const TURN_MS = 10;
const LOG_CRIT = 2;
const LOG_ERR = 3;
const LOG_INFO = 6;
const LOG_DEBUG = 7;

export default defineModule({
  name: "sched-simple",
  async start(h, context): Promise<ModuleHooks> {
    const scheduler = new Scheduler(h, context, parseSettings(context.args, context.config));
    await scheduler.serve();
    // Resources may not be known before all brokers are here, and they come only when this module is loaded.
    scheduler.begin().catch((err: unknown) => scheduler.fail(err));
    return {
      stop: () => scheduler.stop(),
      stats: () => scheduler.stats(),
      reconfigure: (config) => scheduler.reconfigure(config, parseSettings(context.args, config)),
    };
  },
});

class Scheduler {
  readonly #h: Flux;
  readonly #context: ModuleContext;
  #config: JsonObject;
  #settings: Settings;
  #engine: Engine<PendingJob> | undefined;
  /** What came before there was an engine. */
  readonly #early: PendingJob[] = [];
  /** Jobs that we failed at: they wait for other settings, a reload or their end, and hold nobody else up. */
  readonly #aside = new Map<JobId, PendingJob>();
  readonly #ready = Promise.withResolvers<Engine<PendingJob>>();
  #depth: number | undefined;
  #passes = 0;
  #turns = 0;
  #scheduled = false;
  #stopped = false;
  /** When a reservation begins. */
  #alarm: Timer | undefined;
  readonly #announcer: Announcer;

  constructor(h: Flux, context: ModuleContext, settings: Settings) {
    this.#h = h;
    this.#context = context;
    this.#config = context.config;
    this.#settings = settings;
    this.#announcer = new Announcer({
      clock: context.clock,
      engine: () => this.#known(),
      passes: () => this.#passes,
      saysWhy: () => this.#isDebugged("sayWhy"),
      isStopped: () => this.#stopped || h.isClosed,
    });
    this.#ready.promise.catch(() => undefined); // those who wait for it have their own
  }

  #isDebugged(flag: keyof typeof DEBUG): boolean {
    return (this.#context.debugFlags() & DEBUG[flag]) !== 0;
  }

  get #now_s(): number {
    return this.#context.clock.now_s();
  }

  async serve(): Promise<void> {
    const guarded = (run: (req: Request) => void) => (req: Request): void => {
      try {
        run(req);
      } catch (err) {
        this.#log(LOG_ERR, `${req.topic}: ${toFluxError(err).message}`);
      }
    };
    await this.#h.serve("sched", {
      alloc: (req) => this.#alloc(req),
      free: guarded((req) => this.#free(req)),
      cancel: guarded((req) => this.#cancel(req)),
      prioritize: guarded((req) => this.#prioritize(req)),
      expiration: async (req) => this.#setExpiration(req, await this.#ready.promise),
      "resource-status": allowUser(async () => this.#resourceStatus(await this.#ready.promise)),
    });
    await this.#h.serve("feasibility", { check: allowUser(async (req) => this.#checkFeasibility(req, await this.#ready.promise)) });
  }

  #log(level: 2 | 3 | 4 | 6 | 7, text: string): void {
    if (level <= this.#settings.logLevel) this.#h.log(level, text);
  }

  /** Made only where somebody wants to read it. */
  #debug(text: () => string): void {
    if (this.#settings.logLevel >= LOG_DEBUG) this.#h.log(LOG_DEBUG, text());
  }

  /** Acquires the resources, learns who has some of them, and declares itself ready; then follows what changes. */
  async begin(): Promise<void> {
    const updates = this.#h.stream("resource.acquire", undefined, { cancelTopic: "resource.acquire-cancel" });
    const first = await updates.next();
    if (first.done === true) throw new FluxError(errno.EPROTO, "resource.acquire ended before it began");
    const R = Rset.parse(unpack(first.value, { resources: obj }).resources);
    const pool = new Pool(R);
    const lanes = this.#lanes(pool);
    const engine = new Engine<PendingJob>(pool, lanes, this.#now_s);
    this.#apply(engine, first.value);
    await this.#hello(engine);
    this.#engine = engine;
    for (const job of this.#early.splice(0)) engine.add(job);
    await this.#sayReady(lanes);
    this.#ready.resolve(engine);
    this.#log(LOG_INFO, `ready: queue-depth=${this.#depth === Infinity ? "unlimited" : this.#depth} Rv1 ${rsetShort(R)}`);
    this.#wake();
    for await (const update of updates) {
      this.#apply(engine, update);
      this.#wake();
    }
    if (!this.#stopped) throw new FluxError(errno.ENODATA, "resource.acquire has ended");
  }

  #lanes(pool: Pool): LaneSettings[] {
    pool.placement = this.#settings.placement;
    return lanesOf(this.#settings, this.#config, pool);
  }

  async #sayReady(lanes: readonly LaneSettings[]): Promise<void> {
    const depth = depthOf(this.#settings, lanes);
    if (depth === this.#depth) return;
    this.#depth = depth;
    await this.#h.rpc("job-manager.sched-ready", depth === Infinity ? { mode: "unlimited" } : { mode: "limited", limit: depth });
  }

  /** Takes other policies and queues at once; jobs wait on. */
  async reconfigure(config: JsonObject, settings: Settings): Promise<void> {
    const engine = this.#engine;
    const before = engine && lanesOf(this.#settings, this.#config, engine.pool);
    this.#config = config;
    this.#settings = settings;
    if (engine === undefined) return;
    const lanes = this.#lanes(engine.pool);
    if (JSON.stringify(lanes) !== JSON.stringify(before)) engine.configure(lanes, this.#now_s);
    for (const job of this.#aside.values()) engine.add(job);
    this.#aside.clear();
    await this.#sayReady(lanes);
    this.#wake();
  }

  fail(err: unknown): void {
    this.#ready.reject(err);
    if (this.#stopped || this.#h.isClosed) return;
    this.#log(LOG_ERR, `exiting due to resource update failure: ${toFluxError(err).message}`);
    this.#h.notify("module.remove", { name: "sched-simple" });
  }

  stop(): void {
    this.#stopped = true;
    this.#announcer.stop();
    this.#context.clock.clear(this.#alarm);
  }

  #apply(engine: Engine<PendingJob>, update: JsonObject): void {
    const change = unpack(update, {
      up: opt(str), down: opt(str), shrink: opt(str), expiration: opt(num), "property-add": opt(dict(str)), "property-remove": opt(dict(str)),
    });
    const { up, down, shrink, expiration } = change;
    if (up !== undefined) engine.markUp(IdSet.parse(up));
    if (down !== undefined) engine.markDown(IdSet.parse(down));
    if (shrink !== undefined) engine.removeNodes(IdSet.parse(shrink));
    if (change["property-add"] !== undefined || change["property-remove"] !== undefined) {
      engine.pool.inventory.changeProperties(idsets(change["property-add"]), idsets(change["property-remove"]));
      engine.nodesChanged();
    }
    if (expiration !== undefined && expiration >= 0) {
      engine.pool.expiration_s = expiration;
      this.#log(LOG_INFO, `resource expiration updated to ${expiration.toFixed(2)}`);
    }
  }

  // ---- jobs that run already

  async #hello(engine: Engine<PendingJob>): Promise<void> {
    const jobs: JsonObject[] = [];
    for await (const job of this.#h.stream("job-manager.sched-hello", { "partial-ok": this.#settings.partialOk })) jobs.push(job);
    await Promise.all(jobs.map((job) => this.#adopt(engine, job)));
  }

  async #adopt(engine: Engine<PendingJob>, job: JsonObject): Promise<void> {
    const { id, free } = unpack(job, { id: jobid, free: opt(str) });
    try {
      const R = Rset.parse(await kvsGetText(this.#h, jobKvsPath(id, "R")));
      engine.adopt(id, free === undefined ? R : R.slice(R.ranks.subtract(IdSet.parse(free))), this.#now_s);
    } catch (err) {
      this.#log(LOG_ERR, `hello: job ${formatJobId(id, "f58")}: ${toFluxError(err).message}`);
      this.#raise(id, "scheduler-restart", "failed to reallocate R for running job");
    }
  }

  /** A fatal exception: the job ends and gives its resources back. */
  #raise(id: JobId, type: string, note: string): void {
    this.#h.rpc("job-manager.raise", { id, type, severity: 0, note }).catch((err: unknown) => {
      this.#log(LOG_ERR, `error raising fatal exception on ${formatJobId(id, "f58")}: ${toFluxError(err).message}`);
    });
  }

  // ---- requests of the job manager

  #alloc(req: Request): typeof DEFERRED {
    const { id, priority, jobspec } = req.unpack({ id: jobid, priority: num, jobspec: obj });
    let request: ResourceRequest;
    try {
      request = parseRequest(jobspec);
    } catch (err) {
      const note = `cannot parse jobspec: ${toFluxError(err).message}`;
      this.#log(LOG_ERR, `alloc: ${formatJobId(id, "f58")}: ${note}`);
      this.#answer(req, { id, type: ALLOC.DENY, note });
      return DEFERRED;
    }
    if (this.#isDebugged("denyAll")) {
      this.#answer(req, { id, type: ALLOC.DENY, note: "DEBUG_FAIL_ALLOC" });
      return DEFERRED;
    }
    if (this.#engine?.get(id) !== undefined || this.#aside.has(id)) throw new FluxError(errno.EEXIST, `job ${id} has an alloc request already`);
    if (this.#settings.placement.exclusive && this.#engine !== undefined) request = this.#engine.pool.inventory.withWholeNodes(request);
    const job = { id, priority, request, queue: queueOf(jobspec), reply: req, estimate: undefined, ahead: undefined };
    if (this.#engine === undefined) this.#early.push(job);
    else this.#engine.add(job);
    req.onCancel(() => this.#remove(id));
    this.#wake();
    return DEFERRED;
  }

  #remove(id: JobId): PendingJob | undefined {
    const early = this.#early.findIndex((job) => job.id === id);
    const job = early >= 0 ? this.#early.splice(early, 1)[0] : (this.#aside.get(id) ?? this.#engine?.remove(id));
    this.#aside.delete(id);
    if (job !== undefined) this.#announcer.forget(job);
    return job;
  }

  /** The last answer to an alloc request. */
  #answer(req: Request, payload: JsonObject): void {
    req.respond(payload);
    req.finish();
  }

  #free(req: Request): void {
    const { id, R, final } = req.unpack({ id: jobid, R: opt(obj), final: def(bool, false) });
    const engine = this.#known();
    try {
      const set = R && Rset.parse(R);
      engine.free(id, set, final, this.#now_s);
      this.#debug(() => `free: ${formatJobId(id, "f58")}: ${set === undefined ? "all" : rsetShort(set)}${final ? " (final)" : ""}`);
    } catch (err) {
      // What the job manager says is not what we gave. Ours is the truth: nothing may leak.
      this.#log(LOG_ERR, `free: ${formatJobId(id, "f58")}: ${toFluxError(err).message}`);
      if (final) engine.free(id, undefined, true, this.#now_s);
    }
    this.#wake();
  }

  #cancel(req: Request): void {
    const { id } = req.unpack({ id: jobid });
    const job = this.#remove(id);
    if (job === undefined) return;
    this.#answer(job.reply, { id, type: ALLOC.CANCEL });
    this.#wake();
  }

  #prioritize(req: Request): void {
    for (const entry of req.unpack({ jobs: arr(arr(json)) }).jobs) {
      const [id, priority] = [jobid(entry[0], "jobs[][0]"), int(entry[1], "jobs[][1]")];
      const aside = this.#aside.get(id);
      if (aside !== undefined) aside.priority = priority;
      else this.#engine?.setPriority(id, priority);
    }
    this.#wake();
  }

  #setExpiration(req: Request, engine: Engine<PendingJob>): void {
    const { id, expiration } = req.unpack({ id: jobid, expiration: num });
    if (expiration < 0) throw new FluxError(errno.EINVAL, `invalid expiration ${expiration}`);
    if (this.#isDebugged("keepExpiration")) throw new FluxError(errno.EINVAL, "Rejecting expiration update for testing");
    engine.setEnd(id, expiration, this.#now_s);
    this.#wake();
  }

  #known(): Engine<PendingJob> {
    if (this.#engine === undefined) throw new FluxError(errno.EAGAIN, "the scheduler has no resources yet");
    return this.#engine;
  }

  #resourceStatus({ pool: { all, allocated, down } }: Engine<PendingJob>): JsonObject {
    return { all: encodeR(all), allocated: encodeR(allocated), down: encodeR(down) };
  }

  #checkFeasibility(req: Request, { pool }: Engine<PendingJob>): void {
    const request = parseRequest(req.unpack({ jobspec: obj }).jobspec);
    pool.inventory.checkFeasible(this.#settings.placement.exclusive ? pool.inventory.withWholeNodes(request) : request);
  }

  // ---- scheduling

  /** Schedules at the end of this turn, once for all that happens in it. */
  #wake(): void {
    if (this.#scheduled || this.#engine?.hasWork !== true) return;
    this.#scheduled = true;
    this.#passes++;
    setImmediate(() => this.#turn());
  }

  /** A slice of a pass: others have their turn in between. */
  #turn(): void {
    this.#scheduled = false;
    if (this.#stopped || this.#h.isClosed) return;
    const { clock } = this.#context;
    const end_ms = clock.monotonic_ms() + TURN_MS;
    const engine = this.#known();
    let turns = 0;
    const decisions = engine.step(() => clock.now_s(), () => ++turns >= TURN_MAX || clock.monotonic_ms() >= end_ms);
    this.#turns += turns;
    this.#give(decisions);
    if (engine.hasWork) {
      this.#scheduled = true;
      setImmediate(() => this.#turn());
      return;
    }
    this.#setAlarm(engine);
    this.#announcer.plan();
  }

  #setAlarm(engine: Engine<PendingJob>): void {
    const { clock } = this.#context;
    clock.clear(this.#alarm);
    const now = clock.now_s();
    const wait_s = engine.nextWake(now) - now;
    this.#alarm = undefined;
    if (wait_s === Infinity) return;
    this.#alarm = clock.setTimer(Math.ceil(wait_s * 1000), () => {
      engine.wake();
      this.#wake();
    });
  }

  #give(decisions: readonly Decision<PendingJob>[]): void {
    const given: { job: PendingJob; backfilled: JobId | undefined; R: JsonObject; summary: string }[] = [];
    for (const decision of decisions) {
      const { job } = decision;
      this.#announcer.forget(job);
      if ("denied" in decision) this.#answer(job.reply, { id: job.id, type: ALLOC.DENY, note: decision.denied });
      else if ("defect" in decision) this.#setAside(job, decision.defect);
      else given.push({ job, backfilled: decision.backfilled, R: decision.R.encode(), summary: rsetShort(decision.R) });
    }
    if (given.length === 0) return;
    kvsCommit(this.#h, given.map(({ job, R }) => putJson(jobKvsPath(job.id, "R"), R)), { lazy: true }).catch((err: unknown) => {
      this.#log(LOG_ERR, `alloc: KVS commit failed: ${toFluxError(err).message}`);
      // Without its R a job can't be brought back after a restart, nor its resources be accounted for.
      for (const { job } of given) this.#raise(job.id, "alloc", `R could not be stored: ${toFluxError(err).message}`);
    });
    for (const { job, R, summary, backfilled } of given) {
      const sched = {
        resource_summary: summary,
        ...(backfilled === undefined ? {} : { backfill: formatJobId(backfilled, "f58") }),
        ...(job.estimate === undefined ? {} : { t_estimate: null }),
        ...(job.ahead === undefined ? {} : { reason_pending: null, jobs_ahead: null }),
      };
      this.#answer(job.reply, { id: job.id, type: ALLOC.SUCCESS, R, annotations: { sched } });
      this.#debug(() => `alloc: ${formatJobId(job.id, "f58")}: ${summary}`);
    }
  }

  #setAside(job: PendingJob, defect: unknown): void {
    this.#aside.set(job.id, job);
    const text = defect instanceof Error ? [defect.message, defect.stack?.split("\n")[1]?.trim()].join(" ") : String(defect);
    this.#log(LOG_CRIT, `alloc: ${formatJobId(job.id, "f58")}: a defect of the scheduler, not of the job, which waits until it is reloaded: ${text}`);
  }

  stats(): JsonObject {
    return {
      sched_passes: this.#passes,
      sched_yields: this.#turns,
      forecast_passes: this.#announcer.forecasts,
      forecast_yields: 0,
      sched_delay: 0,
      sched_duration_ewma: 0,
      sched_interval_ewma: 0,
      pending_jobs: (this.#engine?.waiting ?? 0) + this.#early.length + this.#aside.size,
      reserved_jobs: this.#engine?.reserved ?? 0,
      queue_policy: this.#settings.policy,
    };
  }
}

/** Ranks by property, as updates of the resources have them. */
function idsets(properties: Readonly<Record<string, string>> | undefined): Map<string, IdSet> {
  return new Map(Object.entries(properties ?? {}).map(([name, ranks]) => [name, IdSet.parse(ranks)]));
}

/** Name of the queue that a job is in; undefined: the anonymous one. */
function queueOf({ attributes }: JsonObject): string | undefined {
  const system = isJsonObject(attributes) ? attributes["system"] : undefined;
  const queue = isJsonObject(system) ? system["queue"] : undefined;
  return typeof queue === "string" ? queue : undefined;
}
