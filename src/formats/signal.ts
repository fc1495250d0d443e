// Signals of Linux: names, numbers, and the words that describe them.

import { constants } from "node:os";
import { FormatError } from "./error.ts";

/** glibc keeps the first two real-time signals for itself. */
export const SIGRTMIN = 34;
export const SIGRTMAX = 64;

export function isSignal(number: number): boolean {
  return Number.isInteger(number) && number >= 1 && number <= SIGRTMAX;
}

const numbers = new Map<string, number>(Object.entries(constants.signals));
const names = new Map<number, string>();
for (const [name, number] of numbers) if (!names.has(number)) names.set(number, name);

const DESCRIPTIONS: Readonly<Record<string, string>> = {
  SIGHUP: "Hangup",
  SIGINT: "Interrupt",
  SIGQUIT: "Quit",
  SIGILL: "Illegal instruction",
  SIGTRAP: "Trace/breakpoint trap",
  SIGABRT: "Aborted",
  SIGBUS: "Bus error",
  SIGFPE: "Floating point exception",
  SIGKILL: "Killed",
  SIGUSR1: "User defined signal 1",
  SIGSEGV: "Segmentation fault",
  SIGUSR2: "User defined signal 2",
  SIGPIPE: "Broken pipe",
  SIGALRM: "Alarm clock",
  SIGTERM: "Terminated",
  SIGSTKFLT: "Stack fault",
  SIGCHLD: "Child exited",
  SIGCONT: "Continued",
  SIGSTOP: "Stopped (signal)",
  SIGTSTP: "Stopped",
  SIGTTIN: "Stopped (tty input)",
  SIGTTOU: "Stopped (tty output)",
  SIGURG: "Urgent I/O condition",
  SIGXCPU: "CPU time limit exceeded",
  SIGXFSZ: "File size limit exceeded",
  SIGVTALRM: "Virtual timer expired",
  SIGPROF: "Profiling timer expired",
  SIGWINCH: "Window changed",
  SIGIO: "I/O possible",
  SIGPWR: "Power failure",
  SIGSYS: "Bad system call",
};

/** "TERM", "SIGTERM", "sigterm", "15", "SIGRTMIN+3". Throws FormatError for what is no signal from 1 to 64. */
export function parseSignal(text: string): number {
  const name = text.trim().toUpperCase();
  if (/^\d{1,2}$/.test(name)) {
    const number = Number(name);
    if (isSignal(number)) return number;
    throw new FormatError("signal", text, `a signal is from 1 to ${SIGRTMAX}`);
  }
  const full = name.startsWith("SIG") ? name : `SIG${name}`;
  const realtime = /^SIGRT(MIN|MAX)(?:([+-])(\d{1,2}))?$/.exec(full);
  if (realtime) {
    const offset = Number(realtime[3] ?? 0) * (realtime[2] === "-" ? -1 : 1);
    const number = (realtime[1] === "MIN" ? SIGRTMIN : SIGRTMAX) + offset;
    if (number >= SIGRTMIN && number <= SIGRTMAX) return number;
  }
  const number = numbers.get(full);
  if (number === undefined) throw new FormatError("signal", text, "there is no such signal");
  return number;
}

/** "SIGTERM", "SIGRTMIN+3"; "SIG77" for what has no name. */
export function signalName(number: number): string {
  const name = names.get(number);
  if (name !== undefined) return name;
  if (number < SIGRTMIN || number > SIGRTMAX) return `SIG${number}`;
  if (number === SIGRTMIN) return "SIGRTMIN";
  if (number === SIGRTMAX) return "SIGRTMAX";
  return number - SIGRTMIN < SIGRTMAX - number ? `SIGRTMIN+${number - SIGRTMIN}` : `SIGRTMAX-${SIGRTMAX - number}`;
}

/** What strsignal(3) says: "Terminated", "Segmentation fault", "Real-time signal 3". */
export function describeSignal(number: number): string {
  if (number >= SIGRTMIN && number <= SIGRTMAX) return `Real-time signal ${number - SIGRTMIN}`;
  return DESCRIPTIONS[names.get(number) ?? ""] ?? `Unknown signal ${number}`;
}
