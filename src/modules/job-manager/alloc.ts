// Alloc: the job manager's side of the scheduler protocol (RFC 27). Whoever serves "sched" and says sched-hello and
// sched-ready is the scheduler.
//
//   to us:    job-manager.sched-hello {partial-ok?} → {id, priority, userid, t_submit} for each job with resources, ENODATA
//             job-manager.sched-ready {mode: "limited", limit} or {mode: "unlimited"} → {count}
//   from us:  sched.alloc {id, priority, userid, t_submit, jobspec} → {id, type, R?, annotations?, note?}, any number
//             sched.cancel {id}, sched.free {id, R, final}, sched.prioritize {jobs: [[id, priority]]}
//
// sched.alloc carries no matchtag: answers name the job. It is sent with the streaming flag, so that a scheduler may
// answer more than once. An error response ends the conversation until the next sched-ready; ENODATA, the ordinary end
// of a stream, is not an error.
import type { Flux } from "../../client/flux.ts";
import { ALLOC } from "../../client/sched-alloc.ts";
import type { Request } from "../../client/request.ts";
import { PRIORITY, STATE } from "../../client/jobs.ts";
import type { JobId } from "../../formats/fluid.ts";
import type { JsonObject } from "../../formats/json.ts";
import { Rset } from "../../formats/rset.ts";
import { errno, FluxError, toFluxError } from "../../message/errno.ts";
import { type Message, responseError } from "../../message/message.ts";
import { int, jobid, obj, opt, str, unpack } from "../../message/unpack.ts";
import type { Core } from "./core.ts";
import type { Housekeeping } from "./housekeeping.ts";
import { before, isDebug, type Job, jobspecOf } from "./job.ts";
import { PriorityQueue } from "./priority-queue.ts";
import { mergeAnnotations } from "./state.ts";

/** Requests sent in one turn of the event loop. */
const SENT_PER_TURN_MAX = 500;
/** As long as there are fewer active jobs, their jobspecs stay decoded. */
export const DECODED_MAX = 1000;

export interface AllocOptions {
  readonly h: Flux;
  readonly core: Core;
  /** False while the queue of the job is stopped. */
  readonly isStarted: (job: Job) => boolean;
  readonly housekeeping: Housekeeping;
  readonly raise: (job: Job, type: string, severity: number, note: string) => void;
  /** Something may have become idle. */
  readonly changed: () => void;
  /** Call pump() at the end of the turn. */
  readonly touch: () => void;
}

export class Alloc {
  readonly #options: AllocOptions;
  readonly #queue = new PriorityQueue();
  /** Jobs whose requests the scheduler has; the least urgent is first. */
  readonly #sent = new PriorityQueue((a, b) => before(b, a));
  #online = false;
  /** What is freed between the scheduler's hello, which told of it, and its ready; undefined at other times. */
  #freedSinceHello: { readonly id: JobId; readonly R: JsonObject; readonly final: boolean }[] | undefined;
  /** Requests that the scheduler wants at once. */
  #limit = Infinity;
  #sender: string | undefined;
  #allocated: JsonObject | undefined;

  constructor(options: AllocOptions) {
    this.#options = options;
    options.h.onUntagged("sched.alloc", (response) => this.#receive(response));
  }

  get isOnline(): boolean {
    return this.#online;
  }

  /** Jobs that wait in our queue. */
  get queued(): number {
    return this.#queue.size;
  }

  /** Jobs whose request the scheduler has. */
  get pending(): number {
    return this.#sent.size;
  }

  inOrder(): Job[] {
    return this.#queue.sorted();
  }

  // ---- requests of the scheduler

  hello(request: Request): void {
    request.requireStreaming();
    const partialOk = request.payload["partial-ok"] === true;
    this.#options.h.log(7, "scheduler: hello");
    this.#freedSinceHello = [];
    for (const { id, facts } of this.#options.core.active.values()) {
      if (!facts.hasResources || facts.allocBypass) continue;
      request.respond({ id, priority: facts.priority, userid: facts.userid, t_submit: facts.t_submit });
    }
    this.#options.housekeeping.hello(request, partialOk);
    request.finish();
  }

  ready(request: Request): JsonObject {
    const { mode, limit } = request.unpack({ mode: str, limit: opt(int) });
    if (mode === "limited" && limit !== undefined && limit > 0) this.#limit = limit;
    else if (mode === "unlimited") this.#limit = Infinity;
    else throw new FluxError(errno.EPROTO, `invalid scheduler mode '${mode}'${mode === "limited" ? " without a limit" : ""}`);
    this.#sender = request.sender;
    this.#online = true;
    this.#options.h.log(7, `scheduler: ready ${mode}`);
    for (const { id, R, final } of this.#freedSinceHello ?? []) this.#free(id, R, final);
    this.#freedSinceHello = undefined;
    this.#options.touch();
    return { count: this.#queue.size };
  }

  /** A client or module is gone: perhaps it was the scheduler. */
  disconnect(sender: string): void {
    if (sender === this.#sender) this.#offline("disconnect");
  }

  // ---- what jobs need

  enqueue(job: Job): void {
    if (job.facts.state !== STATE.SCHED || job.alloc !== "none" || !this.#options.isStarted(job)) return;
    if (job.facts.allocBypass || job.facts.priority === PRIORITY.MIN) return;
    job.alloc = "queued";
    this.#queue.insert(job);
    this.#makeRoom(job);
    this.#options.touch();
  }

  leaveQueue(job: Job): void {
    if (job.alloc !== "queued") return;
    this.#queue.remove(job);
    job.alloc = "none";
  }

  /** Asks the scheduler to give the request back; its answer puts the job into our queue again. */
  cancel(job: Job): void {
    if (job.alloc !== "sent" || job.cancelling) return;
    job.cancelling = true;
    this.#options.h.notify("sched.cancel", { id: job.id });
  }

  /** The job has ended: it doesn't wait for the scheduler's answer. */
  drop(job: Job): void {
    if (job.alloc !== "sent") return;
    if (!job.cancelling) this.#options.h.notify("sched.cancel", { id: job.id });
    this.#leaveSent(job);
    this.#clearAnnotations(job);
    this.#options.changed();
  }

  /** Returns resources to the scheduler. */
  free(job: Job): void {
    const { R } = job.facts;
    this.#allocated = undefined;
    if (R === undefined || job.facts.allocBypass) return;
    if (this.#options.housekeeping.isConfigured && this.#options.housekeeping.start(job)) return;
    this.#freeOrKeep(job.id, R, true);
  }

  /** Housekeeping returns what it is done with. */
  release(id: JobId, R: JsonObject, final: boolean): void {
    this.#allocated = undefined;
    this.#freeOrKeep(id, R, final);
  }

  /** Without a scheduler nobody has to know; one that is starting has been told of the job and will be told of this. */
  #freeOrKeep(id: JobId, R: JsonObject, final: boolean): void {
    if (this.#online) this.#free(id, R, final);
    else this.#freedSinceHello?.push({ id, R, final });
  }

  /** The priority of a queued or requested job changed. */
  reprioritized(job: Job): void {
    if (job.alloc === "queued") {
      if (job.facts.priority === PRIORITY.MIN) return this.leaveQueue(job);
      this.#queue.moved(job);
      this.#makeRoom(job);
    } else if (job.alloc === "sent") {
      this.#sent.moved(job);
      if (job.facts.priority === PRIORITY.MIN) return this.cancel(job);
      if (!job.cancelling) this.#options.h.notify("sched.prioritize", { jobs: [[job.id, job.facts.priority]] });
    }
  }

  /** Sends requests while the scheduler takes more. */
  pump(): void {
    let sent = 0;
    while (this.#online && this.#sent.size < this.#limit) {
      const job = this.#queue.first();
      if (job === undefined) return;
      if (++sent > SENT_PER_TURN_MAX) return this.#options.touch();
      this.#send(job);
    }
  }

  /** All resources that jobs hold, as one R. */
  allocated(): JsonObject {
    if (this.#allocated !== undefined) return this.#allocated;
    const all = new Rset();
    const add = (held: Rset): void => {
      for (const rank of held.ranks) {
        const { cores, gpus, host } = held.node(rank) ?? {};
        all.add(rank, { host, ...(cores === undefined ? {} : { cores }), ...(gpus === undefined ? {} : { gpus }) });
      }
    };
    for (const { facts, freePosted } of this.#options.core.active.values()) {
      if (facts.R === undefined || !facts.hasResources || freePosted || facts.allocBypass) continue;
      add(Rset.parse(facts.R));
    }
    for (const held of this.#options.housekeeping.resources()) add(held);
    this.#allocated = all.encode();
    return this.#allocated;
  }

  // ---- the conversation

  #send(job: Job): void {
    const { core, h } = this.#options;
    this.#queue.remove(job);
    job.alloc = "sent";
    job.cancelling = false;
    this.#sent.insert(job);
    const { priority, userid, t_submit } = job.facts;
    const jobspec = (job.decoded ??= jobspecOf(job));
    h.sendUntagged("sched.alloc", { id: job.id, priority, userid, t_submit, jobspec });
    if (isDebug(job)) core.post(job, "debug.alloc-request");
  }

  #receive(response: Message): void {
    try {
      const error = responseError(response);
      if (error?.errno === errno.ENODATA) return;
      if (error !== undefined) throw error;
      this.#answered(response.payload);
    } catch (err) {
      const error = toFluxError(err);
      this.#offline(`alloc response error: ${error.message}`);
    }
  }

  #answered(payload: JsonObject): void {
    const answer = unpack(payload, { id: jobid, type: int, note: opt(str), annotations: opt(obj), R: opt(obj) });
    const { type, annotations, R } = answer;
    const found = this.#options.core.active.get(answer.id);
    // The answer to a request that was dropped concerns nobody.
    const job = found?.alloc === "sent" ? found : undefined;
    switch (type) {
      case ALLOC.SUCCESS:
        if (R === undefined) throw new FluxError(errno.EPROTO, "sched.alloc: there is no R in the response");
        return job === undefined ? this.#free(answer.id, withoutScheduling(R)) : this.#succeeded(job, withoutScheduling(R), annotations);
      case ALLOC.ANNOTATE:
        if (annotations === undefined) throw new FluxError(errno.EPROTO, "sched.alloc: there are no annotations in the response");
        return job === undefined ? undefined : this.#annotate(job, annotations);
      case ALLOC.DENY:
        return job === undefined ? undefined : this.#denied(job, answer.note ?? "");
      case ALLOC.CANCEL:
        return job === undefined ? undefined : this.#cancelled(job);
      default:
        throw new FluxError(errno.EINVAL, `sched.alloc: unknown response type ${type}`);
    }
  }

  #succeeded(job: Job, R: JsonObject, annotations: JsonObject | undefined): void {
    this.#leaveSent(job, "answered");
    this.#allocated = undefined;
    if (annotations !== undefined) this.#annotate(job, annotations);
    job.facts = { ...job.facts, R };
    this.#options.core.post(job, "alloc", job.facts.annotations === undefined ? undefined : { annotations: job.facts.annotations });
    job.alloc = "none";
  }

  #denied(job: Job, note: string): void {
    this.#leaveSent(job, "answered");
    this.#clearAnnotations(job);
    job.alloc = "none";
    this.#options.raise(job, "alloc", 0, note);
  }

  #cancelled(job: Job): void {
    this.#leaveSent(job);
    this.#clearSchedAnnotations(job);
    this.#options.core.act(job);
    this.#options.changed();
  }

  #leaveSent(job: Job, to: "none" | "answered" = "none"): void {
    this.#sent.remove(job);
    job.alloc = to;
    job.cancelling = false;
    if (this.#options.core.active.size > DECODED_MAX) job.decoded = undefined;
    this.#options.touch();
  }

  #free(id: JobId, R: JsonObject, final = true): void {
    this.#options.h.notify("sched.free", { id, R, final });
  }

  /** In limited mode a more urgent job takes the place of the least urgent request. */
  #makeRoom(job: Job): void {
    if (this.#sent.size < this.#limit) return;
    const first = this.#sent.first();
    const last = first?.cancelling === true ? this.#sent.sorted().find((other) => !other.cancelling) : first;
    if (last !== undefined && before(job, last)) this.cancel(last);
  }

  #offline(why: string): void {
    if (!this.#online) return;
    this.#online = false;
    this.#sender = undefined;
    this.#options.h.log(7, `alloc: stop due to ${why}`);
    for (const job of this.#sent.sorted()) {
      this.#leaveSent(job);
      this.#clearSchedAnnotations(job);
      this.enqueue(job);
    }
    this.#options.changed();
  }

  // ---- annotations

  #annotate(job: Job, change: JsonObject): void {
    const annotations = mergeAnnotations(job.facts.annotations, change) ?? null;
    this.#options.core.post(job, "annotations", { annotations }, { volatile: true });
  }

  #clearAnnotations(job: Job): void {
    if (job.facts.annotations === undefined) return;
    this.#options.core.post(job, "annotations", { annotations: null }, { volatile: true });
  }

  #clearSchedAnnotations(job: Job): void {
    if (job.facts.annotations?.["sched"] !== undefined) this.#annotate(job, { sched: null });
  }
}

function withoutScheduling(R: JsonObject): JsonObject {
  if (!("scheduling" in R)) return R;
  const { scheduling: _, ...rest } = R;
  return rest;
}
