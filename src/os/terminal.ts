// Terminals that we are on: whether a descriptor is one, its size, its raw mode.
//
// The runtime's own answers (isatty(), process.stdout.isTTY) load all of its streams first: a tenth of the time that a command takes.
import { fstatSync } from "node:fs";
import { ptr } from "bun:ffi";
import { check, libc } from "./libc.ts";

const COLUMNS_DEFAULT = 80;
const TIOCGWINSZ = 0x5413;
/** Of tcsetattr(3): when all output has been shown. */
export const TCSADRAIN = 1;
/** Room for a struct termios, which has 60. */
export const TERMIOS_BYTES = 64;

export interface WindowSize {
  columns: number;
  rows: number;
}

/** Columns of the terminal behind a descriptor; 80 when it is none, or doesn't say. */
export function columnsOf(fd: number): number {
  const columns = isTerminal(fd) ? (windowSize(fd)?.columns ?? 0) : 0;
  return columns > 0 ? columns : COLUMNS_DEFAULT;
}

/** True when the descriptor is a terminal. */
export function isTerminal(fd: number): boolean {
  // Mostly it is a file or a pipe, and then the C library need not be opened.
  if (!isCharacterDevice(fd)) return false;
  return libc().tcgetattr(fd, ptr(new Uint8Array(TERMIOS_BYTES))) === 0;
}

function isCharacterDevice(fd: number): boolean {
  try {
    return fstatSync(fd).isCharacterDevice();
  } catch {
    return false; // closed
  }
}

/** Size of the terminal behind a descriptor; undefined when it is none. */
export function windowSize(fd: number): WindowSize | undefined {
  const winsize = new Uint16Array(4); // rows, columns, and two sizes in pixels
  if (libc().ioctl(fd, TIOCGWINSZ, ptr(winsize)) === -1) return undefined;
  return { rows: winsize[0] ?? 0, columns: winsize[1] ?? 0 };
}

/** Put the terminal behind `fd` into raw mode; the function returned takes its old mode back. ENOTTY when it is none. */
export function enterRawMode(fd: number): () => void {
  const before = new Uint8Array(TERMIOS_BYTES);
  check(libc().tcgetattr(fd, ptr(before)), `tcgetattr of descriptor ${fd}`);
  const raw = before.slice();
  libc().cfmakeraw(ptr(raw));
  check(libc().tcsetattr(fd, TCSADRAIN, ptr(raw)), `tcsetattr of descriptor ${fd}`);
  return () => {
    check(libc().tcsetattr(fd, TCSADRAIN, ptr(before)), `tcsetattr of descriptor ${fd}`);
  };
}
