// Lookup: from a root to what a key names (RFC 11), following symbolic links, also into other namespaces.
import { KVS } from "../../client/kvs.ts";
import type { Blobref } from "../../formats/blobref.ts";
import type { Treeobj } from "../../formats/treeobj.ts";
import { errno, FluxError } from "../../message/errno.ts";
import type { Dir } from "./dir.ts";
import { decodeEntry, dirrefOf, type Entry, typeOf } from "./entry.ts";
import { namesOf, normalizeKey } from "../../formats/kvs-key.ts";
import { LINKS_MAX } from "./transaction.ts";

/** Where a lookup begins: a blobref, and the directory where it is in memory. */
export interface Root {
  readonly ref: Blobref;
  readonly dir: Dir | undefined;
}

export interface LookupContext {
  /** A directory in memory; undefined when it must be loaded. */
  peek(ref: Blobref): Dir | undefined;
  /** The root of a namespace that a link leads to; undefined when it must be asked for. Throws EPERM, ENOTSUP. */
  rootOf(namespace: string): Root | undefined;
}

export type Found =
  | { readonly kind: "nothing" }
  | { readonly kind: "entry"; readonly entry: Entry }
  /** A directory; `dir` where it is in memory. */
  | { readonly kind: "dir"; readonly ref: Blobref; readonly dir: Dir | undefined }
  /** Try again when this directory is in memory. */
  | { readonly kind: "load"; readonly ref: Blobref }
  /** Try again when the root of this namespace is known. */
  | { readonly kind: "namespace"; readonly namespace: string };

const DEPTH_MAX = 4096;

/** What `key` (normalized) names. Throws FluxError ELOOP, EPERM, ENOTSUP. */
export function walk(root: Root, key: string, flags: number, context: LookupContext): Found {
  let base = root;
  let names = namesOf(key);
  let links = 0;
  let at: Root = root;
  for (let i = 0; i < names.length; i++) {
    const dir = at.dir ?? context.peek(at.ref);
    if (dir === undefined) return { kind: "load", ref: at.ref };
    const name = names[i] as string;
    const entry = dir.entries.get(name);
    if (entry === undefined) return { kind: "nothing" };
    const isLast = i === names.length - 1;
    const type = typeOf(entry);
    if (type === "dirref") {
      at = { ref: dirrefOf(entry), dir: dir.open.get(name) };
    } else if (type === "symlink" && !(isLast && (flags & (KVS.READLINK | KVS.TREEOBJ)) !== 0)) {
      if (++links > LINKS_MAX) throw new FluxError(errno.ELOOP);
      const { data } = decodeEntry(entry) as Extract<Treeobj, { type: "symlink" }>;
      if (data.namespace !== undefined) {
        const other = context.rootOf(data.namespace);
        if (other === undefined) return { kind: "namespace", namespace: data.namespace };
        base = other;
      }
      names = [...namesOf(normalizeKey(data.target)), ...names.slice(i + 1)];
      if (names.length > DEPTH_MAX) throw new FluxError(errno.ELOOP);
      at = base;
      i = -1;
    } else {
      return isLast ? { kind: "entry", entry } : { kind: "nothing" };
    }
  }
  return { kind: "dir", ref: at.ref, dir: at.dir };
}

/** Throws the error that reading an entry of this type with these flags gives (as flux-core does). */
export function checkReadable(type: Treeobj["type"], flags: number): void {
  if ((flags & KVS.TREEOBJ) !== 0) return;
  if ((flags & KVS.READLINK) !== 0 && type !== "symlink") throw new FluxError(errno.EINVAL);
  if (type === "dir" || type === "dirref") {
    if ((flags & KVS.READDIR) === 0) throw new FluxError(errno.EISDIR);
  } else if ((flags & KVS.READDIR) !== 0) {
    throw new FluxError(errno.ENOTDIR);
  }
}
