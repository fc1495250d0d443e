// Walks all keys below a root of the KVS by its tree objects (RFC 11), straight from the content store: the kvs module need
// not be there. `flux dump`, `flux fsck` and `flux gc` are visitors.
import { type Blobref, isBlobref } from "../formats/blobref.ts";
import { type DirObject, parseDir, type SymlinkObject, type Treeobj, type ValObject, type ValrefObject } from "../formats/treeobj.ts";
import { errno, FluxError, toFluxError } from "../message/errno.ts";

export type Blob = Uint8Array | FluxError;

/** What was wrong with a directory. */
export type DirProblem = "load" | "decode";

export interface WalkVisitor {
  /** Separates the names of a path. */
  readonly separator: string;
  /** Blobs asked for at the same time, and about as many keys. */
  readonly window: number;
  /** Gets a directory's blob. */
  load(ref: Blobref): Promise<Uint8Array>;
  /** Every entry, before anything else is done with it. */
  visit?(path: string, entry: Treeobj): void;
  /** False: what is below is passed over. */
  descend?(path: string, ref: Blobref): boolean;
  value?(path: string, value: ValObject): void | Promise<void>;
  symlink?(path: string, link: SymlinkObject): void | Promise<void>;
  /** Gets one blob of a value, for valref(). Default: load. */
  loadValue?(ref: Blobref): Promise<Uint8Array>;
  /** A value in blobs, or why some could not be had. Without it none is asked for. */
  valref?(path: string, value: ValrefObject, blobs: readonly Blob[]): void | Promise<void>;
  /** What is below can't be seen. */
  badDirectory(path: string, problem: DirProblem, error: FluxError): void;
}

/** Resolves when all was visited. Rejects with what a visitor throws, or why the root can't be read. */
export async function walkKvs(root: Blobref, visitor: WalkVisitor): Promise<void> {
  const walk = new Walk(visitor);
  await walk.run(parseDir(await visitor.load(root)));
}

/** A directory's blob as an object. Throws FluxError EINVAL. */
export async function loadDir(load: (ref: Blobref) => Promise<Uint8Array>, ref: Blobref): Promise<DirObject> {
  const bytes = await load(ref);
  try {
    return parseDir(bytes);
  } catch (err) {
    throw new FluxError(errno.EINVAL, toFluxError(err).message);
  }
}

class Walk {
  readonly #visitor: WalkVisitor;
  /** What is still to be visited: the last one next. */
  readonly #stack: [path: string, entry: Treeobj][] = [];
  /** Entries that wait for blobs. */
  #open = 0;
  #free: number;
  readonly #waitingForSlot: (() => void)[] = [];
  #wake = Promise.withResolvers<void>();
  #failure: { error: unknown } | undefined;

  constructor(visitor: WalkVisitor) {
    this.#visitor = visitor;
    this.#free = visitor.window;
  }

  async run(root: DirObject): Promise<void> {
    this.#push("", root);
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure.error;
      const next = this.#open < this.#visitor.window ? this.#stack.pop() : undefined;
      if (next !== undefined) await this.#enter(...next);
      else if (this.#open > 0) await this.#wake.promise;
      else return;
    }
  }

  #push(path: string, dir: DirObject): void {
    const prefix = path === "" ? "" : path + this.#visitor.separator;
    const names = Object.keys(dir.data);
    for (const name of names.reverse()) this.#stack.push([prefix + name, dir.data[name] as Treeobj]);
  }

  #enter(path: string, entry: Treeobj): void | Promise<void> {
    const visitor = this.#visitor;
    visitor.visit?.(path, entry);
    switch (entry.type) {
      case "val":
        return visitor.value?.(path, entry);
      case "symlink":
        return visitor.symlink?.(path, entry);
      case "dir":
        return this.#push(path, entry);
      case "dirref": {
        const ref = entry.data[0] as Blobref;
        if (visitor.descend?.(path, ref) ?? true) this.#start(() => this.#enterDirref(path, ref));
        return;
      }
      default:
        if (visitor.valref !== undefined) this.#start(() => this.#enterValref(path, entry));
    }
  }

  #start(task: () => Promise<void>): void {
    this.#open++;
    task()
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => {
        this.#open--;
        this.#wake.resolve();
        this.#wake = Promise.withResolvers();
      });
  }

  async #enterDirref(path: string, ref: Blobref): Promise<void> {
    let dir: DirObject;
    const blob = await this.#fetch(ref, (r) => this.#visitor.load(r));
    if (blob instanceof FluxError) return this.#visitor.badDirectory(path, "load", blob);
    try {
      dir = parseDir(blob);
    } catch (err) {
      return this.#visitor.badDirectory(path, "decode", toFluxError(err));
    }
    this.#push(path, dir);
  }

  async #enterValref(path: string, value: ValrefObject): Promise<void> {
    const visitor = this.#visitor;
    const load = (ref: Blobref): Promise<Uint8Array> => (visitor.loadValue === undefined ? visitor.load(ref) : visitor.loadValue(ref));
    const blobs = await Promise.all(value.data.map((ref) => this.#fetch(ref, load)));
    await visitor.valref?.(path, value, blobs);
  }

  async #fetch(ref: Blobref, load: (ref: Blobref) => Promise<Uint8Array>): Promise<Blob> {
    if (!isBlobref(ref)) return new FluxError(errno.EINVAL, `${JSON.stringify(ref)} is not a blobref`);
    if (this.#free === 0) await new Promise<void>((resolve) => this.#waitingForSlot.push(resolve));
    else this.#free--;
    try {
      return await load(ref);
    } catch (err) {
      return toFluxError(err);
    } finally {
      const next = this.#waitingForSlot.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }
}
