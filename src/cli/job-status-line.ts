// JobStatusLine: one line at a terminal that says what a job waits for, and how long already.
import type { Flux } from "../client/flux.ts";
import type { JobId } from "../formats/fluid.ts";
import type { JsonObject } from "../formats/json.ts";
import { columnsOf, isTerminal } from "../os/terminal.ts";
import type { ShownEvent } from "./job-output.ts";

const STATUS_DELAY_MS = 2000;

export interface StatusLineOptions {
  /** The job's name, as the user wrote it. */
  readonly shownId: string;
  /** Show it until the job starts, even where nobody seems to look. */
  readonly showStatus?: boolean;
  /** How often to ask whether the queue is stopped; default 10. */
  readonly queueCheck_s?: number | undefined;
  /** Events are shown: the line is only by request. */
  readonly showEvents?: boolean;
}

export interface StatusLine {
  event(event: ShownEvent, start_s: number): void;
  /** Something else is about to be written: it gets the line to itself, and this one comes again below it. */
  clear(): void;
  /** The job will never start: the line goes, and doesn't come again. */
  end(): void;
  stop(): void;
}

const STATUS_TEXTS: Readonly<Record<string, string>> = {
  submit: "submitted",
  validate: "resolving dependencies",
  depend: "waiting for priority assignment",
  priority: "waiting for resources",
  alloc: "starting",
  "prolog-start": "waiting for prolog",
  start: "started",
};
const QUEUE_CHECK_S = 10;

/** One line that says what a job waits for and how long already: on request, or at a terminal after two seconds. */
export function createStatusLine(h: Flux, id: JobId, options: StatusLineOptions, put: (text: string) => void): StatusLine {
  const isInteractive = process.env["FLUX_ATTACH_NONINTERACTIVE"] === undefined;
  const wanted = isInteractive && options.showStatus === true;
  const atTerminal = isInteractive && options.showEvents !== true && allTerminals();
  let visible = wanted;
  let text = "";
  let start_s = Date.now() / 1000;
  let prologs = 0;
  let queue: string | undefined;
  let stopped = false;
  let checked_s = Number.NEGATIVE_INFINITY;
  let timer: ReturnType<typeof setInterval> | undefined;
  const draw = (now_s: number): void => {
    if (!visible || text === "") return;
    const seconds = Math.max(0, Math.floor(now_s - start_s));
    const width = Math.max(0, columnsOf(2) - 20 - Buffer.byteLength(options.shownId));
    const two = (n: number): string => String(n).padStart(2, "0");
    const shown = stopped && text === STATUS_TEXTS["priority"] ? `${text} (${queue} queue stopped)` : text;
    const clock = `${two(Math.floor(seconds / 3600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
    put(`\rflux-job: ${options.shownId} ${shown.padEnd(width)} ${clock}\r`);
  };
  const checkQueue = async (now_s: number): Promise<void> => {
    if (text !== STATUS_TEXTS["priority"] || now_s - checked_s < (options.queueCheck_s ?? QUEUE_CHECK_S)) return;
    checked_s = now_s;
    const { job } = await h.rpc("job-list.list-id", { id, attrs: ["queue"] });
    const name = (job as JsonObject)["queue"];
    queue = typeof name === "string" ? name : "default";
    const answer = await h.rpc("job-manager.queue-status", typeof name === "string" ? { name } : {}, { nodeid: 0 });
    stopped = answer["start"] === false;
  };
  const tick = (): void => {
    visible = true;
    const now_s = Date.now() / 1000;
    // Decoration only: without an answer the line stays as it is.
    checkQueue(now_s).catch(() => {});
    draw(now_s);
  };
  const first = wanted || atTerminal ? setTimeout(() => ((timer = setInterval(tick, 1000)), tick()), STATUS_DELAY_MS) : undefined;
  const stop = (): void => {
    clearTimeout(first);
    clearInterval(timer);
  };
  const clear = (): void => {
    if (visible && text !== "") put("\r\x1b[K");
  };
  const done = (): void => {
    stop();
    if (visible) put("\n");
    visible = false;
  };
  return {
    stop,
    clear,
    end() {
      stop();
      clear();
      visible = false;
    },
    event({ name, timestamp }, began_s) {
      if (first === undefined) return;
      start_s = began_s;
      if (name === "prolog-start") prologs++;
      if (name === "prolog-finish") text = --prologs > 0 ? text : "starting";
      else text = STATUS_TEXTS[name] ?? text;
      draw(timestamp);
      if (name === "start" || name === "clean") done();
    },
  };
}

function allTerminals(): boolean {
  return isTerminal(0) && isTerminal(1) && isTerminal(2);
}

