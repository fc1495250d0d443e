// Lifetime: when the instance's resources expire (execution.expiration of resource.R in the KVS), and what a change of that means
// for jobs: those that run without a duration of their own, and got theirs from the instance, get the new one.
import type { Flux } from "../../client/flux.ts";
import { STATE } from "../../client/jobs.ts";
import { kvsWatch } from "../../client/kvs.ts";
import { formatJobId } from "../../formats/fluid.ts";
import { decodeJsonObject, isJsonObject } from "../../formats/json.ts";
import { errno, isErrno, toFluxError } from "../../message/errno.ts";
import type { Core } from "./core.ts";
import { jobspecOf, systemAttribute } from "./job.ts";

/** Seconds that two expirations may differ by and be the same. */
const SAME_S = 1e-5;

export class Lifetime {
  readonly #options: { readonly h: Flux; readonly core: Core };
  #expiration_s: number | undefined;
  #stopped = false;

  constructor(options: { readonly h: Flux; readonly core: Core }) {
    this.#options = options;
  }

  /** Seconds since the epoch; 0 is never, or not known yet. */
  get expiration_s(): number {
    return this.#expiration_s ?? 0;
  }

  /** Follows the expiration until stop(). */
  watch(): void {
    const { h } = this.#options;
    this.#follow().catch((err: unknown) => {
      if (this.#stopped || h.isClosed || isErrno(err, errno.ENOSYS)) return;
      h.log(3, `resource.R can't be watched: ${toFluxError(err).message}`);
    });
  }

  stop(): void {
    this.#stopped = true;
  }

  async #follow(): Promise<void> {
    for await (const value of kvsWatch(this.#options.h, "resource.R", { waitCreate: true })) {
      if (this.#stopped) return;
      const { execution } = decodeJsonObject(Buffer.from(value).toString());
      const expiration = isJsonObject(execution) ? execution["expiration"] : undefined;
      this.changed(typeof expiration === "number" ? expiration : 0);
    }
  }

  changed(expiration_s: number): void {
    const { h, core } = this.#options;
    const before_s = this.#expiration_s;
    this.#expiration_s = expiration_s;
    if (before_s === undefined || Math.abs(expiration_s - before_s) < SAME_S || core.running === 0) return;
    h.log(6, `resource expiration updated from ${before_s.toFixed(2)} to ${expiration_s.toFixed(2)}`);
    for (const job of [...core.active.values()]) {
      if (job.facts.state !== STATE.RUN) continue;
      const execution = job.facts.R?.["execution"];
      const own = isJsonObject(execution) ? execution["expiration"] : undefined;
      const duration = systemAttribute(jobspecOf(job), "duration") ?? 0;
      if (typeof own !== "number" || duration !== 0) continue;
      h.log(6, `updated expiration of ${formatJobId(job.id, "f58")} from ${own.toFixed(2)} to ${expiration_s.toFixed(2)}`);
      core.post(job, "resource-update", { expiration: expiration_s });
    }
  }
}
