// flux fsck: checks that everything that the KVS refers to is in the backing store (flux-fsck(1)), and on request takes out
// what isn't: a value loses the blobs that are missing and moves to lost+found, a directory that is missing goes.
import { ContentStore, hashAttribute, isKvsRunning } from "../client/content.ts";
import type { Flux } from "../client/flux.ts";
import { type Blob, loadDir, walkKvs } from "../client/kvs-walk.ts";
import { type Blobref, blobrefToHash, isBlobref } from "../formats/blobref.ts";
import { type DirObject, dirObject, dirrefObject, encodeTreeobj, type Treeobj, valObject, type ValrefObject, valrefObject } from "../formats/treeobj.ts";
import { formatJobId, parseJobId } from "../formats/fluid.ts";
import { errno, FluxError, toFluxError } from "../message/errno.ts";
import { defineCommand, flag, text, UsageError } from "./command.ts";
import { explain, withFlux } from "./connect.ts";
import { print, printError, wrongUsage } from "./output.ts";
import { isTerminal } from "../os/terminal.ts";

/** Blobs asked for at the same time. */
const WINDOW = 1000;
const JOB_DIRECTORY = /^job(?:\.[0-9a-f]{4}){4}(?=\.|$)/i;
const LOST_AND_FOUND = "lost+found";

interface Repair {
  readonly path: string;
  /** What is left of a value. Undefined: it was a directory. */
  readonly rest: Treeobj | undefined;
}

interface FsckOptions {
  readonly verbose: boolean;
  readonly quiet: boolean;
  readonly repair: boolean;
  readonly jobAware: boolean;
}

export default defineCommand({
  name: "fsck",
  style: "getopt",
  summary: "check that the KVS has all of its content",
  usage: "[OPTIONS]",
  options: {
    verbose: flag("-v, --verbose", "list keys as they are checked"),
    quiet: flag("-q, --quiet", "say only what is wrong"),
    rootref: text("-r, --rootref BLOBREF", "check what is below this root, not below the last checkpoint"),
    repair: flag("-R, --repair", "move damaged values to lost+found, and remove damaged directories"),
    jobAware: flag("-j, --job-aware", "with --repair: move all of a job there that has a damaged value"),
  },
  async run({ options, args }) {
    if (args.length > 0) throw wrongUsage("flux fsck [OPTIONS]");
    return withFlux(async (h) => {
      if (options.repair && (await isKvsRunning(h))) throw new UsageError("please unload kvs module before using flux-fsck --repair");
      const content = new ContentStore(h, true);
      const { root, sequence } = options.rootref === undefined ? await lastRoot(content) : { root: checkedRef(options.rootref), sequence: 0 };
      const check = new Check(h, content, options);
      await check.run(root);
      if (options.verbose || check.errors > 0) check.say(`Total errors: ${check.errors}`);
      if (options.repair) await repair(h, content, check, root, sequence, options);
      return check.errors > 0 ? 1 : 0;
    });
  },
});

function checkedRef(ref: string): Blobref {
  if (!isBlobref(ref)) throw new UsageError("invalid blobref specified");
  return ref;
}

async function lastRoot(content: ContentStore): Promise<{ root: Blobref; sequence: number }> {
  const [newest] = await explain("error fetching checkpoints", content.checkpoints(), true);
  if (newest === undefined) throw new UsageError("error fetching checkpoints: there is none");
  print(`Checking integrity of checkpoint from ${new Date(newest.timestamp * 1000).toISOString().slice(0, 19)}`);
  return { root: newest.rootref, sequence: newest.sequence };
}

class Check {
  errors = 0;
  readonly repairs: Repair[] = [];
  readonly #h: Flux;
  readonly #content: ContentStore;
  readonly #options: FsckOptions;

  constructor(h: Flux, content: ContentStore, options: FsckOptions) {
    this.#h = h;
    this.#content = content;
    this.#options = options;
  }

  say(line: string): void {
    printError(isTerminal(2) ? line : `flux-fsck: ${line}`);
  }

  /** What --quiet leaves out. */
  note(line: string): void {
    if (!this.#options.quiet) this.say(line);
  }

  async run(root: Blobref): Promise<void> {
    try {
      await loadDir((ref) => this.#content.load(ref), root);
    } catch (err) {
      this.errors++;
      return this.say(`cannot load root tree object: ${toFluxError(err).message}`);
    }
    await walkKvs(root, {
      separator: ".",
      window: WINDOW,
      load: (ref) => this.#content.load(ref),
      loadValue: (ref) => this.#h.rpcBytes("content-backing.validate", blobrefToHash(ref), { nodeid: 0 }),
      visit: (path) => {
        if (this.#options.verbose) this.note(path);
      },
      valref: (path, value, blobs) => this.#checkValue(path, value, blobs),
      badDirectory: (path, problem, error) => this.#badDirectory(path, problem === "load" ? error : undefined),
    });
  }

  #checkValue(path: string, value: ValrefObject, blobs: readonly Blob[]): void {
    const bad = blobs.flatMap((blob, index) => (blob instanceof FluxError ? [{ index, error: blob }] : []));
    const last = bad.at(-1)?.error;
    if (last === undefined) return;
    this.errors++;
    const reason = (error: FluxError, which: string): string => (error.errno === errno.ENOENT ? `missing blobref${which}` : `error retrieving blobref${which}: ${error.message}`);
    if (this.#options.verbose) for (const { index, error } of bad) this.say(`${path}: ${reason(error, ` index=${index}`)}`);
    else this.say(`${path}: ${reason(last, "(s)")}`);
    // What can't be read now may be readable again later.
    if (!this.#options.repair || bad.some(({ error }) => error.errno !== errno.ENOENT)) return;
    const refs = value.data.filter((_, index) => !(blobs[index] instanceof FluxError));
    this.repairs.push({ path, rest: refs.length === 0 ? valObject(new Uint8Array(0)) : valrefObject(refs) });
    this.note(`${path} repaired and moved to lost+found`);
  }

  /** `error`: why it can't be loaded. Undefined: what was loaded is no directory. */
  #badDirectory(path: string, error: FluxError | undefined): void {
    this.errors++;
    if (error === undefined) return this.say(`${path}: could not decode tree object`);
    if (error.errno !== errno.ENOENT) return this.say(`${path}: error retrieving dirref blobref: ${error.message}`);
    this.say(`${path}: missing dirref blobref`);
    if (!this.#options.repair) return;
    this.repairs.push({ path, rest: undefined });
    this.note(`${path} unlinked due to missing blobref`);
  }
}

async function repair(h: Flux, content: ContentStore, check: Check, root: Blobref, sequence: number, options: FsckOptions): Promise<void> {
  const values = check.repairs.filter(({ rest }) => rest !== undefined);
  const directories = check.repairs.length - values.length;
  if (check.repairs.length > 0) {
    const tree = new Tree(content, await loadDir((ref) => content.load(ref), root));
    for (const { path, rest } of check.repairs) {
      if (rest !== undefined) await tree.put(`${LOST_AND_FOUND}.${path}`, rest);
      await tree.remove(path);
    }
    if (options.jobAware) await moveJobs(tree, values, (line) => options.verbose && check.note(line));
    const hash = await hashAttribute(h);
    const fixed = await tree.store((bytes) => content.store(bytes, hash));
    await explain("failed to checkpoint updated root", content.putCheckpoint(fixed, sequence + 1, 0), true);
    check.note("Updated primary checkpoint to include lost+found");
  }
  if (values.length > 0 || options.verbose) check.say(`Total repairs: ${values.length}`);
  if (directories > 0 || options.verbose) check.say(`Total unlinked directories: ${directories}`);
}

/** What is left of jobs that have lost something. */
async function moveJobs(tree: Tree, repairs: readonly Repair[], say: (line: string) => void): Promise<void> {
  const jobs = new Set(repairs.flatMap(({ path }) => JOB_DIRECTORY.exec(path)?.[0] ?? []));
  for (const path of jobs) {
    const job = await tree.directoryAt(path);
    if (job === undefined) continue;
    await moveBelow(tree, path, job);
    await tree.remove(path);
    say(`job ${formatJobId(parseJobId(path), "f58plain")} moved to lost+found`);
  }
}

/** Entry by entry: part of it is there already. */
async function moveBelow(tree: Tree, path: string, dir: DirObject): Promise<void> {
  for (const [name, entry] of Object.entries(dir.data)) {
    const at = `${path}.${name}`;
    const below = entry.type === "dir" || entry.type === "dirref" ? await tree.open(entry) : undefined;
    if (below === undefined) await tree.put(`${LOST_AND_FOUND}.${at}`, entry);
    else await moveBelow(tree, at, below);
  }
}

/** A tree of the KVS that is changed in memory: the directories on the way to a change are loaded, the others stay references. */
class Tree {
  readonly #content: ContentStore;
  readonly #root: DirObject;

  constructor(content: ContentStore, root: DirObject) {
    this.#content = content;
    this.#root = root;
  }

  async put(path: string, entry: Treeobj): Promise<void> {
    const { dir, name } = await this.#parentOf(path);
    dir.data[name] = entry;
  }

  async remove(path: string): Promise<void> {
    const { dir, name } = await this.#parentOf(path);
    delete dir.data[name];
  }

  /** A directory or a reference to one, as a directory. */
  async open(entry: Treeobj): Promise<DirObject | undefined> {
    if (entry.type === "dir") return entry;
    const [ref] = entry.type === "dirref" ? entry.data : [];
    return ref === undefined ? undefined : loadDir((r) => this.#content.load(r), ref);
  }

  /** Undefined when there is none. */
  async directoryAt(path: string): Promise<DirObject | undefined> {
    let dir: DirObject | undefined = this.#root;
    for (const name of path.split(".")) {
      const entry: Treeobj | undefined = dir?.data[name];
      dir = entry === undefined ? undefined : await this.open(entry);
    }
    return dir;
  }

  async #parentOf(path: string): Promise<{ dir: DirObject; name: string }> {
    const names = path.split(".");
    const name = names.pop() as string;
    let dir = this.#root;
    for (const step of names) {
      const before = dir.data[step];
      const below: DirObject = (before === undefined ? undefined : await this.open(before)) ?? dirObject();
      dir.data[step] = below;
      dir = below;
    }
    return { dir, name };
  }

  /** Stores what was loaded, the directories below first. Resolves to the root. */
  store(put: (bytes: Uint8Array) => Promise<Blobref>): Promise<Blobref> {
    const storeDir = async (dir: DirObject): Promise<Blobref> => {
      for (const [name, entry] of Object.entries(dir.data)) if (entry.type === "dir") dir.data[name] = dirrefObject(await storeDir(entry));
      return put(Buffer.from(encodeTreeobj(dir)));
    };
    return storeDir(this.#root);
  }
}
