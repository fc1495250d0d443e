// Leader: the KVS of rank 0. It has each namespace's tree in memory as far as it is in use, and is the only one that
// changes it.
//
// Commits that arrive in one turn of the event loop are applied one after the other and sealed together: one new root,
// one setroot event with the names of all of them. When sealing is expensive (a directory of very many entries), the
// next batch waits for a multiple of what the last one took, so that the cost is shared by more commits.
//
//   event kvs.namespace-NS-setroot  { namespace, rootseq, rootref, names, keys, owner }
//   event kvs.namespace-NS-error    { namespace, names, errnum }
//   event kvs.namespace-NS-created  { namespace, rootseq, rootref, owner }
//   event kvs.namespace-NS-removed  { namespace }
import type { Flux } from "../../client/flux.ts";
import { KVS_COMMIT } from "../../client/kvs.ts";
import { type Blobref, blobrefToHash, type HashName } from "../../formats/blobref.ts";
import type { JsonObject } from "../../formats/json.ts";
import { errno, FluxError, toFluxError } from "../../message/errno.ts";
import type { Clock, Timer } from "../../os/clock.ts";
import { blobRecord, copyDir, type Dir, dirText, emptyDir, seal } from "./dir.ts";
import type { DirCache } from "./dir-cache.ts";
import { Fences } from "./fence.ts";
import { type CommitRequest, type CommitResult, type Leaving, type NamespaceRoot, type Namespaces, PRIMARY } from "./namespaces.ts";
import { applyOperations, type TransactionContext } from "./transaction.ts";
import { VersionWaiters } from "./waiters.ts";

const NAMESPACES_MAX = 1_000_000;
/** Commits that may wait in one namespace. */
const QUEUE_MAX = 200_000;
/** Operations that are merged into one root. */
const BATCH_OPERATIONS_MAX = 20_000;
/** Directories of one namespace in memory before those that were not used lately are dropped. */
const OPEN_DIRS_MAX = 4000;
/** A batch that took longer than this delays the next one by DELAY_FACTOR times as long. */
const CHEAP_MS = 4;
const DELAY_FACTOR = 3;
const DELAY_MAX_MS = 500;
/** Batches of lazy commits only: so many at once, then one in this time. */
const LAZY_BURST = 8;
const LAZY_MS = 5;
/** Blobs below this are handed to the content service many at a time. */
const SMALL_BYTES = 64 * 1024;

interface Pending extends CommitRequest {
  resolve(result: CommitResult): void;
  reject(err: FluxError): void;
}

interface Namespace {
  readonly name: string;
  readonly owner: number;
  readonly flags: number;
  seq: number;
  ref: Blobref;
  /** Undefined until it is needed. */
  root: Dir | undefined;
  readonly waiters: VersionWaiters;
  queue: Pending[];
  /** A run is scheduled or under way. */
  running: boolean;
  /** Set while there are only lazy commits and these wait for their time. */
  lazyTimer: Timer | undefined;
  /** When the lazy batches so far would have ended, had they kept to their interval. */
  lazyUntil_ms: number;
  removed: boolean;
  /** Directories sealed in this batch or before must stay readable. */
  pinned: number;
  /** Directories put into memory since the last clean-up. */
  opened: number;
}

export interface LeaderOptions {
  readonly h: Flux;
  readonly clock: Clock;
  readonly dirs: DirCache;
  readonly hashName: HashName;
  readonly merge: boolean;
  /** The primary namespace has a new root. */
  readonly changed: () => void;
  /** Resolves when the primary namespace's root is on disk. */
  readonly checkpoint: () => Promise<void>;
}

export class Leader implements Namespaces {
  readonly #options: LeaderOptions;
  readonly #namespaces = new Map<string, Namespace>();
  readonly #fences: Fences;
  readonly #empty: { readonly record: Buffer; readonly ref: Blobref };
  /** Blobs of this batch that the content service has still to get. */
  #blobs: Buffer[] = [];
  #batch = 0;
  #delay_ms = 0;
  /** Operations per commit, for the statistics. */
  readonly operationCounts: number[] = [0, 0, 0, 0];

  constructor(options: LeaderOptions) {
    this.#options = options;
    this.#empty = blobRecord(dirText(emptyDir()), options.hashName);
    this.#fences = new Fences((request) => this.commit(request));
    this.#put(this.#empty.record);
    this.#sendBlobs();
  }

  get emptyRef(): Blobref {
    return this.#empty.ref;
  }

  find(namespace: string): NamespaceRoot | undefined {
    return this.#namespaces.get(namespace);
  }

  fetch(namespace: string): Promise<NamespaceRoot> {
    const found = this.#namespaces.get(namespace);
    return found === undefined ? Promise.reject(new FluxError(errno.EOPNOTSUPP)) : Promise.resolve(found);
  }

  list(): NamespaceRoot[] {
    return [...this.#namespaces.values()];
  }

  pause(): void {
    // Rank 0 is where roots are made: it has no events to hold back.
  }

  pin(namespace: string): void {
    const found = this.#namespaces.get(namespace);
    if (found !== undefined) found.pinned = this.#batch;
  }

  /** Transactions not finished yet, over all namespaces. */
  queued(namespace: string): number {
    return this.#namespaces.get(namespace)?.queue.length ?? 0;
  }

  /** Throws FluxError EEXIST. */
  create(name: string, ref: Blobref, owner: number, flags: number, seq: number = 0): void {
    if (this.#namespaces.has(name)) throw new FluxError(errno.EEXIST);
    if (this.#namespaces.size >= NAMESPACES_MAX) throw new FluxError(errno.ENOSPC, `too many namespaces (limit ${NAMESPACES_MAX})`);
    this.#namespaces.set(name, {
      name,
      owner,
      flags,
      seq,
      ref,
      root: ref === this.#empty.ref ? this.#emptyRoot() : undefined,
      waiters: new VersionWaiters(),
      queue: [],
      running: false,
      lazyTimer: undefined,
      lazyUntil_ms: 0,
      removed: false,
      pinned: this.#batch,
      opened: 0,
    });
    this.#publish(name, "created", { namespace: name, rootseq: seq, rootref: ref, owner });
  }

  /** Without effect when there is none. */
  remove(name: string): void {
    const namespace = this.#namespaces.get(name);
    if (namespace === undefined) return;
    this.#namespaces.delete(name);
    namespace.removed = true;
    this.#publish(name, "removed", { namespace: name });
    namespace.waiters.close(new FluxError(errno.EOPNOTSUPP));
    this.#failQueue(namespace);
  }

  commit(request: CommitRequest): Promise<CommitResult> {
    const namespace = this.#namespaces.get(request.namespace);
    if (namespace === undefined) return Promise.reject(new FluxError(errno.EOPNOTSUPP));
    if ((request.flags & KVS_COMMIT.SYNC) !== 0 && request.namespace !== PRIMARY) {
      return Promise.reject(new FluxError(errno.EINVAL, `only namespace ${PRIMARY} can be synced`));
    }
    if (namespace.queue.length >= QUEUE_MAX) {
      return Promise.reject(new FluxError(errno.ENOBUFS, `too many commits wait in namespace ${namespace.name} (limit ${QUEUE_MAX})`));
    }
    return new Promise((resolve, reject) => {
      namespace.queue.push({ ...request, resolve, reject });
      if (request.lazy) this.#scheduleLazy(namespace);
      else this.#schedule(namespace);
    });
  }

  fence(request: CommitRequest, nprocs: number, leaving: Leaving): Promise<CommitResult> {
    return this.#fences.enter(request, nprocs, leaving);
  }

  #emptyRoot(): Dir {
    return { ...emptyDir(), dirty: false, ref: this.#empty.ref };
  }

  // ---- batches

  #schedule(namespace: Namespace): void {
    if (namespace.running) return;
    namespace.running = true;
    this.#options.clock.clear(namespace.lazyTimer);
    namespace.lazyTimer = undefined;
    const run = (): void => {
      this.#run(namespace).catch((err: unknown) => {
        // Only a defect gets here. Nobody may wait for ever because of it.
        this.#options.h.log(2, `kvs: namespace ${namespace.name}: ${toFluxError(err).message}`);
        for (const pending of namespace.queue.splice(0)) pending.reject(toFluxError(err));
        namespace.running = false;
      });
    };
    if (this.#delay_ms > 0) this.#options.clock.setTimer(this.#delay_ms, run);
    else setImmediate(run);
  }

  /** At once after a quiet time; otherwise when it is time again, or when somebody waits. */
  #scheduleLazy(namespace: Namespace): void {
    if (namespace.running || namespace.lazyTimer !== undefined) return;
    const now_ms = this.#options.clock.monotonic_ms();
    namespace.lazyUntil_ms = Math.max(namespace.lazyUntil_ms, now_ms) + LAZY_MS;
    const wait_ms = namespace.lazyUntil_ms - now_ms - LAZY_BURST * LAZY_MS;
    if (wait_ms <= 0) return this.#schedule(namespace);
    namespace.lazyTimer = this.#options.clock.setTimer(wait_ms, () => this.#schedule(namespace));
  }

  async #run(namespace: Namespace): Promise<void> {
    while (namespace.queue.length > 0) {
      if (namespace.removed) this.#failQueue(namespace);
      const missing = namespace.root === undefined ? namespace.ref : this.#runBatch(namespace, namespace.root);
      if (missing === undefined) {
        if (this.#delay_ms > 0) break;
        continue;
      }
      await this.#load(namespace, missing);
    }
    namespace.running = false;
    if (namespace.queue.length > 0) this.#schedule(namespace);
  }

  #failQueue(namespace: Namespace): void {
    for (const pending of namespace.queue.splice(0)) {
      pending.reject(new FluxError(errno.EOPNOTSUPP));
      this.#publishError(namespace, pending, errno.EOPNOTSUPP);
    }
  }

  /** Brings a directory into memory; when that is impossible the first commit fails, for it is the one that needs it. */
  async #load(namespace: Namespace, ref: Blobref): Promise<void> {
    try {
      const dir = await this.#options.dirs.load(ref);
      if (namespace.root === undefined) namespace.root = copyDir(dir);
    } catch (err) {
      const pending = namespace.queue.shift();
      if (pending !== undefined) this.#fail(namespace, pending, toFluxError(err));
    }
  }

  /** Applies and seals what can go into one root; returns the blobref of a directory that must be loaded first. */
  #runBatch(namespace: Namespace, root: Dir): Blobref | undefined {
    const begin_ms = this.#options.clock.monotonic_ms();
    this.#batch++;
    const context = this.#transactionContext(namespace);
    const applied: Pending[] = [];
    let missing: Blobref | undefined;
    let operations = 0;
    let taken = 0;
    for (const pending of namespace.queue) {
      const alone = !this.#options.merge || (pending.flags & (KVS_COMMIT.NO_MERGE | KVS_COMMIT.SYNC)) !== 0;
      if (applied.length > 0 && (alone || operations + pending.operations.length > BATCH_OPERATIONS_MAX)) break;
      try {
        missing = applyOperations(root, pending.operations, context);
      } catch (err) {
        this.#fail(namespace, pending, toFluxError(err));
        taken++;
        continue;
      }
      if (missing !== undefined) break;
      taken++;
      applied.push(pending);
      operations += pending.operations.length;
      if (alone) break;
    }
    namespace.queue.splice(0, taken);
    if (applied.length > 0) this.#finish(namespace, root, applied, context);
    else this.#sendBlobs();
    const took_ms = this.#options.clock.monotonic_ms() - begin_ms;
    this.#delay_ms = took_ms < CHEAP_MS ? 0 : Math.min(DELAY_MAX_MS, took_ms * DELAY_FACTOR);
    return missing;
  }

  #transactionContext(namespace: Namespace): TransactionContext {
    return {
      namespace: namespace.name,
      batch: this.#batch,
      hashName: this.#options.hashName,
      put: (record) => this.#put(record),
      peek: (ref) => {
        namespace.opened++;
        return ref === this.#empty.ref ? this.#emptyRoot() : this.#options.dirs.get(ref);
      },
    };
  }

  /** Seals the tree, tells the world, answers the commits. */
  #finish(namespace: Namespace, root: Dir, applied: readonly Pending[], context: TransactionContext): void {
    const forgotten: Uint8Array[] = [];
    const replaced = (ref: Blobref, sealed: number): void => {
      if (sealed > namespace.pinned) forgotten.push(blobrefToHash(ref));
    };
    namespace.ref = seal(root, { ...context, replaced });
    namespace.seq++;
    this.#sendBlobs();
    if (forgotten.length > 0) this.#options.h.notify("content.forget", Buffer.concat(forgotten));
    const result = { rootref: namespace.ref, rootseq: namespace.seq };
    const keys: Record<string, null> = {};
    for (const { operations } of applied) {
      this.#countOperations(operations.length);
      for (const { key } of operations) keys[key] = null;
    }
    this.#publish(namespace.name, "setroot", {
      namespace: namespace.name,
      ...result,
      names: applied.map(({ name }) => name),
      keys,
      owner: namespace.owner,
    });
    if (applied.some(({ snapshot }) => snapshot)) namespace.pinned = this.#batch;
    if (namespace.name === PRIMARY) this.#options.changed();
    namespace.waiters.reached(namespace.seq);
    for (const pending of applied) this.#answer(pending, result);
    namespace.opened += applied.length;
    if (namespace.opened > OPEN_DIRS_MAX) this.#dropUnused(namespace, root);
  }

  #answer(pending: Pending, result: CommitResult): void {
    if ((pending.flags & KVS_COMMIT.SYNC) === 0) return pending.resolve(result);
    this.#options.checkpoint().then(
      () => pending.resolve(result),
      (err: unknown) => pending.reject(toFluxError(err)),
    );
  }

  #fail(namespace: Namespace, pending: Pending, err: FluxError): void {
    pending.reject(err);
    this.#publishError(namespace, pending, err.errno);
  }

  /** Drops directories that were not used lately, so that half of what is allowed stays. */
  #dropUnused(namespace: Namespace, root: Dir): void {
    for (let keep = 1024; keep >= 1; keep = Math.floor(keep / 4)) {
      namespace.opened = dropUnused(root, this.#batch - keep);
      if (namespace.opened <= OPEN_DIRS_MAX / 2) return;
    }
    // What is left was used just now: look again when as much has been added.
    namespace.opened = Math.min(namespace.opened, OPEN_DIRS_MAX / 2);
  }

  /** Small blobs go together at the end of the batch. */
  #put(record: Buffer): void {
    if (record.length < SMALL_BYTES) this.#blobs.push(record);
    else this.#options.h.notify("content.adopt", record);
  }

  #sendBlobs(): void {
    const blobs = this.#blobs;
    if (blobs.length === 0) return;
    this.#blobs = [];
    this.#options.h.notify("content.adopt", blobs.length === 1 ? blobs[0] : Buffer.concat(blobs));
  }

  #publish(namespace: string, what: string, payload: JsonObject): void {
    this.#options.h.publish(`kvs.namespace-${namespace}-${what}`, payload, { private: true });
  }

  #publishError(namespace: Namespace, pending: Pending, errnum: number): void {
    this.#publish(namespace.name, "error", { namespace: namespace.name, names: [pending.name], errnum });
  }

  #countOperations(count: number): void {
    const [n = 0, sum = 0, min = 0, max = 0] = this.operationCounts;
    this.operationCounts.splice(0, 4, n + 1, sum + count, n === 0 ? count : Math.min(min, count), Math.max(max, count));
  }
}

/** Drops directories below `dir` not used since `batch`; returns how many are left. */
function dropUnused(dir: Dir, batch: number): number {
  let left = 0;
  for (const [name, child] of dir.open) {
    if (child.used < batch) dir.open.delete(name);
    else left += 1 + dropUnused(child, batch);
  }
  return left;
}
