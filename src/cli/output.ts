// Output of commands: what goes to stdout goes at once and whole, a reader that has gone ends the command quietly, and
// colours are for terminals.
import { writeSync } from "node:fs";
import { UsageError } from "./command.ts";
import { columnsOf, isTerminal } from "../os/terminal.ts";

/** Exit code of a program that SIGPIPE ends, as the shell shows it. */
const EXIT_SIGPIPE = 141;

/** Writes text or bytes to stdout. Ends the process when nobody reads it any more. */
export function write(data: string | Uint8Array): void {
  let rest = typeof data === "string" ? Buffer.from(data) : data;
  while (rest.length > 0) rest = rest.subarray(writeSome(1, rest));
}

/** Writes lines to stdout. */
export function print(...lines: readonly string[]): void {
  if (lines.length > 0) write(`${lines.join("\n")}\n`);
}

/** Writes text or bytes to stderr. */
export function writeError(data: string | Uint8Array): void {
  let rest = typeof data === "string" ? Buffer.from(data) : data;
  while (rest.length > 0) rest = rest.subarray(writeSome(2, rest));
}

/** Writes a line to stderr. */
export function printError(line: string): void {
  writeError(`${line}\n`);
}

function writeSome(fd: number, data: Uint8Array): number {
  try {
    return writeSync(fd, data);
  } catch (err) {
    const code = (err as NodeJS.ErrnoException).code;
    if (code === "EPIPE") process.exit(EXIT_SIGPIPE);
    if (code !== "EAGAIN") throw err;
    // Someone before us left the pipe non-blocking: wait a little for its reader.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
    return 0;
  }
}

/** For words that don't fit: shows how the command is used. Throw what it returns. */
export function wrongUsage(usage: string): UsageError {
  printError(`Usage: ${usage}`);
  return new UsageError("");
}

export const COLOR = {
  reset: "\x1b[0m",
  bold: "\x1b[1m",
  reverse: "\x1b[7m",
  red: "\x1b[31m",
  green: "\x1b[32m",
  yellow: "\x1b[33m",
  blue: "\x1b[34m",
  magenta: "\x1b[35m",
  cyan: "\x1b[36m",
  gray: "\x1b[37m",
  darkGray: "\x1b[90m",
  boldBlue: "\x1b[01;34m",
} as const;

/** True when output is to be coloured; `when` is the value of --color. Throws UsageError for another word. */
export function wantsColor(when: string | undefined): boolean {
  if (when === "always") return true;
  if (when === "never") return false;
  if (when === undefined || when === "auto") return isTerminal(1) && process.env["NO_COLOR"] === undefined;
  throw new UsageError(`Invalid argument for --color: '${when}'`);
}

/** Columns to fill: `width` when given, else the terminal's, else $COLUMNS, else 80. 0 is without limit. */
export function windowWidth(width: number | undefined): number {
  if (width !== undefined) return width;
  if (isTerminal(1)) return columnsOf(1);
  const columns = Number.parseInt(process.env["COLUMNS"] ?? "", 10);
  return columns >= 0 ? columns : 80;
}
