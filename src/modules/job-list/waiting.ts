// Waiting: requests for a job that wait until it is known, or has been in a state.
import type { Request } from "../../client/request.ts";
import type { JobId } from "../../formats/fluid.ts";
import type { JsonObject } from "../../formats/json.ts";
import { errno, FluxError } from "../../message/errno.ts";
import type { Attribute } from "./job.ts";

export interface JobRequest {
  readonly id: JobId;
  readonly req: Request;
  readonly attrs: readonly Attribute[];
  /** Sum of states, one of which the job must have been in; 0: any. */
  readonly state: number;
}

const WAITING_MAX = 100_000;

export class Waiting {
  readonly #answer: (request: JobRequest) => JsonObject | undefined;
  readonly #requests = new Map<JobId, Set<JobRequest>>();
  #count = 0;

  /** `answer`: the job, undefined when it is not yet so far; throws when it must not be seen. */
  constructor(answer: (request: JobRequest) => JsonObject | undefined) {
    this.#answer = answer;
  }

  /** Jobs that are waited for. */
  get jobs(): number {
    return this.#requests.size;
  }

  /** Throws FluxError ENOBUFS. */
  add(request: JobRequest): void {
    if (this.#count >= WAITING_MAX) throw new FluxError(errno.ENOBUFS, `${WAITING_MAX} requests wait for jobs`);
    const requests = this.#requests.get(request.id) ?? new Set();
    this.#requests.set(request.id, requests.add(request));
    this.#count++;
    request.req.onCancel(() => this.#remove(request));
  }

  #remove(request: JobRequest): void {
    const requests = this.#requests.get(request.id);
    if (requests?.delete(request) !== true) return;
    this.#count--;
    if (requests.size === 0) this.#requests.delete(request.id);
  }

  /** The job has moved. */
  tell(id: JobId): void {
    for (const request of this.#requests.get(id) ?? []) {
      try {
        const job = this.#answer(request);
        if (job === undefined) continue;
        request.req.respond({ job });
      } catch (err) {
        request.req.fail(err);
      }
      this.#remove(request);
    }
  }

  /** The job was never accepted. */
  refuse(id: JobId): void {
    for (const request of this.#requests.get(id) ?? []) {
      this.#remove(request);
      request.req.fail(new FluxError(errno.ENOENT));
    }
  }
}
