// A flat directory of blobs, and one checkpoint that names some of them. What the checkpoint names is on disk before it is: it
// must not outlast them when the power fails.
import { access, mkdir, open, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { FluxError, toFluxError } from "../../message/errno.ts";

const CHECKPOINT = "kvs-primary";
/** A file that is being written: .NAME.NUMBER. What else is in the directory is not ours. */
const PART = /^\..+\.\d+$/;
/** Files that may wait for a checkpoint; more are put on disk as they come. */
const UNSYNCED_MAX = 10_000;
/** Files that are put on disk at a time. */
const SYNCS_AT_A_TIME = 64;

/** Errors are FluxErrors with the errno of the file system. */
export class Files {
  readonly #directory: string;
  readonly #sync: (path: string) => Promise<void>;
  #sequence = 0;
  /** Blobs that may not be on disk yet. */
  #unsynced = new Set<string>();
  #syncing: Promise<void> = Promise.resolve();

  /** `sync` puts a file or directory on disk. */
  constructor(directory: string, sync: (path: string) => Promise<void> = syncPath) {
    this.#directory = directory;
    this.#sync = sync;
  }

  async open(truncate: boolean): Promise<void> {
    if (truncate) await failing(rm(this.#directory, { recursive: true, force: true }));
    await failing(mkdir(this.#directory, { recursive: true, mode: 0o700 }));
    for (const name of await failing(readdir(this.#directory))) if (PART.test(name)) await failing(rm(this.#pathOf(name), { force: true }));
  }

  async read(name: string): Promise<Buffer> {
    return failing(readFile(this.#pathOf(name)));
  }

  async check(name: string): Promise<void> {
    await failing(access(this.#pathOf(name)));
  }

  async write(name: string, data: Uint8Array): Promise<void> {
    await this.#write(name, data, () => Promise.resolve());
    this.#unsynced.add(name);
    if (this.#unsynced.size >= UNSYNCED_MAX) await this.sync();
  }

  async readCheckpoint(): Promise<Buffer> {
    return this.read(CHECKPOINT);
  }

  /** All blobs that were written before are on disk then, and the checkpoint, too. */
  async writeCheckpoint(data: Uint8Array): Promise<void> {
    await this.sync();
    await this.#write(CHECKPOINT, data, this.#sync);
    await failing(this.#sync(this.#directory));
  }

  /** Puts on disk what has been written, after what others had put there meanwhile. */
  sync(): Promise<void> {
    const synced = this.#syncing.then(() => this.#syncAll());
    this.#syncing = synced.catch(() => undefined);
    return synced;
  }

  async #syncAll(): Promise<void> {
    const names = [...this.#unsynced];
    if (names.length === 0) return;
    this.#unsynced = new Set();
    try {
      for (let at = 0; at < names.length; at += SYNCS_AT_A_TIME) {
        await failing(Promise.all(names.slice(at, at + SYNCS_AT_A_TIME).map((name) => this.#sync(this.#pathOf(name)))));
      }
      await failing(this.#sync(this.#directory));
    } catch (err) {
      for (const name of names) this.#unsynced.add(name);
      throw err;
    }
  }

  async count(): Promise<number> {
    return (await failing(readdir(this.#directory))).filter((name) => !name.startsWith(".")).length;
  }

  /** By way of another file, so that half a blob is never found. */
  async #write(name: string, data: Uint8Array, finish: (path: string) => Promise<void>): Promise<void> {
    const part = this.#pathOf(`.${name}.${this.#sequence++}`);
    try {
      await writeFile(part, data);
      await finish(part);
      await rename(part, this.#pathOf(name));
    } catch (err) {
      await rm(part, { force: true }).catch(() => undefined); // What went wrong first is said; open() removes what is left.
      throw fileError(err);
    }
  }

  #pathOf(name: string): string {
    return join(this.#directory, name);
  }
}

async function syncPath(path: string): Promise<void> {
  const file = await open(path, "r");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

async function failing<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (err) {
    throw fileError(err);
  }
}

function fileError(err: unknown): FluxError {
  return new FluxError(toFluxError(err).errno);
}
