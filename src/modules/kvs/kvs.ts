// Module kvs: the key-value store (RFCs 11 and 16). Rank 0 makes every change (leader.ts); the other ranks follow its
// events and serve lookups from what they have cached (follower.ts).
//
//   kvs.lookup         { key, flags, namespace | rootdir } → { val }          READDIR 1, READLINK 2, TREEOBJ 16
//   kvs.lookup-plus    { the same, rootseq?, skip? } → { val, rootseq, rootref, total? } or { errno: ENOENT, rootseq, rootref }
//   kvs.commit         { namespace, flags, ops: [{ key, flags, dirent }], snapshot?, lazy? } → { rootref, rootseq }
//   kvs.fence          { the same, name, nprocs } → { rootref, rootseq }      ECONNABORTED when one that waits goes away
//   kvs.getroot        { namespace } → { owner, rootseq, rootref, flags, namespace }
//   kvs.wait-version   { namespace, rootseq } → { rootseq, rootref }
//   kvs.namespace-create { namespace, rootref, owner, flags }, kvs.namespace-remove { namespace }, kvs.namespace-list   (rank 0)
//   kvs.sync           waits until the primary namespace is on disk
//   kvs.durable        the same where the state directory outlasts the instance; elsewhere answered at once
//   kvs.dropcache, kvs.setroot-pause { namespace }, kvs.setroot-unpause { namespace }
//   kvs.relaycommit, kvs.relayfence, kvs.pin    between ranks
//
// `skip` asks for the blobs of a valref from that index on (`total` says how many there are). `snapshot` false says that
// the requester won't come back for the root that its commit makes, which need not be written to disk then. `lazy` says that nobody waits: on a busy
// instance the commit is joined with others for some milliseconds. Commits to a namespace keep their order in any case.
//
// A namespace that does not exist is ENOTSUP; one of another user EPERM.
//
// Arguments: transaction-merge=0|1 initial-rootref=BLOBREF
import type { Flux } from "../../client/flux.ts";
import { KVS, KVS_COMMIT } from "../../client/kvs.ts";
import { defineModule, type ModuleContext, type ModuleHooks } from "../../client/module.ts";
import { DEFERRED, type Request } from "../../client/request.ts";
import { allowUser, type Answer, type Methods } from "../../client/service.ts";
import { isStateTemporary } from "../../client/statedir.ts";
import { type Blobref, blobrefToHash, type HashName, isBlobref } from "../../formats/blobref.ts";
import type { JsonObject } from "../../formats/json.ts";
import { errno, FluxError, isErrno, toFluxError } from "../../message/errno.ts";
import { arr, def, bool, int, obj, opt, str, uint } from "../../message/unpack.ts";
import { isOwner, requireOwnerOrUser } from "../../message/roles.ts";
import { hashAttribute } from "../../client/content.ts";
import { Checkpointer, configuredPeriod_ms, lastCheckpoint, PERIOD_MS, TEMPORARY_PERIOD_MS } from "./checkpoint.ts";
import { dirText } from "./dir.ts";
import { DirCache } from "./dir-cache.ts";
import { dirrefEntry, type Entry, refCount, refsFrom, typeOf, valrefEntry } from "./entry.ts";
import { Follower } from "./follower.ts";
import { normalizeKey } from "../../formats/kvs-key.ts";
import { Leader } from "./leader.ts";
import { checkReadable, type Found, type Root, walk } from "./lookup.ts";
import { type CommitRequest, type NamespaceRoot, type Namespaces, PRIMARY, USERID_UNKNOWN } from "./namespaces.ts";
import { type Operation, parseOperation } from "./transaction.ts";

const OPERATIONS_MAX = 100_000;
/** The largest value that a lookup puts together from its blobs. */
const VALUE_MAX_BYTES = 1 << 29;
/** Blobs of one value loaded at a time. */
const LOADS_AT_A_TIME = 1000;
/** How often a lookup starts again before it gives up: once for each directory or namespace it has to get. */
const STEPS_MAX = 10_000;

export default defineModule({
  name: "kvs",
  async start(h, context) {
    const { merge, initialRootref } = parseArgs(context.args);
    const hashName = await hashAttribute(h);
    const dirs = new DirCache(h);
    if (context.rank !== 0) {
      const follower = new Follower(h, context);
      await follower.start();
      const kvs = new Kvs(h, context, dirs, follower);
      await h.serve("kvs", { ...kvs.methods(), ...forwarded(h) });
      return { stats: () => kvs.stats(undefined) };
    }
    return startLeader(h, context, dirs, hashName, merge, initialRootref);
  },
});

async function startLeader(
  h: Flux,
  context: ModuleContext,
  dirs: DirCache,
  hashName: HashName,
  merge: boolean,
  initialRootref: Blobref | undefined,
): Promise<ModuleHooks> {
  const temporary = await isStateTemporary(h);
  const period_ms = (config: JsonObject): number => configuredPeriod_ms(config) ?? (temporary ? TEMPORARY_PERIOD_MS : PERIOD_MS);
  const primary = (): NamespaceRoot => leader.find(PRIMARY) as NamespaceRoot;
  const checkpointer = new Checkpointer(h, context.clock, period_ms(context.config), primary);
  const leader: Leader = new Leader({
    h,
    clock: context.clock,
    dirs,
    hashName,
    merge,
    changed: () => checkpointer.changed(),
    checkpoint: () => checkpointer.save(),
  });
  await h.rpcBytes("content.store", Buffer.from('{"data":{},"type":"dir","ver":1}'), { nodeid: 0 });
  const restored = initialRootref === undefined ? await lastCheckpoint(h) : { ref: initialRootref, seq: 0, timestamp: 0 };
  if (restored !== undefined && initialRootref === undefined) {
    h.log(6, `restored KVS from checkpoint on ${new Date(restored.timestamp * 1000).toISOString()}`);
  }
  if (restored !== undefined) await checkRoot(dirs, restored.ref);
  leader.create(PRIMARY, restored?.ref ?? leader.emptyRef, context.owner, 0, restored?.seq ?? 0);
  const kvs = new Kvs(h, context, dirs, leader);
  await h.serve("kvs", { ...kvs.methods(), ...leaderMethods(leader, context, checkpointer, temporary) });
  return {
    stats: () => kvs.stats(leader),
    clearStats: () => {
      dirs.faults = 0;
      leader.operationCounts.fill(0);
    },
    reconfigure: (config) => {
      checkpointer.period_ms = period_ms(config);
    },
    async stop() {
      checkpointer.stop();
      await checkpointer.save().catch((err: unknown) => {
        // Without a backing store there is nothing to come back to.
        if (!isErrno(err, errno.ENOSYS)) h.log(3, `error saving primary KVS checkpoint: ${toFluxError(err).message}`);
      });
    },
  };
}

/** Throws FluxError EIO when the content store has lost the root that the instance is to come back to. */
async function checkRoot(dirs: DirCache, ref: Blobref): Promise<void> {
  try {
    await dirs.load(ref);
  } catch (err) {
    throw new FluxError(
      errno.EIO,
      `the content store has lost the KVS root ${ref} (${toFluxError(err).message}). Put a copy of content.sqlite in its place, or move it away to start with nothing.`,
    );
  }
}

/** What only rank 0 can do, for clients of other ranks that do not address it. */
function forwarded(h: Flux): Methods {
  const names = ["namespace-create", "namespace-remove", "namespace-list", "sync", "durable"];
  return Object.fromEntries(names.map((name) => [name, (req: Request) => h.rpc(`kvs.${name}`, req.payload, { nodeid: 0 })]));
}

/** Methods that only rank 0 has. */
function leaderMethods(leader: Leader, context: ModuleContext, checkpointer: Checkpointer, temporary: boolean): Methods {
  return {
    "namespace-create": (req) => {
      const { namespace, rootref, owner, flags } = req.unpack({ namespace: str, rootref: str, owner: int, flags: int });
      if (namespace === "") throw new FluxError(errno.EINVAL, "a namespace needs a name");
      if (!isBlobref(rootref)) throw new FluxError(errno.EINVAL, "rootref is not a blobref");
      leader.create(namespace, rootref, owner >>> 0 === USERID_UNKNOWN ? context.owner : owner >>> 0, flags);
    },
    "namespace-remove": (req) => {
      const { namespace } = req.unpack({ namespace: str });
      if (namespace.toLowerCase() === PRIMARY) throw new FluxError(errno.EOPNOTSUPP);
      leader.remove(namespace);
    },
    "namespace-list": () => ({
      namespaces: leader.list().map(({ name, owner, flags }) => ({ namespace: name, owner: owner | 0, flags })),
    }),
    relaycommit: (req) => {
      const { name } = req.unpack({ name: str });
      return leader.commit(commitRequest(req, name)).then(({ rootref, rootseq }) => ({ rootref, rootseq }));
    },
    relayfence: (req) => {
      const { name, nprocs } = req.unpack({ name: str, nprocs: uint });
      req.requireStreaming();
      const fenced = leader.fence(commitRequest(req, name), nprocs, (gone) => req.onCancel(gone));
      fenced.then(
        ({ rootref, rootseq }) => {
          req.respond({ rootref, rootseq });
          req.finish();
        },
        (err: unknown) => req.fail(err),
      );
      return DEFERRED;
    },
    pin: (req) => leader.pin(req.unpack({ namespace: str }).namespace),
    sync: () => checkpointer.save(),
    durable: async () => {
      if (temporary || checkpointer.period_ms === 0) return;
      await checkpointer.save().catch((err: unknown) => {
        // Without a backing store nothing is lost that could have been kept.
        if (!isErrno(err, errno.ENOSYS)) throw err;
      });
    },
  };
}

class Kvs {
  readonly #h: Flux;
  readonly #context: ModuleContext;
  readonly #dirs: DirCache;
  readonly #namespaces: Namespaces;
  #transactions = 0;
  #open = 0;

  constructor(h: Flux, context: ModuleContext, dirs: DirCache, namespaces: Namespaces) {
    this.#h = h;
    this.#context = context;
    this.#dirs = dirs;
    this.#namespaces = namespaces;
  }

  methods(): Methods {
    return {
      lookup: allowUser((req) => this.#lookup(req, false)),
      "lookup-plus": allowUser((req) => this.#lookup(req, true)),
      commit: allowUser((req) => this.#commit(req)),
      fence: allowUser((req) => this.#fence(req)),
      getroot: allowUser((req) => this.#getroot(req)),
      "wait-version": allowUser((req) => this.#waitVersion(req)),
      "setroot-pause": allowUser((req) => this.#pause(req, true)),
      "setroot-unpause": allowUser((req) => this.#pause(req, false)),
      dropcache: () => this.#dirs.clear(),
    };
  }

  // ---- namespaces

  /** The namespace, if the requester may see it. */
  #root(req: Request, namespace: string): NamespaceRoot | Promise<NamespaceRoot> {
    const check = (root: NamespaceRoot): NamespaceRoot => {
      requireOwnerOrUser(req.message, root.owner);
      return root;
    };
    const found = this.#namespaces.find(namespace);
    return found === undefined ? this.#namespaces.fetch(namespace).then(check) : check(found);
  }

  async #getroot(req: Request): Promise<JsonObject> {
    const { namespace } = req.unpack({ namespace: str });
    const { owner, seq, ref, flags, name } = await this.#root(req, namespace);
    this.#namespaces.pin(namespace);
    return { owner: owner | 0, rootseq: seq, rootref: ref, flags, namespace: name };
  }

  async #waitVersion(req: Request): Promise<JsonObject> {
    const { namespace, rootseq } = req.unpack({ namespace: str, rootseq: int });
    const root = await this.#root(req, namespace);
    if (root.seq < rootseq) await root.waiters.wait(rootseq, (forget) => req.onCancel(forget));
    return { rootseq: root.seq, rootref: root.ref };
  }

  async #pause(req: Request, paused: boolean): Promise<void> {
    const { namespace } = req.unpack({ namespace: str });
    await this.#root(req, namespace);
    this.#namespaces.pause(namespace, paused);
  }

  // ---- commit

  async #commit(req: Request): Promise<JsonObject> {
    return this.#transaction(req, `transaction_req.${this.#context.rank}.${this.#transactions++}`, (request) => this.#namespaces.commit(request));
  }

  async #fence(req: Request): Promise<JsonObject> {
    const { name, nprocs } = req.unpack({ name: str, nprocs: uint });
    return this.#transaction(req, name, (request) => {
      if (!req.isOpen) throw new FluxError(errno.ECONNABORTED); // Gone already: nobody would ever take it out of the fence.
      return this.#namespaces.fence(request, nprocs, (gone) => req.onCancel(gone));
    });
  }

  async #transaction(
    req: Request,
    name: string,
    run: (request: CommitRequest) => Promise<{ rootref: Blobref; rootseq: number }>,
  ): Promise<JsonObject> {
    const request = commitRequest(req, name);
    if (!isOwner(req.message)) for (const { treeobj } of request.operations) checkGuestMayWrite(treeobj);
    const root = this.#root(req, request.namespace);
    if (root instanceof Promise) await root;
    this.#open++;
    try {
      const { rootref, rootseq } = await run(request);
      return { rootref, rootseq };
    } finally {
      this.#open--;
    }
  }

  // ---- lookup

  #lookup(req: Request, plus: boolean): Answer | Promise<Answer> {
    const { key, flags, namespace, rootdir, rootseq, skip } = req.unpack({
      key: str,
      flags: int,
      namespace: opt(str),
      rootdir: opt(obj),
      rootseq: opt(int),
      skip: opt(uint),
    });
    const path = normalizeKey(key);
    if (rootdir !== undefined) {
      const root = { seq: rootseq ?? -1, ref: rootdirRef(rootdir), root: undefined };
      return this.#resolve({ req, path, flags, plus, skip, namespace: undefined }, root);
    }
    if (namespace === undefined) throw new FluxError(errno.EPROTO, "a lookup needs a namespace or a rootdir");
    const root = this.#root(req, namespace);
    const query = { req, path, flags, plus, skip, namespace };
    return root instanceof Promise ? root.then((known) => this.#resolve(query, known)) : this.#resolve(query, root);
  }

  /** Walks to the key; where that needs what is not in memory it goes on asynchronously. */
  #resolve(query: Query, root: LookupRoot): Answer | Promise<Answer> {
    const found = this.#walk(query, root);
    return found.kind === "load" || found.kind === "namespace" ? this.#resolveLater(query, root, found) : this.#answer(query, root, found);
  }

  async #resolveLater(query: Query, start: LookupRoot, first: Found): Promise<Answer> {
    let root = start;
    let found = first;
    for (let steps = 0; steps < STEPS_MAX; steps++) {
      if (found.kind === "namespace") {
        await this.#namespaces.fetch(found.namespace);
      } else if (found.kind === "load") {
        try {
          await this.#dirs.load(found.ref);
        } catch (err) {
          // The root may have been replaced before this directory was ever written; then the new one will do.
          const current = query.namespace === undefined ? undefined : this.#namespaces.find(query.namespace);
          if (!isErrno(err, errno.ENOENT) || current === undefined || current.ref === root.ref) throw err;
        }
      } else {
        return this.#answer(query, root, found);
      }
      if (query.namespace !== undefined) root = await this.#root(query.req, query.namespace);
      found = this.#walk(query, root);
    }
    throw new FluxError(errno.EAGAIN, `looking up ${query.path} took over ${STEPS_MAX} steps`);
  }

  #walk({ req, path, flags }: Query, root: LookupRoot): Found {
    return walk({ ref: root.ref, dir: root.root }, path, flags, {
      peek: (ref) => this.#dirs.get(ref),
      rootOf: (namespace): Root | undefined => {
        const other = this.#namespaces.find(namespace);
        if (other === undefined) return undefined;
        requireOwnerOrUser(req.message, other.owner);
        return { ref: other.ref, dir: other.root };
      },
    });
  }

  #answer(query: Query, root: LookupRoot, found: Found): Answer | Promise<Answer> {
    const { flags, plus, namespace } = query;
    // The root that the answer belongs to, should it change while blobs are loaded.
    const version = plus ? { rootseq: root.seq, rootref: root.ref } : {};
    if (found.kind === "nothing") {
      if (plus) return { errno: errno.ENOENT, ...version };
      throw new FluxError(errno.ENOENT);
    }
    if (found.kind === "dir") {
      checkReadable("dirref", flags);
      if ((flags & KVS.TREEOBJ) !== 0) {
        if (namespace !== undefined) this.#namespaces.pin(namespace);
        return { val: asJson(dirrefEntry(found.ref)), ...version };
      }
      const dir = found.dir ?? this.#dirs.get(found.ref);
      if (dir !== undefined) return { val: asJson(dirText(dir)), ...version };
      return this.#dirs.load(found.ref).then((loaded) => ({ val: asJson(dirText(loaded)), ...version }));
    }
    if (found.kind !== "entry") throw new FluxError(errno.EAGAIN);
    const { entry } = found;
    const type = typeOf(entry);
    checkReadable(type, flags);
    if (type !== "valref") return { val: asJson(entry), ...version };
    if ((flags & KVS.TREEOBJ) === 0) return this.#value(entry).then((val) => ({ val, ...version }));
    if (query.skip === undefined) return { val: asJson(entry), ...version };
    return { val: asJson(valrefEntry(refsFrom(entry, query.skip))), total: refCount(entry), ...version };
  }

  /** A valref as a val: its blobs put together. */
  async #value(entry: Entry): Promise<JsonObject> {
    const refs = refsFrom(entry, 0);
    const blobs: Uint8Array[] = [];
    let size_bytes = 0;
    for (let at = 0; at < refs.length; at += LOADS_AT_A_TIME) {
      const some = await Promise.all(refs.slice(at, at + LOADS_AT_A_TIME).map((ref) => this.#h.rpcBytes("content.load", blobrefToHash(ref))));
      for (const blob of some) size_bytes += blob.length;
      if (size_bytes > VALUE_MAX_BYTES) throw new FluxError(errno.EOVERFLOW, `the value is larger than ${VALUE_MAX_BYTES} bytes`);
      blobs.push(...some);
    }
    const bytes = blobs.length === 1 && blobs[0] !== undefined ? blobs[0] : Buffer.concat(blobs);
    return { data: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64"), type: "val", ver: 1 };
  }

  stats(leader: Leader | undefined): JsonObject {
    const [count = 0, sum = 0, min = 0, max = 0] = leader?.operationCounts ?? [];
    const namespace: Record<string, JsonObject> = {};
    for (const root of this.#namespaces.list()) {
      const queued = leader?.queued(root.name) ?? 0;
      namespace[root.name] = {
        "#versionwaiters": root.waiters.count,
        "#no-op stores": 0,
        "#transactions": queued,
        "#readytransactions": queued,
        "store revision": root.seq,
      };
    }
    return {
      cache: {
        "obj size total (MiB)": 0,
        "obj size (KiB)": { count: this.#dirs.size, min: 0, mean: 0, stddev: 0, max: 0 },
        "#obj dirty": 0,
        "#obj incomplete": this.#dirs.loading,
        "#faults": this.#dirs.faults,
      },
      namespace,
      "transaction-opcount": { commit: { count, min, mean: count === 0 ? 0 : sum / count, stddev: 0, max } },
      pending_requests: this.#open,
    };
  }
}

type LookupRoot = Pick<NamespaceRoot, "seq" | "ref" | "root">;

interface Query {
  readonly req: Request;
  readonly path: string;
  readonly flags: number;
  readonly plus: boolean;
  readonly skip: number | undefined;
  /** Undefined when the lookup begins at a given root. */
  readonly namespace: string | undefined;
}

function asJson(entry: Entry): JsonObject {
  return JSON.parse(entry) as JsonObject;
}

function rootdirRef(rootdir: JsonObject): Blobref {
  const { type, data } = rootdir;
  const ref = Array.isArray(data) && data.length === 1 ? (data[0] as unknown) : undefined;
  if (type !== "dirref" || !isBlobref(ref)) throw new FluxError(errno.EINVAL, "rootdir is not a dirref");
  return ref;
}

function commitRequest(req: Request, name: string): CommitRequest {
  const { namespace, flags, ops, snapshot, lazy } = req.unpack({ namespace: str, flags: int, ops: arr(obj), snapshot: def(bool, true), lazy: def(bool, false) });
  if ((flags & ~(KVS_COMMIT.NO_MERGE | KVS_COMMIT.SYNC)) !== 0) throw new FluxError(errno.EINVAL, `unknown commit flags ${flags}`);
  if (ops.length > OPERATIONS_MAX) throw new FluxError(errno.E2BIG, `a commit of ${ops.length} operations (limit ${OPERATIONS_MAX})`);
  return { name, namespace, flags, snapshot, lazy, ops, operations: ops.map(parseOperation) };
}

/** What a guest puts in his namespace must not lead to blobs that are not his. */
function checkGuestMayWrite(treeobj: Operation["treeobj"]): void {
  if (treeobj === null || treeobj.type === "val") return;
  const isDir = treeobj.type === "dir";
  if (isDir && Object.keys(treeobj.data).length === 0) return;
  throw new FluxError(errno.EPERM, `guests may not commit ${isDir ? "non-empty " : ""}${treeobj.type} objects`);
}

function parseArgs(args: readonly string[]): { merge: boolean; initialRootref: Blobref | undefined } {
  let merge = true;
  let initialRootref: Blobref | undefined;
  for (const arg of args) {
    const [name = "", value = ""] = arg.split("=", 2);
    if (name === "transaction-merge" && /^\d+$/.test(value)) merge = value !== "0";
    else if (name === "initial-rootref" && isBlobref(value)) initialRootref = value;
    else throw new FluxError(errno.EINVAL, `Unknown option '${arg}'`);
  }
  return { merge, initialRootref };
}

