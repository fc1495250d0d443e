// Task: one process of a job on this node.
import type { JsonObject } from "../formats/json.ts";
import { describeSignal } from "../formats/signal.ts";
import { exitCode, shellExitCode, termSignal } from "../formats/waitstatus.ts";
import { type Child, type SpawnOptions, spawnProcess } from "../os/spawn.ts";

export interface Task {
  /** Rank in the job. */
  readonly rank: number;
  /** Index among the tasks of this shell. */
  readonly localId: number;
  argv: string[];
  /** Variables of this task alone, on top of the job's. */
  readonly env: Record<string, string>;
  cpus: readonly number[] | undefined;
  umask: number | undefined;
  oomScoreAdj: number | undefined;
  /** Descriptors 3, 4, … of the task; what connects them is told when the process runs. */
  readonly extraFds: NonNullable<SpawnOptions["extraFds"]>[number][];
  readonly onStarted: ((child: Child) => void)[];
  /** Where stdout and stderr go: to the shell unless a plugin gives a descriptor. */
  stdin: SpawnOptions["stdin"];
  onStdout: (chunk: Uint8Array) => void;
  onStderr: (chunk: Uint8Array) => void;
  onStdoutEnd: () => void;
  onStderrEnd: () => void;
  /** Starts its process: a plugin may put it on a terminal. */
  spawn: (options: SpawnOptions) => Child;
  child: Child | undefined;
  /** Wait status; undefined while it runs. */
  status: number | undefined;
}

const ignore = (): void => undefined;

export function newTask(rank: number, localId: number, command: readonly string[]): Task {
  return {
    rank,
    localId,
    argv: [...command],
    env: {},
    cpus: undefined,
    umask: undefined,
    oomScoreAdj: undefined,
    extraFds: [],
    onStarted: [],
    stdin: "pipe",
    onStdout: ignore,
    onStderr: ignore,
    onStdoutEnd: ignore,
    onStderrEnd: ignore,
    spawn: spawnProcess,
    child: undefined,
    status: undefined,
  };
}

/** Context of the shell.task-exit event (RFC 50). */
export function taskExitContext(task: Task): JsonObject {
  const status = task.status ?? 0;
  return {
    localid: task.localId,
    rank: task.rank,
    state: "Exited",
    pid: task.child?.pid ?? -1,
    wait_status: status,
    signaled: termSignal(status) ?? 0,
    exitcode: shellExitCode(status),
  };
}

/** "Exit 2", "Segmentation fault". */
export function describeExit(status: number): string {
  const code = exitCode(status);
  return code === undefined ? describeSignal(termSignal(status) ?? 0) : `Exit ${code}`;
}
