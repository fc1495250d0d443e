// Eventlogs: writes events to job.XXXX.eventlog in the KVS (RFC 16). What is posted while a commit is on its way goes
// into the next one, so that a busy job manager makes few large commits and an idle one commits at once.
//
// A response that says something is done waits for the commit that makes it so. Commits that no response waits for are
// lazy. One that a response waits for doesn't wait for lazy ones before it: the KVS keeps their order.
import { append, type KvsOp } from "../../client/kvs.ts";
import { jobKvsPath, type JobId } from "../../formats/fluid.ts";
import { type FluxError, toFluxError } from "../../message/errno.ts";

/** Operations in one commit: a KVS commit of everything at once would stop its loop. */
const OPERATIONS_MAX = 2000;

interface Batch {
  readonly text: Map<JobId, string>;
  /** Called when the batch is in the KVS, or with why it isn't. */
  readonly waiting: ((error: FluxError | undefined) => void)[];
}

export interface EventlogsOptions {
  /** `ids`: whose eventlogs these are. */
  readonly commit: (operations: KvsOp[], lazy: boolean, ids: Iterable<JobId>) => Promise<unknown>;
  readonly log: (text: string) => void;
}

export class Eventlogs {
  readonly #options: EventlogsOptions;
  #batch: Batch = newBatch();
  /** Commits on their way, and those of them that somebody waits for. */
  #committing = 0;
  #urgent = 0;
  #idle: (() => void)[] = [];
  commits = 0;

  constructor(options: EventlogsOptions) {
    this.#options = options;
  }

  append(id: JobId, line: string): void {
    this.#batch.text.set(id, (this.#batch.text.get(id) ?? "") + line);
  }

  /** The job was refused: what waits to be written about it isn't. */
  forget(id: JobId): void {
    this.#batch.text.delete(id);
  }

  /** `fn` runs once everything posted so far is in the KVS; at the next flush when nothing is under way. */
  whenStored(fn: (error: FluxError | undefined) => void): void {
    this.#batch.waiting.push(fn);
  }

  /** Commits what has piled up, now or as soon as the commit that is on its way is done. */
  flush(): void {
    const lazy = this.#batch.waiting.length === 0;
    if (lazy ? this.#committing > 0 : this.#urgent > 0) return;
    const batch = this.#take();
    if (batch.text.size === 0) {
      if (this.#committing > 0) return void this.#batch.waiting.push(...batch.waiting);
      this.#tell(batch, undefined);
      if (this.#isEmpty()) this.#settle();
      return;
    }
    this.#committing++;
    if (!lazy) this.#urgent++;
    this.commits++;
    const operations = Array.from(batch.text, ([id, text]) => append(jobKvsPath(id, "eventlog"), text));
    this.#options.commit(operations, lazy, batch.text.keys()).then(
      () => this.#done(batch, lazy, undefined),
      (err: unknown) => this.#done(batch, lazy, toFluxError(err)),
    );
  }

  /** Resolves when everything is in the KVS (or failed to get there). */
  settled(): Promise<void> {
    if (this.#committing === 0 && this.#isEmpty()) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#idle.push(resolve);
    this.flush();
    return promise;
  }

  #done(batch: Batch, lazy: boolean, error: FluxError | undefined): void {
    this.#committing--;
    if (!lazy) this.#urgent--;
    if (error !== undefined) this.#options.log(`eventlogs of ${batch.text.size} jobs could not be updated: ${error.message}`);
    this.#tell(batch, error);
    this.flush();
  }

  #tell(batch: Batch, error: FluxError | undefined): void {
    for (const fn of batch.waiting) {
      try {
        fn(error);
      } catch (err) {
        this.#options.log(`after a commit: ${toFluxError(err).message}`);
      }
    }
  }

  /** At most OPERATIONS_MAX operations; the callbacks go with the last part. */
  #take(): Batch {
    const batch = this.#batch;
    if (batch.text.size <= OPERATIONS_MAX) {
      this.#batch = newBatch();
      return batch;
    }
    const first = newBatch();
    for (const [id, text] of batch.text) {
      if (first.text.size >= OPERATIONS_MAX) break;
      first.text.set(id, text);
      batch.text.delete(id);
    }
    return first;
  }

  #isEmpty(): boolean {
    return this.#batch.text.size === 0 && this.#batch.waiting.length === 0;
  }

  #settle(): void {
    const waiting = this.#idle;
    this.#idle = [];
    for (const resolve of waiting) resolve();
  }
}

function newBatch(): Batch {
  return { text: new Map(), waiting: [] };
}
