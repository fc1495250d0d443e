// A job-info service that plays the eventlogs of one job, for tests of what follows jobs.
import { defineModule, type ModuleDefinition } from "../../src/client/module.ts";
import { errno, FluxError } from "../../src/message/errno.ts";
import { jobid, str, unpack } from "../../src/message/unpack.ts";
import { type EventlogEntry, formatEventlogEntry } from "../../src/formats/eventlog.ts";
import type { OutputSink } from "../../src/cli/job-output.ts";

/** Above 2^53, as a job id of a long-lived instance is. */
export const JOB_ID = 9_007_199_254_740_993_001n;
const START_S = 1_700_000_000;

export type Eventlogs = Readonly<Record<string, readonly EventlogEntry[]>>;

export function event(offset_s: number, name: string, context?: EventlogEntry["context"]): EventlogEntry {
  return { timestamp: START_S + offset_s, name, ...(context === undefined ? {} : { context }) };
}

/** Eventlogs of a job that ran and ended with `status`, and printed `output`. */
export function ranJob(status: number, output: readonly EventlogEntry[]): Eventlogs {
  return {
    eventlog: [
      event(0, "submit", { userid: 1000, urgency: 16, flags: 0, version: 1 }),
      event(0.01, "depend"),
      event(0.02, "priority", { priority: 16 }),
      event(0.03, "alloc"),
      event(0.04, "start"),
      event(0.09, "finish", { status }),
      event(0.1, "release", { ranks: "all", final: true }),
      event(0.11, "clean"),
    ],
    "guest.exec.eventlog": [
      event(0.035, "init"),
      event(0.05, "shell.init", { service: "1000-shell-test", "leader-rank": 0, size: 1 }),
      event(0.06, "shell.start", { taskmap: { version: 1, map: [[0, 1, 2, 1]] } }),
      event(0.08, "complete", { status }),
    ],
    "guest.output": [event(0.055, "header", { version: 1 }), ...output],
  };
}

export function data(offset_s: number, stream: string, rank: string, text: string): EventlogEntry {
  return event(offset_s, "data", { stream, rank, data: text });
}

export function jobInfo(logs: Eventlogs): ModuleDefinition {
  return defineModule({
    name: "job-info",
    async start(h) {
      await h.serve("job-info", {
        async *"eventlog-watch"(request) {
          const { id, path } = unpack(request.payload, { id: jobid, path: str });
          const entries = id === JOB_ID ? logs[path] : undefined;
          if (entries === undefined) throw new FluxError(errno.ENOENT);
          for (const entry of entries) yield { event: formatEventlogEntry(entry) };
        },
      });
    },
  });
}

export interface CapturedOutput extends OutputSink {
  flush(): void;
  readonly out: () => string;
  readonly err: () => string;
}

export function captureOutput(): CapturedOutput {
  let out = "";
  let err = "";
  const textOf = (chunk: string | Uint8Array): string => (typeof chunk === "string" ? chunk : Buffer.from(chunk).toString());
  return {
    stdout: (chunk) => void (out += textOf(chunk)),
    stderr: (chunk) => void (err += textOf(chunk)),
    flush: () => {},
    out: () => out,
    err: () => err,
  };
}
