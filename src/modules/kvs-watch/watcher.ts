// Watcher: one client that follows a key: what it was sent, and what it gets for each new state of the key.
import { KVS } from "../../client/kvs.ts";
import type { Request } from "../../client/request.ts";
import { type Blobref } from "../../formats/blobref.ts";
import { encodeJson, type JsonObject } from "../../formats/json.ts";
import { errno, FluxError } from "../../message/errno.ts";

/** A state of the key, as kvs.lookup-plus tells it. */
export interface State {
  readonly rootseq: number;
  /** Undefined: there is no such key. */
  readonly val: JsonObject | undefined;
  /** Number of blobs when `val` is a valref of which only the new ones are listed. */
  readonly total: number | undefined;
}

/** Loads blobs by their blobrefs, in order. */
export type LoadBlobs = (refs: readonly Blobref[]) => Promise<Uint8Array[]>;

export class Watcher {
  /** Version of the namespace that the last state belonged to; -1: none yet. */
  rootseq = -1;
  /** The newest version that may have changed the key. */
  wanted = -1;
  /** A lookup is under way. */
  busy = false;
  #responded = false;
  #sentinelSent = false;
  /** Blobs of the value that were sent (WATCH_APPEND). */
  #blobs = 0;
  /** Text of what was last sent (FULL, UNIQ). */
  #last: string | undefined;

  constructor(
    readonly req: Request,
    readonly namespace: string,
    readonly key: string,
    readonly flags: number,
  ) {}

  get #byBlob(): boolean {
    return (this.flags & (KVS.WATCH_APPEND | KVS.STREAM)) !== 0;
  }

  get isFull(): boolean {
    return (this.flags & KVS.WATCH_FULL) !== 0;
  }

  /** What it asks kvs.lookup-plus. */
  get query(): JsonObject {
    const { key, namespace } = this;
    const flags = this.flags & (KVS.READDIR | KVS.READLINK | KVS.TREEOBJ);
    return this.#byBlob ? { key, namespace, flags: flags | KVS.TREEOBJ, skip: this.#blobs } : { key, namespace, flags };
  }

  /** Takes a new state. Throws FluxError: what the client is told as the watch ends. */
  async take(state: State, load: LoadBlobs): Promise<void> {
    this.rootseq = state.rootseq;
    if (state.val === undefined) {
      if ((this.flags & KVS.WAITCREATE) === 0 || this.#responded) throw new FluxError(errno.ENOENT);
      return this.#sentinel();
    }
    if (this.#byBlob) await this.#takeBlobs(state.val, state.total, load);
    else this.#takeValue(state.val);
    if (!this.req.isOpen) return;
    if ((this.flags & KVS.STREAM) !== 0) return this.req.finish();
    this.#sentinel();
  }

  #takeValue(val: JsonObject): void {
    if ((this.flags & (KVS.WATCH_FULL | KVS.WATCH_UNIQ)) !== 0) {
      const text = encodeJson(val);
      if (text === this.#last) return;
      this.#last = text;
    }
    this.#respond(val);
  }

  async #takeBlobs(val: JsonObject, total: number | undefined, load: LoadBlobs): Promise<void> {
    const { data } = val;
    const type = typeof val["type"] === "string" ? val["type"] : "object";
    if (type === "val") {
      if (this.#blobs > 0 || this.#responded) throw new FluxError(errno.EINVAL, "value of key watched with WATCH_APPEND overwritten");
      this.#blobs = 1;
      return this.#respond(val);
    }
    if (type !== "valref" || total === undefined) {
      const verb = (this.flags & KVS.STREAM) !== 0 ? "streamed" : "watched with WATCH_APPEND";
      if (this.#responded) throw new FluxError(errno.EINVAL, "value of key watched with WATCH_APPEND overwritten");
      throw new FluxError(type === "dir" || type === "dirref" ? errno.EISDIR : errno.EINVAL, `${type} cannot be ${verb}`);
    }
    if (total < this.#blobs) throw new FluxError(errno.EINVAL, "key watched with WATCH_APPEND shortened");
    this.#blobs = total;
    for (const blob of await load(data as readonly Blobref[])) {
      const base64 = Buffer.from(blob.buffer, blob.byteOffset, blob.byteLength).toString("base64");
      this.#respond({ data: base64, type: "val", ver: 1 });
    }
  }

  #respond(val: JsonObject): void {
    this.#responded = true;
    this.req.respond({ val });
    // Without WATCH or STREAM, only the first value is wanted.
    if (this.req.isOpen && (this.flags & (KVS.WATCH | KVS.STREAM)) === 0 && this.req.isStreaming) this.req.finish();
  }

  /** An empty response after the initial data. */
  #sentinel(): void {
    if ((this.flags & KVS.WATCH_INITIAL_SENTINEL) === 0 || this.#sentinelSent) return;
    this.#sentinelSent = true;
    this.req.respond();
  }
}
