// The C library: the one place that opens libc and touches errno. Everything else in src/os calls these wrappers.
//
// Opened at the first call, because a command that needs no system call of its own must not pay for it (about 0.3 ms).
// Every wrapper throws FluxError with the errno of the call that failed.

import { CString, dlopen, ptr, read, type Pointer } from "bun:ffi";

import { errno, FluxError, strerror } from "../message/errno.ts";

function open() {
  return dlopen("libc.so.6", {
    __errno_location: { args: [], returns: "ptr" },
    socketpair: { args: ["i32", "i32", "i32", "ptr"], returns: "i32" },
    socket: { args: ["i32", "i32", "i32"], returns: "i32" },
    sendto: { args: ["i32", "ptr", "u64", "i32", "ptr", "u32"], returns: "i64" },
    pipe2: { args: ["ptr", "i32"], returns: "i32" },
    close: { args: ["i32"], returns: "i32" },
    ioctl: { args: ["i32", "u64", "ptr"], returns: "i32" },
    lseek: { args: ["i32", "i64", "i32"], returns: "i64" },
    setsockopt: { args: ["i32", "i32", "i32", "ptr", "u32"], returns: "i32" },
    getsockopt: { args: ["i32", "i32", "i32", "ptr", "ptr"], returns: "i32" },
    prctl: { args: ["i32", "u64", "u64", "u64", "u64"], returns: "i32" },
    prlimit: { args: ["i32", "i32", "ptr", "ptr"], returns: "i32" },
    sched_getaffinity: { args: ["i32", "u64", "ptr"], returns: "i32" },
    sched_setaffinity: { args: ["i32", "u64", "ptr"], returns: "i32" },
    getpwuid: { args: ["u32"], returns: "ptr" },
    getpwnam: { args: ["ptr"], returns: "ptr" },
    getgrnam: { args: ["ptr"], returns: "ptr" },
    tcgetattr: { args: ["i32", "ptr"], returns: "i32" },
    tcsetattr: { args: ["i32", "i32", "ptr"], returns: "i32" },
    cfmakeraw: { args: ["ptr"], returns: "void" },
    getpgrp: { args: [], returns: "i32" },
    setpgid: { args: ["i32", "i32"], returns: "i32" },
    tcgetpgrp: { args: ["i32"], returns: "i32" },
    tcsetpgrp: { args: ["i32", "i32"], returns: "i32" },
    waitid: { args: ["i32", "u32", "ptr", "i32"], returns: "i32" },
    ptrace: { args: ["i64", "i32", "u64", "u64"], returns: "i64" },
    signal: { args: ["i32", "u64"], returns: "u64" },
    execve: { args: ["ptr", "ptr", "ptr"], returns: "i32" },
    dlopen: { args: ["ptr", "i32"], returns: "ptr" },
    sigaction: { args: ["i32", "ptr", "ptr"], returns: "i32" },
  }).symbols;
}

let symbols: ReturnType<typeof open> | undefined;

/** The symbols of libc; the first call opens the library. */
export function libc(): ReturnType<typeof open> {
  symbols ??= open();
  return symbols;
}

/** errno of the last libc call of this thread: read it before anything else is called. */
export function lastErrno(): number {
  const location = libc().__errno_location();
  return location === null ? errno.EINVAL : read.i32(location, 0);
}

/** Return the result of a call that answers -1 on failure, or throw its errno with the name of the call. */
export function check(result: number, call: string): number {
  if (result !== -1) return result;
  const number = lastErrno();
  throw new FluxError(number, `${call}: ${strerror(number)}`);
}

/** A C string as an argument (NUL-terminated UTF-8). Text with a NUL in it is refused with EINVAL. */
export function cstring(text: string): Uint8Array {
  if (text.includes("\0")) throw new FluxError(errno.EINVAL, "text with a NUL byte cannot be given to the C library");
  return Buffer.from(`${text}\0`);
}

/** The address that a call returned; undefined for a null pointer. */
export function address(returned: Pointer | bigint | null): Pointer | undefined {
  return returned === null ? undefined : (Number(returned) as Pointer);
}

/** The C string whose address is stored at `base + offset`; "" for a null pointer. */
export function readCString(base: Pointer, offset: number): string {
  const text = read.ptr(base, offset);
  return text === 0 ? "" : new CString(text);
}

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const CLOEXEC = 0o2000000;

/** A connected pair of UNIX stream sockets, both closed on exec. The caller owns both descriptors. */
export function socketPair(): [number, number] {
  const fds = new Int32Array(2);
  check(libc().socketpair(AF_UNIX, SOCK_STREAM | CLOEXEC, 0, ptr(fds)), "socketpair");
  return [fds[0] ?? -1, fds[1] ?? -1];
}

/** A pipe `[read end, write end]`, both closed on exec. The caller owns both descriptors. */
export function pipe(): [number, number] {
  const fds = new Int32Array(2);
  check(libc().pipe2(ptr(fds), CLOEXEC), "pipe2");
  return [fds[0] ?? -1, fds[1] ?? -1];
}

/** Close a descriptor this process owns. */
export function closeFd(fd: number): void {
  check(libc().close(fd), `close of descriptor ${fd}`);
}

const SOL_SOCKET = 1;
const SO_TYPE = 3;

/** Refuse a descriptor that is not open (EBADF) or not a socket (ENOTSOCK). */
export function checkSocket(fd: number): void {
  const type = new Int32Array(1);
  const length = new Uint32Array([4]);
  check(libc().getsockopt(fd, SOL_SOCKET, SO_TYPE, ptr(type), ptr(length)), `descriptor ${fd}`);
}
