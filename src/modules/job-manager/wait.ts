// Wait: job-manager.wait {id} → {id, success, errstr} when a job submitted with the waitable flag is inactive; id -1 is
// any such job. Each job is waited for once, like a child of wait(2). Nobody left to wait for is ECHILD.
import type { Request } from "../../client/request.ts";
import { FLAG, JOBID_ANY } from "../../client/jobs.ts";
import type { JobId } from "../../formats/fluid.ts";
import type { JsonObject } from "../../formats/json.ts";
import { describeShellStatus } from "../../formats/waitstatus.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { def, str, unpack } from "../../message/unpack.ts";
import { isWaitable, type Job } from "./job.ts";
import type { Facts } from "./state.ts";

interface Answer extends JsonObject {
  readonly id: JobId;
  readonly success: boolean;
  readonly errstr: string;
}

/** Jobs that are over and not waited for. */
const ZOMBIES_MAX = 1_000_000;

export class Waiting {
  /** Answers for jobs nobody has waited for yet, as text: there may be many. */
  readonly #zombies = new Map<JobId, string>();
  /** Who waits for any job, in order. */
  readonly #anyone = new Set<Request>();
  /** Who waits for one job. */
  #waiters = 0;
  /** Active jobs that can be waited for. */
  #waitables = 0;

  /** In the order of their end. */
  zombies(): Iterable<JobId> {
    return this.#zombies.keys();
  }

  /** A job has become active. */
  added(job: Job): void {
    if (isWaitable(job)) this.#waitables++;
  }

  /** After a restart: a job that was inactive already. */
  remembered(id: JobId, facts: Facts): void {
    if ((facts.flags & FLAG.WAITABLE) !== 0) this.#keep(answerFor(id, facts));
  }

  /** A job has become inactive. */
  ended(job: Job): void {
    if (!isWaitable(job)) return;
    this.#waitables--;
    const answer = answerFor(job.id, job.facts);
    const { waiter } = job;
    const first = waiter ?? this.#anyone.values().next().value;
    if (waiter !== undefined) this.#waiters--;
    else if (first !== undefined) this.#anyone.delete(first);
    if (first !== undefined) first.respond(answer);
    else this.#keep(answer);
  }

  /** A request to wait; undefined: it is kept. Throws FluxError ECHILD. */
  wait(request: Request, id: JobId, active: ReadonlyMap<JobId, Job>): JsonObject | undefined {
    const wanted = id === JOBID_ANY ? this.#zombies.keys().next().value : id;
    const zombie = wanted === undefined ? undefined : this.#zombies.get(wanted);
    if (wanted !== undefined && zombie !== undefined) {
      this.#zombies.delete(wanted);
      return { id: wanted, success: zombie.startsWith("1"), errstr: zombie.slice(1) };
    }
    if (id === JOBID_ANY) this.#waitForAny(request);
    else this.#waitForOne(request, active.get(id));
    return undefined;
  }

  #keep({ id, success, errstr }: Answer): void {
    if (this.#zombies.size < ZOMBIES_MAX) this.#zombies.set(id, `${success ? 1 : 0}${errstr}`);
  }

  #waitForAny(request: Request): void {
    if (this.#anyone.size + this.#waiters >= this.#waitables) throw noMoreJobs();
    this.#anyone.add(request);
    request.onCancel(() => void this.#anyone.delete(request));
  }

  #waitForOne(request: Request, job: Job | undefined): void {
    if (job === undefined) throw new FluxError(errno.ECHILD, "invalid job id, or job may be inactive and not waitable");
    if (job.waiter !== undefined) throw new FluxError(errno.ECHILD, "job id already has a waiter");
    if (!isWaitable(job)) throw new FluxError(errno.ECHILD, "job was not submitted with FLUX_JOB_WAITABLE");
    job.waiter = request;
    this.#waiters++;
    request.onCancel(() => {
      job.waiter = undefined;
      this.#waiters--;
    });
    // There may be one job less now for those who wait for any.
    const last = [...this.#anyone].pop();
    if (last === undefined || this.#anyone.size + this.#waiters <= this.#waitables) return;
    this.#anyone.delete(last);
    last.fail(noMoreJobs());
  }
}

function noMoreJobs(): FluxError {
  return new FluxError(errno.ECHILD, "there are no more waitable jobs");
}

function answerFor(id: JobId, facts: Facts): Answer {
  if (facts.end?.name === "exception") {
    const { type, note } = unpack(facts.end.context ?? {}, { type: str, note: def(str, "") });
    return { id, success: false, errstr: `Fatal exception type=${type} ${note}` };
  }
  const errstr = describeShellStatus(facts.status ?? 0);
  return { id, success: errstr === "", errstr };
}
