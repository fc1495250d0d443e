// The content store (RFC 10) as its clients see it: blobs by their blobref, and the checkpoints that name roots of the KVS.
import { type Blobref, blobrefFromHash, blobrefToHash, HASH_SIZE_BYTES, type HashName, isBlobref, isHashName } from "../formats/blobref.ts";
import type { JsonObject } from "../formats/json.ts";
import { errno, FluxError, isErrno } from "../message/errno.ts";
import { arr, def, num, obj, str, unpack } from "../message/unpack.ts";
import type { Flux } from "./flux.ts";
import type { Request } from "./request.ts";

/** The instance's hash: attribute content.hash, sha1 when nobody set it. */
export async function hashAttribute(h: Flux): Promise<HashName> {
  let name: string;
  try {
    name = await h.attr("content.hash");
  } catch (err) {
    if (!isErrno(err, errno.ENOENT)) throw err;
    name = "sha1";
    await h.rpc("attr.set", { name: "content.hash", value: name });
  }
  if (!isHashName(name)) throw new FluxError(errno.EINVAL, `content.hash: ${name} is not sha1 or sha256`);
  return name;
}

/** The hash that a request for a blob has as its payload. Throws EPROTO. */
export function requestedHash(request: Request, hash: HashName): Uint8Array {
  const { bytes } = request;
  if (bytes?.length !== HASH_SIZE_BYTES[hash]) throw new FluxError(errno.EPROTO, `a ${hash} hash has ${HASH_SIZE_BYTES[hash]} bytes`);
  return bytes;
}

export interface Checkpoint {
  readonly rootref: Blobref;
  readonly sequence: number;
  /** Seconds; 0 when nobody said. */
  readonly timestamp: number;
  /** As it is stored. */
  readonly value: JsonObject;
}

/** The store by way of the caches, or (`direct`) the backing store on rank 0 itself. */
export class ContentStore {
  readonly #h: Flux;
  readonly #service: "content" | "content-backing";
  readonly #nodeid: { readonly nodeid?: number };

  constructor(h: Flux, direct: boolean = false) {
    this.#h = h;
    this.#service = direct ? "content-backing" : "content";
    this.#nodeid = direct ? { nodeid: 0 } : {};
  }

  /** Throws FluxError EINVAL, ENOENT. */
  async load(ref: Blobref): Promise<Uint8Array> {
    return this.#h.rpcBytes(`${this.#service}.load`, hashOfRef(ref), this.#nodeid);
  }

  /** Resolves to the blob's name. */
  async store(bytes: Uint8Array, hash: HashName): Promise<Blobref> {
    return blobrefFromHash(await this.#h.rpcBytes(`${this.#service}.store`, bytes, this.#nodeid), hash);
  }

  /** The newest first. Throws FluxError ENOENT when there is none. */
  async checkpoints(): Promise<Checkpoint[]> {
    const answer = await this.#h.rpc(`${this.#service}.checkpoint-get`, {}, { nodeid: 0 });
    const values = arr(obj)(answer["value"], "value");
    if (values.length === 0) throw new FluxError(errno.ENOENT);
    return values.map((value) => {
      const { rootref, sequence, timestamp } = unpack(value, { rootref: str, sequence: def(num, 0), timestamp: def(num, 0) });
      if (!isBlobref(rootref)) throw new FluxError(errno.EINVAL, `the checkpoint's root ${JSON.stringify(rootref)} is not a blobref`);
      return { rootref, sequence, timestamp, value };
    });
  }

  /** `timestamp` in seconds; 0: now. */
  async putCheckpoint(rootref: Blobref, sequence: number, timestamp: number): Promise<void> {
    const value = { version: 1, rootref, sequence, timestamp: timestamp === 0 ? Date.now() / 1000 : timestamp };
    await this.#h.rpc(`${this.#service}.checkpoint-put`, { value }, { nodeid: 0 });
  }
}

function hashOfRef(ref: Blobref): Uint8Array {
  if (!isBlobref(ref)) throw new FluxError(errno.EINVAL);
  return blobrefToHash(ref);
}

/** True when the kvs module answers: what is stored behind its back would not last. */
export async function isKvsRunning(h: Flux): Promise<boolean> {
  try {
    await h.rpc("kvs.getroot", { namespace: "primary" });
    return true;
  } catch (err) {
    return !isErrno(err, errno.ENOSYS);
  }
}
