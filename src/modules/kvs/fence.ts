// Fence: a commit that several processes make together: their operations are applied as one transaction when all of
// them have come (rank 0). One that goes away while it waits fails it for all of them.
import { errno, FluxError } from "../../message/errno.ts";
import type { CommitRequest, CommitResult, Leaving } from "./namespaces.ts";

const FENCES_MAX = 10_000;

interface Fence {
  readonly nprocs: number;
  readonly flags: number;
  readonly requests: CommitRequest[];
  readonly done: { resolve: (result: CommitResult) => void; reject: (err: unknown) => void }[];
}

export class Fences {
  readonly #fences = new Map<string, Fence>();

  constructor(readonly commit: (request: CommitRequest) => Promise<CommitResult>) {}

  /** Rejects with FluxError EINVAL when processes disagree, ECONNABORTED when one has gone, or with the error of the commit. */
  enter(request: CommitRequest, nprocs: number, leaving: Leaving): Promise<CommitResult> {
    const key = `${request.namespace}\0${request.name}`;
    let fence = this.#fences.get(key);
    if (fence === undefined) {
      if (nprocs < 1) return Promise.reject(new FluxError(errno.EINVAL, "a fence needs at least one process"));
      if (this.#fences.size >= FENCES_MAX) return Promise.reject(new FluxError(errno.ENOBUFS, `too many fences are open (limit ${FENCES_MAX})`));
      this.#fences.set(key, (fence = { nprocs, flags: request.flags, requests: [], done: [] }));
    }
    if (fence.nprocs !== nprocs || fence.flags !== request.flags) {
      return Promise.reject(new FluxError(errno.EINVAL, `fence ${request.name} was entered with other nprocs or flags`));
    }
    const { requests, done } = fence;
    requests.push(request);
    const entered = fence;
    leaving(() => this.#abort(key, entered, request.name));
    const result = new Promise<CommitResult>((resolve, reject) => done.push({ resolve, reject }));
    if (requests.length === nprocs) {
      this.#fences.delete(key);
      this.commit({
        ...request,
        snapshot: requests.some(({ snapshot }) => snapshot),
        operations: requests.flatMap(({ operations }) => operations),
        ops: [],
      }).then(
        (committed) => done.forEach(({ resolve }) => resolve(committed)),
        (err: unknown) => done.forEach(({ reject }) => reject(err)),
      );
    }
    return result;
  }

  /** Without effect when all have come. */
  #abort(key: string, fence: Fence, name: string): void {
    if (this.#fences.get(key) !== fence) return;
    this.#fences.delete(key);
    for (const { reject } of fence.done) reject(new FluxError(errno.ECONNABORTED, `a process of fence ${name} has gone`));
  }
}
