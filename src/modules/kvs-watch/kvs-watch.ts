// Module kvs-watch: following a key as it changes. One on every rank.
//
//   kvs-watch.lookup { namespace, key, flags } → { val } …   (streaming with WATCH or STREAM)
//     WATCH 4           the value now and after each commit that names the key
//     WAITCREATE 8      wait until key and namespace are there
//     WATCH_FULL 64     after every commit of the namespace, when the value differs
//     WATCH_UNIQ 128    only when the value differs
//     WATCH_APPEND 256  only what was appended, blob by blob
//     STREAM 512        the value blob by blob, then the end
//     WATCH_INITIAL_SENTINEL 1024   with WATCH_APPEND: an empty response when the data that was there at first is sent
//   kvs-watch.cancel { matchtag }
//
// The watch ends with ENOENT when the key is removed and with ENOTSUP when the namespace is.
//
// It is driven by the KVS's setroot events, which name the changed keys: a watcher costs nothing while others change.
// A watcher that is busy when its key changes once more gets the newest state afterwards.
import type { Flux, FluxEvent } from "../../client/flux.ts";
import { KVS } from "../../client/kvs.ts";
import { defineModule } from "../../client/module.ts";
import { DEFERRED, type Request } from "../../client/request.ts";
import { allowUser } from "../../client/service.ts";
import { type Blobref, blobrefToHash } from "../../formats/blobref.ts";
import type { JsonObject } from "../../formats/json.ts";
import { errno, FluxError, isErrno } from "../../message/errno.ts";
import { int, obj, opt, str, unpack } from "../../message/unpack.ts";
import { normalizeKey } from "../../formats/kvs-key.ts";
import { type State, Watcher } from "./watcher.ts";

const WATCHERS_MAX = 100_000;

interface Monitor {
  /** Newest version that was heard of. */
  rootseq: number;
  rootref: string;
  owner: number;
  count: number;
  readonly byKey: Map<string, Set<Watcher>>;
  /** Those that look after every commit. */
  readonly full: Set<Watcher>;
}

export default defineModule({
  name: "kvs-watch",
  async start(h) {
    const watch = new Watch(h);
    await h.subscribe("kvs.namespace", (event) => watch.event(event));
    await h.serve("kvs-watch", { lookup: allowUser((req) => watch.lookup(req)) });
    return { stats: () => watch.stats() };
  },
});

class Watch {
  readonly #h: Flux;
  readonly #monitors = new Map<string, Monitor>();
  #count = 0;

  constructor(h: Flux) {
    this.#h = h;
  }

  lookup(req: Request): typeof DEFERRED {
    const { namespace, key, flags } = req.unpack({ namespace: str, key: str, flags: int });
    checkFlags(req, flags);
    if (this.#count >= WATCHERS_MAX) throw new FluxError(errno.ENOBUFS, `too many watchers (limit ${WATCHERS_MAX})`);
    const watcher = new Watcher(req, namespace, normalizeKey(key), flags);
    const monitor = this.#add(watcher);
    watcher.wanted = Math.max(monitor.rootseq, 0);
    req.onCancel(() => this.#remove(watcher));
    void this.#look(watcher);
    return DEFERRED;
  }

  event({ topic, payload }: FluxEvent): void {
    const { namespace } = unpack(payload, { namespace: str });
    const monitor = this.#monitors.get(namespace);
    if (monitor === undefined) return;
    if (topic.endsWith("-removed")) return this.#namespaceRemoved(monitor);
    const created = topic.endsWith("-created");
    if (!created && !topic.endsWith("-setroot")) return;
    const { rootseq, rootref, owner, keys } = unpack(payload, { rootseq: int, rootref: str, owner: int, keys: opt(obj) });
    if (rootseq <= monitor.rootseq && !created) return;
    Object.assign(monitor, { rootseq, rootref, owner });
    if (created) return this.#wakeAll(monitor, rootseq);
    for (const key of Object.keys(keys ?? {})) {
      for (const watcher of monitor.byKey.get(key) ?? []) if (!watcher.isFull) this.#wake(watcher, rootseq);
    }
    for (const watcher of monitor.full) this.#wake(watcher, rootseq);
  }

  #wakeAll(monitor: Monitor, rootseq: number): void {
    for (const watchers of monitor.byKey.values()) for (const watcher of watchers) this.#wake(watcher, rootseq);
  }

  #namespaceRemoved(monitor: Monitor): void {
    for (const watchers of [...monitor.byKey.values()]) for (const watcher of [...watchers]) this.#end(watcher, new FluxError(errno.EOPNOTSUPP));
  }

  #wake(watcher: Watcher, rootseq: number): void {
    watcher.wanted = Math.max(watcher.wanted, rootseq);
    if (!watcher.busy) void this.#look(watcher);
  }

  /** Looks the key up until the watcher has the newest state. Never rejects. */
  async #look(watcher: Watcher): Promise<void> {
    watcher.busy = true;
    try {
      while (watcher.req.isOpen && watcher.rootseq < watcher.wanted) {
        const state = await this.#state(watcher);
        if (state === undefined || !watcher.req.isOpen) break;
        if (state.rootseq < watcher.wanted) {
          await this.#ask(watcher, "kvs.wait-version", { namespace: watcher.namespace, rootseq: watcher.wanted });
          continue;
        }
        await watcher.take(state, (refs) => this.#load(refs));
      }
      if (!watcher.req.isOpen) this.#remove(watcher);
    } catch (err) {
      this.#end(watcher, err);
    } finally {
      watcher.busy = false;
    }
  }

  /** The key's state now; undefined while the namespace does not exist and the client waits for it. */
  async #state(watcher: Watcher): Promise<State | undefined> {
    const heard = watcher.wanted;
    let answer: JsonObject;
    try {
      answer = await this.#ask(watcher, "kvs.lookup-plus", watcher.query);
    } catch (err) {
      const waits = (watcher.flags & KVS.WAITCREATE) !== 0 && watcher.rootseq < 0;
      if (!waits || !isErrno(err, errno.EOPNOTSUPP)) throw err;
      // It may have been created while the answer was on its way.
      return watcher.wanted > heard ? this.#state(watcher) : undefined;
    }
    const { rootseq, rootref, val, total } = unpack(answer, { rootseq: int, rootref: str, val: opt(obj), total: opt(int) });
    const monitor = this.#monitors.get(watcher.namespace);
    if (monitor !== undefined && monitor.rootseq < rootseq) Object.assign(monitor, { rootseq, rootref });
    return { rootseq, val, total };
  }

  /** A request with the watcher's own credentials, so that the KVS decides what it may see. */
  async #ask(watcher: Watcher, topic: string, payload: JsonObject): Promise<JsonObject> {
    return (await this.#h.call(topic, payload, { as: watcher.req.message })).payload;
  }

  #load(refs: readonly Blobref[]): Promise<Uint8Array[]> {
    return Promise.all(refs.map((ref) => this.#h.rpcBytes("content.load", blobrefToHash(ref))));
  }

  #end(watcher: Watcher, err: unknown): void {
    this.#remove(watcher);
    watcher.req.fail(err);
  }

  #add(watcher: Watcher): Monitor {
    let monitor = this.#monitors.get(watcher.namespace);
    if (monitor === undefined) {
      this.#monitors.set(watcher.namespace, (monitor = { rootseq: -1, rootref: "(null)", owner: -1, count: 0, byKey: new Map(), full: new Set() }));
    }
    let watchers = monitor.byKey.get(watcher.key);
    if (watchers === undefined) monitor.byKey.set(watcher.key, (watchers = new Set()));
    watchers.add(watcher);
    if (watcher.isFull) monitor.full.add(watcher);
    monitor.count++;
    this.#count++;
    return monitor;
  }

  #remove(watcher: Watcher): void {
    const monitor = this.#monitors.get(watcher.namespace);
    const watchers = monitor?.byKey.get(watcher.key);
    if (monitor === undefined || watchers === undefined || !watchers.delete(watcher)) return;
    if (watchers.size === 0) monitor.byKey.delete(watcher.key);
    monitor.full.delete(watcher);
    this.#count--;
    if (--monitor.count === 0) this.#monitors.delete(watcher.namespace);
  }

  stats(): JsonObject {
    const namespaces: Record<string, JsonObject> = {};
    for (const [name, { owner, rootseq, rootref, count }] of this.#monitors) namespaces[name] = { owner, rootseq, rootref, watchers: count };
    return { watchers: this.#count, "namespace-count": this.#monitors.size, namespaces };
  }
}

function checkFlags(req: Request, flags: number): void {
  const watches = (flags & KVS.WATCH) !== 0;
  const streams = (flags & KVS.STREAM) !== 0;
  if (watches && !req.isStreaming) throw new FluxError(errno.EPROTO, "KVS watch request rejected without streaming RPC flag");
  if (streams && !req.isStreaming) throw new FluxError(errno.EPROTO, "KVS stream request rejected without streaming RPC flag");
  if (watches && streams) throw new FluxError(errno.EINVAL, "Cannot KVS watch and stream at the same time");
  if (!watches && (flags & (KVS.WATCH_FULL | KVS.WATCH_UNIQ | KVS.WATCH_APPEND | KVS.WATCH_INITIAL_SENTINEL)) !== 0) {
    throw new FluxError(errno.EINVAL, "Must set KVS watch flag with other watch flags");
  }
  if ((flags & KVS.WATCH_APPEND) === 0 && (flags & KVS.WATCH_INITIAL_SENTINEL) !== 0) {
    throw new FluxError(errno.EINVAL, "Must set KVS watch append flag with initial sentinel flag");
  }
}
