// File objects (RFC 37): files, directories and symbolic links as JSON, in archives and in jobspecs.
import { type Blobref, isBlobref } from "./blobref.ts";
import { FormatError } from "./error.ts";
import { encodeJson, isJsonObject, type Json, type JsonObject } from "./json.ts";

/** Of st_mode: the type of a file. */
const TYPE_MASK = 0o170000;
const REGULAR = 0o100000;
const DIRECTORY = 0o040000;
const SYMLINK = 0o120000;

export type FileType = "file" | "directory" | "symlink";

/** A region of a file: what is between regions are zeros. */
export interface Region {
  readonly offset: number;
  readonly size: number;
  readonly blobref: Blobref;
}

export interface FileObject {
  /** Relative, without "." and "..". */
  readonly path: string;
  readonly type: FileType;
  /** Permissions. */
  readonly mode: number;
  /** Of a file, when it is said. */
  readonly size: number | undefined;
  /** Of a file: its bytes, or where they are. */
  readonly data: Uint8Array | readonly Region[];
  /** Of a link. */
  readonly target: string;
}

/** Reads one; `path` is its name in an archive that is a dictionary. Throws FormatError naming the file. */
export function parseFileObject(value: Json, path?: string): FileObject {
  if (!isJsonObject(value)) throw new FormatError("file", path ?? JSON.stringify(value), "it is not an object");
  const { mode } = value;
  const name = path ?? value["path"];
  if (typeof name !== "string") throw new FormatError("file", JSON.stringify(value), "it has no path");
  const refuse = (why: string): never => {
    throw new FormatError("file", name, why);
  };
  if (typeof mode !== "number" || !Number.isInteger(mode)) return refuse("it has no mode");
  if (!isSafePath(name)) return refuse("not a relative path without '.' and '..'");
  const type = typeOf(mode) ?? refuse(`mode ${mode.toString(8)} is neither of a file, nor a directory, nor a link`);
  const target = type === "symlink" ? value["data"] : "";
  if (typeof target !== "string") return refuse("the link has no target");
  const data = type === "file" ? contentOf(value, refuse) : new Uint8Array(0);
  const { size } = value;
  if (size !== undefined && (typeof size !== "number" || size < 0)) return refuse("its size is no number");
  return { path: name, type, mode: mode & 0o777, size, data, target };
}

function isSafePath(path: string): boolean {
  return path !== "" && !path.startsWith("/") && !path.includes("\0") && path.split("/").every((part) => part !== "." && part !== "..");
}

function typeOf(mode: number): FileType | undefined {
  const type = mode & TYPE_MASK;
  if (type === REGULAR || type === 0) return "file";
  return type === DIRECTORY ? "directory" : type === SYMLINK ? "symlink" : undefined;
}

/** `data` by its `encoding`; without one it is a JSON value, which becomes the file's text. */
function contentOf({ data, encoding }: JsonObject, refuse: (why: string) => never): Uint8Array | readonly Region[] {
  if (data === undefined) return new Uint8Array(0);
  if (encoding === undefined) return Buffer.from(encodeJson(data));
  if (encoding === "utf-8" && typeof data === "string") return Buffer.from(data);
  if (encoding === "base64" && typeof data === "string") return Buffer.from(data, "base64");
  if (encoding === "blobvec" && Array.isArray(data)) return data.map((entry: Json) => regionOf(entry, refuse));
  return refuse(`its encoding ${JSON.stringify(encoding)} is not known`);
}

function regionOf(entry: Json, refuse: (why: string) => never): Region {
  const [offset, size, blobref] = Array.isArray(entry) ? (entry as readonly Json[]) : [];
  if (typeof offset !== "number" || typeof size !== "number" || !isBlobref(blobref) || offset < 0 || size < 0) return refuse("a part of it is not [offset, size, blobref]");
  return { offset, size, blobref };
}

/** Files of an archive: a list of objects, or a dictionary by path. Throws FormatError. */
export function parseArchive(value: Json): FileObject[] {
  if (Array.isArray(value)) return (value as readonly Json[]).map((file) => parseFileObject(file));
  if (isJsonObject(value)) return Object.entries(value).map(([path, file]) => parseFileObject(file, path));
  throw new FormatError("archive", JSON.stringify(value).slice(0, 40), "it is neither a list nor a dictionary of files");
}

const LETTERS: Readonly<Record<FileType, string>> = { file: "f", directory: "d", symlink: "l" };

/** "f 0644     1024 PATH": a line of a list. */
export function describeFile(file: FileObject): string {
  return `${LETTERS[file.type]} 0${file.mode.toString(8)} ${String(file.size ?? 0).padStart(8)} ${file.path}`;
}
