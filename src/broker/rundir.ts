// The directories of one broker: rundir for its sockets, and on rank 0 statedir for what lasts. Both are mode 0700.
//
// Without the attribute a new one is made and removed in the end; a directory that was there already stays, unless
// rundir-cleanup or statedir-cleanup is 1. A sticky directory (/tmp) gets a new one inside it.
import { mkdirSync, rmdirSync, statSync, symlinkSync, unlinkSync } from "node:fs";
import { errno, FluxError, strerror, toFluxError } from "../message/errno.ts";
import { binDirectory } from "../os/self.ts";
import { claimDirectory, makeTemporaryDirectory, removeDirectory, spaciousRoot, temporaryRoot } from "../os/tmpdir.ts";
import type { Attributes } from "./attributes.ts";

const STICKY = 0o1000;

/** Makes the directory that attribute `name` names; returns what undoes it. Throws FluxError with the path. */
export function setupDirectory(attrs: Attributes, name: "rundir" | "statedir"): { path: string; cleanup: () => void } {
  const given = attrs.get(name);
  const root = name === "statedir" ? spaciousRoot : temporaryRoot;
  const { path, made } = given === undefined ? fresh(root()) : isSticky(given) ? fresh(given) : { path: given, made: claimDirectory(given) };
  if (path !== given) attrs.set(name, path);
  const remove = attrs.setDefault(`${name}-cleanup`, made ? "1" : "0") !== "0";
  return { path, cleanup: () => (remove ? removeDirectory(path) : undefined) };
}

/** Makes RUNDIR/bin/flux, by which an ssh:// connection finds the program that fits this broker; returns what undoes it. */
export function linkProgram(rundir: string): () => void {
  const ours = binDirectory();
  const folder = `${rundir}/bin`;
  try {
    if (ours === undefined) return () => {};
    mkdirSync(folder, { recursive: true });
    symlinkSync(`${ours}/flux`, `${folder}/flux`);
  } catch (err) {
    const error = toFluxError(err);
    if (error.errno === errno.EEXIST) return () => {}; // Of another broker with this rundir.
    throw new FluxError(error.errno, `cannot make ${folder}/flux: ${strerror(error.errno)}`);
  }
  return () => {
    try {
      unlinkSync(`${folder}/flux`);
      rmdirSync(folder);
    } catch {
      // Something else is in it, or the whole rundir has gone.
    }
  };
}

function fresh(parent: string): { path: string; made: boolean } {
  return { path: makeTemporaryDirectory("flux-", parent), made: true };
}

function isSticky(path: string): boolean {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat !== undefined && stat.isDirectory() && (stat.mode & STICKY) !== 0;
}
