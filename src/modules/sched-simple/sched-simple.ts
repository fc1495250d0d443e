// sched-simple: gives resources to jobs, first come, first served by priority (RFC 27, RFC 28). The first job in the queue
// that does not fit makes all others wait, so that a large job gets its turn.
//
//   sched.alloc { id, priority, userid, t_submit, jobspec }   → { id, type, R?, annotations?, note? }: 0 allocated, 2 denied, 3 cancelled
//   sched.free { id, R, final }, sched.cancel { id }, sched.prioritize { jobs: [[id, priority]] }
//   sched.expiration { id, expiration }
//   sched.resource-status                                     → { all, allocated, down }, each an R
//   feasibility.check { jobspec }                             EOVERFLOW when it can never run here
//
// Arguments: queue-depth=N|unlimited (also mode=limited=N, mode=unlimited), log-level=LEVEL.
//
// R goes to the KVS (job.ID.R) before the job manager hears of it; all allocations of a turn in one transaction. Nothing
// waits for that: the KVS keeps the order of commits, so R is there whenever the job's eventlog says that it has some.
import type { Flux } from "../../client/flux.ts";
import { kvsCommit, kvsGetText, putJson } from "../../client/kvs.ts";
import { defineModule, type ModuleContext, type ModuleHooks } from "../../client/module.ts";
import { DEFERRED, type Request } from "../../client/request.ts";
import { allowUser } from "../../client/service.ts";
import { formatJobId, type JobId, jobKvsPath } from "../../formats/fluid.ts";
import { IdSet } from "../../formats/idset.ts";
import type { JsonObject } from "../../formats/json.ts";
import { Rset, rsetShort } from "../../formats/rset.ts";
import { errno, FluxError, toFluxError } from "../../message/errno.ts";
import { arr, bool, def, int, jobid, json, num, obj, opt, str, unpack } from "../../message/unpack.ts";
import { encodeR } from "../../client/resources.ts";
import { INSUFFICIENT, Pool } from "./pool.ts";
import { Queue, type Waiting } from "./queue.ts";
import { parseRequest, type ResourceRequest } from "./request.ts";

interface PendingJob extends Waiting {
  readonly request: ResourceRequest;
  readonly reply: Request;
}

/** Types of a sched.alloc response. */
const SUCCESS = 0;
const DENY = 2;
const CANCEL = 3;

/** Allocations in one turn of the event loop. */
const TURN_MAX = 256;
/** Alloc requests that the job manager may have open with us. */
const DEFAULT_DEPTH = 8;

const LEVELS = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"] as const;
const LOG_ERR = 3;
const LOG_INFO = 6;

interface Options {
  /** Infinity: unlimited. */
  readonly depth: number;
  readonly logLevel: number;
  readonly partialOk: boolean;
}

/** Module arguments. Throws FluxError EINVAL. */
export function parseArguments(args: readonly string[]): Options {
  let depth = DEFAULT_DEPTH;
  let logLevel = LOG_INFO;
  let partialOk = true;
  for (const arg of args) {
    const [, limit] = /^(?:queue-depth|mode=limited)=(.*)$/.exec(arg) ?? [];
    const [, level] = /^log-level=(.*)$/.exec(arg) ?? [];
    if (limit === "unlimited" || arg === "mode=unlimited") depth = Infinity;
    else if (limit !== undefined) {
      if (!/^[1-9]\d{0,8}$/.test(limit)) throw new FluxError(errno.EINVAL, `${arg} is invalid: expected a positive integer or 'unlimited'`);
      depth = Number(limit);
    } else if (level !== undefined) {
      logLevel = (LEVELS as readonly string[]).indexOf(level.toLowerCase());
      if (logLevel < 0) throw new FluxError(errno.EINVAL, `${arg} is invalid: expected one of ${LEVELS.join(", ")}`);
    } else if (arg === "test-hello-nopartial") partialOk = false;
    else throw new FluxError(errno.EINVAL, `unknown argument '${arg}': built-in options are queue-depth, log-level`);
  }
  return { depth, logLevel, partialOk };
}

export default defineModule({
  name: "sched-simple",
  async start(h, context): Promise<ModuleHooks> {
    const scheduler = new Scheduler(h, context, parseArguments(context.args));
    await scheduler.serve();
    // Resources may not be known before all brokers are here, and they come only when this module is loaded.
    scheduler.begin().catch((err: unknown) => scheduler.fail(err));
    return { stop: () => scheduler.stop(), stats: () => scheduler.stats() };
  },
});

class Scheduler {
  readonly #h: Flux;
  readonly #context: ModuleContext;
  readonly #options: Options;
  readonly #queue = new Queue<PendingJob>();
  #pool: Pool | undefined;
  #passes = 0;
  #turns = 0;
  #scheduled = false;
  #stopped = false;

  constructor(h: Flux, context: ModuleContext, options: Options) {
    this.#h = h;
    this.#context = context;
    this.#options = options;
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
      expiration: (req) => this.#setExpiration(req),
      "resource-status": allowUser(() => this.#resourceStatus()),
    });
    await this.#h.serve("feasibility", { check: allowUser((req) => this.#checkFeasibility(req)) });
  }

  #log(level: 3 | 4 | 6 | 7, text: string): void {
    if (level <= this.#options.logLevel) this.#h.log(level, text);
  }

  /** Acquires the resources, learns who has some of them, and declares itself ready; then follows what changes. */
  async begin(): Promise<void> {
    const updates = this.#h.stream("resource.acquire", undefined, { cancelTopic: "resource.acquire-cancel" });
    const first = await updates.next();
    if (first.done === true) throw new FluxError(errno.EPROTO, "resource.acquire ended before it began");
    const R = Rset.parse(unpack(first.value, { resources: obj }).resources);
    this.#pool = new Pool(R);
    this.#apply(this.#pool, first.value);
    await this.#hello(this.#pool);
    const { depth } = this.#options;
    await this.#h.rpc("job-manager.sched-ready", depth === Infinity ? { mode: "unlimited" } : { mode: "limited", limit: depth });
    this.#log(LOG_INFO, `ready: queue-depth=${depth === Infinity ? "unlimited" : depth} Rv1 ${rsetShort(R)}`);
    this.#wake();
    for await (const update of updates) {
      this.#apply(this.#pool, update);
      this.#wake();
    }
    if (!this.#stopped) throw new FluxError(errno.ENODATA, "resource.acquire has ended");
  }

  fail(err: unknown): void {
    if (this.#stopped || this.#h.isClosed) return;
    this.#log(LOG_ERR, `exiting due to resource update failure: ${toFluxError(err).message}`);
    this.#h.notify("module.remove", { name: "sched-simple" });
  }

  stop(): void {
    this.#stopped = true;
  }

  #apply(pool: Pool, update: JsonObject): void {
    const { up, down, shrink, expiration } = unpack(update, { up: opt(str), down: opt(str), shrink: opt(str), expiration: opt(num) });
    if (up !== undefined) pool.markUp(IdSet.parse(up));
    if (down !== undefined) pool.markDown(IdSet.parse(down));
    if (shrink !== undefined) pool.remove(IdSet.parse(shrink));
    if (expiration !== undefined && expiration >= 0) {
      pool.expiration_s = expiration;
      this.#log(LOG_INFO, `resource expiration updated to ${expiration.toFixed(2)}`);
    }
  }

  // ---- jobs that run already

  async #hello(pool: Pool): Promise<void> {
    const jobs: JsonObject[] = [];
    for await (const job of this.#h.stream("job-manager.sched-hello", { "partial-ok": this.#options.partialOk })) jobs.push(job);
    await Promise.all(jobs.map((job) => this.#adopt(pool, job)));
  }

  async #adopt(pool: Pool, job: JsonObject): Promise<void> {
    const { id, free } = unpack(job, { id: jobid, free: opt(str) });
    try {
      const R = Rset.parse(await kvsGetText(this.#h, jobKvsPath(id, "R")));
      pool.adopt(id, free === undefined ? R : R.slice(R.ranks.subtract(IdSet.parse(free))));
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
      this.#answer(req, { id, type: DENY, note });
      return DEFERRED;
    }
    if (this.#queue.get(id) !== undefined) throw new FluxError(errno.EEXIST, `job ${id} has an alloc request already`);
    this.#queue.add({ id, priority, request, reply: req });
    req.onCancel(() => this.#queue.remove(id));
    this.#wake();
    return DEFERRED;
  }

  /** The last answer to an alloc request. */
  #answer(req: Request, payload: JsonObject): void {
    req.respond(payload);
    req.finish();
  }

  #free(req: Request): void {
    const { id, R, final } = req.unpack({ id: jobid, R: opt(obj), final: def(bool, false) });
    const pool = this.#ready();
    try {
      pool.free(id, R && Rset.parse(R), final);
    } catch (err) {
      // What the job manager says is not what we gave. Ours is the truth: nothing may leak.
      this.#log(LOG_ERR, `free: ${formatJobId(id, "f58")}: ${toFluxError(err).message}`);
      if (final) pool.free(id, undefined, true);
    }
    this.#wake();
  }

  #cancel(req: Request): void {
    const { id } = req.unpack({ id: jobid });
    const job = this.#queue.remove(id);
    if (job === undefined) return;
    this.#answer(job.reply, { id, type: CANCEL });
    this.#wake();
  }

  #prioritize(req: Request): void {
    for (const entry of req.unpack({ jobs: arr(arr(json)) }).jobs) {
      this.#queue.setPriority(jobid(entry[0], "jobs[][0]"), int(entry[1], "jobs[][1]"));
    }
    this.#wake();
  }

  #setExpiration(req: Request): void {
    const { id, expiration } = req.unpack({ id: jobid, expiration: num });
    if (expiration < 0) throw new FluxError(errno.EINVAL, `invalid expiration ${expiration}`);
    this.#ready().setEnd(id, expiration);
  }

  #ready(): Pool {
    if (this.#pool === undefined) throw new FluxError(errno.EAGAIN, "the scheduler has no resources yet");
    return this.#pool;
  }

  #resourceStatus(): JsonObject {
    const { all, allocated, down } = this.#ready();
    return { all: encodeR(all), allocated: encodeR(allocated), down: encodeR(down) };
  }

  #checkFeasibility(req: Request): void {
    const { jobspec } = req.unpack({ jobspec: obj });
    this.#ready().checkFeasible(parseRequest(jobspec));
  }

  // ---- scheduling

  /** Schedules at the end of this turn, once for all that happens in it. */
  #wake(): void {
    if (this.#scheduled || this.#queue.size === 0 || this.#pool === undefined) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      if (!this.#stopped) this.#schedule(this.#ready());
    });
  }

  #schedule(pool: Pool): void {
    this.#passes++;
    const given: { job: PendingJob; R: Rset }[] = [];
    for (let n = 0; n < TURN_MAX; n++) {
      const job = this.#queue.first;
      if (job === undefined) break;
      const R = this.#try(pool, job);
      if (R === INSUFFICIENT) break;
      this.#queue.remove(job.id);
      this.#turns++;
      if (R !== undefined) given.push({ job, R });
      if (n === TURN_MAX - 1) this.#wake();
    }
    if (given.length === 0) return;
    this.#give(given);
  }

  /** R; INSUFFICIENT; undefined when the job was denied. */
  #try(pool: Pool, job: PendingJob): Rset | typeof INSUFFICIENT | undefined {
    try {
      const R = pool.alloc(job.id, job.request);
      if (R === INSUFFICIENT) return R;
      R.starttime = this.#context.clock.now_s();
      const { duration_s } = job.request;
      R.expiration = duration_s > 0 ? R.starttime + duration_s : pool.expiration_s;
      pool.setEnd(job.id, R.expiration);
      return R;
    } catch (err) {
      this.#answer(job.reply, { id: job.id, type: DENY, note: toFluxError(err).message });
      return undefined;
    }
  }

  #give(given: readonly { job: PendingJob; R: Rset }[]): void {
    const encoded = given.map(({ job, R }) => ({ job, R: R.encode(), summary: rsetShort(R) }));
    kvsCommit(this.#h, encoded.map(({ job, R }) => putJson(jobKvsPath(job.id, "R"), R)), { lazy: true }).catch((err: unknown) => {
      this.#log(LOG_ERR, `alloc: KVS commit failed: ${toFluxError(err).message}`);
      // Without its R a job can't be brought back after a restart, nor its resources be accounted for.
      for (const { job } of encoded) this.#raise(job.id, "alloc", `R could not be stored: ${toFluxError(err).message}`);
    });
    for (const { job, R, summary } of encoded) {
      this.#answer(job.reply, { id: job.id, type: SUCCESS, R, annotations: { sched: { resource_summary: summary } } });
    }
  }

  stats(): JsonObject {
    return {
      sched_passes: this.#passes,
      sched_yields: this.#turns,
      forecast_passes: 0,
      forecast_yields: 0,
      sched_delay: 0,
      sched_duration_ewma: 0,
      sched_interval_ewma: 0,
      pending_jobs: this.#queue.size,
    };
  }
}
