// Who is at the other end of a socket, who we are, and what this process is called.

import { ptr } from "bun:ffi";

import { errno, FluxError } from "../message/errno.ts";
import { check, cstring, libc } from "./libc.ts";

export interface PeerCredentials {
  pid: number;
  uid: number;
  gid: number;
}

const SOL_SOCKET = 1;
const SO_PEERCRED = 17;

/** The user and process that connected a UNIX socket (SO_PEERCRED). ENOTSOCK, EBADF and such as FluxError. */
export function peerCredentials(fd: number): PeerCredentials {
  const ucred = new Uint32Array(3);
  const length = new Uint32Array([12]);
  check(libc().getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ptr(ucred), ptr(length)), "getsockopt SO_PEERCRED");
  return { pid: ucred[0] ?? 0, uid: ucred[1] ?? 0, gid: ucred[2] ?? 0 };
}

/** Real user id of this process. */
export function getuid(): number {
  return required(process.getuid);
}

/** Real group id of this process. */
export function getgid(): number {
  return required(process.getgid);
}

function required(call: (() => number) | undefined): number {
  if (call === undefined) throw new FluxError(errno.ENOSYS, "this system has no user ids");
  return call();
}

const PR_SET_NAME = 15;

/** Name the calling thread as `ps` and `top` show it; the kernel keeps the first 15 bytes. */
export function setProcessName(name: string): void {
  const bytes = cstring(name);
  check(libc().prctl(PR_SET_NAME, ptr(bytes), 0, 0, 0), "prctl PR_SET_NAME");
}
