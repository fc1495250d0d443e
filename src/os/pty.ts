// Pseudo-terminals: a child on a terminal of its own.

import { errno, FluxError } from "../message/errno.ts";
import { openFdStream } from "./fd-stream.ts";
import { closeFd } from "./libc.ts";
import { type Child, type ChildStdio, closeWire, prepareProgram, sendSignal, startProgram, usageOf, waitStatus, wires, type ExitStatus, type SpawnOptions } from "./spawn.ts";
import type { WindowSize } from "./terminal.ts";

export interface PtyOptions extends Pick<SpawnOptions, "argv" | "env" | "cwd" | "cpus" | "rlimits" | "umask" | "extraFds"> {
  size?: WindowSize;
  /** Output of the terminal, as it is on the screen. A terminal cannot be paused: the reader must keep up. */
  onData?: (chunk: Uint8Array) => void;
}

/** A child on a terminal: it leads a session, and has no streams of its own. */
export interface PtyChild extends Child {
  /** Type these bytes. EPIPE when the terminal is closed. */
  write(data: Uint8Array | string): void;
  /** Change the size; the foreground job gets SIGWINCH. */
  resize(size: WindowSize): void;
  /** Hang up: SIGHUP to the session. */
  close(): void;
}

/** How long output of a terminal may follow the end of its process: descendants may hold the terminal for ever. */
const PTY_LINGER_MS = 1000;

/** Start a program as the leader of a session on a new terminal. Errors as spawnProcess. */
export function spawnPty(options: PtyOptions): PtyChild {
  const program = prepareProgram(options.argv, options.env, options.cwd);
  const size = options.size ?? { columns: 80, rows: 24 };
  const gone = Promise.withResolvers<ExitStatus>();
  const silent = Promise.withResolvers<void>();
  const extraStdio = (options.extraFds ?? []).map((extra): ChildStdio => (typeof extra === "number" ? extra : "pipe"));
  const { stdio, pairs } = wires(["null", "null", "null", ...extraStdio]);
  let subprocess: Bun.Subprocess;
  try {
    // Only a terminal that is made by the spawn itself becomes the child's controlling terminal; it takes the places of 0, 1 and 2.
    subprocess = startProgram(program, options, {
      stdio: stdio as ["ignore", "ignore", "ignore"],
      terminal: {
        cols: size.columns,
        rows: size.rows,
        data: (_, chunk) => options.onData?.(chunk),
        exit: () => silent.resolve(),
      },
      onExit(_, exitCode, signal) {
        gone.resolve({ status: waitStatus(exitCode, signal) });
      },
    });
  } catch (error) {
    for (const wire of pairs) closeWire(wire);
    throw error;
  }
  for (const wire of pairs) if (wire !== undefined) closeFd(wire.childs);
  const { pid, terminal } = subprocess;
  if (terminal === undefined) throw new FluxError(errno.ENOTTY, "the runtime made no terminal");
  const extra = (options.extraFds ?? []).map((how, i) => {
    const wire = pairs[3 + i];
    return typeof how === "number" || wire === undefined ? undefined : openFdStream(wire.ours, how);
  });
  let alive = true;
  const reaped = gone.promise.then((exit) => {
    alive = false;
    return exit;
  });
  const exited = reaped.then(async (exit) => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const limit = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, PTY_LINGER_MS);
    });
    await Promise.race([silent.promise, limit]);
    clearTimeout(timer);
    if (!terminal.closed) terminal.close();
    return exit;
  });
  return {
    pid,
    stdin: undefined,
    stdout: undefined,
    stderr: undefined,
    extra,
    reaped,
    exited,
    write(data) {
      if (terminal.closed) throw new FluxError(errno.EPIPE, "the terminal is closed");
      terminal.write(data);
    },
    resize({ columns, rows }) {
      if (!terminal.closed) terminal.resize(columns, rows);
    },
    kill: (signal) => alive && sendSignal(pid, signal),
    killGroup: (signal) => sendSignal(-pid, signal),
    close: () => terminal.close(),
    unref: () => subprocess.unref(),
    usage: () => usageOf(subprocess),
  };
}
