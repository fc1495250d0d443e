// Wait status, as wait(2) gives it and Flux messages carry it: exit code in the second byte, or a signal in the low seven bits.

import { FormatError } from "./error.ts";
import { describeSignal } from "./signal.ts";

const CORE_DUMPED = 0x80;

/** Status of a process that exited. Throws FormatError for a code that is not from 0 to 255. */
export function exitStatus(code: number): number {
  if (!Number.isInteger(code) || code < 0 || code > 255)
    throw new FormatError("exit code", String(code), "must be from 0 to 255");
  return code << 8;
}

/** Status of a process that a signal ended. */
export function signalStatus(signal: number, coreDumped = false): number {
  if (!Number.isInteger(signal) || signal < 1 || signal > 126)
    throw new FormatError("signal", String(signal), "must be from 1 to 126");
  return signal | (coreDumped ? CORE_DUMPED : 0);
}

/** Exit code, undefined when a signal ended the process. */
export function exitCode(status: number): number | undefined {
  return (status & 0x7f) === 0 ? (status >> 8) & 0xff : undefined;
}

/** Signal that ended the process, undefined when it exited. */
export function termSignal(status: number): number | undefined {
  const signal = status & 0x7f;
  return signal === 0 || signal === 0x7f ? undefined : signal;
}

export function coreDumped(status: number): boolean {
  return termSignal(status) !== undefined && (status & CORE_DUMPED) !== 0;
}

/** The exit code a shell makes of a status: 128 + signal for a signal. */
export function shellExitCode(status: number): number {
  return exitCode(status) ?? 128 + (termSignal(status) ?? 0);
}

/** "Exited with exit code 1", "Terminated", "Segmentation fault (core dumped)". */
export function describeWaitStatus(status: number): string {
  const code = exitCode(status);
  if (code !== undefined) return `Exited with exit code ${code}`;
  return `${describeSignal(termSignal(status) ?? 0)}${coreDumped(status) ? " (core dumped)" : ""}`;
}

/** How the shells of a job ended, as a sentence; "" for success. A shell exits with 128 + N when signal N ended a task. */
export function describeShellStatus(status: number): string {
  const code = exitCode(status);
  if (code === undefined) return `job shell ${describeSignal(termSignal(status) ?? 0)}`;
  if (code > 128) return `task(s) ${describeSignal(code - 128)}`;
  return code === 0 ? "" : `task(s) exited with exit code ${code}`;
}
