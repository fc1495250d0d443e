// Entry: a tree object (RFC 11) of a directory in its encoded form, as text. Directories keep their entries as text
// because that is what a commit writes and what takes least memory; a lookup decodes the one entry that it wants.
//
// The text is canonical: members in the order data, type, ver and no spaces. So its type and its blobrefs are found by
// position.
import { encodeTreeobj, parseTreeobj, type Treeobj } from "../../formats/treeobj.ts";
import type { Blobref } from "../../formats/blobref.ts";

export type Entry = string;

const VER = ',"ver":1}';
const REFS_HEAD = '{"data":[';
const VALREF_TAIL = `],"type":"valref"${VER}`;
const DIRREF_TAIL = `],"type":"dirref"${VER}`;

/** Checks a tree object from outside. Throws FormatError. */
export function encodeEntry(treeobj: unknown): Entry {
  return encodeTreeobj(parseTreeobj(treeobj));
}

export function decodeEntry(entry: Entry): Treeobj {
  return JSON.parse(entry) as Treeobj;
}

export function typeOf(entry: Entry): Treeobj["type"] {
  const end = entry.length - VER.length - 1;
  return entry.slice(entry.lastIndexOf('"', end - 1) + 1, end) as Treeobj["type"];
}

export function valEntry(base64: string): Entry {
  return `{"data":"${base64}","type":"val"${VER}`;
}

/** The base64 text of a val. */
export function valBase64(entry: Entry): string {
  return entry.slice(9, entry.length - VER.length - 14);
}

export function dirrefEntry(ref: Blobref): Entry {
  return `${REFS_HEAD}"${ref}"${DIRREF_TAIL}`;
}

/** The blobref of a dirref. */
export function dirrefOf(entry: Entry): Blobref {
  return entry.slice(REFS_HEAD.length + 1, entry.length - DIRREF_TAIL.length - 1);
}

export function valrefEntry(refs: readonly Blobref[]): Entry {
  return `${REFS_HEAD}${refs.map((ref) => `"${ref}"`).join(",")}${VALREF_TAIL}`;
}

/** A valref with one more blob at its end. */
export function appendRef(entry: Entry, ref: Blobref): Entry {
  const head = entry.slice(0, entry.length - VALREF_TAIL.length);
  return head.length === REFS_HEAD.length ? valrefEntry([ref]) : `${head},"${ref}"${VALREF_TAIL}`;
}

/** Number of blobs of a valref. All refs of an instance have one length. */
export function refCount(entry: Entry): number {
  const stride = refStride(entry);
  return stride === 0 ? 0 : (entry.length - REFS_HEAD.length - VALREF_TAIL.length + 1) / stride;
}

/** Blobrefs of a valref from the `from`-th on. */
export function refsFrom(entry: Entry, from: number): Blobref[] {
  const stride = refStride(entry);
  const refs: Blobref[] = [];
  if (stride === 0) return refs;
  const end = entry.length - VALREF_TAIL.length;
  for (let at = REFS_HEAD.length + from * stride; at < end; at += stride) refs.push(entry.slice(at + 1, at + stride - 2));
  return refs;
}

/** Characters from one ref to the next, quotes and comma included. */
function refStride(entry: Entry): number {
  if (entry[REFS_HEAD.length] !== '"') return 0;
  return entry.indexOf('"', REFS_HEAD.length + 1) - REFS_HEAD.length + 2;
}
