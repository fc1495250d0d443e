// Future: a timeline that knows what runs. Jobs are put in when they start, moved when their end changes, and given back
// when they are freed, be it before or after their end. Pure.
import type { JobId } from "../../formats/fluid.ts";
import { Queue } from "./queue.ts";
import { type NodeShare, Timeline } from "./timeline.ts";

/** A job that is this much over its time is expected to stay as long again, and no longer any moment. */
export const OVERDUE_S = 2;

interface Running {
  shares: readonly NodeShare[];
  readonly start: number;
  /** Infinity: unknown. */
  end: number;
  /** When it was to end before it was overdue. */
  promised: number;
}

export class Future {
  readonly timeline: Timeline;
  readonly #running = new Map<JobId, Running>();
  /** Those with an end; the earliest has the highest "priority". */
  readonly #byEnd = new Queue<{ readonly id: JobId; priority: number }>();

  constructor(timeline: Timeline) {
    this.timeline = timeline;
  }

  started(id: JobId, shares: readonly NodeShare[], start: number, end: number): void {
    this.timeline.take(shares, start, end);
    this.#running.set(id, { shares, start, end, promised: end });
    if (end !== Infinity) this.#byEnd.add({ id, priority: -end });
  }

  /** All of a job is free from `now` on, or these nodes of it. True when that is earlier than was known. */
  freed(id: JobId, now: number, nodes?: ReadonlySet<number>): boolean {
    const job = this.#running.get(id);
    if (job === undefined) return false;
    const given = nodes === undefined ? job.shares : job.shares.filter(({ node }) => nodes.has(node));
    this.timeline.give(given, Math.max(now, job.start), job.end);
    if (nodes === undefined) {
      this.#running.delete(id);
      this.#byEnd.remove(id);
    } else job.shares = job.shares.filter(({ node }) => !nodes.has(node));
    return job.end > now;
  }

  /** The job's end is another one. "earlier" frees nodes, "later" may take them from those who were to have them. */
  setEnd(id: JobId, end: number): { readonly change: "none" | "earlier" | "later"; readonly nodes: ReadonlySet<number> } {
    const job = this.#running.get(id);
    if (job === undefined || job.end === end) return { change: "none", nodes: new Set() };
    const change = end < job.end ? "earlier" : "later";
    this.#move(id, job, end);
    job.promised = end;
    return { change, nodes: new Set(job.shares.map(({ node }) => node)) };
  }

  #move(id: JobId, job: Running, end: number): void {
    if (end < job.end) this.timeline.give(job.shares, Math.max(end, job.start), job.end);
    else this.timeline.take(job.shares, job.end, end);
    job.end = end;
    this.#byEnd.remove(id);
    if (end !== Infinity) this.#byEnd.add({ id, priority: -end });
  }

  /** Nodes of jobs that are over their time and won't give them up at once: each counts as taken for as long again. */
  overdue(now: number): Set<number> {
    const nodes = new Set<number>();
    for (let first = this.#byEnd.first; first !== undefined && -first.priority + OVERDUE_S <= now; first = this.#byEnd.first) {
      const job = this.#running.get(first.id) as Running;
      this.#move(first.id, job, now + Math.max(OVERDUE_S, now - job.promised));
      for (const { node } of job.shares) nodes.add(node);
    }
    return nodes;
  }
}
