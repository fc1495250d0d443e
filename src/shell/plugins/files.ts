// files: what the jobspec carries in attributes.system.files (RFC 37) is unpacked into FLUX_JOB_TMPDIR of each node: the script and the
// configuration of `flux batch`, and what --add-file names.
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { encodeJson, isJsonObject, type Json } from "../../formats/json.ts";
import { getAttribute } from "../../formats/jobspec.ts";
import { strerror, toFluxError } from "../../message/errno.ts";
import type { Plugin } from "../plugin.ts";
import { ShellExit } from "../shell.ts";

/** st_mode: the type of a file, and its permissions. */
const TYPE_MASK = 0o170000;
const REGULAR = 0o100000;
const DIRECTORY = 0o040000;
const SYMLINK = 0o120000;

export function filesPlugin(): Plugin {
  return {
    name: "files",
    init(shell) {
      const files = getAttribute(shell.job.jobspec, "system.files");
      const directory = shell.env["FLUX_JOB_TMPDIR"];
      if (!isJsonObject(files) || directory === undefined) return;
      for (const [path, file] of Object.entries(files)) unpackFile(directory, path, file);
    },
  };
}

/** Throws ShellExit naming the file. */
function unpackFile(directory: string, path: string, file: Json): void {
  if (path.startsWith("/") || path === "" || normalize(path).split("/").includes("..")) throw new ShellExit(1, `files: ${path}: not a path below the job's directory`);
  if (!isJsonObject(file) || typeof file["mode"] !== "number") throw new ShellExit(1, `files: ${path}: it has no mode`);
  const { mode } = file;
  const target = join(directory, path);
  try {
    mkdirSync(dirname(target), { recursive: true, mode: 0o700 });
    const type = mode & TYPE_MASK;
    if (type === DIRECTORY) mkdirSync(target, { recursive: true });
    else if (type === SYMLINK) return symlinkSync(contentOf(path, file).toString(), target);
    else if (type === REGULAR || type === 0) writeFileSync(target, contentOf(path, file), { mode: 0o600 });
    else throw new ShellExit(1, `files: ${path}: mode ${mode.toString(8)} is neither of a file, nor a directory, nor a link`);
    chmodSync(target, mode & 0o7777);
  } catch (err) {
    if (err instanceof ShellExit) throw err;
    throw new ShellExit(1, `files: ${path}: ${strerror(toFluxError(err).errno)}`);
  }
}

/** `data` by its `encoding`; without one it is a JSON value, which becomes the file's text. */
function contentOf(path: string, { data, encoding }: Readonly<Record<string, Json>>): Buffer {
  if (encoding === undefined) return Buffer.from(encodeJson(data ?? null));
  if (typeof data === "string" && encoding === "utf-8") return Buffer.from(data);
  if (typeof data === "string" && encoding === "base64") return Buffer.from(data, "base64");
  throw new ShellExit(1, `files: ${path}: encoding ${JSON.stringify(encoding)} is not known`);
}
