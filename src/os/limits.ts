// Resource limits (getrlimit(2)): their names as a jobspec has them ("nofile", "core"), their values, and the limit of open
// files that this process was started with, before the runtime raised it.
//
// A value is a number of bytes, seconds or things; UNLIMITED is -1, as the jobspec's `rlimit` option has it.

import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { ptr } from "bun:ffi";

import { errno, FluxError } from "../message/errno.ts";
import { check, libc } from "./libc.ts";

/** Names and Linux numbers of the limits. */
export const RLIMITS = {
  cpu: 0,
  fsize: 1,
  data: 2,
  stack: 3,
  core: 4,
  rss: 5,
  nproc: 6,
  nofile: 7,
  memlock: 8,
  as: 9,
  locks: 10,
  sigpending: 11,
  msgqueue: 12,
  nice: 13,
  rtprio: 14,
  rttime: 15,
} as const;

export type RlimitName = keyof typeof RLIMITS;

/** A soft and a hard limit; UNLIMITED for none. */
export interface Rlimit {
  soft: number;
  hard: number;
}

export const UNLIMITED = -1;
const INFINITY_RAW = 0xffffffffffffffffn;

/** True for the name of a limit. */
export function isRlimitName(name: string): name is RlimitName {
  return Object.hasOwn(RLIMITS, name);
}

function fromRaw(raw: bigint | undefined): number {
  return raw === undefined || raw === INFINITY_RAW ? UNLIMITED : Number(raw);
}

function toRaw(value: number): bigint {
  if (value === UNLIMITED) return INFINITY_RAW;
  if (!Number.isSafeInteger(value) || value < 0) throw new FluxError(errno.EINVAL, `${value} is not a resource limit`);
  return BigInt(value);
}

/** The limit `name` of process `pid` (0: this one). */
export function getRlimit(name: RlimitName, pid = 0): Rlimit {
  const old = new BigUint64Array(2);
  check(libc().prlimit(pid, RLIMITS[name], null, ptr(old)), `prlimit ${name}`);
  return { soft: fromRaw(old[0]), hard: fromRaw(old[1]) };
}

/** Set the limit `name` of process `pid` (0: this one). EINVAL: soft above hard; EPERM: hard raised without privilege. */
export function setRlimit(name: RlimitName, limit: Rlimit, pid = 0): void {
  const wanted = new BigUint64Array([toRaw(limit.soft), toRaw(limit.hard)]);
  check(libc().prlimit(pid, RLIMITS[name], ptr(wanted), null), `prlimit ${name}`);
}

/** The soft limits of this process by name, as `flux submit` puts them into a jobspec. `nofile` is the launch-time one. */
export function softLimits(names: readonly RlimitName[]): Partial<Record<RlimitName, number>> {
  return Object.fromEntries(names.map((name) => [name, name === "nofile" ? launchNofile() : getRlimit(name).soft]));
}

/** The runtime raises the soft limit to this when the hard one allows it. */
const RUNTIME_NOFILE = 20_000;
const ANCESTORS_MAX = 64;

/** A launcher that knows the limit it was started with (`ulimit -Sn`) hands it over in this variable. */
export const NOFILE_VARIABLE = "FLUX_LAUNCH_NOFILE";

let launchNofileKnown: number | undefined;

/**
 * The soft limit of open files that this process was started with, which is what its children must get.
 *
 * The runtime raises its own limit before any of our code runs, and keeps no record. What remains true: the limit was
 * inherited from the parent. So it is the soft limit of the nearest ancestor that is another program; an ancestor that
 * runs our own executable has raised its limit just as we have, and restores it for its children. FLUX_LAUNCH_NOFILE,
 * set by a launcher, says it exactly and wins. Without a readable ancestor it is 1024, every Linux system's default.
 * Call it early: after the parent's death there is only init to ask.
 */
export function launchNofile(): number {
  launchNofileKnown ??= findLaunchNofile();
  return launchNofileKnown;
}

function findLaunchNofile(): number {
  const now = getRlimit("nofile");
  const within = (soft: number): number => (now.hard === UNLIMITED ? soft : soft === UNLIMITED ? now.hard : Math.min(soft, now.hard));
  const told = Number.parseInt(process.env[NOFILE_VARIABLE] ?? "", 10);
  if (told > 0) return within(told);
  const raisedTo = now.hard === UNLIMITED ? RUNTIME_NOFILE : Math.min(RUNTIME_NOFILE, now.hard);
  if (now.soft !== raisedTo) return now.soft;
  const ours = executableOf("self");
  let pid = process.ppid;
  for (let i = 0; i < ANCESTORS_MAX && pid > 1; i++) {
    if (executableOf(String(pid)) !== ours) break;
    pid = parentOf(pid);
  }
  return within(softNofileOf(pid) ?? 1024);
}

/** Path of the executable of a process; undefined when it is gone or belongs to somebody else. */
function executableOf(pid: string): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/exe`);
  } catch {
    return undefined; // not ours to look at: then it is not our program either
  }
}

function readProc(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return ""; // the process is gone
  }
}

function parentOf(pid: number): number {
  return Number(/^PPid:\s*(\d+)/m.exec(readProc(`/proc/${pid}/status`))?.[1] ?? 0);
}

function softNofileOf(pid: number): number | undefined {
  const soft = /^Max open files\s+(\d+|unlimited)/m.exec(readProc(`/proc/${pid}/limits`))?.[1];
  if (soft === undefined) return undefined;
  return soft === "unlimited" ? UNLIMITED : Number(soft);
}

/** Number of descriptors this process has open. */
export function openDescriptors(): number {
  return readdirSync("/proc/self/fd").length - 1; // without the one that reads the directory
}

/**
 * Run `fn` (synchronous: a spawn) under other soft limits, which a child inherits, and take the old ones back.
 * Limits that could hurt this process meanwhile (address space, processes, CPU time) do not belong here.
 */
export function withSoftLimits<T>(limits: ReadonlyArray<readonly [RlimitName, number]>, fn: () => T): T {
  const before: Array<[RlimitName, Rlimit]> = [];
  try {
    for (const [name, soft] of limits) {
      const old = getRlimit(name);
      if (old.soft === soft) continue;
      setRlimit(name, { soft, hard: old.hard });
      before.push([name, old]);
    }
    return fn();
  } finally {
    for (const [name, old] of before) setRlimit(name, old);
  }
}
