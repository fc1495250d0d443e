// What job-exec and a job shell say to each other, over the shell's connection to its own broker. (RFC 32 ends at job-exec: this is ours.)
//
//   shell     job-exec.shell-wait {pid}          streaming: every response is an order. The shell is idle until it gets a job.
//   job-exec  {type: "job", …}                   run this job
//             {type: "go", id}                   all shells of the job are ready: start the tasks
//             {type: "logged", id}               to the leader: what came with its first report is in the KVS
//             {type: "kill", id, signum}         signal the tasks
//             {type: "lost-shell", id, …}        to the leader: another shell is gone (critical or not)
//             {type: "expiration", id, expiration}
//             {type: "retire"}                   end when idle
//   shell     job-exec.shell-report {id, …}      no response: progress, events for the exec eventlog, output that is ready at the end
import { formatEventlogEntry, type EventlogEntry } from "../formats/eventlog.ts";
import type { JobId } from "../formats/fluid.ts";
import type { JsonObject } from "../formats/json.ts";
import { arr, bool, def, fields, int, jobid, num, obj, opt, str, uint } from "../message/unpack.ts";

/** ready: before the barrier; running: tasks are started; exited: with `status`, the last report. */
export type ShellPhase = "ready" | "running" | "exited";

/** Where a shell may append to: the exec eventlog, and standard input and output of RFC 24. */
export type GuestKey = "exec.eventlog" | "output" | "input";

export interface ShellReport {
  readonly id: JobId;
  readonly shell_rank: number;
  readonly phase?: ShellPhase;
  /** Wait status of the shell: its exit code << 8. */
  readonly status?: number;
  /** Text of eventlog entries to append, complete lines. */
  readonly append?: Partial<Record<GuestKey, string>>;
  /** Leader, with "running": text for the exec eventlog once the tasks of all shells run. */
  readonly at_start?: string;
  /** Process groups of the tasks, so that they can be ended when the shell itself is killed. */
  readonly pids?: readonly number[];
  /** The shell will not take another job. */
  readonly last?: boolean;
  /** With "exited", from job-exec in place of the shell: its process has ended, and `status` is that of the process. */
  readonly lost?: boolean;
}

/** A report as a payload: members that are absent stay absent. */
export function encodeReport(report: ShellReport): JsonObject {
  const { append, ...rest } = report;
  return append === undefined ? { ...rest } : { ...rest, append: { ...append } };
}

export const reportSpec = {
  id: jobid,
  shell_rank: uint,
  phase: opt(str),
  status: opt(uint),
  append: opt(fields({ "exec.eventlog": opt(str), output: opt(str), input: opt(str) })),
  at_start: opt(str),
  pids: opt(arr(uint)),
  last: def(bool, false),
  lost: def(bool, false),
};

export const jobOrderSpec = {
  id: jobid,
  userid: uint,
  shell_rank: uint,
  namespace: str,
  jobspec: obj,
  R: obj,
};

export const controlSpec = {
  id: jobid,
  signum: opt(int),
  shell_rank: opt(uint),
  severity: opt(int),
  message: opt(str),
  expiration: opt(num),
};

/** One line of an eventlog. */
export function eventLine(timestamp: number, name: string, context?: JsonObject): string {
  const entry: EventlogEntry = context === undefined ? { timestamp, name } : { timestamp, name, context };
  return formatEventlogEntry(entry);
}
