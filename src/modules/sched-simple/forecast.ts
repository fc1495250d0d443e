// Forecast: when the jobs of a queue without reservations will start, if jobs take as long as they say and nothing else
// comes. Pure: plays the queue forward on a timeline of its own.
import { earliest } from "./earliest.ts";
import { expectedDuration, type WaitingJob } from "./lane.ts";
import type { Pool } from "./pool.ts";
import { Timeline } from "./timeline.ts";

/** Running jobs that are entered between two places to pause. */
const PAUSE_AFTER = 500;

/**
 * Yields [job, start] for the first `max` of `queue`, which is in order: each starts no earlier than the one before it. Start
 * is undefined where it isn't known, as after a job without an end; undefined instead of a pair is a place to pause.
 */
export function* forecast<T extends WaitingJob>(
  pool: Pool,
  queue: readonly T[],
  now: number,
  max: number,
): Generator<readonly [T, number | undefined] | undefined, void, undefined> {
  const timeline = new Timeline(pool.size, (node) => pool.coresOf(node), (node) => pool.gpusOf(node));
  let entered = 0;
  for (const [id, end_s] of pool.endTimes()) {
    timeline.take(pool.sharesOf(id), -Infinity, end_s > 0 ? Math.max(end_s, now) : Infinity);
    if (++entered % PAUSE_AFTER === 0) yield undefined;
  }
  let from: number | undefined = now;
  for (const [i, job] of queue.entries()) {
    const { request } = job;
    if (i >= max || from === undefined) {
      yield [job, undefined];
      continue;
    }
    const duration = expectedDuration(request, pool, from);
    const planned = earliest(pool, timeline, request, pool.inventory.eligible(request.constraint), from, duration);
    yield [job, planned?.start];
    if (planned !== undefined) timeline.take(planned.shares, planned.start, planned.end);
    from = planned?.start;
  }
}
