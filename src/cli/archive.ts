// flux archive: many files under one key of the KVS, from where all nodes can take them (RFC 37; src/client/archive.ts).
import { lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { archiveKey, ARCHIVE_DEFAULT, checkDestination, CREATE_DEFAULTS, extractFiles, makeFileObject } from "../client/archive.ts";
import { hashAttribute } from "../client/content.ts";
import type { Flux } from "../client/flux.ts";
import { kvsCommit, kvsExists, kvsGetText, type KvsOp, kvsWaitCreate, put, putTreeobj, unlink } from "../client/kvs.ts";
import { describeFile, type FileObject, parseArchive, parseFileObject } from "../formats/fileref.ts";
import { globToRegExp } from "../formats/glob.ts";
import { decodeJson, type Json } from "../formats/json.ts";
import { parseSize } from "../formats/size.ts";
import { valrefObject } from "../formats/treeobj.ts";
import { errno, FluxError, strerror, toFluxError } from "../message/errno.ts";
import { defineCommand, flag, optional, text, UsageError, valueOr } from "./command.ts";
import { explained, withFlux } from "./connect.ts";
import { seconds } from "./options.ts";
import { print, printError, wrongUsage } from "./output.ts";

const nameOption = text("-n, --name NAME", "the archive (main)");
const namespaceOption = flag("--no-force-primary", "the namespace of $FLUX_KVS_NAMESPACE, not always the primary one");
const directoryOption = text("-C, --directory DIR", "go to this directory first");
const verboseOption = optional("-v, --verbose [LEVEL]", "list the files", "1");

function place(noForcePrimary: boolean): { namespace?: string } {
  const namespace = process.env["FLUX_KVS_NAMESPACE"];
  return noForcePrimary && namespace !== undefined ? { namespace } : {};
}

function enter(directory: string | undefined): void {
  if (directory === undefined) return;
  try {
    process.chdir(directory);
  } catch (err) {
    throw new UsageError(`chdir ${directory}: ${strerror(toFluxError(err).errno)}`);
  }
}

function size(given: string): number {
  const bytes = parseSize(given);
  if (bytes === undefined || bytes > 0x7fff_ffff) throw new Error("expected a size such as 64K or 1M");
  return bytes;
}

const create = defineCommand({
  name: "create",
  style: "getopt",
  summary: "put files into an archive",
  usage: "[-n NAME] [-C DIR] PATH ...",
  options: {
    name: nameOption,
    directory: directoryOption,
    overwrite: flag("--overwrite", "replace the archive"),
    append: flag("--append", "add to the archive"),
    preserve: flag("--preserve", "keep what large files hold, also when the content store is cleaned up"),
    noForcePrimary: namespaceOption,
    mmap: flag("--mmap", "accepted for flux-core's sake: files are stored as without it"),
    chunksize: valueOr("--chunksize N", "store large files in parts of this size (1M; 0: whole)", size, CREATE_DEFAULTS.chunk_bytes),
    smallFileThreshold: valueOr("--small-file-threshold N", "files up to this size are part of the list (1K)", size, CREATE_DEFAULTS.small_bytes),
    verbose: verboseOption,
  },
  async run({ options, args }) {
    if (args.length === 0) throw wrongUsage("flux archive create [-n NAME] [-C DIR] PATH ...");
    if (options.overwrite && options.append) throw new UsageError("--overwrite and --append cannot be used together");
    if (options.mmap && options.preserve) throw new UsageError("--mmap cannot work with --preserve");
    if (options.mmap && options.noForcePrimary) throw new UsageError("--mmap cannot work with --no-force-primary");
    return withFlux(async (h) => {
      const key = archiveKey(options.name ?? ARCHIVE_DEFAULT);
      const where = place(options.noForcePrimary);
      const archive = options.overwrite ? [] : await existing(h, key, where, options.append);
      enter(options.directory);
      const blobs: KvsOp[] = options.overwrite ? [unlink(`${key}_blobs`)] : [];
      const firstBlob = archive.length;
      let nblobs = 0;
      const settings = {
        hash: await hashAttribute(h),
        chunk_bytes: options.chunksize,
        small_bytes: options.smallFileThreshold,
        ...(options.preserve && {
          onBlob: ({ blobref }: { blobref: string }) => blobs.push(putTreeobj(`${key}_blobs.${firstBlob}-${nblobs++}`, valrefObject(blobref))),
        }),
      };
      for (const path of args.flatMap(walk)) {
        if (options.verbose !== undefined) print(path);
        archive.push(await makeFileObject(h, path, settings));
      }
      // Not encodeJson: RFC 37 has times as integers.
      await kvsCommit(h, [...blobs, put(key, JSON.stringify(archive))], where);
      return 0;
    });
  },
});

/** The entries of an archive that is to be added to; [] when there is none. */
async function existing(h: Flux, key: string, where: { namespace?: string }, append: boolean): Promise<Json[]> {
  if (!(await kvsExists(h, key, where))) return [];
  if (!append) throw new UsageError(`${key}: key exists`);
  const archive = decodeJson(await kvsGetText(h, key, where));
  if (!Array.isArray(archive)) throw new UsageError(`${key}: not a list of files`);
  return [...(archive as readonly Json[])];
}

/** A path, and all that is below it; a directory before what it holds. */
function walk(path: string): string[] {
  let isDirectory: boolean;
  try {
    isDirectory = lstatSync(path).isDirectory();
  } catch (err) {
    throw new UsageError(`${path}: ${strerror(toFluxError(err).errno)}`);
  }
  if (!isDirectory) return [path];
  const inside = readdirSync(path).sort().flatMap((name) => walk(join(path, name)));
  return path.replace(/\/+$/, "") === "." ? inside : [path.replace(/\/+$/, ""), ...inside];
}

const list = defineCommand({
  name: "list",
  style: "getopt",
  summary: "list the files of an archive",
  usage: "[-n NAME] [--long] [PATTERN]",
  options: {
    name: nameOption,
    long: flag("-l, --long", "show type, permissions and size, too"),
    raw: flag("--raw", "show the file objects of RFC 37 as JSON"),
    noForcePrimary: namespaceOption,
  },
  async run({ options, args }) {
    if (args.length > 1) throw wrongUsage("flux archive list [-n NAME] [--long] [PATTERN]");
    return withFlux(async (h) => {
      const key = archiveKey(options.name ?? ARCHIVE_DEFAULT);
      const archive = await readArchive(h, key, place(options.noForcePrimary));
      const wanted = matcher(args[0]);
      if (options.raw) {
        for (const entry of Array.isArray(archive) ? (archive as readonly Json[]) : []) if (wanted(parseFileObject(entry))) print(JSON.stringify(entry));
        return 0;
      }
      for (const file of parseArchive(archive)) if (wanted(file)) print(options.long ? describeFile(file) : file.path);
      return 0;
    });
  },
});

async function readArchive(h: Flux, key: string, where: { namespace?: string }): Promise<Json> {
  try {
    return decodeJson(await kvsGetText(h, key, where)) as Json;
  } catch (err) {
    throw explained(`KVS lookup ${key}`, err);
  }
}

function matcher(pattern: string | undefined): (file: FileObject) => boolean {
  if (pattern === undefined) return () => true;
  const regexp = globToRegExp(pattern);
  return ({ path }) => regexp.test(path);
}

const extract = defineCommand({
  name: "extract",
  style: "getopt",
  summary: "take files out of an archive",
  usage: "[-n NAME] [-C DIR] [PATTERN]",
  options: {
    name: nameOption,
    directory: directoryOption,
    listOnly: flag("-t, --list-only", "list the files, extract nothing"),
    overwrite: flag("--overwrite", "replace files that are there"),
    waitcreate: optional("--waitcreate [FSD]", "wait for the archive to be made, for so long at most", ""),
    noForcePrimary: namespaceOption,
    verbose: verboseOption,
  },
  async run({ options, args }) {
    if (args.length > 1) throw wrongUsage("flux archive extract [-n NAME] [-C DIR] [PATTERN]");
    enter(options.directory);
    return withFlux(async (h) => {
      const key = archiveKey(options.name ?? ARCHIVE_DEFAULT);
      const where = place(options.noForcePrimary);
      if (options.waitcreate !== undefined) await waitFor(h, key, where, options.waitcreate);
      const archive = parseArchive(await readArchive(h, key, where));
      const files = archive.filter(matcher(args[0]));
      if (args[0] !== undefined && files.length === 0 && archive.length > 0) printError(`flux-archive: No files matched pattern '${args[0]}'`);
      if (options.listOnly) {
        for (const file of files) print(options.verbose === undefined ? file.path : describeFile(file));
        return 0;
      }
      const directory = process.cwd();
      checkDestination(directory);
      const onFile = ({ path }: FileObject): void => (options.verbose === undefined ? undefined : printError(path));
      await extractFiles(h, files, { directory, overwrite: options.overwrite, onFile });
      return 0;
    });
  },
});

async function waitFor(h: Flux, key: string, where: { namespace?: string }, limit: string): Promise<void> {
  let limit_ms: number | undefined;
  try {
    limit_ms = limit === "" ? undefined : seconds(limit) * 1000;
  } catch {
    throw new UsageError(`could not parse --waitcreate timeout: ${limit}`);
  }
  const created = kvsWaitCreate(h, key, where);
  if (limit_ms === undefined) return void (await created);
  created.catch(() => undefined); // closing the handle ends it
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new FluxError(errno.ETIMEDOUT)), limit_ms);
  });
  try {
    await Promise.race([created, late]);
  } catch (err) {
    throw toFluxError(err).errno === errno.ETIMEDOUT ? new UsageError(`${key}: key was not created within timeout window`) : explained(`KVS lookup ${key}`, err);
  } finally {
    clearTimeout(timer);
  }
}

const remove = defineCommand({
  name: "remove",
  style: "getopt",
  summary: "remove an archive",
  usage: "[-n NAME] [-f]",
  options: { name: nameOption, force: flag("-f, --force", "no error when there is none"), noForcePrimary: namespaceOption },
  async run({ options, args }) {
    if (args.length > 0) throw wrongUsage("flux archive remove [-n NAME] [-f]");
    return withFlux(async (h) => {
      const key = archiveKey(options.name ?? ARCHIVE_DEFAULT);
      const where = place(options.noForcePrimary);
      if (!options.force && !(await kvsExists(h, key, where))) throw new UsageError(`${key} does not exist`);
      await kvsCommit(h, [unlink(key), unlink(`${key}_blobs`)], where);
      return 0;
    });
  },
});

export default defineCommand({
  name: "archive",
  style: "getopt",
  summary: "keep files in the instance and copy them to its nodes",
  details:
    "Keeps files in the instance's key-value store, from where all nodes can take them.\n\nExample: flux archive create -C /data input\n         flux run -N4 -o stage-in ls {{tmpdir}}/input",
  subcommands: [create, list, extract, remove],
});
