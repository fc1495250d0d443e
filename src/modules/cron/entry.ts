// A cron entry: a command, what triggers it, and what became of its last runs. It runs one at a time.
import type { Flux } from "../../client/flux.ts";
import type { JsonObject } from "../../formats/json.ts";
import { errno, FluxError } from "../../message/errno.ts";
import type { Clock } from "../../os/clock.ts";
import { CronTask } from "./task.ts";
import { newTrigger, type Trigger } from "./trigger.ts";

export interface CronEntryOptions {
  readonly id: number;
  readonly type: string;
  readonly name: string;
  readonly command: string;
  readonly args: JsonObject;
  readonly environ: Readonly<Record<string, string>> | undefined;
  readonly cwd: string | undefined;
  /** Stops after so many runs; 0: never. */
  readonly repeat: number;
  readonly rank: number;
  readonly taskHistoryCount: number;
  /** Stops after so many failures; 0: never. */
  readonly stopOnFailure: number;
  readonly timeout_s: number | undefined;
  /** It was triggered: run() it when it is time. */
  readonly ready: (entry: CronEntry) => void;
}

const HISTORY_MAX = 1000;

export class CronEntry {
  readonly stats = { ctime: 0, starttime: 0, lastrun: 0, count: 0, failcount: 0, total: 0, success: 0, failure: 0, deferred: 0 };
  readonly #h: Flux;
  readonly #clock: Clock;
  readonly #options: CronEntryOptions;
  #trigger: Trigger | undefined;
  #stopped = true;
  /** Scheduled or running. */
  #task: CronTask | undefined;
  #finished: CronTask[] = [];

  private constructor(h: Flux, clock: Clock, options: CronEntryOptions) {
    this.#h = h;
    this.#clock = clock;
    this.#options = options;
    this.stats.ctime = clock.now_s();
  }

  /** A stopped entry. Throws FluxError ENOSYS, EPROTO, EINVAL for a trigger that can't be. */
  static async create(h: Flux, clock: Clock, options: CronEntryOptions): Promise<CronEntry> {
    const entry = new CronEntry(h, clock, options);
    entry.#trigger = await newTrigger(options.type, options.args, {
      h,
      clock,
      fire: () => entry.#fire(),
      lastRun_s: () => entry.stats.lastrun,
      exhausted: (text) => entry.#exhausted(text),
      log: (level, text) => entry.#log(level, text),
    });
    return entry;
  }

  get id(): number {
    return this.#options.id;
  }

  /** Throws FluxError EINVAL when it isn't stopped. */
  start(): void {
    if (!this.#stopped) throw new FluxError(errno.EINVAL, `cron-${this.id} is not stopped`);
    this.#stopped = false;
    Object.assign(this.stats, { starttime: this.#clock.now_s(), count: 0, failcount: 0 });
    this.#trigger?.start();
  }

  /** Throws FluxError EINVAL when it is stopped. */
  stop(): void {
    if (this.#stopped) throw new FluxError(errno.EINVAL, `cron-${this.id} is stopped already`);
    this.#stopped = true;
    this.#trigger?.stop();
  }

  /** Ends what is running. */
  kill(): void {
    this.#task?.kill();
  }

  /** No more runs; one that is under way ends by itself. */
  async end(): Promise<void> {
    if (!this.#stopped) this.stop();
    await this.#trigger?.end();
  }

  #fire(): void {
    if (this.#task !== undefined) return this.#log(6, `${this.#options.name}: task still running or scheduled`);
    const { rank, command, cwd, environ: env, timeout_s, name, repeat, ready } = this.#options;
    this.#task = new CronTask({
      h: this.#h,
      clock: this.#clock,
      rank,
      command,
      cwd,
      env,
      timeout_s,
      onLine: (isError, line) => this.#h.log(isError ? 3 : 6, `cron-${this.id}[${name}]: rank=${rank}: command="${command}": "${line}"`),
    });
    this.stats.total++;
    if (++this.stats.count === repeat && !this.#stopped) this.stop();
    ready(this);
  }

  /** Runs what was triggered. */
  run(): void {
    const task = this.#task;
    if (task === undefined) return;
    this.stats.lastrun = this.#clock.now_s();
    void task.run().then((problem) => this.#finish(task, problem));
  }

  #finish(task: CronTask, problem: string | undefined): void {
    this.#task = undefined;
    this.#finished = [task, ...this.#finished].slice(0, Math.min(HISTORY_MAX, Math.max(0, this.#options.taskHistoryCount)));
    if (problem === undefined) {
      this.stats.success++;
      return;
    }
    this.#log(3, problem);
    this.stats.failure++;
    this.stats.failcount++;
    const { stopOnFailure } = this.#options;
    if (stopOnFailure === 0 || this.stats.failcount < stopOnFailure || this.#stopped) return;
    this.#log(3, `exceeded failure limit of ${stopOnFailure}. stopping`);
    this.stop();
  }

  #exhausted(text: string): void {
    const { repeat } = this.#options;
    if (repeat === 0 || repeat > this.stats.count) this.#log(3, text);
    if (!this.#stopped) this.stop();
  }

  #log(level: 3 | 6 | 7, text: string): void {
    this.#h.log(level, `cron-${this.id}: ${text}`);
  }

  describe(): JsonObject {
    const { id, rank, name, command, repeat, type, timeout_s } = this.#options;
    return {
      id,
      rank,
      name,
      command,
      repeat,
      stopped: this.#stopped,
      type,
      ...(timeout_s !== undefined && { timeout: timeout_s }),
      stats: { ...this.stats },
      typedata: this.#trigger?.describe() ?? {},
      tasks: [...(this.#task === undefined ? [] : [this.#task]), ...this.#finished].map((task) => task.describe()),
    };
  }
}
