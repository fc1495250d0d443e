// Plugin: one concern of a job shell, called at fixed points of a job's life. The order of the list in plugins/mod.ts is the order of calls.
//
// A hook that throws ends the shell: a ShellExit with its own text and code, anything else as an internal error.
import type { Shell } from "./shell.ts";
import type { Task } from "./task.ts";

export interface Plugin {
  /** As in log messages of the shell ("output.kvs: …") and in the documentation of shell options. */
  readonly name: string;
  /** Before all else: may change shell.options, which other plugins read later. */
  load?(shell: Shell): void | Promise<void>;
  /** The job is known, no task exists. May change `shell.env`, `shell.spawn`, `shell.taskmap`, and offer service methods. */
  init?(shell: Shell): void | Promise<void>;
  /** shell.tasks is there; no task runs. May offer service methods. */
  tasksKnown?(shell: Shell): void | Promise<void>;
  /** All shells of the job have come so far. */
  allReady?(shell: Shell): void | Promise<void>;
  /** Before a task is started: may change `task.env`, `task.argv`, `task.cpus`, and ask for descriptors. */
  taskInit?(shell: Shell, task: Task): void | Promise<void>;
  /** Leader: the first report is about to be sent; what must be in the guest eventlogs by then goes with it (shell.appendNext). */
  firstReport?(shell: Shell): void;
  /** The task's process runs. */
  taskStarted?(shell: Shell, task: Task): void;
  /** All tasks of this shell run. */
  start?(shell: Shell): void | Promise<void>;
  /** A task's process is gone and its output at its end. */
  taskExit?(shell: Shell, task: Task): void;
  /** All tasks of this shell have ended. */
  tasksDone?(shell: Shell): void;
  /** Leader: the tasks of all shells have ended. */
  tasksComplete?(shell: Shell): void;
  /** A signal for the job's tasks has come; they get it after this. */
  kill?(shell: Shell, signum: number): void;
  /** To the leader: another shell is gone. */
  lostShell?(shell: Shell, shellRank: number, severity: number): void;
  /** The job's expiration changed (seconds since the epoch, 0 for none). */
  expiration?(shell: Shell, expiration: number): void;
  /** Leader: what was sent with the first report is in the KVS. */
  logged?(shell: Shell): void;
  /** All tasks of this shell are done, and nothing holds it. What is said and written now is still part of the job. */
  finish?(shell: Shell): void | Promise<void>;
  /** All tasks are done: flush what is left. Also called, as far as the shell got, when the shell fails. */
  exit?(shell: Shell): void | Promise<void>;
}
