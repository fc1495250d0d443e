// flux restore: the keys of an archive, as `flux dump` writes it, become a directory of the KVS: at a key, or as the root with
// which the KVS will start (flux-restore(1)).
import { ContentStore, hashAttribute, isKvsRunning } from "../client/content.ts";
import type { Flux } from "../client/flux.ts";
import { kvsCommit, putDirref } from "../client/kvs.ts";
import type { Blobref, HashName } from "../formats/blobref.ts";
import { FormatError } from "../formats/error.ts";
import { type TarEntry, TarReader } from "../formats/tar.ts";
import { type DirObject, dirObject, dirrefObject, encodeTreeobj, symlinkObject, type Treeobj, valObject, valrefObject } from "../formats/treeobj.ts";
import { FluxError, toFluxError } from "../message/errno.ts";
import { readArchive } from "./archive-file.ts";
import { defineCommand, flag, text, UsageError, valueOr } from "./command.ts";
import { explain, withFlux } from "./connect.ts";
import { KeyProgress } from "./key-progress.ts";
import { bytes, integer } from "./options.ts";
import { printError, wrongUsage } from "./output.ts";

/** Values shorter than a blobref stand in their directory. */
const INLINE_BELOW_BYTES = 72;
const SHORT_DIGITS = 8;

interface RestoreOptions {
  readonly sizeLimit_bytes: number;
  readonly maxreqs: number;
  readonly quiet: boolean;
  readonly verbose: boolean;
  readonly sdNotify: boolean;
}

export default defineCommand({
  name: "restore",
  style: "getopt",
  summary: "read a snapshot of the KVS from an archive",
  usage: "[OPTIONS] INFILE",
  details: "Read the archive of a KVS snapshot from a file, or (-) from stdin.\n\nExample: flux restore --key=backup backup.tgz",
  options: {
    verbose: flag("-v, --verbose", "list keys on stderr as they are restored"),
    quiet: flag("-q, --quiet", "don't show how many keys were restored"),
    checkpoint: flag("--checkpoint", "make it the root with which the KVS will start"),
    key: text("--key KEY", "make it the directory KEY"),
    noCache: flag("--no-cache", "store in the backing store itself"),
    sizeLimit_bytes: valueOr("--size-limit SIZE", "leave out values of more than SIZE bytes (k, M, G)", bytes, 0),
    maxreqs: valueOr("--maxreqs N", "store N blobs at the same time (default 256)", integer(1), 256),
    sdNotify: flag("--sd-notify", "tell systemd of the progress, by way of the broker"),
  },
  async run({ options, args }) {
    const [file] = args;
    if (file === undefined || args.length > 1) throw wrongUsage("flux restore [OPTIONS] INFILE");
    const { key, checkpoint, noCache, quiet } = options;
    if (!checkpoint && key === undefined) throw new UsageError("Please specify a restore target with --checkpoint or --key");
    return withFlux(async (h) => {
      if (checkpoint && (await isKvsRunning(h))) throw new UsageError("please unload kvs module before using --checkpoint");
      const content = new ContentStore(h, noCache);
      const { root, mtime } = await restore(h, content, file, options);
      const short = root.slice(0, root.indexOf("-") + 1 + SHORT_DIGITS);
      if (!quiet) printError(`flux-restore: writing snapshot ${short} to ${checkpoint ? "checkpoint for next KVS start" : `KVS key '${key}'`}`);
      if (checkpoint) await explain("error updating checkpoint", content.putCheckpoint(root, 0, mtime), true);
      else if (key !== undefined) await explain(`error updating ${key}`, kvsCommit(h, [putDirref(key, root)]), true);
      if (!noCache) await flushContent(h);
      return 0;
    });
  },
});

async function flushContent(h: Flux): Promise<void> {
  try {
    await h.rpc("content.flush", {}, { nodeid: 0 });
  } catch (err) {
    printError(`flux-restore: error flushing content cache: ${toFluxError(err).message}`);
  }
}

async function restore(h: Flux, content: ContentStore, file: string, options: RestoreOptions): Promise<{ root: Blobref; mtime: number }> {
  let blobs = 0;
  const progress = new KeyProgress(h, {
    ...options,
    line: (keys) => `flux-restore: restored ${keys} keys (${blobs} blobs)`,
    status: (keys) => `flux-restore(1) has restored ${keys} keys`,
  });
  const stores = new Stores(content, await hashAttribute(h), options.maxreqs, () => blobs++);
  const tree = dirObject();
  let mtime = 0;
  await eachEntry(file, async (entry, data) => {
    mtime = Math.max(mtime, entry.mtime);
    if (entry.type === "file" && options.sizeLimit_bytes > 0 && entry.size_bytes > options.sizeLimit_bytes) {
      progress.clearLine();
      return printError(`${entry.path} size ${entry.size_bytes} exceeds ${options.sizeLimit_bytes} limit, skipping`);
    }
    await restoreEntry(tree, entry, data, stores);
    progress.add(entry.type === "symlink" ? `${entry.path} -> ${entry.target}` : entry.path);
  });
  await stores.settled();
  const root = await storeDirs(tree, stores);
  progress.end();
  return { root, mtime };
}

async function eachEntry(file: string, run: (entry: TarEntry, data: () => Promise<Uint8Array>) => Promise<void>): Promise<void> {
  const reader = new TarReader(readArchive(file));
  try {
    const first = await reader.next().catch((err: unknown) => {
      throw err instanceof FormatError ? new UsageError(`${file}: Unrecognized archive format`) : err;
    });
    for (let entry = first; entry !== undefined; entry = await reader.next()) if (entry.type !== "other") await run(entry, () => reader.data());
  } catch (err) {
    if (err instanceof FormatError) throw new UsageError(`${file}: ${err.message}`);
    throw err;
  }
}

async function restoreEntry(tree: DirObject, entry: TarEntry, data: () => Promise<Uint8Array>, stores: Stores): Promise<void> {
  const names = entry.path.split("/").filter((name) => name !== "" && name !== ".");
  const name = names.pop();
  if (name === undefined) throw new UsageError(`'${entry.path}' is not the name of a key`);
  const dir = directory(tree, names, entry.path);
  if (entry.type === "symlink") {
    const [, namespace, target] = /^(.*?)::(.*)$/s.exec(entry.target) ?? [];
    dir.data[name] = target === undefined ? symlinkObject(entry.target) : symlinkObject(target, namespace);
    return;
  }
  const bytesOf = await data();
  if (bytesOf.length < INLINE_BELOW_BYTES) dir.data[name] = valObject(bytesOf);
  else await stores.value(dir, name, bytesOf, entry.path);
}

/** The directory with these names, made where it is missing. */
function directory(tree: DirObject, names: readonly string[], path: string): DirObject {
  let dir = tree;
  for (const name of names) {
    const below: Treeobj = (dir.data[name] ??= dirObject());
    if (below.type !== "dir") throw new UsageError(`${name} in ${path} is not a directory`);
    dir = below;
  }
  return dir;
}

/** Stores the directories below first: each becomes a reference in the one above. */
async function storeDirs(dir: DirObject, stores: Stores): Promise<Blobref> {
  await Promise.all(
    Object.entries(dir.data).map(async ([name, entry]) => {
      if (entry.type === "dir") dir.data[name] = dirrefObject(await storeDirs(entry, stores));
    }),
  );
  return stores.put(Buffer.from(encodeTreeobj(dir)), "a directory");
}

/** Stores blobs, a number of them at the same time. */
class Stores {
  readonly #content: ContentStore;
  readonly #hash: HashName;
  readonly #stored: () => void;
  #free: number;
  readonly #waiting: (() => void)[] = [];
  /** Values that are on their way. */
  readonly #values = new Set<Promise<void>>();
  #failure: FluxError | undefined;

  constructor(content: ContentStore, hash: HashName, max: number, stored: () => void) {
    this.#content = content;
    this.#hash = hash;
    this.#free = max;
    this.#stored = stored;
  }

  /** Resolves to the blob's name. */
  async put(data: Uint8Array, what: string): Promise<Blobref> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      const ref = await this.#content.store(data, this.#hash);
      this.#stored();
      return ref;
    } catch (err) {
      throw new FluxError(toFluxError(err).errno, `error storing blob for ${what}: ${toFluxError(err).message}`);
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }

  /** Puts a value's blob into its directory when it is stored. Resolves when there is room for more. */
  async value(dir: DirObject, name: string, data: Uint8Array, path: string): Promise<void> {
    const value = this.#putValue(dir, name, data, path).finally(() => this.#values.delete(value));
    this.#values.add(value);
    if (this.#free === 0) await Promise.race(this.#values);
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #putValue(dir: DirObject, name: string, data: Uint8Array, path: string): Promise<void> {
    try {
      dir.data[name] = valrefObject(await this.put(data, path));
    } catch (err) {
      this.#failure ??= toFluxError(err);
    }
  }

  async settled(): Promise<void> {
    await Promise.all(this.#values);
    if (this.#failure !== undefined) throw this.#failure;
  }
}
