// Signals by name and number, and the status word of wait(2), in which Flux reports how a process ended (RFC 22, RFC 32).

import { constants } from "node:os";

import { errno, FluxError } from "../message/errno.ts";

const SIGRTMIN = 34;
const SIGRTMAX = 64;

const byNumber = new Map<number, string>();
for (const [name, number] of Object.entries(constants.signals)) {
  if (!byNumber.has(number)) byNumber.set(number, name); // SIGABRT comes before SIGIOT, SIGIO before SIGPOLL
}

/** "SIGTERM" for 15, "SIGRTMIN+6" for 40; undefined for what is no signal. */
export function signalName(number: number): string | undefined {
  if (number >= SIGRTMIN && number <= SIGRTMAX) return number === SIGRTMIN ? "SIGRTMIN" : `SIGRTMIN+${number - SIGRTMIN}`;
  return byNumber.get(number);
}

/** The number of "SIGTERM", "TERM", "term", "15" or "SIGRTMIN+6". EINVAL names what is no signal. */
export function signalNumber(name: string): number {
  if (/^\d+$/.test(name)) {
    const number = Number(name);
    if (signalName(number) !== undefined) return number;
  }
  const upper = name.toUpperCase();
  const full = upper.startsWith("SIG") ? upper : `SIG${upper}`;
  const known: Readonly<Record<string, number>> = constants.signals;
  if (Object.hasOwn(known, full)) return known[full] ?? 0;
  const realTime = /^SIGRT(MIN|MAX)(?:([+-])(\d+))?$/.exec(full);
  if (realTime !== null) {
    const base = realTime[1] === "MIN" ? SIGRTMIN : SIGRTMAX;
    const number = base + (realTime[2] === "-" ? -1 : 1) * Number(realTime[3] ?? 0);
    if (number >= SIGRTMIN && number <= SIGRTMAX) return number;
  }
  throw new FluxError(errno.EINVAL, `${name} is not a signal`);
}

/** The wait status of a process that exited with `code`. */
export function statusOfExit(code: number): number {
  return (code & 0xff) << 8;
}

/** The wait status of a process that `signal` ended. */
export function statusOfSignal(signal: number): number {
  return signal & 0x7f;
}

/** Exit code of a wait status; undefined when a signal ended the process. */
export function exitCodeOf(status: number): number | undefined {
  return (status & 0x7f) === 0 ? (status >> 8) & 0xff : undefined;
}

/** Signal of a wait status; undefined when the process exited. */
export function termSignalOf(status: number): number | undefined {
  const signal = status & 0x7f;
  return signal === 0 || signal === 0x7f ? undefined : signal;
}

/** What a shell makes of a wait status: the exit code, or 128 and the signal. */
export function shellExitCode(status: number): number {
  return exitCodeOf(status) ?? 128 + (status & 0x7f);
}
