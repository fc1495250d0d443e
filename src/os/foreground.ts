// Process groups and the terminal: a program that gets a group of its own, and the terminal with it, while it runs.
//
// A new group must be joined before the program starts, and the runtime offers only a new session, which has no
// terminal. So this process steps into a group of its own for the moment of the spawn: the child is born there, and we
// go back. When we lead our group already (an interactive shell made us a job), we can't, and the child shares it, unless
// it must not: then it begins as `flux own-group`, which steps out by itself before it becomes the program.
import { ptr } from "bun:ffi";
import { check, libc } from "./libc.ts";
import { selfCommand } from "./self.ts";
import { TCSADRAIN, TERMIOS_BYTES } from "./terminal.ts";

const SIGTTOU = 22;
const SIGTTIN = 21;
const SIG_DFL = 0;
const SIG_IGN = 1;

export interface OwnGroup {
  /** The group that the child was born into. */
  readonly pgid: number;
  /** True when nobody but the child and what it starts is in it. */
  readonly isSeparate: boolean;
  /** The program has ended: the terminal is ours again, in the state it was in. */
  restore(): void;
}

/**
 * Runs `spawn` such that what it starts is in a process group of its own, in the foreground if we are. The words that it is
 * given go before those of the program. When we lead our group, this costs the start of one more program, and is done only if it `must`.
 */
export function inOwnGroup<T extends { readonly pid: number }>(must: boolean, spawn: (prefix: readonly string[]) => T): { result: T; group: OwnGroup } {
  const before = libc().getpgrp();
  const leads = before === process.pid;
  const terminal = openTerminal(before);
  if (leads) {
    const result = spawn(must ? [...selfCommand(), "own-group"] : []);
    return { result, group: { pgid: must ? result.pid : before, isSeparate: must, restore: () => terminal?.restore() } };
  }
  check(libc().setpgid(0, 0), "setpgid");
  try {
    terminal?.giveTo(process.pid);
    const result = spawn([]);
    return { result, group: { pgid: process.pid, isSeparate: true, restore: () => terminal?.restore() } };
  } finally {
    // Fails only when everybody else of the old group has gone, and then it does not matter where we are.
    libc().setpgid(0, before);
  }
}

/** This process leaves its group for one of its own, and takes the terminal with it. */
export function leadOwnGroup(): void {
  const terminal = openTerminal(libc().getpgrp());
  check(libc().setpgid(0, 0), "setpgid");
  terminal?.giveTo(process.pid);
  // What is ignored would stay so in the program.
  for (const signal of [SIGTTOU, SIGTTIN]) libc().signal(signal, SIG_DFL);
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
