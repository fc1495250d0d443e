// Announcer: tells those who wait when they will start, as an annotation sched.t_estimate, where reservations or a forecast
// (forecast.ts) say so; for `flux module debug` why they wait instead.
import type { Request } from "../../client/request.ts";
import { ALLOC } from "../../client/sched-alloc.ts";
import type { Clock, Timer } from "../../os/clock.ts";
import type { Engine } from "./engine.ts";
import { forecast } from "./forecast.ts";
import type { WaitingJob } from "./lane.ts";

export interface PendingJob extends WaitingJob {
  readonly reply: Request;
  /** The start that it was annotated with, in seconds since the epoch. */
  estimate: number | undefined;
  /** How many jobs it was told are before it. */
  ahead: number | undefined;
}

/** Forecasts: after so long without one, for so many jobs of a queue, and where they change by so much. */
const DELAY_MS = 200;
const INTERVAL_MS = 1000;
/** A forecast that takes long is made the less often. */
const SHARE = 20;
const JOBS = 64;
const CHANGE_S = 1;
/** One slice of a forecast. */
const SLICE_MS = 10;

export interface AnnouncerOptions {
  readonly clock: Clock;
  readonly engine: () => Engine<PendingJob>;
  /** How often was scheduled. */
  readonly passes: () => number;
  readonly saysWhy: () => boolean;
  readonly isStopped: () => boolean;
}

export class Announcer {
  forecasts = 0;
  readonly #options: AnnouncerOptions;
  /** Jobs whose estimate the job manager knows. */
  readonly #estimated = new Set<PendingJob>();
  #timer: Timer | undefined;
  /** The pass that the last forecast was made after. */
  #changedSince = -1;

  constructor(options: AnnouncerOptions) {
    this.#options = options;
  }

  /** Scheduling has come to rest: what is known now is told a little later. */
  plan(): void {
    if (this.#options.engine().waiting > 0 || this.#estimated.size > 0) this.#planAfter(DELAY_MS);
  }

  /** The job waits no more. */
  forget(job: PendingJob): void {
    this.#estimated.delete(job);
  }

  stop(): void {
    this.#options.clock.clear(this.#timer);
  }

  #planAfter(delay_ms: number): void {
    this.#timer ??= this.#options.clock.setTimer(delay_ms, () => {
      const steps = this.#forecast();
      this.#continueForecast(steps, 0);
    });
  }

  /** Goes on with a forecast, in slices; the next is made no sooner than after some time. */
  #continueForecast(steps: Iterator<undefined>, spent_ms: number): void {
    if (this.#options.isStopped()) return;
    const { clock } = this.#options;
    const begin_ms = clock.monotonic_ms();
    let isDone = false;
    while (!isDone && clock.monotonic_ms() - begin_ms < SLICE_MS) isDone = steps.next().done === true;
    const sum_ms = spent_ms + clock.monotonic_ms() - begin_ms;
    if (!isDone) {
      setImmediate(() => this.#continueForecast(steps, sum_ms));
      return;
    }
    this.#timer = clock.setTimer(Math.max(INTERVAL_MS, sum_ms * SHARE), () => {
      this.#timer = undefined;
      if (this.#changedSince !== this.#options.passes()) this.#planAfter(0);
    });
    this.#changedSince = this.#options.passes();
  }

  *#forecast(): Generator<undefined, void, undefined> {
    const engine = this.#options.engine();
    this.forecasts++;
    if (this.#options.saysWhy()) {
      yield* this.#sayWhy(engine);
      return;
    }
    const known = new Set<PendingJob>();
    for (const [job, start] of [...engine.estimates()]) {
      this.#estimate(job, start);
      known.add(job);
      yield undefined;
    }
    for (const jobs of engine.unplanned(JOBS)) {
      for (const item of forecast(engine.pool, jobs, this.#options.clock.now_s(), JOBS)) {
        if (item?.[1] !== undefined) {
          this.#estimate(...item);
          known.add(item[0]);
        }
        yield undefined;
      }
    }
    for (const job of this.#estimated) if (!known.has(job)) this.#estimate(job, undefined);
  }

  *#sayWhy(engine: Engine<PendingJob>): Generator<undefined, void, undefined> {
    for (const [ahead, job] of engine.inOrder().entries()) {
      if (engine.get(job.id) !== job || job.ahead === ahead) continue;
      job.ahead = ahead;
      job.reply.respond({ id: job.id, type: ALLOC.ANNOTATE, annotations: { sched: { reason_pending: "insufficient resources", jobs_ahead: ahead } } });
      yield undefined;
    }
  }

  #estimate(job: PendingJob, start: number | undefined): void {
    if (this.#options.engine().get(job.id) !== job) return; // it was answered meanwhile
    if (job.estimate === start || Math.abs((job.estimate ?? Infinity) - (start ?? Infinity)) < CHANGE_S) return;
    job.estimate = start;
    if (start === undefined) this.#estimated.delete(job);
    else this.#estimated.add(job);
    job.reply.respond({ id: job.id, type: ALLOC.ANNOTATE, annotations: { sched: { t_estimate: start ?? null } } });
  }
}
