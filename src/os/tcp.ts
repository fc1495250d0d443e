// Options of TCP connections.
import { ptr } from "bun:ffi";
import { check, libc } from "./libc.ts";

const IPPROTO_TCP = 6;
const TCP_USER_TIMEOUT = 18;

/** How long sent bytes may stay unacknowledged before the connection ends with ETIMEDOUT; 0: the system's limit. Throws FluxError. */
export function setTcpUserTimeout(fd: number, timeout_ms: number): void {
  check(libc().setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, ptr(Uint32Array.of(timeout_ms)), 4), "setsockopt");
}
