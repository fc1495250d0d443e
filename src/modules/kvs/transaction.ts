// Transaction: the operations of one commit, applied to the tree of a namespace: all of them or none (RFC 16).
//
//   { key, flags, dirent }   dirent: a tree object to put there, or null to remove what is there; flags: APPEND or 0
import { KVS } from "../../client/kvs.ts";
import { type Blobref } from "../../formats/blobref.ts";
import { FormatError } from "../../formats/error.ts";
import { type DirObject, encodeTreeobj, parseTreeobj, type Treeobj } from "../../formats/treeobj.ts";
import type { JsonObject } from "../../formats/json.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { json, str, uint, unpack } from "../../message/unpack.ts";
import { type BlobSink, type Change, copyDir, type Dir, emptyDir, INLINE_MAX_CHARS, setEntry, undo, valueEntry } from "./dir.ts";
import { decodeEntry, dirrefOf, type Entry, typeOf } from "./entry.ts";
import { namesOf, normalizeKey } from "../../formats/kvs-key.ts";

/** Links that one key may lead through. */
export const LINKS_MAX = 10;
const DEPTH_MAX = 256;

export interface Operation {
  /** Normalized. */
  readonly key: string;
  readonly append: boolean;
  readonly treeobj: Treeobj | null;
}

/** Checks the operations of a request. Throws FluxError EPROTO or EINVAL. */
export function parseOperation(op: JsonObject): Operation {
  const { key, flags, dirent } = unpack(op, { key: str, flags: uint, dirent: json });
  if ((flags & ~KVS.APPEND) !== 0) throw new FluxError(errno.EINVAL, `unknown flags ${flags} in an operation on ${key}`);
  const append = flags === KVS.APPEND;
  const normal = normalizeKey(key);
  if (normal === "." || normal === "") throw new FluxError(errno.EINVAL, "the root directory can't be replaced");
  if (dirent === null) return { key: normal, append, treeobj: null };
  let treeobj: Treeobj;
  try {
    treeobj = parseTreeobj(dirent);
  } catch (err) {
    if (err instanceof FormatError) throw new FluxError(errno.EINVAL, `${key}: ${err.message}`);
    throw err;
  }
  if (append && treeobj.type !== "val") throw new FluxError(errno.EPROTO, `${key}: a ${treeobj.type} can't be appended`);
  return { key: normal, append, treeobj };
}

/** What applying operations needs from its surroundings. */
export interface TransactionContext extends BlobSink {
  readonly namespace: string;
  readonly batch: number;
  /** A directory in memory, not to be changed; undefined when it must be loaded first. */
  peek(ref: Blobref): Dir | undefined;
}

/**
 * Applies all operations, or none of them when it throws FluxError or returns the blobref of a directory that must be
 * loaded first.
 */
export function applyOperations(root: Dir, operations: readonly Operation[], context: TransactionContext): Blobref | undefined {
  const changes: Change[] = [];
  try {
    for (const operation of operations) {
      const missing = applyOperation(root, operation, changes, context);
      if (missing === undefined) continue;
      undo(changes);
      return missing;
    }
  } catch (err) {
    undo(changes);
    throw err;
  }
  return undefined;
}

function applyOperation(root: Dir, operation: Operation, changes: Change[], context: TransactionContext): Blobref | undefined {
  let names = namesOf(operation.key);
  let links = 0;
  let path: Dir[] = [root];
  for (let i = 0; i < names.length - 1; ) {
    const dir = path[i] as Dir;
    const step = descend(dir, names[i] as string, operation, changes, context);
    if (step === undefined) return undefined;
    if (typeof step === "string") return step;
    if ("link" in step) {
      if (++links > LINKS_MAX) throw new FluxError(errno.ELOOP);
      names = [...namesOf(step.link), ...names.slice(i + 1)];
      if (names.length > DEPTH_MAX) throw new FluxError(errno.ENAMETOOLONG, `${operation.key} is deeper than ${DEPTH_MAX}`);
      path = [root];
      i = 0;
      continue;
    }
    path.push(step.dir);
    i++;
  }
  const dir = path[names.length - 1];
  const name = names[names.length - 1];
  if (dir === undefined || name === undefined) throw new FluxError(errno.EINVAL, "the root directory can't be replaced");
  change(dir, name, operation, changes, context);
  for (let i = 0; i < names.length - 1; i++) {
    const parent = path[i] as Dir;
    parent.changed.add(names[i] as string);
    parent.used = context.batch;
  }
  return undefined;
}

/**
 * The subdirectory `name`, made when it isn't there: { dir }, or { link } to go another way, or the blobref of what
 * must be loaded, or undefined when there is nothing to remove.
 */
function descend(
  dir: Dir,
  name: string,
  operation: Operation,
  changes: Change[],
  context: TransactionContext,
): { dir: Dir } | { link: string } | Blobref | undefined {
  const open = dir.open.get(name);
  if (open !== undefined) return { dir: open };
  const entry = dir.entries.get(name);
  const type = entry === undefined || entry === "" ? undefined : typeOf(entry);
  if (entry !== undefined && type === "dirref") {
    const ref = dirrefOf(entry);
    const found = context.peek(ref);
    if (found === undefined) return ref;
    const child = copyDir(found);
    child.used = context.batch;
    dir.open.set(name, child);
    return { dir: child };
  }
  if (entry !== undefined && type === "symlink") {
    const { data } = decodeEntry(entry) as Extract<Treeobj, { type: "symlink" }>;
    if (data.namespace !== undefined && data.namespace !== context.namespace) {
      throw new FluxError(errno.EINVAL, `${operation.key} leads through a link to namespace ${data.namespace}`);
    }
    return { link: normalizeKey(data.target) };
  }
  if (operation.treeobj === null && type !== "dir") return undefined;
  const child = entry !== undefined && type === "dir" ? toDir(decodeEntry(entry) as DirObject, context) : emptyDir();
  changes.push(setEntry(dir, name, entry ?? "", child));
  return { dir: child };
}

function change(dir: Dir, name: string, operation: Operation, changes: Change[], context: TransactionContext): void {
  const { treeobj } = operation;
  if (treeobj === null) {
    if (dir.entries.has(name)) changes.push(setEntry(dir, name, undefined));
  } else if (operation.append && treeobj.type === "val") {
    append(dir, name, bytesOf(treeobj.data, operation.key), changes);
  } else if (treeobj.type === "dir") {
    changes.push(setEntry(dir, name, "", toDir(treeobj, context)));
  } else if (treeobj.type === "val" && treeobj.data.length > INLINE_MAX_CHARS) {
    changes.push(setEntry(dir, name, valueEntry(bytesOf(treeobj.data, operation.key), context)));
  } else {
    if (treeobj.type === "val") bytesOf(treeobj.data, operation.key);
    changes.push(setEntry(dir, name, encodeTreeobj(treeobj)));
  }
}

function append(dir: Dir, name: string, bytes: Uint8Array, changes: Change[]): void {
  const entry = dir.entries.get(name);
  if (dir.open.has(name)) throw new FluxError(errno.EISDIR);
  if (entry !== undefined && entry !== "") {
    const type = typeOf(entry);
    if (type === "symlink") throw new FluxError(errno.EOPNOTSUPP);
    if (type === "dir" || type === "dirref") throw new FluxError(errno.EISDIR);
  }
  changes.push(setEntry(dir, name, entry ?? "", undefined, [...(dir.tails.get(name) ?? []), bytes]));
}

/** A directory given as a tree object: it and those inside it become directories of the tree. */
function toDir(treeobj: DirObject, context: TransactionContext): Dir {
  const dir = emptyDir();
  for (const name of Object.keys(treeobj.data)) {
    const child = treeobj.data[name];
    if (child === undefined) continue;
    if (child.type === "dir") setEntry(dir, name, "", toDir(child, context));
    else if (child.type === "val") setEntry(dir, name, valueEntry(bytesOf(child.data, name), context));
    else setEntry(dir, name, encodeTreeobj(child));
  }
  return dir;
}

const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;

function bytesOf(base64: Entry, key: string): Uint8Array {
  if (base64.length % 4 !== 0 || !BASE64.test(base64)) throw new FluxError(errno.EPROTO, `${key}: the value is not base64`);
  return Buffer.from(base64, "base64");
}
