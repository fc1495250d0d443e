// Batch: writes submitted jobs to the KVS and announces them to the job manager, all that came while the last batch was
// being written in one go: one commit, one "job-manager.submit", one checkpoint where the state directory is kept.
//
//   job.XXXX.J        as it was signed
//   job.XXXX.jobspec  with defaults, without environment (RFC 16)
import type { Flux } from "../../client/flux.ts";
import { kvsCommit, kvsDurable, type KvsOp, put, putJson, unlink } from "../../client/kvs.ts";
import type { Request } from "../../client/request.ts";
import { jobKvsPath, type JobId } from "../../formats/fluid.ts";
import type { Json, JsonObject } from "../../formats/json.ts";
import { errno, FluxError, toFluxError } from "../../message/errno.ts";
import { jobid, str } from "../../message/unpack.ts";
import type { Submission } from "./submission.ts";

export interface Ingested extends Submission {
  readonly id: JobId;
  readonly t_submit: number;
  readonly request: Request;
}

/** Jobs in one commit. */
const BATCH_MAX = 500;
/** Jobs that wait to be committed. */
const WAITING_MAX = 200_000;

export class Batches {
  readonly #h: Flux;
  #waiting: Ingested[] = [];
  #committing = false;
  #scheduled = false;
  jobs = 0;
  batches = 0;

  #count: number;

  /** `count`: see setCount(). */
  constructor(h: Flux, count: number) {
    this.#h = h;
    this.#count = count;
  }

  /** A batch waits until it has so many jobs; 0: it takes what there is. */
  setCount(count: number): void {
    this.#count = count;
    if (!this.#scheduled) this.#next();
  }

  /** The job's request is answered with its id, or with why it was refused. Throws FluxError ENOBUFS at the bound. */
  add(job: Ingested): void {
    if (this.#waiting.length >= WAITING_MAX) throw new FluxError(errno.ENOBUFS, `${WAITING_MAX} submissions wait to be stored`);
    this.#waiting.push(job);
    if (this.#scheduled || this.#committing) return;
    this.#scheduled = true;
    // What else arrives in this turn of the event loop goes along.
    setImmediate(() => {
      this.#scheduled = false;
      this.#next();
    });
  }

  #next(): void {
    if (this.#committing || this.#waiting.length === 0 || this.#waiting.length < this.#count) return;
    const jobs = this.#waiting.splice(0, BATCH_MAX);
    this.#committing = true;
    this.jobs += jobs.length;
    this.batches++;
    // The next batch is written while the job manager takes this one.
    kvsCommit(this.#h, jobs.flatMap(operations)).then(
      () => {
        this.#committing = false;
        this.#next();
        return this.#announce(jobs);
      },
      (err: unknown) => {
        this.#committing = false;
        const error = toFluxError(err);
        for (const { request } of jobs) request.fail(new FluxError(error.errno, `KVS commit failed: ${error.message}`));
        this.#next();
      },
    );
  }

  async #announce(jobs: readonly Ingested[]): Promise<void> {
    let answer: JsonObject;
    try {
      answer = await this.#h.rpc("job-manager.submit", { jobs: jobs.map(announcement) });
    } catch (err) {
      for (const { request } of jobs) request.fail(err);
      return this.#remove(jobs);
    }
    // From here on the jobs are the job manager's: whatever goes wrong, nothing of them may be taken away.
    let refused: Map<JobId, string>;
    try {
      refused = new Map(((answer["errors"] ?? []) as readonly Json[][]).map(([id, text]) => [jobid(id, "errors[].id"), str(text, "errors[].text")]));
      // Who is told the id of a job finds it again whatever happens to the instance.
      await kvsDurable(this.#h);
    } catch (err) {
      for (const { request } of jobs) request.fail(err);
      return;
    }
    for (const { id, request } of jobs) {
      const text = refused.get(id);
      if (text === undefined) request.respond({ id });
      else request.fail(new FluxError(errno.EINVAL, text));
    }
    this.#remove(jobs.filter(({ id }) => refused.has(id)));
  }

  /** Nothing is left in the KVS of a job that was refused. */
  #remove(jobs: readonly Ingested[]): void {
    if (jobs.length === 0) return;
    kvsCommit(this.#h, jobs.map(({ id }) => unlink(jobKvsPath(id)))).catch((err: unknown) => {
      this.#h.log(3, `could not remove ${jobs.length} refused jobs from the KVS: ${toFluxError(err).message}`);
    });
  }
}

function operations({ id, J, jobspec }: Ingested): KvsOp[] {
  return [put(jobKvsPath(id, "J"), J), putJson(jobKvsPath(id, "jobspec"), jobspec)];
}

function announcement({ id, userid, urgency, t_submit, flags, jobspec }: Ingested): JsonObject {
  return { id, userid, urgency, t_submit, flags, jobspec };
}
