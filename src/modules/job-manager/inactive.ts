// InactiveJobs: what the job manager remembers of jobs that are over, in columns of numbers: a hundred thousand of them
// must not be a hundred thousand objects. Everything else about them is in the KVS.
import { type JobResult, RESULT, resultOf } from "../../client/jobs.ts";
import type { JobId } from "../../formats/fluid.ts";
import type { Facts } from "./state.ts";

export interface InactiveJob {
  readonly id: JobId;
  readonly userid: number;
  readonly t_submit: number;
  readonly t_clean: number;
  readonly result: JobResult;
  readonly allocated: boolean;
  readonly started: boolean;
  /** A fatal exception ended it, not the end of its tasks. */
  readonly excepted: boolean;
}

/** What is kept of a job, as it is kept. */
export interface InactiveRow {
  readonly id: JobId;
  readonly userid: number;
  readonly t_submit: number;
  readonly t_clean: number;
  /** One of RESULT and the bits below. */
  readonly summary: number;
}

const ALLOCATED = 16;
const STARTED = 32;
const EXCEPTED = 64;
const RESULT_BITS = RESULT.COMPLETED | RESULT.FAILED | RESULT.CANCELED | RESULT.TIMEOUT;

export function inactiveRow(id: JobId, facts: Facts): InactiveRow {
  const excepted = facts.end?.name === "exception";
  const type = excepted ? facts.end?.context?.["type"] : undefined;
  const summary = resultOf(facts.status, type) | (facts.allocated ? ALLOCATED : 0) | (facts.started ? STARTED : 0) | (excepted ? EXCEPTED : 0);
  return { id, userid: facts.userid, t_submit: facts.t_submit, t_clean: facts.t_clean, summary };
}

export class InactiveJobs {
  /** Job → row, in the order in which they ended. */
  readonly #rows = new Map<JobId, number>();
  readonly #free: number[] = [];
  #next = 0;
  #t_submit = new Float64Array(1024);
  #t_clean = new Float64Array(1024);
  #userid = new Uint32Array(1024);
  #summary = new Uint8Array(1024);

  get size(): number {
    return this.#rows.size;
  }

  has(id: JobId): boolean {
    return this.#rows.has(id);
  }

  add(id: JobId, facts: Facts): void {
    this.addRow(inactiveRow(id, facts));
  }

  addRow({ id, userid, t_submit, t_clean, summary }: InactiveRow): void {
    if (this.#rows.has(id)) return;
    const row = this.#free.pop() ?? this.#next++;
    if (row >= this.#t_clean.length) this.#grow();
    this.#t_submit[row] = t_submit;
    this.#t_clean[row] = t_clean;
    this.#userid[row] = userid;
    this.#summary[row] = summary;
    this.#rows.set(id, row);
  }

  get(id: JobId): InactiveJob | undefined {
    const row = this.#rows.get(id);
    return row === undefined ? undefined : this.#read(id, row);
  }

  delete(id: JobId): void {
    const row = this.#rows.get(id);
    if (row === undefined) return;
    this.#rows.delete(id);
    this.#free.push(row);
  }

  /** Those that ended first come first. */
  *oldestFirst(): Generator<InactiveJob, void, undefined> {
    for (const [id, row] of this.#rows) yield this.#read(id, row);
  }

  ids(): JobId[] {
    return [...this.#rows.keys()];
  }

  #read(id: JobId, row: number): InactiveJob {
    const summary = this.#summary[row] ?? 0;
    return {
      id,
      userid: this.#userid[row] ?? 0,
      t_submit: this.#t_submit[row] ?? 0,
      t_clean: this.#t_clean[row] ?? 0,
      result: (summary & RESULT_BITS) as JobResult,
      allocated: (summary & ALLOCATED) !== 0,
      started: (summary & STARTED) !== 0,
      excepted: (summary & EXCEPTED) !== 0,
    };
  }

  #grow(): void {
    const size = this.#t_clean.length * 2;
    const grown = <T extends Float64Array | Uint32Array | Uint8Array>(to: T, from: T): T => {
      to.set(from);
      return to;
    };
    this.#t_submit = grown(new Float64Array(size), this.#t_submit);
    this.#t_clean = grown(new Float64Array(size), this.#t_clean);
    this.#userid = grown(new Uint32Array(size), this.#userid);
    this.#summary = grown(new Uint8Array(size), this.#summary);
  }
}
