// JobWatcher: follows many jobs at once for `flux submit --wait`, `--watch` and `flux watch`: their events, output, results,
// and how many are pending, running, complete and failed.
import type { Flux } from "../client/flux.ts";
import type { Stream } from "../client/stream.ts";
import type { JobId } from "../formats/fluid.ts";
import { type Json, type JsonObject, isJsonObject } from "../formats/json.ts";
import { shellExitCode } from "../formats/waitstatus.ts";
import { showJobId } from "./job-id.ts";
import { eventOfResponse, memberText, type OutputSink, putData, shellLogText, type ShownEvent } from "./job-output.ts";

export interface WatcherOptions {
  /** Show what the jobs print. */
  readonly watch: boolean;
  readonly labelIo: boolean;
  /** Show every event on stderr. */
  readonly logEvents: boolean;
  /** Show each job's wait status on stderr. */
  readonly logStatus: boolean;
  /** Jobs that are followed at a time, others when one of these is over; default 10 000. */
  readonly followedMax?: number;
  /** Called when a count has changed. */
  readonly onProgress?: (counts: JobCounts) => void;
}

export interface JobCounts {
  readonly total: number;
  readonly pending: number;
  readonly running: number;
  readonly complete: number;
  readonly failed: number;
  /** Jobs whose awaited event has come. */
  readonly done: number;
}

export interface JobWatcher {
  /**
   * Follows a job until `waitEvent` (in the job's eventlog, or "exec.NAME" in its execution's) or its end; resolves then, when all
   * its output has come, too.
   */
  add(id: JobId, sink: OutputSink, waitEvent: string | undefined): Promise<void>;
  /** The highest exit code of the jobs so far. */
  readonly exitCode: number;
  readonly counts: JobCounts;
}

/** Each job has up to three streams, and a service has a limit of open requests for one client. */
const FOLLOWED_MAX = 10_000;

export function createJobWatcher(h: Flux, options: WatcherOptions): JobWatcher {
  const counts = { total: 0, pending: 0, running: 0, complete: 0, failed: 0, done: 0 };
  let exitCode = 0;
  let start_s: number | undefined;
  const fail = (code: number): void => void (exitCode = Math.max(exitCode, code));
  const changed = (): void => options.onProgress?.(counts);
  const watch = (id: JobId, path: string): Stream =>
    h.stream("job-info.eventlog-watch", { id, path, flags: 0 }, { cancelTopic: "job-info.eventlog-watch-cancel" });

  const followedMax = options.followedMax ?? FOLLOWED_MAX;
  let following = 0;
  const waiting: (() => void)[] = [];
  const add = async (id: JobId, sink: OutputSink, waitEvent: string | undefined): Promise<void> => {
    counts.total++;
    counts.pending++;
    changed();
    // An eventlog is read from its beginning, so nothing is missed by beginning late.
    if (following >= followedMax) await new Promise<void>((resolve) => waiting.push(resolve));
    else following++;
    try {
      await followJob(id, sink, waitEvent);
    } finally {
      const next = waiting.shift();
      if (next === undefined) following--;
      else next(); // our place is its place
    }
    counts.done++;
    changed();
  };

  const followJob = async (id: JobId, sink: OutputSink, waitEvent: string | undefined): Promise<void> => {
    const job: Followed = { id, sink, shownId: showJobId(id), phase: "pending", started: false, shellStarted: false };
    let execution: Promise<void> | undefined;
    const events = watch(id, "eventlog");
    for await (const response of events) {
      const event = eventOfResponse(response);
      if (event === undefined) continue;
      start_s = Math.min(start_s ?? event.timestamp, event.timestamp);
      if (options.logEvents) log(job, event, event.name);
      followEvent(job, event);
      if (event.name === "start" && (options.watch || waitEvent?.startsWith("exec.") === true)) {
        execution = followExecution(job, waitEvent, () => void events.return());
      }
      changed();
      if (event.name === waitEvent) break;
    }
    await execution;
  };

  const move = (job: Followed, phase: Followed["phase"]): void => {
    counts[job.phase]--;
    counts[phase]++;
    job.phase = phase;
  };

  const followEvent = (job: Followed, event: ShownEvent): void => {
    const context = event.context ?? {};
    if (event.name === "start") job.started = true;
    if (event.name === "alloc" && job.phase === "pending") move(job, "running");
    else if (event.name === "exception" && context["severity"] === 0) {
      // One that has begun says by its end how it went.
      if (!job.started && job.phase !== "failed") move(job, "failed");
      if (job.phase === "failed") fail(1);
      if (!job.shellStarted) job.sink.stderr(`${exceptionText(context)}\n`);
    } else if (event.name === "finish") {
      const status = Number(context["status"]);
      fail(shellExitCode(status));
      move(job, status === 0 ? "complete" : "failed");
      if (options.logStatus) logText(job, event, `${job.phase}: status=${status}`);
    }
  };

  const followExecution = async (job: Followed, waitEvent: string | undefined, endJob: () => void): Promise<void> => {
    let output: Promise<void> | undefined;
    for await (const response of watch(job.id, "guest.exec.eventlog")) {
      const event = eventOfResponse(response);
      if (event === undefined) continue;
      if (options.logEvents) log(job, event, `exec.${event.name}`);
      if (event.name === "shell.init") {
        job.shellStarted = true;
        if (options.watch) output = followOutput(job);
        if (waitEvent?.startsWith("exec.") !== true && !options.logEvents) break;
      }
      if (`exec.${event.name}` === waitEvent) {
        endJob();
        break;
      }
    }
    await output;
  };

  const followOutput = async (job: Followed): Promise<void> => {
    const label = options.labelIo ? (rank: string): string => `${job.shownId}: ${rank}: ` : undefined;
    for await (const response of watch(job.id, "guest.output")) {
      const event = eventOfResponse(response);
      if (event?.context === undefined) continue;
      if (event.name === "data") putData(job.sink, event.context, label);
      else if (event.name === "log") job.sink.stderr(`${options.labelIo ? `${job.shownId}: ` : ""}${shellLogText(event.context)}\n`);
    }
  };

  const logText = (job: Followed, event: ShownEvent, text: string): void =>
    job.sink.stderr(`${job.shownId}: ${(event.timestamp - (start_s ?? event.timestamp)).toFixed(3)}s: ${text}\n`);
  const log = (job: Followed, event: ShownEvent, name: string): void => {
    logText(job, event, `${name} ${event.context === undefined ? "" : JSON.stringify(sorted(event.context))}`);
  };

  return {
    add,
    counts,
    get exitCode() {
      return exitCode;
    },
  };
}

interface Followed {
  readonly id: JobId;
  readonly shownId: string;
  readonly sink: OutputSink;
  phase: "pending" | "running" | "complete" | "failed";
  started: boolean;
  shellStarted: boolean;
}

/** "job.exception: type=exec severity=0 NOTE". */
function exceptionText({ type, severity, note }: JsonObject): string {
  return `job.exception: type=${memberText(type)} severity=${memberText(severity)} ${typeof note === "string" ? note : ""}`;
}

/** Members in the order of their names, at every depth. */
function sorted(value: Json): Json {
  if (Array.isArray(value)) return (value as readonly Json[]).map(sorted);
  if (!isJsonObject(value)) return value;
  return Object.fromEntries(Object.keys(value).toSorted().map((key) => [key, sorted(value[key] as Json)]));
}
