// Exec: the job manager's side of the execution protocol (RFC 32). Whoever says exec-hello with the name of its service
// starts the jobs from then on.
//
//   to us:    job-manager.exec-hello {service}
//   from us:  SERVICE.start {id, userid, jobspec, R, reattach} → {id, type, data} until release with final
//             SERVICE.expiration {id, expiration}
//
// SERVICE.start carries no matchtag and has the streaming flag; ENODATA ends the stream and is not an error.
import type { Flux } from "../../client/flux.ts";
import type { Request } from "../../client/request.ts";
import { STATE } from "../../client/jobs.ts";
import { formatJobId } from "../../formats/fluid.ts";
import type { JsonObject } from "../../formats/json.ts";
import { errno, toFluxError } from "../../message/errno.ts";
import { type Message, responseError } from "../../message/message.ts";
import { bool, int, jobid, num, obj, opt, str, unpack } from "../../message/unpack.ts";
import { DECODED_MAX } from "./alloc.ts";
import type { Core } from "./core.ts";
import { isDebug, type Job, jobspecOf } from "./job.ts";

export interface ExecOptions {
  readonly h: Flux;
  readonly core: Core;
  /** User id of the instance owner, who raises the exceptions of the execution system. */
  readonly owner: number;
  readonly raise: (job: Job, type: string, severity: number, note: string) => void;
}

export class Exec {
  readonly #options: ExecOptions;
  #service: string | undefined;
  #sender: string | undefined;

  constructor(options: ExecOptions) {
    this.#options = options;
  }

  hello(request: Request): void {
    const { service } = request.unpack({ service: str });
    if (this.#service !== undefined) this.#offline(`${service} takes over`);
    this.#service = service;
    this.#sender = request.sender;
    this.#options.h.onUntagged(`${service}.start`, (response) => this.#receive(service, response));
    // What it is asked to start or reattach to comes before the answer: then it knows all of them.
    for (const job of [...this.#options.core.active.values()]) if (job.facts.state === STATE.RUN) this.#options.core.act(job);
    request.respond();
  }

  /** A client or module is gone: perhaps it was the execution system. */
  disconnect(sender: string): void {
    if (sender === this.#sender) this.#offline("disconnect");
  }

  /** Asks for the job to be started; without an execution system nothing happens until there is one. */
  start(job: Job): void {
    const { core, h } = this.#options;
    const { userid, R, started } = job.facts;
    if (this.#service === undefined || job.startPending || R === undefined) return;
    const reattach = started || job.startSent;
    job.startPending = true;
    job.startSent = true;
    h.sendUntagged(`${this.#service}.start`, { id: job.id, userid, jobspec: jobspecOf(job), reattach, R });
    if (core.active.size > DECODED_MAX) job.decoded = undefined;
    if (isDebug(job)) core.post(job, reattach ? "debug.exec-reattach-start" : "debug.start-request");
  }

  /** The expiration in the job's R changed. */
  expirationChanged(job: Job, context: JsonObject): void {
    if (this.#service === undefined || !job.startPending) return;
    const { expiration } = unpack(context, { expiration: num });
    this.#options.h.rpc(`${this.#service}.expiration`, { id: job.id, expiration }, { nodeid: 0 }).catch(() => {
      if (job.facts.closed) return;
      const note = "failed to send expiration update to exec system: job termination may not coincide with expiration";
      this.#options.raise(job, "exec", 1, note);
    });
  }

  #offline(why: string): void {
    if (this.#service === undefined) return;
    this.#options.h.log(7, `start: stop due to ${why}`);
    this.#options.h.onUntagged(`${this.#service}.start`, undefined);
    this.#service = undefined;
    this.#sender = undefined;
    for (const job of this.#options.core.active.values()) {
      if (!job.startPending) continue;
      job.startPending = false;
      if (isDebug(job)) this.#options.core.post(job, "debug.start-lost", { note: why });
    }
  }

  #receive(service: string, response: Message): void {
    if (service !== this.#service) return;
    const error = responseError(response);
    if (error?.errno === errno.ENODATA) return;
    if (error !== undefined) return this.#offline(`start response error: ${error.message}`);
    try {
      this.#answered(response.payload);
    } catch (err) {
      this.#options.h.log(3, `start response: ${toFluxError(err).message}`);
    }
  }

  #answered(payload: JsonObject): void {
    const { id, type, data } = unpack(payload, { id: jobid, type: str, data: obj });
    const { core, h, owner } = this.#options;
    const job = core.active.get(id);
    if (job === undefined) return h.log(3, `start response: id=${formatJobId(id, "f58")} not active`);
    switch (type) {
      case "start":
        if (job.facts.started || job.facts.status !== undefined) return h.log(3, `start response: id=${formatJobId(id, "f58")} should not get start event`);
        return core.post(job, "start");
      case "reattached":
        if (isDebug(job)) core.post(job, "debug.exec-reattach-finish");
        return;
      case "release": {
        const { ranks, final } = unpack(data, { ranks: str, final: bool });
        if (final) job.startPending = false;
        return core.post(job, "release", { ranks, final });
      }
      case "exception": {
        const { severity, type, note } = unpack(data, { severity: int, type: str, note: opt(str) });
        return core.post(job, "exception", { type, severity, userid: owner, note: note ?? "" });
      }
      case "finish":
        return core.post(job, "finish", { status: unpack(data, { status: int }).status });
      default:
        return h.log(3, `start response: unknown type ${type}`);
    }
  }
}
