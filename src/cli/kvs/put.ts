// flux kvs put, unlink, mkdir, link, copy, move: the commands that change something. Each is one transaction.
import type { Flux } from "../../client/flux.ts";
import { KVS, KVS_COMMIT } from "../../client/kvs.ts";
import type { JsonObject } from "../../formats/json.ts";
import { errno, FluxError, isErrno } from "../../message/errno.ts";
import { str, unpack } from "../../message/unpack.ts";
import { defineCommand, flag, text, UsageError } from "../command.ts";
import { explain, explained, withFlux } from "../connect.ts";
import { wrongUsage } from "../output.ts";
import {
  commit,
  commitAndShow,
  commitOptions,
  dirEntries,
  lookup,
  namespaceOf,
  normalKey,
  type Operation,
  type Place,
  valDirent,
} from "./request.ts";

interface PutOptions {
  readonly raw: boolean;
  readonly treeobj: boolean;
  readonly append: boolean;
}

export const put = defineCommand({
  name: "put",
  style: "getopt",
  summary: "store values",
  usage: "[OPTIONS] key=value [key=value...]",
  options: {
    ...commitOptions,
    raw: flag("-r, --raw", "the value's bytes as they are; key=- reads them from stdin"),
    treeobj: flag("-t, --treeobj", "the value is a tree object (RFC 11); key=- reads it from stdin"),
    noMerge: flag("-n, --no-merge", "don't merge this transaction with others"),
    append: flag("-A, --append", "append to the value"),
    sync: flag("-S, --sync", "return when everything is on disk"),
  },
  async run({ options, args }) {
    if (args.length === 0) throw wrongUsage("flux kvs put [OPTIONS] key=value [key=value...]");
    const ops: Operation[] = [];
    for (const word of args) ops.push(await putOperation(word, options));
    const flags = (options.noMerge ? KVS_COMMIT.NO_MERGE : 0) | (options.sync ? KVS_COMMIT.SYNC : 0);
    return withFlux(async (h) => {
      await commitAndShow(h, ops, options, flags);
      return 0;
    });
  },
});

async function putOperation(word: string, options: PutOptions): Promise<Operation> {
  const equals = word.indexOf("=");
  if (equals < 0) throw new UsageError("put: you must specify a value as key=value");
  const key = normalKey(word.slice(0, equals));
  const given = word.slice(equals + 1);
  const fromStdin = given === "-" && (options.raw || options.treeobj);
  const bytes = fromStdin ? await Bun.stdin.bytes() : Buffer.from(given);
  if (options.treeobj) return { key, flags: 0, dirent: await parseDirent(key, bytes) };
  return { key, flags: options.append ? KVS.APPEND : 0, dirent: valDirent(bytes) };
}

async function parseDirent(key: string, bytes: Uint8Array): Promise<JsonObject> {
  const { parseTreeobj } = await import("../../formats/treeobj.ts");
  try {
    return { ...parseTreeobj(Buffer.from(bytes).toString()) } as JsonObject;
  } catch {
    throw explained(key, new FluxError(errno.EPROTO));
  }
}

export const unlink = defineCommand({
  name: "unlink",
  style: "getopt",
  summary: "remove keys",
  usage: "[OPTIONS] key [key...]",
  options: {
    ...commitOptions,
    recursive: flag("-R, --recursive", "remove directories and what is in them"),
    force: flag("-f, --force", "keys that don't exist are no error"),
  },
  async run({ options, args }) {
    if (args.length === 0) throw wrongUsage("flux kvs unlink [OPTIONS] key [key...]");
    return withFlux(async (h) => {
      const ops: Operation[] = [];
      for (const key of args) {
        const exists = await explain(`cannot unlink '${key}'`, checkUnlink(h, key, options));
        if (exists) ops.push({ key: normalKey(key), flags: 0, dirent: null });
      }
      await commitAndShow(h, ops, options);
      return 0;
    });
  },
});

/** True when the key exists. Throws FluxError ENOENT, or ENOTEMPTY for a directory that has entries. */
async function checkUnlink(
  h: Flux,
  key: string,
  options: { namespace: string | undefined; recursive: boolean; force: boolean },
): Promise<boolean> {
  const place: Place = { namespace: options.namespace };
  let treeobj: JsonObject;
  try {
    treeobj = await lookup(h, key, KVS.TREEOBJ, place);
  } catch (err) {
    if (options.force && isErrno(err, errno.ENOENT)) return false;
    throw err;
  }
  const { type } = unpack(treeobj, { type: str });
  if (options.recursive || (type !== "dir" && type !== "dirref")) return true;
  const dir = type === "dir" ? treeobj : await lookup(h, key, KVS.READDIR, place);
  if (dirEntries(dir).length > 0) throw new FluxError(errno.ENOTEMPTY);
  return true;
}

export const mkdir = defineCommand({
  name: "mkdir",
  style: "getopt",
  summary: "create directories",
  usage: "[OPTIONS] key [key...]",
  options: commitOptions,
  async run({ options, args }) {
    if (args.length === 0) throw wrongUsage("flux kvs mkdir [OPTIONS] key [key...]");
    const ops = args.map((key) => ({ key: normalKey(key), flags: 0, dirent: { ver: 1, type: "dir", data: {} } }));
    return withFlux(async (h) => {
      await commitAndShow(h, ops, options);
      return 0;
    });
  },
});

export const link = defineCommand({
  name: "link",
  style: "getopt",
  summary: "make a key another name of a target",
  usage: "[OPTIONS] target linkname",
  options: { ...commitOptions, targetNamespace: text("-T, --target-namespace NS", "the target is in this namespace") },
  async run({ options, args }) {
    const [target, name] = args;
    if (target === undefined) throw wrongUsage("flux kvs link [OPTIONS] target linkname");
    if (name === undefined || args.length !== 2) throw new UsageError("link: specify target and link_name");
    const namespace = options.targetNamespace;
    const data = namespace === undefined ? { target } : { namespace, target };
    return withFlux(async (h) => {
      await commitAndShow(h, [{ key: normalKey(name), flags: 0, dirent: { ver: 1, type: "symlink", data } }], options);
      return 0;
    });
  },
});

const copyOptions = {
  source: text("-S, --src-namespace NS", "namespace of the source"),
  destination: text("-D, --dst-namespace NS", "namespace of the destination"),
} as const;

export const copy = defineCommand({
  name: "copy",
  style: "getopt",
  summary: "copy a key and what is below it",
  usage: "[OPTIONS] source destination",
  options: copyOptions,
  run: ({ options, args }) => withFlux((h) => explain("flux_kvs_copy", transfer(h, "copy", args, options))),
});

export const move = defineCommand({
  name: "move",
  style: "getopt",
  summary: "give a key another name",
  usage: "[OPTIONS] source destination",
  options: copyOptions,
  run: ({ options, args }) => withFlux((h) => explain("flux_kvs_move", transfer(h, "move", args, options))),
});

async function transfer(
  h: Flux,
  what: "copy" | "move",
  args: readonly string[],
  namespaces: { source: string | undefined; destination: string | undefined },
): Promise<number> {
  const [from, to] = args;
  if (from === undefined || to === undefined || args.length !== 2) throw new UsageError(`${what}: specify srckey dstkey`);
  const dirent = await lookup(h, from, KVS.TREEOBJ, { namespace: namespaces.source });
  const removal: Operation = { key: normalKey(from), flags: 0, dirent: null };
  const addition: Operation = { key: normalKey(to), flags: 0, dirent };
  const sameNamespace = namespaceOf(namespaces.source) === namespaceOf(namespaces.destination);
  // Within a namespace a move is one transaction, so that nobody sees the key twice or not at all.
  if (what === "move" && sameNamespace) {
    await commit(h, namespaces.destination, removal.key === addition.key ? [addition] : [addition, removal]);
    return 0;
  }
  await commit(h, namespaces.destination, [addition]);
  if (what === "move") await commit(h, namespaces.source, [removal]);
  return 0;
}
