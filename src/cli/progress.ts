// A bar of progress on the last line of a terminal: text before, the bar, text after; drawn a few times a second at most.
import type { JobCounts } from "./job-watcher.ts";
import { write, writeError } from "./output.ts";
import { columnsOf, isTerminal } from "../os/terminal.ts";

export interface Progress {
  /** What to show: `done` of `total`, and the words on both sides. */
  update(state: ProgressState): void;
  /** Draws the last state and leaves the line. */
  stop(): void;
}

export interface ProgressState {
  readonly done: number;
  readonly total: number;
  readonly before: string;
  /** After the percentage: elapsed time, or a rate. */
  readonly after: string;
}

const REDRAW_MS = 100;
const BAR_MIN_COLUMNS = 3;

export function startProgress(): Progress {
  let state: ProgressState | undefined;
  let dirty = false;
  const draw = (): void => {
    if (state === undefined || !dirty) return;
    dirty = false;
    write(`\r${progressLine(state, columnsOf(1))}\x1b[K`);
  };
  const timer = setInterval(draw, REDRAW_MS);
  timer.unref();
  return {
    update(next) {
      if (state === undefined) setImmediate(draw);
      state = next;
      dirty = true;
    },
    stop() {
      clearInterval(timer);
      dirty = true;
      draw();
      if (state !== undefined) write("\n");
    },
  };
}

/** The line of a state in so many columns. */
export function progressLine({ done, total, before, after }: ProgressState, columns: number): string {
  const fraction = total === 0 ? 0 : Math.min(1, done / total);
  const right = ` ${(fraction * 100).toFixed(1).padStart(5)}% ${after}`;
  const room = columns - before.length - right.length - 3;
  if (room < BAR_MIN_COLUMNS) return `${before}${right.trimStart()}`.slice(0, columns - 1);
  const filled = Math.floor(fraction * room);
  return `${before}|${"█".repeat(filled)}${" ".repeat(room - filled)}|${right}`;
}

/** "0:01:05" of seconds. */
export function elapsedText(seconds: number): string {
  const two = (n: number): string => String(n).padStart(2, "0");
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
}

/** True when --progress was given and stdout is a terminal; says when it isn't. */
export function barWanted(progress: boolean): boolean {
  if (!progress) return false;
  if (isTerminal(1)) return true;
  writeError("flux: WARNING: stdout is not a tty. Ignoring --progress option\n");
  return false;
}

/** A bar of many jobs: while they are submitted, or while they are followed. */
export interface JobsBar extends Pick<Progress, "stop"> {
  submitted(done: number, failed: number): void;
  followed(counts: JobCounts): void;
}

/** With `jps`, jobs per second instead of the time that has passed. */
export function startJobsBar(total: number, jps: boolean): JobsBar {
  const progress = startProgress();
  const start_ms = performance.now();
  const after = (done: number): string => {
    const elapsed_s = (performance.now() - start_ms) / 1000;
    return jps ? `${(done / Math.max(elapsed_s, 0.001)).toFixed(1)} job/s` : elapsedText(elapsed_s);
  };
  return {
    stop: () => progress.stop(),
    submitted: (done, failed) =>
      progress.update({ done, total, before: `Submitting ${total} jobs: ${failed > 0 ? `${failed} failed ` : ""}`, after: after(done) }),
    followed: ({ pending, running, complete, failed, done }) => {
      const column = (n: number): string => String(n).padEnd(3);
      const before = `PD:${column(pending)} R:${column(running)} CD:${column(complete)} F:${column(failed)} `;
      progress.update({ done, total, before, after: after(done) });
    },
  };
}
