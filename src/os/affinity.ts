// The CPU mask of this process: which logical CPUs (PUs, by their OS index) it may run on, and a way to give a child another.

import { ptr } from "bun:ffi";

import { errno, FluxError, strerror } from "../message/errno.ts";
import { check, lastErrno, libc } from "./libc.ts";

const SMALL_MASK_BYTES = 128; // 1024 CPUs, what cpu_set_t has
const LARGE_MASK_BYTES = 8192; // 65536 CPUs: more than any kernel is built for

/** OS indexes of the CPUs that process `pid` (0: this thread) may run on, ascending. */
export function getAffinity(pid = 0): number[] {
  let mask = new Uint8Array(SMALL_MASK_BYTES);
  if (libc().sched_getaffinity(pid, mask.length, ptr(mask)) === -1) {
    const number = lastErrno();
    if (number !== errno.EINVAL) throw new FluxError(number, `sched_getaffinity: ${strerror(number)}`);
    mask = new Uint8Array(LARGE_MASK_BYTES);
    check(libc().sched_getaffinity(pid, mask.length, ptr(mask)), "sched_getaffinity");
  }
  const cpus: number[] = [];
  for (const [at, byte] of mask.entries()) {
    for (let bit = 0; byte >> bit !== 0; bit++) {
      if ((byte >> bit) & 1) cpus.push(at * 8 + bit);
    }
  }
  return cpus;
}

/** Restrict `pid` (0: this thread) to these CPUs. EINVAL when none of them exists or is allowed. */
export function setAffinity(cpus: readonly number[], pid = 0): void {
  const highest = cpus.reduce((a, b) => Math.max(a, b), 0);
  if (highest >= LARGE_MASK_BYTES * 8) throw new FluxError(errno.EINVAL, `CPU ${highest} is beyond ${LARGE_MASK_BYTES * 8}`);
  const mask = new Uint8Array(highest < SMALL_MASK_BYTES * 8 ? SMALL_MASK_BYTES : LARGE_MASK_BYTES);
  for (const cpu of cpus) mask[cpu >> 3] = (mask[cpu >> 3] ?? 0) | (1 << (cpu & 7));
  check(libc().sched_setaffinity(pid, mask.length, ptr(mask)), `sched_setaffinity to CPUs ${cpus.join(",")}`);
}

/** Run `fn` (synchronous: a spawn) with this thread restricted to `cpus`, and take the old mask back whatever happens. */
export function withAffinity<T>(cpus: readonly number[], fn: () => T): T {
  const before = getAffinity();
  setAffinity(cpus);
  try {
    return fn();
  } finally {
    setAffinity(before);
  }
}
