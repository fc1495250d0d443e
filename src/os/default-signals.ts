// Calls into foreign libraries that block: no handler of ours runs meanwhile, so signals must end the process by themselves.
import { constants } from "node:os";
import { ptr } from "bun:ffi";
import { check, libc } from "./libc.ts";

/** More than struct sigaction has on any Linux; its zeros are SIG_DFL, an empty mask and no flags. */
const SIGACTION_BYTES = 256;
const ENDING = [constants.signals.SIGTERM, constants.signals.SIGINT, constants.signals.SIGHUP, constants.signals.SIGQUIT];

/** Calls `fn` while SIGTERM, SIGINT, SIGHUP and SIGQUIT do what they do by default. */
export function withDefaultSignals<T>(fn: () => T): T {
  const before = ENDING.map((signal) => {
    const old = new Uint8Array(SIGACTION_BYTES);
    check(libc().sigaction(signal, ptr(new Uint8Array(SIGACTION_BYTES)), ptr(old)), "sigaction");
    return [signal, old] as const;
  });
  try {
    return fn();
  } finally {
    for (const [signal, old] of before) check(libc().sigaction(signal, ptr(old), null), "sigaction");
  }
}
