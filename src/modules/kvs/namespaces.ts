// What the KVS of a rank knows about namespaces. Rank 0 has the trees (leader.ts); the others follow its events
// (follower.ts). Lookups, getroot and wait-version work the same on both.
import type { Blobref } from "../../formats/blobref.ts";
import type { JsonObject } from "../../formats/json.ts";
import type { Dir } from "./dir.ts";
import type { Operation } from "./transaction.ts";
import type { VersionWaiters } from "./waiters.ts";

export const PRIMARY = "primary";

/** The user id that means "nobody in particular". */
export const USERID_UNKNOWN = 0xffff_ffff;

export interface NamespaceRoot {
  readonly name: string;
  readonly owner: number;
  readonly flags: number;
  readonly seq: number;
  readonly ref: Blobref;
  /** The root directory where it is in memory (rank 0). */
  readonly root: Dir | undefined;
  readonly waiters: VersionWaiters;
}

export interface CommitRequest {
  /** Unique in the instance; it is listed in the setroot event. */
  readonly name: string;
  readonly namespace: string;
  readonly flags: number;
  /** The requester may use the root that the commit makes later on: keep it. */
  readonly snapshot: boolean;
  /** Nobody waits for it: it may be joined with what comes a little later. */
  readonly lazy: boolean;
  readonly operations: readonly Operation[];
  /** The same as they came. */
  readonly ops: readonly JsonObject[];
}

export interface CommitResult {
  readonly rootref: Blobref;
  readonly rootseq: number;
}

/** Is given what to do when the requester goes away while it waits. */
export type Leaving = (gone: () => void) => void;

export interface Namespaces {
  /** What is known now. */
  find(namespace: string): NamespaceRoot | undefined;
  /** Asks for it where it isn't known. Rejects with FluxError ENOTSUP when there is no such namespace. */
  fetch(namespace: string): Promise<NamespaceRoot>;
  /** Somebody was given the current root and may come back with it: it must stay readable. */
  pin(namespace: string): void;
  commit(request: CommitRequest): Promise<CommitResult>;
  fence(request: CommitRequest, nprocs: number, leaving: Leaving): Promise<CommitResult>;
  /** Stops or resumes following events (a hook for tests; it does nothing on rank 0). */
  pause(namespace: string, paused: boolean): void;
  list(): NamespaceRoot[];
}
