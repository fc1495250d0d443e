// Processes that stop as soon as their program is loaded, before its first instruction, so that a debugger can attach to it.
//
// The process begins as a small shell that stops itself. We trace it from there to the end of its exec(2), and let go of it stopped.
import { ptr } from "bun:ffi";
import { errno, FluxError, strerror } from "../message/errno.ts";
import { lastErrno, libc } from "./libc.ts";

const SCRIPT = 'kill -STOP $$; exec "$@"';

/** The command line of a process that stops before it becomes the program. Give its process to runToExec(). */
export function stoppingArgv(argv: readonly string[]): string[] {
  return ["/bin/sh", "-c", SCRIPT, "sh", ...argv];
}

const PTRACE = { cont: 7, attach: 16, detach: 17, setOptions: 0x4200 } as const;
const TRACE_EXEC = 0x10;
const EVENT_EXEC = 4;
const SIGTRAP = 5;
const SIGSTOP = 19;
const P_PID = 1;
const WAIT = { exited: 4, stopped: 2, noWait: 0x0100_0000 } as const;
const CLD = { trapped: 4, stopped: 5 } as const;
/** Stops on the way that mean nothing, at most. */
const STOPS_MAX = 16;

/**
 * Waits (a few milliseconds, and everything else with it) until the process has stopped in its new program. True: it did; false: it is
 * gone. Throws EPERM where we may not trace: then it has stopped before exec(2).
 */
export function runToExec(pid: number): boolean {
  if (nextStop(pid) === undefined) return false;
  trace(PTRACE.attach, pid);
  for (let seen = 0, traced = false; seen < STOPS_MAX; seen++) {
    const status = nextStop(pid);
    if (status === undefined) return false;
    if (!traced) trace(PTRACE.setOptions, pid, TRACE_EXEC);
    traced = true;
    if (status === ((EVENT_EXEC << 8) | SIGTRAP)) {
      trace(PTRACE.detach, pid, SIGSTOP);
      return true;
    }
    trace(PTRACE.cont, pid);
  }
  trace(PTRACE.detach, pid, SIGSTOP);
  return true;
}

function trace(request: number, pid: number, data = 0): void {
  if (Number(libc().ptrace(request, pid, 0, data)) !== -1) return;
  const number = lastErrno();
  throw new FluxError(number, `ptrace of process ${pid}: ${strerror(number)}`);
}

/** Signal (and event) that stopped it; undefined when it has ended, which is left for others to hear of. */
function nextStop(pid: number): number | undefined {
  const { code } = wait(pid, WAIT.stopped | WAIT.exited | WAIT.noWait);
  if (code !== CLD.trapped && code !== CLD.stopped) return undefined;
  return wait(pid, WAIT.stopped).status;
}

function wait(pid: number, options: number): { code: number; status: number } {
  const info = new Int32Array(32); // siginfo_t is 128 bytes: si_code at 8, si_status at 24
  for (;;) {
    if (libc().waitid(P_PID, pid, ptr(info), options) === 0) return { code: info[2] ?? 0, status: info[6] ?? 0 };
    const number = lastErrno();
    if (number !== errno.EINTR) return { code: 0, status: 0 };
  }
}
