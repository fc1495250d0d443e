// Directories that belong to one instance or job (rundir, statedir, FLUX_JOB_TMPDIR): made for the user alone, removed with all they hold.

import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { errno, FluxError, strerror, toFluxError } from "../message/errno.ts";

const VAR_TMP = "/var/tmp";

/** Where temporary directories go: TMPDIR, or /tmp. */
export function temporaryRoot(env: Readonly<Record<string, string | undefined>> = process.env): string {
  const dir = env["TMPDIR"];
  return dir === undefined || dir === "" ? (process.env["TMPDIR"] === undefined ? tmpdir() : "/tmp") : dir;
}

/** Where temporary files go that may be large, since /tmp may be in memory: TMPDIR, or /var/tmp where there is one. */
export function spaciousRoot(env: Readonly<Record<string, string | undefined>> = process.env): string {
  const isSet = env["TMPDIR"] !== undefined && env["TMPDIR"] !== "";
  return !isSet && statSync(VAR_TMP, { throwIfNoEntry: false })?.isDirectory() === true ? VAR_TMP : temporaryRoot(env);
}

/** Make a new directory of mode 0700, `parent/prefixXXXXXX`, and return its path. */
export function makeTemporaryDirectory(prefix = "flux-", parent = temporaryRoot()): string {
  try {
    const path = mkdtempSync(join(parent, prefix));
    chmodSync(path, 0o700);
    return path;
  } catch (error) {
    throw failure(`cannot make a directory in ${parent}`, error);
  }
}

/** Use `path` as a directory of ours: make it with mode 0700, or check that it is a directory that we own. True: it was made. */
export function claimDirectory(path: string, uid = process.getuid?.() ?? 0): boolean {
  try {
    mkdirSync(path, { mode: 0o700 });
    return true;
  } catch (error) {
    if (toFluxError(error).errno !== errno.EEXIST) throw failure(`cannot make directory ${path}`, error);
  }
  const stat = statSync(path);
  if (!stat.isDirectory()) throw new FluxError(errno.ENOTDIR, `${path} is not a directory`);
  if (stat.uid !== uid) throw new FluxError(errno.EPERM, `directory ${path} belongs to user ${stat.uid}, not to ${uid}`);
  if ((stat.mode & 0o700) !== 0o700) throw new FluxError(errno.EPERM, `directory ${path} does not allow its owner everything (chmod u+rwx)`);
  return false;
}

/** Remove a directory and all it holds; nothing to do when it is gone. Symbolic links are removed, not followed. */
export function removeDirectory(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true, maxRetries: 3 });
  } catch (error) {
    throw failure(`cannot remove ${path}`, error);
  }
}

function failure(what: string, error: unknown): FluxError {
  const { errno: number } = toFluxError(error, errno.EIO);
  return new FluxError(number, `${what}: ${strerror(number)}`, { cause: error });
}
