// Process groups and the terminal: a program that gets a group of its own, and the terminal with it, while it runs.
//
// A new group must be joined before the program starts, and the runtime offers only a new session, which has no
// terminal. So this process steps into a group of its own for the moment of the spawn: the child is born there, and we
// go back. When we lead our group already (an interactive shell made us a job), the child shares it.
import { ptr } from "bun:ffi";
import { check, libc } from "./libc.ts";

const SIGTTOU = 22;
const SIGTTIN = 21;
const SIG_IGN = 1;
const TCSADRAIN = 1;
const TERMIOS_BYTES = 64; // struct termios is 60 bytes

export interface OwnGroup {
  /** The group that the child was born into. */
  readonly pgid: number;
  /** True when nobody but the child and what it starts is in it. */
  readonly isSeparate: boolean;
  /** The program has ended: the terminal is ours again, in the state it was in. */
  restore(): void;
}

/** Runs `spawn` such that what it starts is in a process group of its own, in the foreground if we are. */
export function inOwnGroup<T>(spawn: () => T): { result: T; group: OwnGroup } {
  const before = libc().getpgrp();
  const leads = before === process.pid;
  const terminal = openTerminal(before);
  if (leads) return { result: spawn(), group: { pgid: before, isSeparate: false, restore: () => terminal?.restore() } };
  check(libc().setpgid(0, 0), "setpgid");
  try {
    terminal?.giveTo(process.pid);
    const result = spawn();
    return { result, group: { pgid: process.pid, isSeparate: true, restore: () => terminal?.restore() } };
  } finally {
    // Fails only when everybody else of the old group has gone, and then it does not matter where we are.
    libc().setpgid(0, before);
  }
}

/** The terminal on stdin, when this process is in its foreground. */
function openTerminal(pgrp: number): { giveTo(pgid: number): void; restore(): void } | undefined {
  if (libc().tcgetpgrp(0) !== pgrp) return undefined;
  const state = new Uint8Array(TERMIOS_BYTES);
  check(libc().tcgetattr(0, ptr(state)), "tcgetattr");
  // Moving the terminal from the background would stop us.
  libc().signal(SIGTTOU, SIG_IGN);
  libc().signal(SIGTTIN, SIG_IGN);
  return {
    giveTo: (pgid) => check(libc().tcsetpgrp(0, pgid), "tcsetpgrp"),
    restore() {
      // The terminal may have gone in the meantime (hang-up): then there is nothing to restore.
      if (libc().tcsetpgrp(0, libc().getpgrp()) === 0) libc().tcsetattr(0, TCSADRAIN, ptr(state));
    },
  };
}

/** Remembers who has the terminal and how it is set, to put that back after programs that end badly. */
export function saveTerminal(): () => void {
  const terminal = openTerminal(libc().getpgrp());
  return () => terminal?.restore();
}
