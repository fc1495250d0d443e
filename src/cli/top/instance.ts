// LiveInstance: what `flux top` knows of an instance, kept up to date by what the instance tells. Nothing is asked for
// on a timer: the counts of jobs are a stream, after whose changes the running jobs are listed (at most once in
// REFRESH_MS), and with each heartbeat of the instance its resources are looked at.
import { Flux, type Subscription } from "../../client/flux.ts";
import { RUNNING, USERID_ANY } from "../../client/jobs.ts";
import { schedResources } from "../../client/resources.ts";
import type { JsonObject } from "../../formats/json.ts";
import { errno, FluxError, isErrno } from "../../message/errno.ts";
import { str, unpack } from "../../message/unpack.ts";
import { UsageError } from "../command.ts";
import { type JobStats, listJobs, statsOf } from "../job-list.ts";
import { queueNames } from "../queue.ts";
import type { Facts, Snapshot, Usage } from "./view.ts";
import { JOB_ATTRIBUTES } from "./view.ts";

const REFRESH_MS = 1000;
const BEAT_MS = 500;
/** Running jobs that are listed. */
const JOBS_MAX = 1000;

const NOTHING: Snapshot = { usage: undefined, expiration_s: 0, stats: undefined, queues: [], jobs: [], beats: false };

export interface LiveEvents {
  changed(): void;
  /** Something went wrong that the user should know. */
  failed(message: string): void;
  /** The connection is lost. */
  gone(): void;
}

export class LiveInstance {
  readonly facts: Facts;
  readonly #h: Flux;
  readonly #events: LiveEvents;
  #snapshot: Snapshot;
  #queue: string | undefined;
  /** Last response of the stream of counts. */
  #counts: JsonObject | undefined;
  #isCounting = false;
  #heartbeat: Subscription | undefined;
  #beatTimer: ReturnType<typeof setTimeout> | undefined;
  #refreshTimer: ReturnType<typeof setTimeout> | undefined;
  #isRefreshing = false;
  #isStale = false;
  #closed = false;

  private constructor(h: Flux, facts: Facts, queues: readonly string[], events: LiveEvents) {
    this.#h = h;
    this.facts = facts;
    this.#events = events;
    this.#snapshot = { ...NOTHING, queues };
    h.onClose((reason) => {
      if (reason !== undefined && !this.#closed) events.gone();
    });
  }

  /** Begins to watch the instance behind `h`, which is closed with it. Throws FluxError. */
  static async open(h: Flux, events: LiveEvents): Promise<LiveInstance> {
    try {
      const [facts, queues] = await Promise.all([askFacts(h), askQueues(h)]);
      return new LiveInstance(h, facts, queues, events);
    } catch (err) {
      h.close();
      throw err;
    }
  }

  get snapshot(): Snapshot {
    return this.#snapshot;
  }

  async start(queue: string | undefined): Promise<void> {
    this.#queue = queue;
    this.#count();
    this.#refresh();
    this.#heartbeat = await this.#h.subscribe("heartbeat.pulse", () => this.#beat());
  }

  /** Counts and jobs of this queue, or of all. */
  setQueue(queue: string | undefined): void {
    this.#queue = queue;
    this.#update({ jobs: [], stats: this.#stats() });
    this.#refreshNow();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#beatTimer);
    clearTimeout(this.#refreshTimer);
    this.#heartbeat?.unsubscribe().catch(() => {});
    this.#h.close();
  }

  #update(change: Partial<Snapshot>): void {
    if (this.#closed) return;
    this.#snapshot = { ...this.#snapshot, ...change };
    this.#events.changed();
  }

  #beat(): void {
    if (this.#closed) return;
    this.#update({ beats: true });
    clearTimeout(this.#beatTimer);
    this.#beatTimer = setTimeout(() => this.#update({ beats: false }), BEAT_MS);
    this.#count();
    this.#refresh();
  }

  // ---- counts

  /** Follows the counts; when their service goes away, the next heartbeat tries again. */
  #count(): void {
    if (this.#isCounting) return;
    this.#isCounting = true;
    void this.#followCounts().finally(() => (this.#isCounting = false));
  }

  async #followCounts(): Promise<void> {
    try {
      for await (const counts of this.#h.stream("job-list.job-stats", {})) {
        this.#counts = counts;
        this.#update({ stats: this.#stats() });
        this.#refresh();
      }
    } catch (err) {
      this.#fail("job counts", err);
    }
  }

  #stats(): JobStats | undefined {
    if (this.#counts === undefined) return undefined;
    try {
      return statsOf(this.#counts, this.#queue === undefined ? [] : [this.#queue]);
    } catch (err) {
      // A queue that the service does not know has no jobs.
      if (err instanceof UsageError) return { pending: 0, running: 0, successful: 0, failed: 0, inactivePurged: 0, active: 0 };
      throw err;
    }
  }

  // ---- resources and jobs

  /** Asks again, a while after the last time at the earliest. */
  #refresh(): void {
    this.#isStale = true;
    if (this.#isRefreshing || this.#refreshTimer !== undefined || this.#closed) return;
    this.#refreshNow();
  }

  #refreshNow(): void {
    clearTimeout(this.#refreshTimer);
    this.#refreshTimer = undefined;
    this.#isStale = false;
    this.#isRefreshing = true;
    void this.#ask().finally(() => {
      this.#isRefreshing = false;
      if (this.#closed) return;
      this.#refreshTimer = setTimeout(() => {
        this.#refreshTimer = undefined;
        if (this.#isStale) this.#refresh();
      }, REFRESH_MS);
    });
  }

  async #ask(): Promise<void> {
    await Promise.all([this.#askResources(), this.#askJobs()]);
  }

  async #askResources(): Promise<void> {
    try {
      const { all, down, allocated } = await schedResources(this.#h);
      const of = (name: "nnodes" | "ncores" | "ngpus"): Usage => ({ total: all[name], used: allocated[name], down: down[name] });
      this.#update({ usage: { nodes: of("nnodes"), cores: of("ncores"), gpus: of("ngpus") }, expiration_s: all.expiration });
    } catch (err) {
      // ENOENT: not known yet. ENOSYS: no scheduler, or not at the moment.
      if (!isErrno(err, errno.ENOENT) && !isErrno(err, errno.ENOSYS)) this.#fail("resources", err);
    }
  }

  async #askJobs(): Promise<void> {
    const queue = this.#queue;
    try {
      const jobs = await listJobs(this.#h, {
        attributes: JOB_ATTRIBUTES, max: JOBS_MAX, userid: USERID_ANY, states: RUNNING, results: 0, queues: queue === undefined ? [] : [queue],
      });
      if (queue === this.#queue) this.#update({ jobs });
    } catch (err) {
      this.#fail("jobs", err);
    }
  }

  #fail(what: string, err: unknown): void {
    if (!(err instanceof FluxError)) throw err;
    if (!this.#closed && !this.#h.isClosed) this.#events.failed(`${what}: ${err.message}`);
  }
}

async function askFacts(h: Flux): Promise<Facts> {
  const [size, depth, version, owner, start] = await Promise.all([
    h.attr("size"),
    h.attr("instance-level"),
    h.attr("version"),
    h.attr("security.owner"),
    h.rpc("attr.get", { name: "broker.starttime" }, { nodeid: 0 }).then((answer) => unpack(answer, { value: str }).value),
  ]);
  return { size: Number(size), depth: Number(depth), version, start_s: Number(start), isOwner: Number(owner) === process.getuid?.() };
}

/** An instance without a job manager has no queues. */
async function askQueues(h: Flux): Promise<readonly string[]> {
  try {
    return await queueNames(h);
  } catch (err) {
    if (isErrno(err, errno.ENOSYS)) return [];
    throw err;
  }
}
