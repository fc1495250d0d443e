// Files that tasks' output goes to: opened once, also when stdout and stderr name the same one.
import { closeSync, openSync, writeSync } from "node:fs";
import { strerror, toFluxError } from "../message/errno.ts";
import { ShellExit } from "./shell.ts";

export interface OutputFiles {
  /** Opens a file, or finds it open. Throws ShellExit. */
  open(path: string, append: boolean): OutputFile;
  close(): void;
}

export interface OutputFile {
  /** Throws FluxError with the path: the disk is full … */
  write(data: Uint8Array | string): void;
}

const NEWLINE = 10;

export function outputFiles(cwd: string): OutputFiles {
  const files = new Map<string, OutputFile & { fd: number }>();
  return {
    open(path, append) {
      const full = path.startsWith("/") ? path : `${cwd}/${path}`;
      let file = files.get(full);
      if (file === undefined) {
        const fd = openFile(full, path, append);
        file = { fd, write: (data) => writeAll(fd, typeof data === "string" ? Buffer.from(data) : data) };
        files.set(full, file);
      }
      return file;
    },
    close() {
      for (const { fd } of files.values()) closeSync(fd);
      files.clear();
    },
  };
}

function openFile(full: string, path: string, append: boolean): number {
  try {
    return openSync(full, append ? "a" : "w", 0o600);
  } catch (err) {
    throw new ShellExit(1, `error opening output file '${path}': ${strerror(toFluxError(err).errno)}`);
  }
}

function writeAll(fd: number, data: Uint8Array): void {
  let at = 0;
  while (at < data.length) at += writeSync(fd, data, at);
}

/** Puts "RANK: " before each line of a piece that begins at a line's beginning. */
export function labelled(rank: string, data: Uint8Array): Buffer {
  const label = Buffer.from(`${rank}: `);
  const parts: Uint8Array[] = [];
  for (let at = 0; at < data.length; ) {
    const newline = data.indexOf(NEWLINE, at);
    const end = newline < 0 ? data.length : newline + 1;
    parts.push(label, data.subarray(at, end));
    at = end;
  }
  return Buffer.concat(parts);
}
