// Looks which children have been silent for too long, and which are heard again.
import type { Clock, Timer } from "../../os/clock.ts";
import type { TorpidSettings } from "../torpid.ts";

/** Silence is looked at once more after this: when the event loop was held, what children sent is still unread. */
const SECOND_LOOK_MS = 50;
const INTERVAL_MIN_MS = 50;

export interface WatchedChild {
  readonly rank: number;
  readonly silent_ms: number;
  readonly isTorpid: boolean;
}

export interface TorpidWatchOptions {
  readonly clock: Clock;
  readonly settings: TorpidSettings;
  readonly children: () => Iterable<WatchedChild>;
  readonly changed: (rank: number, isTorpid: boolean) => void;
}

export class TorpidWatch {
  readonly #options: TorpidWatchOptions;
  #settings: TorpidSettings;
  /** Silent at the first look. */
  #suspected = new Set<number>();
  #timer: Timer | undefined;

  constructor(options: TorpidWatchOptions) {
    this.#options = options;
    this.#settings = options.settings;
    this.#arm();
  }

  set settings(settings: TorpidSettings) {
    this.#settings = settings;
    this.#look();
  }

  stop(): void {
    this.#options.clock.clear(this.#timer);
  }

  #arm(): void {
    const { clock } = this.#options;
    clock.clear(this.#timer);
    const { min_ms, max_ms } = this.#settings;
    const usual_ms = Math.max(INTERVAL_MIN_MS, Math.min(min_ms, max_ms === 0 ? min_ms : max_ms / 4));
    this.#timer = clock.setTimer(this.#suspected.size > 0 ? SECOND_LOOK_MS : usual_ms, () => this.#look()).unref();
  }

  #look(): void {
    const { max_ms } = this.#settings;
    const suspected = new Set<number>();
    for (const { rank, silent_ms, isTorpid } of [...this.#options.children()]) {
      const isSilent = max_ms > 0 && silent_ms > max_ms;
      if (isTorpid && !isSilent) this.#options.changed(rank, false);
      if (isTorpid || !isSilent) continue;
      if (this.#suspected.has(rank)) this.#options.changed(rank, true);
      else suspected.add(rank);
    }
    this.#suspected = suspected;
    this.#arm();
  }
}
