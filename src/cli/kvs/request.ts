// What the commands of `flux kvs` ask of the services "kvs" and "kvs-watch" (RFC 11 tree objects).
import type { Flux } from "../../client/flux.ts";
import { KVS } from "../../client/kvs.ts";
import type { Stream } from "../../client/stream.ts";
import type { Json, JsonObject } from "../../formats/json.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { int, json, obj, str, uint, unpack } from "../../message/unpack.ts";
import { flag, text, UsageError } from "../command.ts";
import { explain } from "../connect.ts";
import { print } from "../output.ts";

/** Where to look: a namespace, or a tree object that is the root. */
export interface Place {
  readonly namespace?: string | undefined;
  readonly at?: string | undefined;
}

export interface Operation {
  readonly key: string;
  readonly flags: number;
  /** A tree object; null unlinks. */
  readonly dirent: Json;
  readonly [member: string]: Json;
}

export const namespaceOption = text("-N, --namespace NS", "look in this namespace");
/** Options of the commands that change something: what to print about the new root. */
export const commitOptions = {
  namespace: text("-N, --namespace NS", "change this namespace"),
  treeobjRoot: flag("-O, --treeobj-root", "print the new root as a tree object"),
  blobref: flag("-b, --blobref", "print the new root's blobref"),
  sequence: flag("-s, --sequence", "print the new root's sequence number"),
} as const;

export function namespaceOf(namespace: string | undefined): string {
  return namespace ?? process.env["FLUX_KVS_NAMESPACE"] ?? "primary";
}

/** Throws FluxError EINVAL for an empty key or a reference that isn't a tree object. */
export function lookupRequest(key: string, flags: number, place: Place): JsonObject {
  if (key === "") throw new FluxError(errno.EINVAL);
  if (place.at === undefined) return { key, namespace: namespaceOf(place.namespace), flags };
  return { key, flags, rootdir: parseReference(place.at) };
}

function parseReference(text: string): JsonObject {
  try {
    return obj(JSON.parse(text), "reference");
  } catch {
    throw new FluxError(errno.EINVAL);
  }
}

/** The tree object at `key`. Throws FluxError: ENOENT, EISDIR, ENOTDIR, EINVAL, EOPNOTSUPP (no such namespace), … */
export async function lookup(h: Flux, key: string, flags: number, place: Place): Promise<JsonObject> {
  const topic = flags & KVS.WAITCREATE ? "kvs-watch.lookup" : "kvs.lookup";
  return unpack(await h.rpc(topic, lookupRequest(key, flags, place)), { val: obj }).val;
}

/** The values of `key`, one by one: with WATCH as they change, with STREAM in pieces. */
export function watch(h: Flux, key: string, flags: number, place: Place): Stream {
  return h.stream("kvs-watch.lookup", lookupRequest(key, flags, place));
}

/** A value as text: programs in C store the NUL that ends theirs, and read no further than one. */
export function untilNul(bytes: Buffer): Buffer {
  const end = bytes.indexOf(0);
  return end < 0 ? bytes : bytes.subarray(0, end);
}

/** The bytes of a val. */
export function valueBytes(treeobj: JsonObject): Buffer {
  return Buffer.from(unpack(treeobj, { data: str }).data, "base64");
}

/** The entries of a dir, sorted by name. */
export function dirEntries(treeobj: JsonObject): [name: string, entry: JsonObject][] {
  const { type, data } = unpack(treeobj, { type: str, data: json });
  if (type !== "dir") throw new FluxError(errno.EPROTO, `expected a directory, found a ${type}`);
  const names = Object.keys(obj(data, "data")).toSorted();
  return names.map((name) => [name, obj((data as JsonObject)[name], `data.${name}`)]);
}

/** How a tree object is printed: compact, members in order of their names. */
export function treeobjText(value: Json): string {
  if (Array.isArray(value)) return `[${value.map((v: Json) => treeobjText(v)).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const object = value as JsonObject;
  const members = Object.keys(object).toSorted();
  return `{${members.map((key) => `${JSON.stringify(key)}:${treeobjText(object[key] as Json)}`).join(",")}}`;
}

/** "a..b." is "a.b"; "." is the root. Throws UsageError for an empty key. */
export function normalKey(key: string): string {
  if (key === "") throw new UsageError(": Invalid argument");
  const normal = key.replace(/\.+/g, ".").replace(/^\.|\.$/g, "");
  return normal === "" ? "." : normal;
}

export function valDirent(bytes: Uint8Array): JsonObject {
  return { ver: 1, type: "val", data: Buffer.from(bytes).toString("base64") };
}

export interface NewRoot {
  readonly rootref: string;
  readonly rootseq: number;
}

/** Commits operations as one transaction. */
export async function commit(h: Flux, namespace: string | undefined, ops: readonly Operation[], flags: number = 0): Promise<NewRoot> {
  const request = { namespace: namespaceOf(namespace), flags, ops };
  return unpack(await h.rpc("kvs.commit", request), { rootref: str, rootseq: uint });
}

/** Commits, and prints what the options ask for. */
export async function commitAndShow(
  h: Flux,
  ops: readonly Operation[],
  options: { readonly namespace: string | undefined; treeobjRoot: boolean; blobref: boolean; sequence: boolean },
  flags: number = 0,
): Promise<void> {
  const { rootref, rootseq } = await explain("flux_kvs_commit", commit(h, options.namespace, ops, flags));
  if (options.treeobjRoot) print(rootText(rootref));
  else if (options.blobref) print(rootref);
  else if (options.sequence) print(String(rootseq));
}

export function rootText(rootref: string): string {
  return treeobjText({ data: [rootref], type: "dirref", ver: 1 });
}

export interface Root extends NewRoot {
  readonly owner: number;
}

export async function getRoot(h: Flux, namespace: string | undefined): Promise<Root> {
  const answer = await h.rpc("kvs.getroot", { namespace: namespaceOf(namespace), flags: 0 });
  return unpack(answer, { rootref: str, rootseq: uint, owner: int });
}
