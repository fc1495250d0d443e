// Drain: job-manager.drain is answered when there are no active jobs, job-manager.idle {→ pending} when none runs and
// the scheduler has no requests. Answers wait for the eventlogs to be in the KVS: whoever waits will want to read them.
import type { Request } from "../../client/request.ts";
import type { JsonObject } from "../../formats/json.ts";

export interface DrainOptions {
  readonly active: () => number;
  readonly running: () => number;
  readonly requested: () => number;
  /** Runs a function when the KVS has everything posted so far. */
  readonly whenStored: (fn: () => void) => void;
}

export class Drain {
  readonly #options: DrainOptions;
  readonly #drain = new Set<Request>();
  readonly #idle = new Set<Request>();

  constructor(options: DrainOptions) {
    this.#options = options;
  }

  drain(request: Request): void {
    this.#keep(this.#drain, request);
  }

  idle(request: Request): void {
    this.#keep(this.#idle, request);
  }

  /** Something may have become drained or idle. */
  check(): void {
    const { active, running, requested } = this.#options;
    if (this.#drain.size > 0 && active() === 0) this.#answer(this.#drain, undefined);
    if (this.#idle.size > 0 && running() === 0 && requested() === 0) this.#answer(this.#idle, { pending: active() });
  }

  #keep(set: Set<Request>, request: Request): void {
    set.add(request);
    request.onCancel(() => void set.delete(request));
    this.check();
  }

  #answer(set: Set<Request>, payload: JsonObject | undefined): void {
    for (const request of set) this.#options.whenStored(() => request.respond(payload));
    set.clear();
  }
}
