// flux gc: frees the space of blobs that nothing refers to any more, while the instance runs (flux-gc(1)).
//
// The backing store counts epochs: a blob has the epoch in which it was last stored. What can be reached from a root is marked
// with the present one, H; then everything older is deleted. What is stored while this runs has H or more, so that it stays.
import { ContentStore } from "../client/content.ts";
import type { Flux } from "../client/flux.ts";
import { KVS_PRIMARY, kvsGetroot, kvsNamespaceList } from "../client/kvs.ts";
import { walkKvs } from "../client/kvs-walk.ts";
import type { Blobref } from "../formats/blobref.ts";
import { errno, isErrno } from "../message/errno.ts";
import { uint, unpack } from "../message/unpack.ts";
import { counter, defineCommand, flag, hidden, UsageError, valueOr } from "./command.ts";
import { explain, withFlux } from "./connect.ts";
import { integer } from "./options.ts";
import { printError, wrongUsage } from "./output.ts";

const MARK_BATCH = 100;
const MARKS_MAX = 16;
const SWEEP_DELETE_CAP = 1000;
const SWEEP_WINDOW = 100_000;

interface Horizon {
  readonly epoch: number;
  /** The newest row of the store: later ones are not looked at. */
  readonly highWater: number;
}

export default defineCommand({
  name: "gc",
  style: "getopt",
  summary: "free the space of content that nothing refers to any more",
  usage: "[OPTIONS]",
  options: {
    verbose: counter("-v, --verbose", "say what is done (twice: in more detail)"),
    noCache: flag("--no-cache", "ask the backing store itself"),
    maxreqs: valueOr("--maxreqs N", "ask for N blobs at the same time (default 2)", integer(1), 2),
    markOnly: hidden(flag("--test-mark-only", "delete nothing")),
    delay_s: hidden(valueOr("--test-delay-after-list SECONDS", "wait after listing namespaces", integer(0), 0)),
  },
  async run({ options, args }) {
    if (args.length > 0) throw wrongUsage("flux gc [OPTIONS]");
    const say = (level: number, text: string): void => {
      if (options.verbose >= level) printError(`flux-gc: ${text}`);
    };
    return withFlux(async (h) => {
      const horizon = await freeze(h);
      say(1, `froze epoch at ${horizon.epoch}, high-water rowid ${horizon.highWater}`);
      const roots = await allRoots(h, options.delay_s, (text) => say(1, text));
      say(1, `enumerated ${roots.length} total roots`);
      const marker = new Marker(h, horizon.epoch, (text) => say(2, text));
      await mark(h, roots, marker, options, (text) => say(1, text));
      if (options.markOnly) {
        printError("flux-gc: stopping after mark phase (test)");
        return 0;
      }
      say(1, "starting sweep phase");
      const reclaimed = await sweep(h, horizon, (text) => say(2, text));
      say(1, `sweep complete: deleted ${reclaimed} blobs`);
      printError(`flux-gc: gc complete: marked ${marker.marked}, reclaimed ${reclaimed} blobs (horizon epoch ${horizon.epoch})`);
      return 0;
    });
  },
});

async function freeze(h: Flux): Promise<Horizon> {
  const answer = await explain("failed to fetch gc-info", h.rpc("content-backing.gc-info", { epoch: 0 }, { nodeid: 0 }), true);
  const { current_epoch: epoch, high_water: highWater } = unpack(answer, { current_epoch: uint, high_water: uint });
  return { epoch, highWater };
}

/** Private namespaces before the primary one: a job that ends moves its own there, and would be in neither otherwise. */
async function allRoots(h: Flux, delay_s: number, say: (text: string) => void): Promise<Blobref[]> {
  const checkpoints = await checkpointRoots(h);
  say(`enumerated ${checkpoints.length} checkpoint roots`);
  const namespaces = await privateRoots(h, delay_s);
  say(`enumerated ${namespaces.length} private namespace roots`);
  const primary = await primaryRoot(h);
  say(primary.length === 0 ? "kvs not loaded; skipping live primary root" : "enumerated live primary root");
  return [...checkpoints, ...namespaces, ...primary];
}

async function checkpointRoots(h: Flux): Promise<Blobref[]> {
  try {
    return (await new ContentStore(h, true).checkpoints()).map(({ rootref }) => rootref);
  } catch (err) {
    if (isErrno(err, errno.ENOENT)) return [];
    throw err;
  }
}

async function privateRoots(h: Flux, delay_s: number): Promise<Blobref[]> {
  const namespaces = await ifLoaded(() => kvsNamespaceList(h), []);
  if (delay_s > 0) await new Promise((resolve) => setTimeout(resolve, delay_s * 1000));
  const roots: Blobref[] = [];
  for (const { namespace } of namespaces) {
    if (namespace !== KVS_PRIMARY) roots.push(...(await rootOf(h, namespace)));
  }
  return roots;
}

async function primaryRoot(h: Flux): Promise<Blobref[]> {
  return ifLoaded(() => rootOf(h, KVS_PRIMARY), []);
}

/** One root, or none when the namespace is gone. */
async function rootOf(h: Flux, namespace: string): Promise<Blobref[]> {
  try {
    return [(await kvsGetroot(h, namespace)).rootref];
  } catch (err) {
    if (isErrno(err, errno.ENOENT) || isErrno(err, errno.EOPNOTSUPP)) return [];
    throw err;
  }
}

/** Without the kvs module there is nothing but the checkpoints. */
async function ifLoaded<T>(ask: () => Promise<T>, otherwise: T): Promise<T> {
  try {
    return await ask();
  } catch (err) {
    if (isErrno(err, errno.ENOSYS)) return otherwise;
    throw err;
  }
}

/** Sends what was found in batches. */
class Marker {
  marked = 0;
  readonly #h: Flux;
  readonly #epoch: number;
  readonly #say: (text: string) => void;
  #batch: Blobref[] = [];
  readonly #sent = new Set<Promise<void>>();

  constructor(h: Flux, epoch: number, say: (text: string) => void) {
    this.#h = h;
    this.#epoch = epoch;
    this.#say = say;
  }

  add(ref: Blobref): void {
    this.#batch.push(ref);
    if (this.#batch.length >= MARK_BATCH) this.#send();
  }

  /** Resolves when the store has taken enough of what was sent. Throws what it answered with. */
  async room(): Promise<void> {
    if (this.#sent.size >= MARKS_MAX) await Promise.race(this.#sent);
  }

  async settled(): Promise<void> {
    if (this.#batch.length > 0) this.#send();
    await Promise.all(this.#sent);
  }

  #send(): void {
    const hashes = this.#batch;
    this.#batch = [];
    const sent = this.#mark(hashes).then(() => void this.#sent.delete(sent));
    // Seen by room() or settled(), which nobody may have called yet.
    sent.catch(() => undefined);
    this.#sent.add(sent);
  }

  async #mark(hashes: readonly Blobref[]): Promise<void> {
    const answer = await explain("mark failed", this.#h.rpc("content-backing.mark", { epoch: this.#epoch, hashes }, { nodeid: 0 }), true);
    const { marked } = unpack(answer, { marked: uint });
    this.marked += marked;
    this.#say(`marked ${marked} blobs`);
  }
}

/** Marks all that can be reached. Throws when something can't be read: what is below it must not be deleted. */
async function mark(h: Flux, roots: readonly Blobref[], marker: Marker, options: { readonly noCache: boolean; readonly maxreqs: number }, say: (text: string) => void): Promise<void> {
  const content = new ContentStore(h, options.noCache);
  // Roots have most of their directories in common. The epoch of one says nothing of those below: they may be older.
  const seen = new Set<Blobref>();
  const isNew = (ref: Blobref): boolean => {
    if (seen.has(ref)) return false;
    seen.add(ref);
    marker.add(ref);
    return true;
  };
  for (const root of roots) {
    if (!isNew(root)) continue;
    say(`marking from root ${root}`);
    await walkKvs(root, {
      separator: ".",
      window: options.maxreqs,
      load: async (ref) => {
        await marker.room();
        return content.load(ref);
      },
      descend: (_path, ref) => isNew(ref),
      visit(_path, entry) {
        if (entry.type === "valref") for (const ref of entry.data) marker.add(ref);
      },
      badDirectory(path, problem, error) {
        throw new UsageError(`${path}: could not ${problem === "load" ? "load content" : "decode tree object"}: ${error.message}`);
      },
    });
  }
  await marker.settled();
  say("mark phase complete");
}

/** Deletes what is older than the horizon, in steps. Resolves to the number of blobs. */
async function sweep(h: Flux, { epoch, highWater }: Horizon, say: (text: string) => void): Promise<number> {
  let total = 0;
  for (let cursor = 0; cursor < highWater; ) {
    const request = { epoch, cursor, high_water: highWater, delete_cap: SWEEP_DELETE_CAP, window: SWEEP_WINDOW };
    const answer = await explain("sweep failed", h.rpc("content-backing.sweep", request, { nodeid: 0 }), true);
    const { deleted, cursor: next } = unpack(answer, { deleted: uint, cursor: uint });
    if (next <= cursor) throw new UsageError(`sweep failed: the backing store stays at row ${cursor}`);
    total += deleted;
    cursor = next;
    say(`swept ${deleted} blobs, cursor ${cursor}/${highWater}`);
  }
  return total;
}
