// The key-value store, as its clients see it (RFCs 11 and 16): a typed face of the services kvs and kvs-watch.
//
//   await kvsCommit(h, [put("a.b", "42"), unlink("c"), append("log", "line\n")]);
//   const text = await kvsGetText(h, "a.b");
//   for await (const chunk of kvsWatch(h, "log", { append: true })) …
import { type Blobref } from "../formats/blobref.ts";
import { type EventlogEntry, formatEventlog } from "../formats/eventlog.ts";
import { encodeJson, type Json, type JsonObject } from "../formats/json.ts";
import { dirrefObject, encodeTreeobj, parseTreeobj, symlinkObject, type Treeobj, valData, valObject } from "../formats/treeobj.ts";
import { errno, FluxError } from "../message/errno.ts";
import { arr, fields, int, str, unpack } from "../message/unpack.ts";
import type { Flux } from "./flux.ts";

export const KVS_PRIMARY = "primary";

/** Flags of lookups. */
export const KVS = {
  READDIR: 1,
  READLINK: 2,
  WATCH: 4,
  WAITCREATE: 8,
  TREEOBJ: 16,
  APPEND: 32,
  WATCH_FULL: 64,
  WATCH_UNIQ: 128,
  WATCH_APPEND: 256,
  STREAM: 512,
  WATCH_INITIAL_SENTINEL: 1024,
} as const;

/** Flags of commits: NO_MERGE makes a root of its own, SYNC waits until it is on disk (primary namespace only). */
export const KVS_COMMIT = { NO_MERGE: 1, SYNC: 4 } as const;

/** Blobref of the empty directory, for new namespaces. */
export const EMPTY_DIR_TEXT = '{"data":{},"type":"dir","ver":1}';

// ---- operations of a commit

/** One operation of a commit, as it is sent. */
export interface KvsOp {
  readonly [key: string]: Json;
  readonly key: string;
  readonly flags: number;
  readonly dirent: Json;
}

export type KvsValue = string | Uint8Array;

function op(key: string, dirent: Treeobj | null, flags: number = 0): KvsOp {
  return { key, flags, dirent: dirent as Json };
}

function bytesOf(value: KvsValue): Uint8Array {
  return typeof value === "string" ? Buffer.from(value) : value;
}

/** Sets a value: bytes, or text as UTF-8. */
export function put(key: string, value: KvsValue): KvsOp {
  return op(key, valObject(bytesOf(value)));
}

/** Sets a value to JSON text. */
export function putJson(key: string, value: Json): KvsOp {
  return put(key, encodeJson(value));
}

/** Adds to the end of a value, or sets it where there is none. */
export function append(key: string, value: KvsValue): KvsOp {
  return op(key, valObject(bytesOf(value)), KVS.APPEND);
}

export function putTreeobj(key: string, treeobj: Treeobj): KvsOp {
  return op(key, treeobj);
}

/** Puts a whole directory there by its blobref, for example the root of a namespace. */
export function putDirref(key: string, ref: Blobref): KvsOp {
  return op(key, dirrefObject(ref));
}

export function mkdir(key: string): KvsOp {
  return op(key, { data: {}, type: "dir", ver: 1 });
}

export function symlink(key: string, target: string, namespace?: string): KvsOp {
  return op(key, symlinkObject(target, namespace));
}

/** Removes what is there, a directory with everything below it too; nothing there is no error. */
export function unlink(key: string): KvsOp {
  return op(key, null);
}

// ---- commit

export interface NamespaceOption {
  /** Default: "primary". */
  readonly namespace?: string | undefined;
}

export interface CommitOptions extends NamespaceOption {
  /** KVS_COMMIT bits. */
  readonly flags?: number;
  /** The root that is made will be used later on by its blobref: keep it on disk. */
  readonly snapshot?: boolean;
  /** Nobody waits for this commit: it may be joined with others for some milliseconds. */
  readonly lazy?: boolean;
}

export interface KvsRoot {
  readonly rootref: Blobref;
  readonly rootseq: number;
}

/** Makes all changes or none. Rejects with FluxError ENOTSUP (no such namespace), EPERM, EINVAL, EISDIR, …. */
export async function kvsCommit(h: Flux, ops: readonly KvsOp[], options: CommitOptions = {}): Promise<KvsRoot> {
  const { namespace = KVS_PRIMARY, flags = 0, snapshot = false, lazy = false } = options;
  return rootOf(await h.rpc("kvs.commit", { namespace, flags, ops, snapshot, lazy }));
}

/** Like kvsCommit on the primary namespace; resolves when nothing but the loss of the state directory can undo it. */
export async function kvsCommitDurably(h: Flux, ops: readonly KvsOp[]): Promise<KvsRoot> {
  const root = await kvsCommit(h, ops);
  await kvsDurable(h);
  return root;
}

/** Resolves when all that was committed to the primary namespace survives the death of the instance, if anything does. */
export async function kvsDurable(h: Flux): Promise<void> {
  await h.rpc("kvs.durable");
}

/** Sets one value. */
export function kvsPut(h: Flux, key: string, value: KvsValue, options?: CommitOptions): Promise<KvsRoot> {
  return kvsCommit(h, [put(key, value)], options);
}

/** A commit made by `nprocs` processes that give the same `name`: it happens when all of them have come. */
export async function kvsFence(h: Flux, name: string, nprocs: number, ops: readonly KvsOp[], options: CommitOptions = {}): Promise<KvsRoot> {
  const { namespace = KVS_PRIMARY, flags = 0, snapshot = false } = options;
  return rootOf(await h.rpc("kvs.fence", { name, nprocs, namespace, flags, ops, snapshot }));
}

/** Appends entries to an eventlog (RFC 18). */
export function kvsEventlogAppend(
  h: Flux,
  namespace: string | undefined,
  key: string,
  entries: EventlogEntry | readonly EventlogEntry[],
): Promise<KvsRoot> {
  return kvsCommit(h, [eventlogAppend(key, entries)], { namespace });
}

/** The operation that appends entries to an eventlog. */
export function eventlogAppend(key: string, entries: EventlogEntry | readonly EventlogEntry[]): KvsOp {
  return append(key, formatEventlog(Array.isArray(entries) ? (entries as readonly EventlogEntry[]) : [entries as EventlogEntry]));
}

/** Collects operations for one commit. */
export class KvsTransaction {
  readonly ops: KvsOp[] = [];

  put(key: string, value: KvsValue): this {
    return this.add(put(key, value));
  }

  putJson(key: string, value: Json): this {
    return this.add(putJson(key, value));
  }

  append(key: string, value: KvsValue): this {
    return this.add(append(key, value));
  }

  mkdir(key: string): this {
    return this.add(mkdir(key));
  }

  symlink(key: string, target: string, namespace?: string): this {
    return this.add(symlink(key, target, namespace));
  }

  unlink(key: string): this {
    return this.add(unlink(key));
  }

  add(operation: KvsOp): this {
    this.ops.push(operation);
    return this;
  }

  commit(h: Flux, options?: CommitOptions): Promise<KvsRoot> {
    return kvsCommit(h, this.ops, options);
  }
}

function rootOf(payload: JsonObject): KvsRoot {
  return unpack(payload, { rootref: str, rootseq: int });
}

// ---- lookup

export interface LookupOptions extends NamespaceOption {
  /** Start at this directory instead of the current root of a namespace. */
  readonly at?: Treeobj;
}

/** The tree object that a lookup with `flags` answers. Rejects with FluxError ENOENT, EISDIR, ENOTDIR, ELOOP, …. */
export async function kvsLookup(h: Flux, key: string, flags: number, options: LookupOptions = {}): Promise<Treeobj> {
  const { namespace = KVS_PRIMARY, at } = options;
  const where = at === undefined ? { namespace } : { rootdir: JSON.parse(encodeTreeobj(at)) as JsonObject };
  const { val } = await h.rpc("kvs.lookup", { key, flags, ...where });
  return toTreeobj(val);
}

/** A value's bytes. */
export async function kvsGet(h: Flux, key: string, options?: LookupOptions): Promise<Uint8Array> {
  return bytesOfVal(await kvsLookup(h, key, 0, options));
}

/** A value as text. */
export async function kvsGetText(h: Flux, key: string, options?: LookupOptions): Promise<string> {
  return textOf(await kvsGet(h, key, options));
}

/** What is there as it is stored: a valref, dirref, symlink, …. */
export function kvsGetTreeobj(h: Flux, key: string, options?: LookupOptions): Promise<Treeobj> {
  return kvsLookup(h, key, KVS.TREEOBJ, options);
}

/** Names and entries of a directory ("." is the root). */
export async function kvsDir(h: Flux, key: string = ".", options?: LookupOptions): Promise<Readonly<Record<string, Treeobj>>> {
  const dir = await kvsLookup(h, key, KVS.READDIR, options);
  if (dir.type !== "dir") throw new FluxError(errno.ENOTDIR);
  return dir.data;
}

/** Where a symbolic link leads. */
export async function kvsReadlink(h: Flux, key: string, options?: LookupOptions): Promise<{ target: string; namespace?: string }> {
  const link = await kvsLookup(h, key, KVS.READLINK, options);
  if (link.type !== "symlink") throw new FluxError(errno.EINVAL, `${key} is not a symbolic link`);
  return link.data;
}

/** Whether the key has anything. */
export async function kvsExists(h: Flux, key: string, options?: LookupOptions): Promise<boolean> {
  try {
    await kvsGetTreeobj(h, key, options);
    return true;
  } catch (err) {
    if (err instanceof FluxError && err.errno === errno.ENOENT) return false;
    throw err;
  }
}

function toTreeobj(value: unknown): Treeobj {
  try {
    return parseTreeobj(value);
  } catch (err) {
    throw new FluxError(errno.EPROTO, `malformed answer: ${err instanceof Error ? err.message : String(err)}`);
  }
}

function bytesOfVal(treeobj: Treeobj): Uint8Array {
  if (treeobj.type !== "val") throw new FluxError(errno.EPROTO, `expected a value, got a ${treeobj.type}`);
  return valData(treeobj);
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8");
}

// ---- watch

export interface WatchOptions extends NamespaceOption {
  /** Begin when the key (or the namespace) comes into being instead of failing with ENOENT (ENOTSUP). */
  readonly waitCreate?: boolean;
  /** Deliver what is appended, not the whole value each time. */
  readonly append?: boolean;
  /** Deliver only when the value has changed, not on every commit that names the key. */
  readonly uniq?: boolean;
  /** Notice changes that name a directory above the key, or another key that leads here. */
  readonly full?: boolean;
}

function watchFlags({ waitCreate, append: isAppend, uniq, full }: WatchOptions): number {
  let flags = 0;
  if (waitCreate) flags |= KVS.WAITCREATE;
  if (isAppend) flags |= KVS.WATCH_APPEND;
  if (uniq) flags |= KVS.WATCH_UNIQ;
  if (full) flags |= KVS.WATCH_FULL;
  return flags;
}

/**
 * The value of a key now and after every change. It ends when the namespace is removed (throws ENOTSUP) or the key is
 * (throws ENOENT), or when the loop is left.
 */
export async function* kvsWatch(h: Flux, key: string, options: WatchOptions = {}): AsyncGenerator<Uint8Array, void, undefined> {
  const { namespace = KVS_PRIMARY } = options;
  for await (const { val } of h.stream("kvs-watch.lookup", { namespace, key, flags: KVS.WATCH | watchFlags(options) })) {
    yield bytesOfVal(toTreeobj(val));
  }
}

/** The value in the pieces in which it was appended; then it ends. */
export async function* kvsStream(h: Flux, key: string, options: WatchOptions = {}): AsyncGenerator<Uint8Array, void, undefined> {
  const { namespace = KVS_PRIMARY } = options;
  for await (const { val } of h.stream("kvs-watch.lookup", { namespace, key, flags: KVS.STREAM | watchFlags(options) })) {
    yield bytesOfVal(toTreeobj(val));
  }
}

/** The value as soon as the key has one. */
export async function kvsWaitCreate(h: Flux, key: string, options: NamespaceOption = {}): Promise<Uint8Array> {
  const { namespace = KVS_PRIMARY } = options;
  const { val } = await h.rpc("kvs-watch.lookup", { namespace, key, flags: KVS.WAITCREATE });
  return bytesOfVal(toTreeobj(val));
}

// ---- namespaces and versions

export interface NamespaceInfo {
  readonly namespace: string;
  readonly owner: number;
  readonly flags: number;
}

export interface NamespaceOptions {
  /** User who may use it besides the instance owner; default: the owner. */
  readonly owner?: number;
  /** Root to begin with; default: an empty directory. */
  readonly rootref?: Blobref;
  readonly flags?: number;
}

const emptyRefs = new WeakMap<Flux, Promise<Blobref>>();

/** Blobref of the empty directory under the instance's hash. */
export function emptyRootref(h: Flux): Promise<Blobref> {
  let ref = emptyRefs.get(h);
  if (ref === undefined) {
    ref = h.attr("content.hash").then((name) => {
      if (name !== "sha1" && name !== "sha256") throw new FluxError(errno.EINVAL, `unknown content.hash ${name}`);
      return `${name}-${new Bun.CryptoHasher(name).update(EMPTY_DIR_TEXT).digest("hex")}`;
    });
    ref.catch(() => emptyRefs.delete(h));
    emptyRefs.set(h, ref);
  }
  return ref;
}

/** Rejects with FluxError EEXIST. */
export async function kvsNamespaceCreate(h: Flux, namespace: string, options: NamespaceOptions = {}): Promise<void> {
  const rootref = options.rootref ?? (await emptyRootref(h));
  await h.rpc("kvs.namespace-create", { namespace, rootref, owner: options.owner ?? -1, flags: options.flags ?? 0 }, { nodeid: 0 });
}

/** Removing one that isn't there is no error. */
export async function kvsNamespaceRemove(h: Flux, namespace: string): Promise<void> {
  await h.rpc("kvs.namespace-remove", { namespace }, { nodeid: 0 });
}

export async function kvsNamespaceList(h: Flux): Promise<NamespaceInfo[]> {
  const answer = await h.rpc("kvs.namespace-list", {}, { nodeid: 0 });
  return unpack(answer, { namespaces: arr(fields({ namespace: str, owner: int, flags: int })) }).namespaces;
}

/** The current root of a namespace. It stays readable afterwards. */
export async function kvsGetroot(h: Flux, namespace: string = KVS_PRIMARY): Promise<KvsRoot & { readonly owner: number; readonly flags: number }> {
  return unpack(await h.rpc("kvs.getroot", { namespace }), { rootref: str, rootseq: int, owner: int, flags: int });
}

/** Resolves when this rank has the given version of the namespace or a later one. */
export async function kvsWaitVersion(h: Flux, rootseq: number, namespace: string = KVS_PRIMARY): Promise<KvsRoot> {
  return rootOf(await h.rpc("kvs.wait-version", { namespace, rootseq }));
}

/** Resolves when the primary namespace is on disk. Rejects with ENOSYS when there is no backing store. */
export async function kvsSync(h: Flux): Promise<void> {
  await h.rpc("kvs.sync", {}, { nodeid: 0 });
}
