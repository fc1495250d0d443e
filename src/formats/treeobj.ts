// Tree objects (RFC 11): the entries of the KVS: val, valref, dir, dirref, symlink.
//
// A dir is stored as a blob under the hash of its text, so the text must not depend on the order in which entries were made:
// members are always written in ascending order of their names, as stock Flux does ("data", "type", "ver").

import { isBlobref, type Blobref } from "./blobref.ts";
import { FormatError, fieldError } from "./error.ts";
import { decodeJson, isJsonObject } from "./json.ts";

export interface ValObject {
  readonly data: string;
  readonly type: "val";
  readonly ver: 1;
}
export interface ValrefObject {
  readonly data: Blobref[];
  readonly type: "valref";
  readonly ver: 1;
}
/** `data` has no prototype, so that an entry may have any name. */
export interface DirObject {
  readonly data: Record<string, Treeobj>;
  readonly type: "dir";
  readonly ver: 1;
}
export interface DirrefObject {
  readonly data: Blobref[];
  readonly type: "dirref";
  readonly ver: 1;
}
export interface SymlinkObject {
  readonly data: { readonly namespace?: string; readonly target: string };
  readonly type: "symlink";
  readonly ver: 1;
}
export type Treeobj = ValObject | ValrefObject | DirObject | DirrefObject | SymlinkObject;

/** Bound on directories inside directories within one object. */
export const MAX_DEPTH = 256;

const WHAT = "tree object";

export function valObject(bytes: Uint8Array): ValObject {
  return { data: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64"), type: "val", ver: 1 };
}

export function valrefObject(refs: Blobref | readonly Blobref[]): ValrefObject {
  return { data: typeof refs === "string" ? [refs] : [...refs], type: "valref", ver: 1 };
}

/** An empty directory, or one with the given entries. */
export function dirObject(entries?: Readonly<Record<string, Treeobj>>): DirObject {
  const data = Object.create(null) as Record<string, Treeobj>;
  if (entries) for (const name of Object.keys(entries)) data[name] = entries[name] as Treeobj;
  return { data, type: "dir", ver: 1 };
}

export function dirrefObject(refs: Blobref | readonly Blobref[]): DirrefObject {
  return { data: typeof refs === "string" ? [refs] : [...refs], type: "dirref", ver: 1 };
}

export function symlinkObject(target: string, namespace?: string): SymlinkObject {
  return { data: namespace === undefined ? { target } : { namespace, target }, type: "symlink", ver: 1 };
}

/** Bytes of a val. Throws FormatError when its base64 is damaged. */
export function valData(obj: ValObject): Uint8Array {
  const { data } = obj;
  const bytes = Buffer.from(data, "base64");
  const padding = data.endsWith("==") ? 2 : data.endsWith("=") ? 1 : 0;
  // Buffer skips what is not base64, so damage shows as a length that does not fit.
  if (data.length % 4 !== 0 || bytes.length !== (data.length / 4) * 3 - padding)
    throw fieldError(WHAT, "data", "it is not base64");
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function checkRefs(data: unknown, path: string): Blobref[] {
  if (!Array.isArray(data)) throw fieldError(WHAT, `${path}data`, "must be a list of blobrefs");
  data.forEach((ref: unknown, i) => {
    if (!isBlobref(ref)) throw fieldError(WHAT, `${path}data[${i}]`, `${JSON.stringify(ref)} is not a blobref`);
  });
  return data as Blobref[];
}

function checkDir(data: unknown, path: string, depth: number): Record<string, Treeobj> {
  if (!isJsonObject(data)) throw fieldError(WHAT, `${path}data`, "must be an object of tree objects");
  if (depth >= MAX_DEPTH) throw fieldError(WHAT, "", `more than ${MAX_DEPTH} directories inside each other`);
  for (const name of Object.keys(data)) check(data[name], `${path}data.${name}.`, depth + 1);
  return Object.assign(Object.create(null), data) as Record<string, Treeobj>;
}

function checkSymlink(data: unknown, path: string): SymlinkObject["data"] {
  if (!isJsonObject(data)) throw fieldError(WHAT, `${path}data`, "must be an object with a target");
  const { target, namespace } = data;
  if (typeof target !== "string") throw fieldError(WHAT, `${path}data.target`, "must be a string");
  if (namespace === undefined) return { target };
  if (typeof namespace !== "string") throw fieldError(WHAT, `${path}data.namespace`, "must be a string");
  return { namespace, target };
}

function check(value: unknown, path: string, depth: number): Treeobj {
  if (!isJsonObject(value)) throw fieldError(WHAT, path.replace(/\.$/, ""), "must be an object");
  const { ver, type, data } = value;
  if (ver !== 1) throw fieldError(WHAT, `${path}ver`, `must be 1, not ${JSON.stringify(ver)}`);
  for (const name of Object.keys(value)) {
    if (name !== "ver" && name !== "type" && name !== "data") throw fieldError(WHAT, `${path}${name}`, "unknown member");
  }
  switch (type) {
    case "val":
      if (typeof data !== "string" || data.length % 4 !== 0) throw fieldError(WHAT, `${path}data`, "must be base64 text");
      return { data, type, ver };
    case "valref":
      return { data: checkRefs(data, path), type, ver };
    case "dirref":
      if (checkRefs(data, path).length !== 1) throw fieldError(WHAT, `${path}data`, "a dirref has exactly one blobref");
      return { data: checkRefs(data, path), type, ver };
    case "dir":
      return { data: checkDir(data, path, depth), type, ver };
    case "symlink":
      return { data: checkSymlink(data, path), type, ver };
    default:
      throw fieldError(WHAT, `${path}type`, `${JSON.stringify(type) ?? "nothing"} is not a type of tree object`);
  }
}

/** Text or a decoded value to a tree object; entries below a dir are checked too. Throws FormatError that names the member. */
export function parseTreeobj(input: unknown): Treeobj {
  return check(typeof input === "string" ? decodeJson(input) : input, "", 0);
}

/** Bytes of a blob to the directory it holds. Throws FormatError. */
export function parseDir(bytes: Uint8Array): DirObject {
  const obj = parseTreeobj(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString());
  if (obj.type !== "dir") throw new FormatError(WHAT, "", `expected a dir, found a ${obj.type}`);
  return obj;
}

/** Compact text, the same for equal objects. */
export function encodeTreeobj(obj: Treeobj): string {
  switch (obj.type) {
    case "val":
      return `{"data":"${obj.data}","type":"val","ver":1}`;
    case "dir": {
      const names = Object.keys(obj.data).sort();
      let text = "";
      for (const name of names)
        text += `${text === "" ? "" : ","}${JSON.stringify(name)}:${encodeTreeobj(obj.data[name] as Treeobj)}`;
      return `{"data":{${text}},"type":"dir","ver":1}`;
    }
    case "symlink": {
      const { namespace, target } = obj.data;
      const data = namespace === undefined ? { target } : { namespace, target };
      return `{"data":${JSON.stringify(data)},"type":"symlink","ver":1}`;
    }
    default:
      return `{"data":${JSON.stringify(obj.data)},"type":"${obj.type}","ver":1}`;
  }
}
