// resource.acquire (RFC 28): how a scheduler gets the instance's resources and hears what becomes of them.
//
//   first response   { resources: R, up: idset }       R without excluded targets; those not in `up` are down
//   then             { up?, down?, shrink? }           changes; `shrink` names targets that are gone for good
//                    { expiration }                    the instance's own end has changed
//
// One scheduler at a time.
import type { Request } from "../../client/request.ts";
import { IdSet } from "../../formats/idset.ts";
import type { JsonObject } from "../../formats/json.ts";
import type { Rset } from "../../formats/rset.ts";
import { errno, FluxError } from "../../message/errno.ts";

/** What the answers are made of. */
export interface Availability {
  /** Undefined while discovery goes on. */
  readonly R: Rset | undefined;
  readonly exclude: IdSet;
  /** Targets that cannot be used now: offline, drained or torpid. */
  readonly unavailable: IdSet;
  /** Targets that were online and went away for good; empty where they may come back. */
  readonly lost: IdSet;
}

export class Acquire {
  readonly #state: () => Availability;
  #request: Request | undefined;
  #valid = new IdSet();
  #up: IdSet | undefined;
  #removed = new IdSet();
  #muted = false;

  constructor(state: () => Availability) {
    this.#state = state;
  }

  get isOpen(): boolean {
    return this.#request !== undefined;
  }

  /** Throws EBUSY when a scheduler has the resources. */
  open(req: Request): void {
    req.requireStreaming();
    if (this.#request !== undefined) throw new FluxError(errno.EBUSY, "resources are acquired by another scheduler already");
    this.#request = req;
    this.#up = undefined;
    this.#muted = false;
    req.onCancel(() => {
      this.#request = undefined;
    });
    this.defined();
  }

  /** No more answers: the instance is shutting down and brokers that leave are no news. */
  mute(): void {
    this.#muted = true;
  }

  /** R is known: the first response. */
  defined(): void {
    const { R, exclude, unavailable, lost } = this.#state();
    if (R === undefined || this.#request === undefined || this.#up !== undefined || this.#muted) return;
    const resources = exclude.isEmpty ? R : R.slice(R.ranks.subtract(exclude));
    this.#removed = lost.clone();
    this.#valid = resources.ranks.subtract(lost);
    this.#up = resources.ranks.subtract(unavailable);
    this.#request.respond({ resources: resources.encode(), up: this.#up.toString() });
  }

  /** Availability may have changed. */
  changed(): void {
    if (this.#request === undefined || this.#up === undefined || this.#muted) return;
    const { exclude, unavailable, lost } = this.#state();
    const up = this.#valid.subtract(unavailable).subtract(exclude);
    const shrink = lost.subtract(this.#removed);
    const payload: Record<string, string> = {};
    const added = up.subtract(this.#up);
    const gone = this.#up.subtract(up);
    if (!added.isEmpty) payload["up"] = added.toString();
    if (!gone.isEmpty) payload["down"] = gone.toString();
    if (!shrink.isEmpty) payload["shrink"] = shrink.toString();
    this.#removed = this.#removed.union(shrink);
    this.#valid = this.#valid.subtract(shrink);
    this.#up = up;
    if (Object.keys(payload).length > 0) this.#request.respond(payload satisfies JsonObject);
  }

  expires(expiration: number): void {
    if (this.#up !== undefined && !this.#muted) this.#request?.respond({ expiration });
  }

  /** The module ends. */
  close(): void {
    this.#request?.fail(new FluxError(errno.ECANCELED, "the resource module was unloaded"));
    this.#request = undefined;
  }
}
