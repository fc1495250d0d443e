// Checkpoint: where the primary namespace's root is written down, so that an instance can be started again from its
// content store (rank 0). After a change it waits for the period, so that many changes share one checkpoint.
//
// Configuration: [kvs] checkpoint-period = "200ms" (flux standard duration; 0 turns it off).
import { configTable } from "../../client/config-table.ts";
import type { Flux } from "../../client/flux.ts";
import { isBlobref, type Blobref } from "../../formats/blobref.ts";
import { FormatError } from "../../formats/error.ts";
import { parseDuration } from "../../formats/fsd.ts";
import { isJsonObject, type JsonObject } from "../../formats/json.ts";
import { errno, FluxError, isErrno, toFluxError } from "../../message/errno.ts";
import type { Clock, Timer } from "../../os/clock.ts";

export const PERIOD_MS = 200;
/** Where the store goes away with the instance: for those who read checkpoints of a running one. */
export const TEMPORARY_PERIOD_MS = 30 * 60 * 1000;

export class Checkpointer {
  readonly #h: Flux;
  readonly #clock: Clock;
  readonly #current: () => { ref: Blobref; seq: number };
  #timer: Timer | undefined;
  #writing = false;
  #saving: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  #savedSeq = -1;
  #failed = false;

  constructor(h: Flux, clock: Clock, public period_ms: number, current: () => { ref: Blobref; seq: number }) {
    this.#h = h;
    this.#clock = clock;
    this.#current = current;
  }

  /** The root has changed. */
  changed(): void {
    if (this.period_ms === 0 || this.#timer !== undefined || this.#writing) return;
    // The first one comes soon in any case: `flux fsck` and others begin with a checkpoint.
    const period_ms = this.#savedSeq < 0 ? Math.min(PERIOD_MS, this.period_ms) : this.period_ms;
    this.#timer = this.#clock
      .setTimer(period_ms, () => {
        this.#timer = undefined;
        this.#periodic();
      })
      .unref();
  }

  #periodic(): void {
    this.#writing = true;
    this.save().then(
      () => this.#done(undefined),
      (err: unknown) => this.#done(toFluxError(err)),
    );
  }

  #done(err: FluxError | undefined): void {
    this.#writing = false;
    if (err !== undefined && err.errno !== errno.ENOSYS && !this.#failed) this.#h.log(3, `kvs: checkpoint failed: ${err.message}`);
    this.#failed = err !== undefined;
    if (err?.errno !== errno.ENOSYS && this.#current().seq !== this.#savedSeq) this.changed();
  }

  /**
   * Resolves when the current root and all below it are in the backing store. Rejects with ENOSYS where there is none.
   * Those who ask while a checkpoint is on its way share the next one.
   */
  save(): Promise<void> {
    if (this.#next !== undefined) return this.#next;
    if (this.#saving === undefined) return this.#current().seq === this.#savedSeq ? Promise.resolve() : this.#begin();
    const again = (): Promise<void> => {
      this.#next = undefined;
      return this.#begin();
    };
    this.#next = this.#saving.then(again, again);
    return this.#next;
  }

  #begin(): Promise<void> {
    const saving = this.#write().finally(() => {
      if (this.#saving === saving) this.#saving = undefined;
    });
    this.#saving = saving;
    return saving;
  }

  async #write(): Promise<void> {
    const { ref, seq } = this.#current();
    const value = { version: 1, rootref: ref, sequence: seq, timestamp: this.#clock.now_s() };
    await this.#h.rpc("content.checkpoint-put", { value }, { nodeid: 0 });
    this.#savedSeq = Math.max(this.#savedSeq, seq);
  }

  stop(): void {
    this.#clock.clear(this.#timer);
    this.#timer = undefined;
    this.period_ms = 0;
  }
}

/** The newest checkpoint, or undefined when there is none or no backing store. Throws FluxError when it is damaged. */
export async function lastCheckpoint(h: Flux): Promise<{ ref: Blobref; seq: number; timestamp: number } | undefined> {
  let answer: JsonObject;
  try {
    answer = await h.rpc("content.checkpoint-get", {}, { nodeid: 0 });
  } catch (err) {
    if (isErrno(err, errno.ENOENT) || isErrno(err, errno.ENOSYS)) return undefined;
    throw err;
  }
  const value = Array.isArray(answer["value"]) ? (answer["value"] as unknown[])[0] : answer["value"];
  if (!isJsonObject(value)) throw new FluxError(errno.EPROTO, "the last checkpoint is not an object");
  const { version, rootref, sequence, timestamp } = value;
  if ((version !== 0 && version !== 1) || !isBlobref(rootref)) throw new FluxError(errno.EINVAL, "the last checkpoint has no valid version or rootref");
  return { ref: rootref, seq: typeof sequence === "number" ? sequence : 0, timestamp: typeof timestamp === "number" ? timestamp : 0 };
}

/** [kvs] checkpoint-period in milliseconds, or undefined. Throws FluxError EINVAL. */
export function configuredPeriod_ms(config: JsonObject): number | undefined {
  const text = configTable(config, "kvs")["checkpoint-period"];
  if (text === undefined) return undefined;
  if (typeof text !== "string") throw new FluxError(errno.EINVAL, "error reading config for kvs: checkpoint-period must be a string");
  try {
    return parseDuration(text) * 1000;
  } catch (err) {
    if (err instanceof FormatError) throw new FluxError(errno.EINVAL, `invalid checkpoint-period config: ${text}`);
    throw err;
  }
}
