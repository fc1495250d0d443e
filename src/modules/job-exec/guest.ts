// Guest: a job's KVS namespace "job-ID" while it runs, and its way into the primary namespace as `job.….guest` at the end (RFC 16).
//
// Appends are joined for some milliseconds into one commit of the namespace.
import type { Flux } from "../../client/flux.ts";
import { append } from "../../client/kvs.ts";
import { jobKvsPath, type JobId } from "../../formats/fluid.ts";
import type { JsonObject } from "../../formats/json.ts";
import { errno, FluxError, isErrno, toFluxError } from "../../message/errno.ts";
import { str, unpack } from "../../message/unpack.ts";
import type { Clock, Timer } from "../../os/clock.ts";
import type { GuestKey } from "../../shell/protocol.ts";

/** From an append to its commit. The first one is sooner: readers wait for it. A job that is shorter makes one commit only. */
const FIRST_MS = 3;
const BATCH_MS = 10;

/** Operations on the primary namespace. */
export interface PrimaryWriter {
  /**
   * Sends them at once; resolves when committed. Whatever is committed after this call comes after it: what is said to the
   * job-manager now, and goes to the job's eventlog from there, nobody can see before it.
   */
  write(ops: readonly JsonObject[]): Promise<void>;
}

/** The KVS joins what many jobs write at about the same time. */
export function primaryWriter(h: Flux): PrimaryWriter {
  return {
    async write(ops) {
      await h.rpc("kvs.commit", { namespace: "primary", flags: 0, ops, snapshot: false, lazy: true });
    },
  };
}

export interface Guest {
  readonly namespace: string;
  /** Makes the namespace, or takes the one that is there already. */
  create(): Promise<void>;
  append(key: GuestKey, text: string): void;
  /** The job runs: from now on appends are committed. */
  open(): void;
  /** Commits what is appended and has the namespace linked into the primary one, then removed. Resolves when that is on its way. */
  finish(): Promise<void>;
}

export interface GuestOptions {
  readonly h: Flux;
  readonly clock: Clock;
  readonly id: JobId;
  readonly userid: number;
  readonly primary: PrimaryWriter;
  /** Blobref of an empty directory. */
  readonly emptyRoot: string;
  readonly onError: (error: FluxError) => void;
  /** The first appends are in the KVS, or could not be written. Called once. */
  readonly onLogged: () => void;
}

export function openGuest(options: GuestOptions): Guest {
  const { h, clock } = options;
  const namespace = `job-${options.id}`;
  const pending = new Map<GuestKey, string>();
  let timer: Timer | undefined;
  let committing: Promise<string | undefined> | undefined;
  let created = false;
  let isOpen = false;
  let finishing = false;

  let logged = false;

  const commit = async (): Promise<string | undefined> => {
    const ops = [...pending].map(([key, text]) => append(key, text));
    pending.clear();
    const answer = await h.rpc("kvs.commit", { namespace, flags: 0, ops });
    return typeof answer["rootref"] === "string" ? answer["rootref"] : undefined;
  };

  const tick = (): void => {
    timer = undefined;
    if (!created || committing !== undefined || pending.size === 0 || finishing) return;
    committing = commit()
      .catch((err: unknown) => {
        options.onError(toFluxError(err, errno.EIO));
        return undefined;
      })
      .finally(() => {
        committing = undefined;
        tellLogged();
        if (pending.size > 0) arm();
      });
  };
  const arm = (): void => {
    timer ??= clock.setTimer(logged ? BATCH_MS : FIRST_MS, tick);
  };
  const tellLogged = (): void => {
    if (logged) return;
    logged = true;
    options.onLogged();
  };

  return {
    namespace,
    async create() {
      try {
        await h.rpc("kvs.namespace-create", { namespace, rootref: options.emptyRoot, owner: options.userid, flags: 0 });
      } catch (err) {
        if (!isErrno(err, errno.EEXIST)) throw err;
      }
      created = true;
    },
    open() {
      isOpen = true;
      arm();
    },
    append(key, text) {
      pending.set(key, (pending.get(key) ?? "") + text);
      if (isOpen) arm();
    },
    async finish() {
      finishing = true;
      clock.clear(timer);
      await committing;
      if (!created) throw new FluxError(errno.ENOENT, `namespace ${namespace} was never made`);
      const rootref = (pending.size > 0 ? await commit() : undefined) ?? unpack(await h.rpc("kvs.getroot", { namespace }), { rootref: str }).rootref;
      tellLogged();
      const link = { key: jobKvsPath(options.id, "guest"), flags: 0, dirent: { ver: 1, type: "dirref", data: [rootref] } };
      // Until the link is there, the output is found in the namespace.
      options.primary
        .write([link])
        .then(() => h.rpc("kvs.namespace-remove", { namespace }))
        .catch((err: unknown) => options.onError(toFluxError(err, errno.EIO)));
    },
  };
}
