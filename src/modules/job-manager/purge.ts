// Purge: forgets inactive jobs and removes them from the KVS, on request (job-manager.purge, purge-id) or by
// [job-manager] inactive-age-limit and inactive-num-limit. Event "job-purge-inactive" {jobs: [id]} tells who keeps
// lists of jobs. With a table [archive] in the configuration, job-archive must have them first.
import type { Flux } from "../../client/flux.ts";
import { type KvsOp, unlink } from "../../client/kvs.ts";
import type { Request } from "../../client/request.ts";
import { jobKvsPath, type JobId } from "../../formats/fluid.ts";
import { parseDuration } from "../../formats/fsd.ts";
import { isJsonObject, type Json, type JsonObject } from "../../formats/json.ts";
import { errno, FluxError, toFluxError } from "../../message/errno.ts";
import { bool, int, jobid, num } from "../../message/unpack.ts";
import type { Core } from "./core.ts";
import type { InactiveJob } from "./inactive.ts";

/** Jobs purged by one request, and by one heartbeat. */
const BATCH_MAX = 100;
const UNLIMITED = -1;

export interface PurgeOptions {
  readonly h: Flux;
  readonly core: Core;
  readonly now_s: () => number;
  readonly commit: (operations: KvsOp[]) => Promise<unknown>;
  /** The operation that saves max_jobid: the highest id must not be forgotten with its job. */
  readonly checkpoint: () => KvsOp;
  readonly removed: (job: InactiveJob) => void;
  /** Resolves when everything about jobs that are over is in the KVS. */
  readonly settled: () => Promise<void>;
}

interface Limits {
  readonly age_s: number;
  readonly count: number;
}

export class Purge {
  readonly #options: PurgeOptions;
  #limits: Limits = { age_s: UNLIMITED, count: UNLIMITED };
  #isArchived = false;
  #isBusy = false;
  /** Purges go one after the other: none takes what another is about to remove. Never rejects. */
  #last: Promise<unknown> = Promise.resolve();
  /** Why the last purge by limits failed: it is tried again with every heartbeat, and logged once. */
  #complaint = "";

  constructor(options: PurgeOptions) {
    this.#options = options;
  }

  /** Takes the tables [job-manager] and [archive]. Throws FluxError EINVAL. */
  configure({ "job-manager": table, archive }: JsonObject): void {
    const { "inactive-age-limit": age, "inactive-num-limit": count } = isJsonObject(table) ? table : {};
    if (count !== undefined && (typeof count !== "number" || !Number.isInteger(count) || count < 0)) {
      throw new FluxError(errno.EINVAL, "job-manager.inactive-num-limit: must be >= 0");
    }
    this.#limits = { age_s: age === undefined ? UNLIMITED : ageLimit(age), count: count ?? UNLIMITED };
    this.#isArchived = archive !== undefined;
  }

  /** {age_limit, num_limit, batch, force} → {count}: how many were purged, or without force how many could be. */
  async request(request: Request): Promise<JsonObject> {
    const { age_limit, num_limit, batch, force } = request.unpack({ age_limit: num, num_limit: int, batch: int, force: bool });
    if (age_limit !== UNLIMITED && age_limit < 0) throw new FluxError(errno.EINVAL, "if set, age limit must be >= 0");
    if (num_limit !== UNLIMITED && num_limit < 0) throw new FluxError(errno.EINVAL, "if set, num limit must be >= 0");
    if (batch < 1 || batch > BATCH_MAX) throw new FluxError(errno.EINVAL, `batch must be >= 1 and <= ${BATCH_MAX}`);
    const limits = { age_s: age_limit, count: num_limit };
    return { count: force ? await this.#purge(() => this.#eligible(limits, batch)) : this.#eligible(limits, Infinity).length };
  }

  /** {id, force} → {count: 1}. Throws FluxError ENOENT, or EINVAL for an active job. */
  async requestId(request: Request): Promise<JsonObject> {
    const { id, force } = request.unpack({ id: jobid, force: (v) => v === true || (typeof v === "number" && v !== 0) });
    if (force) await this.#purge(() => [this.#inactive(id)]);
    else this.#inactive(id);
    return { count: 1 };
  }

  /** A heartbeat: applies the configured limits. */
  tick(): void {
    if (this.#isBusy || (this.#limits.age_s === UNLIMITED && this.#limits.count === UNLIMITED)) return;
    if (this.#eligible(this.#limits, 1).length === 0) return;
    this.#isBusy = true;
    this.#purge(() => this.#eligible(this.#limits, BATCH_MAX))
      .then(
        () => (this.#complaint = ""),
        (err: unknown) => this.#complain(toFluxError(err).message),
      )
      .finally(() => {
        this.#isBusy = false;
      });
  }

  /** Throws FluxError ENOENT, or EINVAL for an active job. */
  #inactive(id: JobId): InactiveJob {
    const { active, inactive } = this.#options.core;
    const job = inactive.get(id);
    if (job !== undefined) return job;
    if (active.has(id)) throw new FluxError(errno.EINVAL, "cannot purge active job");
    throw new FluxError(errno.ENOENT, "id not found");
  }

  #complain(text: string): void {
    if (text === this.#complaint) return;
    this.#complaint = text;
    this.#options.h.log(3, `inactive jobs could not be purged: ${text}`);
  }

  #eligible(limits: Limits, max: number): InactiveJob[] {
    const jobs: InactiveJob[] = [];
    const now_s = this.#options.now_s();
    let left = this.#options.core.inactive.size;
    for (const job of this.#options.core.inactive.oldestFirst()) {
      const isOld = limits.age_s !== UNLIMITED && now_s - job.t_clean > limits.age_s;
      const isExtra = limits.count !== UNLIMITED && left > limits.count;
      if (jobs.length >= max || (!isOld && !isExtra)) break;
      jobs.push(job);
      left--;
    }
    return jobs;
  }

  /** Resolves to how many were purged, of those that `choose` finds when it is their turn. */
  #purge(choose: () => readonly InactiveJob[]): Promise<number> {
    const purged = this.#last.then(() => this.#remove(choose()));
    this.#last = purged.catch(() => undefined);
    return purged;
  }

  /** A job is known until the KVS has forgotten it: after a failure it can be purged again. */
  async #remove(jobs: readonly InactiveJob[]): Promise<number> {
    if (jobs.length === 0) return 0;
    await this.#archive(jobs);
    const { core, h, commit, checkpoint, removed } = this.#options;
    const operations: KvsOp[] = jobs.map(({ id }) => unlink(jobKvsPath(id)));
    if (jobs.some(({ id }) => id === core.maxJobid)) operations.push(checkpoint());
    await commit(operations);
    for (const job of jobs) {
      core.inactive.delete(job.id);
      removed(job);
    }
    h.publish("job-purge-inactive", { jobs: jobs.map(({ id }) => id) });
    return jobs.length;
  }

  async #archive(jobs: readonly InactiveJob[]): Promise<void> {
    if (!this.#isArchived) return;
    const { h, settled } = this.#options;
    await settled();
    try {
      await h.rpc("job-archive.store", { ids: jobs.map(({ id }) => id) }, { nodeid: 0 });
    } catch (err) {
      const { errno: number, message } = toFluxError(err);
      const text = number === errno.ENOSYS ? "[archive] is configured: flux module load job-archive" : message;
      throw new FluxError(number, `not archived: ${text}`);
    }
  }
}

function ageLimit(value: Json): number {
  try {
    if (typeof value === "string") return parseDuration(value);
  } catch {
    // Said below.
  }
  throw new FluxError(errno.EINVAL, "job-manager.inactive-age-limit: invalid FSD");
}
