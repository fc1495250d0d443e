// Dir: a directory in memory: its entries as text (entry.ts) with their names in order, and the subdirectories below it
// that are in memory too.
//
// On rank 0 each namespace is a tree of these that commits change in place; seal() then gives every changed directory
// its new blobref, from the bottom up. A directory that is in the lookup cache (by blobref) is never changed.
import type { Blobref, HashName } from "../../formats/blobref.ts";
import { HASH_SIZE_BYTES } from "../../formats/blobref.ts";
import { flat } from "../../formats/flat.ts";
import { newRecord, RECORD_HEAD_BYTES } from "../../formats/blob-records.ts";
import { encodeTreeobj, parseDir } from "../../formats/treeobj.ts";
import { Chunks, WIDE_ENTRIES } from "./chunks.ts";
import { appendRef, dirrefEntry, type Entry, typeOf, valBase64, valEntry, valrefEntry } from "./entry.ts";

export interface Dir {
  /** Encoded entries. That of a changed subdirectory is out of date until the directory is sealed. */
  readonly entries: Map<string, Entry>;
  /** Names in ascending order, and beside each its encoded form with colon. */
  readonly names: string[];
  readonly heads: string[];
  /** Subdirectories that are in memory. */
  readonly open: Map<string, Dir>;
  /** Names of open subdirectories that changed since this directory was sealed. */
  readonly changed: Set<string>;
  /** Bytes to append to the value of a name when this directory is sealed. */
  readonly tails: Map<string, Uint8Array[]>;
  /** Of a wide directory: what its last encoding can be made anew from. */
  chunks: Chunks | undefined;
  dirty: boolean;
  /** Blobref as of the last seal. */
  ref: Blobref | undefined;
  /** Batch in which it got its blobref; 0: it was loaded. */
  sealed: number;
  /** Batch in which it was last needed. */
  used: number;
}

/** A val whose base64 is longer than this is stored as a blob of its own (as in flux-core). */
export const INLINE_MAX_CHARS = 72;

export function emptyDir(): Dir {
  return {
    entries: new Map(),
    names: [],
    heads: [],
    open: new Map(),
    changed: new Set(),
    tails: new Map(),
    chunks: undefined,
    dirty: true,
    ref: undefined,
    sealed: 0,
    used: 0,
  };
}

/** Reads the blob of a directory. Throws FormatError when it is not one. */
export function decodeDir(bytes: Uint8Array, ref: Blobref): Dir {
  const { data } = parseDir(bytes);
  const dir = emptyDir();
  for (const name of Object.keys(data).sort()) {
    const treeobj = data[name];
    if (treeobj === undefined) continue;
    dir.entries.set(name, flat(encodeTreeobj(treeobj)));
    dir.names.push(name);
    dir.heads.push(flat(`${JSON.stringify(name)}:`));
  }
  dir.dirty = false;
  dir.ref = ref;
  return dir;
}

/** A copy that may be changed. */
export function copyDir(dir: Dir): Dir {
  return {
    ...dir,
    entries: new Map(dir.entries),
    names: dir.names.slice(),
    heads: dir.heads.slice(),
    open: new Map(),
    changed: new Set(),
    tails: new Map(),
    chunks: undefined,
    sealed: 0,
  };
}

/** The directory as the text of a tree object. It must be sealed. */
export function dirText(dir: Dir): string {
  return `{"data":{${entriesText(dir, 0, dir.names.length)}},"type":"dir","ver":1}`;
}

function entriesText({ names, heads, entries }: Dir, from: number, to: number): string {
  const parts: string[] = [];
  for (let i = from; i < to; i++) parts.push((heads[i] ?? "") + (entries.get(names[i] ?? "") ?? ""));
  return parts.join(",");
}

/** Replaces the value of a name that is there. */
function replaceEntry(dir: Dir, name: string, entry: Entry): void {
  dir.entries.set(name, flat(entry));
  dir.chunks?.changed(position(dir.names, name));
}

/** What was there before a change, to undo it. */
export interface Change {
  readonly dir: Dir;
  readonly name: string;
  readonly entry: Entry | undefined;
  readonly open: Dir | undefined;
  readonly tail: Uint8Array[] | undefined;
}

/** Sets or (entry undefined) deletes a name; returns what was there. */
export function setEntry(dir: Dir, name: string, entry: Entry | undefined, open?: Dir, tail?: Uint8Array[]): Change {
  const before: Change = { dir, name, entry: dir.entries.get(name), open: dir.open.get(name), tail: dir.tails.get(name) };
  if (entry === undefined) {
    if (before.entry !== undefined) removeName(dir, name);
    dir.entries.delete(name);
  } else {
    if (before.entry === undefined) insertName(dir, name);
    replaceEntry(dir, name, entry);
  }
  if (open === undefined) {
    dir.open.delete(name);
    dir.changed.delete(name);
  } else {
    dir.open.set(name, open);
    dir.changed.add(name);
  }
  if (tail === undefined) dir.tails.delete(name);
  else dir.tails.set(name, tail);
  dir.dirty = true;
  return before;
}

export function undo(changes: readonly Change[]): void {
  for (let i = changes.length - 1; i >= 0; i--) {
    const change = changes[i];
    if (change !== undefined) setEntry(change.dir, change.name, change.entry, change.open, change.tail);
  }
}

function position(names: readonly string[], name: string): number {
  let low = 0;
  let high = names.length;
  // Most new names are the newest: job ids ascend.
  const last = names[high - 1];
  if (last === undefined || last < name) return high;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((names[middle] ?? "") < name) low = middle + 1;
    else high = middle;
  }
  return low;
}

function insertName(dir: Dir, name: string): void {
  const at = position(dir.names, name);
  dir.chunks?.moved(at);
  dir.names.splice(at, 0, name);
  dir.heads.splice(at, 0, flat(`${JSON.stringify(name)}:`));
}

function removeName(dir: Dir, name: string): void {
  const at = position(dir.names, name);
  if (dir.names[at] !== name) return;
  dir.chunks?.moved(at);
  dir.names.splice(at, 1);
  dir.heads.splice(at, 1);
}

/** Where sealed directories and values go. */
export interface BlobSink {
  readonly hashName: HashName;
  /** `record` is the blob with its hash (blob-records.ts). */
  put(record: Buffer): void;
}

/** A blob as content.adopt takes it, and its blobref. */
export function blobRecord(text: string | Uint8Array, hashName: HashName): { record: Buffer; ref: Blobref } {
  const hashSize = HASH_SIZE_BYTES[hashName];
  const record = newRecord(hashSize, typeof text === "string" ? Buffer.byteLength(text) : text.length);
  const start = RECORD_HEAD_BYTES + hashSize;
  if (typeof text === "string") record.write(text, start);
  else record.set(text, start);
  const hash = Bun.CryptoHasher.hash(hashName, text, "hex");
  record.write(hash, RECORD_HEAD_BYTES, "hex");
  return { record, ref: flat(`${hashName}-${hash}`) };
}

/** Stores a value's bytes; returns its blobref. */
export function putBlob(sink: BlobSink, bytes: Uint8Array): Blobref {
  const { record, ref } = blobRecord(bytes, sink.hashName);
  sink.put(record);
  return ref;
}

export interface SealContext extends BlobSink {
  /** Number of this batch, from 1. */
  readonly batch: number;
  /** `ref`, sealed in batch `sealed`, is no longer part of the tree. */
  replaced(ref: Blobref, sealed: number): void;
}

/** Gives the directory and everything changed below it their blobrefs. Returns its own. */
export function seal(dir: Dir, context: SealContext): Blobref {
  for (const name of dir.changed) {
    const child = dir.open.get(name);
    if (child === undefined) continue;
    const before = child.ref;
    const ref = seal(child, context);
    if (ref === before && dir.entries.get(name) !== "") continue;
    replaceEntry(dir, name, dirrefEntry(ref));
    dir.dirty = true;
  }
  dir.changed.clear();
  for (const [name, tail] of dir.tails) replaceEntry(dir, name, withTail(dir.entries.get(name) ?? "", tail, context));
  dir.tails.clear();
  if (!dir.dirty && dir.ref !== undefined) return dir.ref;
  const { record, ref } = encodeDir(dir, context.hashName);
  dir.dirty = false;
  dir.used = context.batch;
  if (ref === dir.ref) return ref;
  if (dir.ref !== undefined && dir.sealed > 0) context.replaced(dir.ref, dir.sealed);
  context.put(record);
  dir.ref = ref;
  dir.sealed = context.batch;
  return ref;
}

function encodeDir(dir: Dir, hashName: HashName): { record: Buffer; ref: Blobref } {
  if (dir.names.length < WIDE_ENTRIES) {
    dir.chunks = undefined;
    return blobRecord(dirText(dir), hashName);
  }
  dir.chunks ??= new Chunks();
  return dir.chunks.encode(dir.names.length, (from, to) => entriesText(dir, from, to), hashName);
}

/** The entry with bytes appended; "" is a name that is new. */
function withTail(entry: Entry, tail: readonly Uint8Array[], sink: BlobSink): Entry {
  const bytes = tail.length === 1 && tail[0] !== undefined ? tail[0] : Buffer.concat(tail);
  if (entry === "") return valueEntry(bytes, sink);
  const ref = putBlob(sink, bytes);
  if (typeOf(entry) === "valref") return appendRef(entry, ref);
  return valrefEntry([putBlob(sink, Buffer.from(valBase64(entry), "base64")), ref]);
}

/** A value: in the directory itself when it is small. */
export function valueEntry(bytes: Uint8Array, sink: BlobSink): Entry {
  if (4 * Math.ceil(bytes.length / 3) > INLINE_MAX_CHARS) return valrefEntry([putBlob(sink, bytes)]);
  return valEntry(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64"));
}
