// Lifetime: when the instance's resources expire (execution.expiration of resource.R in the KVS), and what a change of that means
// for jobs: those that run without a duration of their own, and got theirs from the instance, get the new one.
import { STATE } from "../../client/jobs.ts";
import { formatJobId, type JobId } from "../../formats/fluid.ts";
import { formatSignificant } from "../../formats/fsd.ts";
import { decodeJsonObject, isJsonObject, type JsonObject } from "../../formats/json.ts";
import { errno, isErrno, toFluxError } from "../../message/errno.ts";
import { type Job, jobspecOf, systemAttribute } from "./job.ts";

/** Seconds that two expirations may differ by and be the same. */
const SAME_S = 1e-5;

export interface LifetimePorts {
  readonly log: (level: 3 | 6, text: string) => void;
  /** Values of resource.R, now and after every change. */
  readonly watch: () => AsyncIterable<Uint8Array>;
  readonly core: {
    readonly active: ReadonlyMap<JobId, Job>;
    readonly running: number;
    post(job: Job, name: string, context: JsonObject): unknown;
  };
}

export class Lifetime {
  readonly #ports: LifetimePorts;
  #expiration_s: number | undefined;
  #stopped = false;

  constructor(ports: LifetimePorts) {
    this.#ports = ports;
  }

  /** Seconds since the epoch; 0 is never, or not known yet. */
  get expiration_s(): number {
    return this.#expiration_s ?? 0;
  }

  /** Follows the expiration until stop(). */
  watch(): void {
    this.#follow().catch((err: unknown) => {
      if (!this.#stopped && !isErrno(err, errno.ENOSYS)) this.#ports.log(3, `resource.R can't be watched: ${toFluxError(err).message}`);
    });
  }

  stop(): void {
    this.#stopped = true;
  }

  async #follow(): Promise<void> {
    for await (const value of this.#ports.watch()) {
      if (this.#stopped) return;
      const { execution } = decodeJsonObject(Buffer.from(value).toString());
      const expiration = isJsonObject(execution) ? execution["expiration"] : undefined;
      this.changed(typeof expiration === "number" ? expiration : 0);
    }
  }

  changed(expiration_s: number): void {
    const { log, core } = this.#ports;
    const before_s = this.#expiration_s;
    this.#expiration_s = expiration_s;
    if (before_s === undefined || Math.abs(expiration_s - before_s) < SAME_S || core.running === 0) return;
    log(6, `resource expiration updated from ${before_s.toFixed(2)} to ${expiration_s.toFixed(2)} (${changeText(before_s, expiration_s)})`);
    for (const job of [...core.active.values()]) {
      if (job.facts.state !== STATE.RUN) continue;
      const execution = job.facts.R?.["execution"];
      const own = isJsonObject(execution) ? execution["expiration"] : undefined;
      const duration = systemAttribute(jobspecOf(job), "duration") ?? 0;
      if (typeof own !== "number" || duration !== 0) continue;
      log(6, `updated expiration of ${formatJobId(job.id, "f58")} from ${own.toFixed(2)} to ${expiration_s.toFixed(2)} (${changeText(own, expiration_s)})`);
      core.post(job, "resource-update", { expiration: expiration_s });
    }
  }
}

/** "+540"; an expiration of 0 is without end. */
function changeText(before_s: number, after_s: number): string {
  if (before_s === 0) return "-inf";
  if (after_s === 0) return "+inf";
  const difference = formatSignificant(Math.abs(after_s - before_s), 6);
  return `${after_s < before_s ? "-" : "+"}${difference}`;
}
