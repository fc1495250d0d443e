// Archives of files (RFC 37): file objects are made of files, and files of file objects. What is large is in the content store
// (RFC 10), so that all brokers can get it at once; `flux archive` keeps the list in the KVS as "archive.NAME".
import { chmodSync, closeSync, constants, fchmodSync, fstatSync, ftruncateSync, lstatSync, mkdirSync, openSync, readFileSync, readlinkSync, readSync, rmSync, statSync, symlinkSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { blobrefOf, blobrefToHash, type HashName } from "../formats/blobref.ts";
import type { FileObject, Region } from "../formats/fileref.ts";
import type { Json, JsonObject } from "../formats/json.ts";
import { encodeData } from "../formats/stdio.ts";
import { errno, FluxError, strerror, toFluxError } from "../message/errno.ts";
import { dataRegions } from "../os/sparse.ts";
import type { Flux } from "./flux.ts";

export const ARCHIVE_DEFAULT = "main";

/** KVS key of an archive, and of the references that keep its blobs. */
export function archiveKey(name: string): string {
  return `archive.${name}`;
}

export interface CreateOptions {
  readonly hash: HashName;
  /** Size of a blob at most. 0: a whole region of a file. */
  readonly chunk_bytes: number;
  /** A file up to this size is part of the list. */
  readonly small_bytes: number;
  /** A blob was stored. */
  readonly onBlob?: (region: Region) => void;
}

export const CREATE_DEFAULTS = { chunk_bytes: 1 << 20, small_bytes: 1024 } as const;

/** Requests for blobs under way. */
const AT_A_TIME = 8;
/** Of one blob at most, whatever the caller wants. */
const BLOB_MAX_BYTES = 1 << 30;

/** The object of a file, directory or link, its large content stored. Throws FluxError naming the file. */
export async function makeFileObject(h: Flux, path: string, options: CreateOptions): Promise<JsonObject> {
  try {
    const stat = lstatSync(path);
    const base = { path: archivedPath(path), mode: stat.mode, mtime: Math.floor(stat.mtimeMs / 1000), ctime: Math.floor(stat.ctimeMs / 1000) };
    if (stat.isDirectory()) return base;
    if (stat.isSymbolicLink()) return { ...base, data: readlinkSync(path) };
    if (!stat.isFile()) throw new FluxError(errno.EINVAL, "neither a file, nor a directory, nor a symbolic link");
    return { ...base, size: stat.size, ...(stat.size === 0 ? {} : stat.size <= options.small_bytes ? smallContent(path) : await storeContent(h, path, options)) };
  } catch (err) {
    throw named(path, err);
  }
}

function archivedPath(path: string): string {
  return path.replace(/^\/+/, "");
}

function named(path: string, err: unknown): FluxError {
  const error = toFluxError(err, errno.EIO);
  // A file system's own text repeats the path and the call.
  const text = err instanceof Error && "syscall" in err ? strerror(error.errno) : error.message;
  return new FluxError(error.errno, `${path}: ${text}`, { cause: err });
}

function smallContent(path: string): JsonObject {
  const bytes = readFileSync(path);
  return { encoding: "utf-8", ...encodeData(bytes) };
}

/** Stores the regions of a file that hold data. */
async function storeContent(h: Flux, path: string, options: CreateOptions): Promise<JsonObject> {
  const fd = openSync(path, constants.O_RDONLY);
  try {
    const chunk_bytes = options.chunk_bytes === 0 ? BLOB_MAX_BYTES : options.chunk_bytes;
    const parts = dataRegions(fd, fstatSync(fd).size).flatMap(({ offset, size }) => chunks(offset, size, chunk_bytes));
    const data: Region[] = [];
    for (let at = 0; at < parts.length; at += AT_A_TIME) {
      data.push(...(await Promise.all(parts.slice(at, at + AT_A_TIME).map(async (part) => storePart(h, fd, part, options)))));
    }
    return data.length === 0 ? {} : { encoding: "blobvec", data: data.map(({ offset, size, blobref }): Json => [offset, size, blobref]) };
  } finally {
    closeSync(fd);
  }
}

interface Part {
  readonly offset: number;
  readonly size: number;
}

function chunks(offset: number, size: number, chunk_bytes: number): Part[] {
  return Array.from({ length: Math.ceil(size / chunk_bytes) }, (_, i) => ({ offset: offset + i * chunk_bytes, size: Math.min(chunk_bytes, size - i * chunk_bytes) }));
}

async function storePart(h: Flux, fd: number, { offset, size }: Part, options: CreateOptions): Promise<Region> {
  const bytes = Buffer.allocUnsafe(size);
  let read = 0;
  while (read < size) {
    const n = readSync(fd, bytes, read, size - read, offset + read);
    if (n === 0) throw new FluxError(errno.EIO, "it became shorter while it was read");
    read += n;
  }
  await h.rpcBytes("content.store", bytes);
  const region = { offset, size, blobref: blobrefOf(bytes, options.hash) };
  options.onBlob?.(region);
  return region;
}

export interface ExtractOptions {
  readonly directory: string;
  /** Files that are there already are replaced; otherwise they are an error. */
  readonly overwrite: boolean;
  readonly onFile?: (file: FileObject) => void;
}

export interface Extracted {
  readonly files: number;
  readonly bytes: number;
}

/** Makes the files of an archive. Throws FluxError naming the one that could not be made. */
export async function extractFiles(h: Flux, files: readonly FileObject[], options: ExtractOptions): Promise<Extracted> {
  let bytes = 0;
  const directories: FileObject[] = [];
  for (const file of files) {
    options.onFile?.(file);
    try {
      await extractFile(h, file, options);
    } catch (err) {
      throw named(file.path, err);
    }
    bytes += file.size ?? 0;
    if (file.type === "directory") directories.push(file);
  }
  // Last, because nothing can be put into a directory that is read-only.
  for (const { path, mode } of directories.reverse()) chmodSync(join(options.directory, path), mode);
  return { files: files.length, bytes };
}

async function extractFile(h: Flux, file: FileObject, { directory, overwrite }: ExtractOptions): Promise<void> {
  const target = join(directory, file.path);
  makeParents(directory, dirname(file.path));
  if (file.type === "directory") return makeDirectory(target);
  const before = lstatSync(target, { throwIfNoEntry: false });
  if (before !== undefined && !overwrite) throw new FluxError(errno.EEXIST, "Attempt to overwrite existing file");
  if (before !== undefined) rmSync(target);
  if (file.type === "symlink") return symlinkSync(file.target, target);
  const fd = openSync(target, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600);
  try {
    if (file.data instanceof Uint8Array) writeAll(fd, file.data, 0);
    else await loadContent(h, fd, file.data);
    if (file.size !== undefined) ftruncateSync(fd, Math.max(file.size, fstatSync(fd).size));
    fchmodSync(fd, file.mode);
  } finally {
    closeSync(fd);
  }
}

/** Directories on the way to a file; one that is a symbolic link would lead out of the destination. */
function makeParents(directory: string, path: string): void {
  let at = directory;
  for (const part of path === "." ? [] : path.split("/")) {
    at = join(at, part);
    makeDirectory(at);
  }
}

function makeDirectory(path: string): void {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return mkdirSync(path, { mode: 0o700 });
  if (!stat.isDirectory()) throw new FluxError(errno.ENOTDIR, `${path} is not a directory`);
}

async function loadContent(h: Flux, fd: number, regions: readonly Region[]): Promise<void> {
  for (let at = 0; at < regions.length; at += AT_A_TIME) {
    await Promise.all(regions.slice(at, at + AT_A_TIME).map(async (region) => loadRegion(h, fd, region)));
  }
}

async function loadRegion(h: Flux, fd: number, { offset, size, blobref }: Region): Promise<void> {
  const where = `error loading offset=${offset} size=${size} from ${blobref}`;
  let bytes: Uint8Array;
  try {
    bytes = await h.rpcBytes("content.load", blobrefToHash(blobref));
  } catch (err) {
    const error = toFluxError(err);
    throw new FluxError(error.errno, `${where}: ${error.message}`, { cause: err });
  }
  if (bytes.length !== size) throw new FluxError(errno.EPROTO, `${where}: unexpected size ${bytes.length}`);
  writeAll(fd, bytes, offset);
}

function writeAll(fd: number, bytes: Uint8Array, offset: number): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at, offset + at);
}

/** Whether a directory can be written to. Throws FluxError naming it. */
export function checkDestination(path: string): void {
  try {
    if (!statSync(path).isDirectory()) throw new FluxError(errno.ENOTDIR);
  } catch (err) {
    throw named(path, err);
  }
}

