// Follower: the KVS of the other ranks. It keeps the current root of each namespace that was asked for here, from
// rank 0's events, and passes commits to rank 0.
import type { Flux, FluxEvent } from "../../client/flux.ts";
import type { ModuleContext } from "../../client/module.ts";
import type { Blobref } from "../../formats/blobref.ts";
import type { JsonObject } from "../../formats/json.ts";
import { errno, FluxError, isErrno, toFluxError } from "../../message/errno.ts";
import { int, str, unpack } from "../../message/unpack.ts";
import { type CommitRequest, type CommitResult, type Leaving, type NamespaceRoot, type Namespaces, PRIMARY } from "./namespaces.ts";
import { VersionWaiters } from "./waiters.ts";

/** A namespace that nobody asked for this long is forgotten. */
const UNUSED_MAX_MS = 3600_000;
const PAUSED_EVENTS_MAX = 100_000;

interface FollowedRoot {
  readonly name: string;
  owner: number;
  flags: number;
  seq: number;
  ref: Blobref;
  readonly root: undefined;
  readonly waiters: VersionWaiters;
  /** The answer that is awaited; events that come meanwhile are kept. */
  ready: Promise<NamespaceRoot> | undefined;
  /** Events held back while paused. */
  paused: FluxEvent[] | undefined;
  used_ms: number;
}

export class Follower implements Namespaces {
  readonly #h: Flux;
  readonly #context: ModuleContext;
  readonly #roots = new Map<string, FollowedRoot>();

  constructor(h: Flux, context: ModuleContext) {
    this.#h = h;
    this.#context = context;
  }

  async start(): Promise<void> {
    await this.#h.subscribe("kvs.namespace", (event) => this.#event(event));
    // Events can be missed while this broker changes its parent: those who wait for one are served by asking.
    await this.#h.subscribe("heartbeat.pulse", () => this.#heartbeat());
  }

  find(namespace: string): NamespaceRoot | undefined {
    const root = this.#roots.get(namespace);
    if (root === undefined || root.ready !== undefined) return undefined;
    root.used_ms = this.#context.clock.monotonic_ms();
    return root;
  }

  fetch(namespace: string): Promise<NamespaceRoot> {
    const known = this.#roots.get(namespace);
    if (known !== undefined) return known.ready ?? Promise.resolve(known);
    const root: FollowedRoot = {
      name: namespace,
      owner: 0,
      flags: 0,
      seq: -1,
      ref: "",
      root: undefined,
      waiters: new VersionWaiters(),
      ready: undefined,
      paused: undefined,
      used_ms: this.#context.clock.monotonic_ms(),
    };
    // Known from now on, so that no event between the answer's departure and its arrival is lost.
    this.#roots.set(namespace, root);
    root.ready = this.#ask(root);
    return root.ready;
  }

  async #ask(root: FollowedRoot): Promise<NamespaceRoot> {
    try {
      await this.#refresh(root);
      if (this.#roots.get(root.name) !== root) throw new FluxError(errno.EOPNOTSUPP);
      return root;
    } catch (err) {
      if (this.#roots.get(root.name) === root) this.#roots.delete(root.name);
      throw err;
    } finally {
      root.ready = undefined;
    }
  }

  async #refresh(root: FollowedRoot): Promise<void> {
    const answer = await this.#h.rpc("kvs.getroot", { namespace: root.name }, { upstreamOf: this.#context.rank });
    const { owner, rootseq, rootref, flags } = unpack(answer, { owner: int, rootseq: int, rootref: str, flags: int });
    root.owner = owner >>> 0;
    root.flags = flags;
    this.#setRoot(root, rootref, rootseq);
  }

  list(): NamespaceRoot[] {
    return [...this.#roots.values()].filter((root) => root.ready === undefined);
  }

  pin(namespace: string): void {
    this.#h.notify("kvs.pin", { namespace }, { nodeid: 0 });
  }

  async commit(request: CommitRequest): Promise<CommitResult> {
    return this.#made(request, await this.#h.rpc("kvs.relaycommit", relayed(request), { nodeid: 0 }));
  }

  /** A stream, so that it can be cancelled there. */
  async fence(request: CommitRequest, nprocs: number, leaving: Leaving): Promise<CommitResult> {
    const stream = this.#h.stream("kvs.relayfence", { ...relayed(request), nprocs }, { nodeid: 0 });
    leaving(() => void stream.return());
    const answer = await stream.next();
    if (answer.done === true) throw new FluxError(errno.ECONNABORTED);
    return this.#made(request, answer.value);
  }

  /** What rank 0 has made of it; resolves when this rank has that root. */
  async #made({ namespace }: CommitRequest, answer: JsonObject): Promise<CommitResult> {
    const result = unpack(answer, { rootref: str, rootseq: int });
    const root = this.#roots.get(namespace);
    if (root === undefined) throw new FluxError(errno.EOPNOTSUPP);
    if (root.seq < result.rootseq) await root.waiters.wait(result.rootseq);
    return result;
  }

  pause(namespace: string, paused: boolean): void {
    const root = this.#roots.get(namespace);
    if (root === undefined) return;
    if (paused) {
      root.paused ??= [];
      return;
    }
    const events = root.paused ?? [];
    root.paused = undefined;
    for (const event of events) this.#event(event);
  }

  #event(event: FluxEvent): void {
    const { namespace } = unpack(event.payload, { namespace: str });
    const root = this.#roots.get(namespace);
    if (root === undefined) return;
    if (event.topic.endsWith("-removed")) {
      this.#roots.delete(namespace);
      root.waiters.close(new FluxError(errno.EOPNOTSUPP));
    } else if (event.topic.endsWith("-setroot")) {
      if (root.paused !== undefined) {
        if (root.paused.length >= PAUSED_EVENTS_MAX) root.paused.shift();
        root.paused.push(event);
        return;
      }
      const { rootref, rootseq } = unpack(event.payload, { rootref: str, rootseq: int });
      this.#setRoot(root, rootref, rootseq);
    }
  }

  #setRoot(root: FollowedRoot, ref: Blobref, seq: number): void {
    if (seq <= root.seq) return;
    root.ref = ref;
    root.seq = seq;
    root.waiters.reached(seq);
  }

  #heartbeat(): void {
    const now_ms = this.#context.clock.monotonic_ms();
    for (const root of this.#roots.values()) {
      if (root.ready !== undefined || root.paused !== undefined) continue;
      if (root.waiters.count > 0) {
        this.#refresh(root).catch((err: unknown) => {
          if (!isErrno(err, errno.EOPNOTSUPP)) return this.#h.log(4, `kvs.getroot ${root.name}: ${toFluxError(err).message}`);
          this.#roots.delete(root.name);
          root.waiters.close(new FluxError(errno.EOPNOTSUPP));
        });
      } else if (root.name !== PRIMARY && now_ms - root.used_ms > UNUSED_MAX_MS) {
        this.#roots.delete(root.name);
      }
    }
  }
}

function relayed({ name, namespace, flags, snapshot, lazy, ops }: CommitRequest): JsonObject {
  return { ops, name, namespace, flags, snapshot, lazy };
}
