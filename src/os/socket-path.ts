// Paths of UNIX sockets: how long they may be, and who may connect.

import { chmodSync, existsSync, lstatSync, unlinkSync } from "node:fs";

import { errno, FluxError } from "../message/errno.ts";
import { withUmask } from "./umask.ts";

/** sun_path has 108 bytes, the last is NUL. */
export const SOCKET_PATH_MAX_BYTES = 107;

/** Refuse a path that does not fit into a socket address: ENAMETOOLONG with what to do. */
export function checkSocketPath(path: string): void {
  const size_bytes = Buffer.byteLength(path);
  if (size_bytes <= SOCKET_PATH_MAX_BYTES) return;
  throw new FluxError(
    errno.ENAMETOOLONG,
    `socket path ${path} has ${size_bytes} bytes, the limit is ${SOCKET_PATH_MAX_BYTES}: choose a shorter rundir or TMPDIR`,
  );
}

/**
 * Bind a listening socket at `path` by calling `listen`, with `mode` from the first moment on: nobody can connect in between.
 * `listen` binds synchronously (Bun.listen, or a server's listen() that does). A socket left there by a dead process is removed.
 */
export function listenAt<T>(path: string, mode: number, listen: (path: string) => T): T {
  checkSocketPath(path);
  removeSocket(path);
  const server = withUmask(0o777 & ~mode, () => listen(path));
  if (existsSync(path)) chmodSync(path, mode);
  return server;
}

/** Remove a socket file; nothing to do when there is none. EEXIST when something else has its name. */
export function removeSocket(path: string): void {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return;
  if (!stat.isSocket()) throw new FluxError(errno.EEXIST, `${path} exists and is not a socket`);
  unlinkSync(path);
}
