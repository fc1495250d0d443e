// Service: the methods that a component offers under a service name, and how a request finds and is answered by one.
//
// A method is a function of a Request. What it returns is the answer:
//   an object or bytes          one response
//   nothing                     one response without payload
//   a promise of these          the same, later
//   an async iterable           a response for each item, then ENODATA: a streaming request
//   DEFERRED                    the method kept the request and will answer it itself
// What it throws is the error response; only the request suffers.
//
// Methods are for the instance owner only unless wrapped in allowUser().
import type { JsonObject } from "../formats/json.ts";
import { errno, FluxError } from "../message/errno.ts";
import { isOwner, ROLE_USER } from "../message/roles.ts";
import { uint, unpack } from "../message/unpack.ts";
import { DEFERRED, Request } from "./request.ts";

export type Answer = JsonObject | Uint8Array | void | typeof DEFERRED;
// eslint-disable-next-line typescript/no-invalid-void-type
export type Method = (request: Request) => Answer | Promise<Answer> | AsyncIterable<JsonObject>;

/** A method that any user of the instance may call. */
export interface OpenMethod {
  readonly users: true;
  readonly run: Method;
}

/** Topic word(s) after the service name → method. "disconnect" is called with each sender that went away. */
export type Methods = Readonly<Record<string, Method | OpenMethod>>;

export function allowUser(run: Method): OpenMethod {
  return { users: true, run };
}

/** Streams and deferred requests that one service keeps open. */
const OPEN_REQUESTS_MAX = 200_000;
/** Of these, those of one sender: one client that opens and opens must leave room for the others. */
const OPEN_REQUESTS_PER_SENDER_MAX = 50_000;

/** What one sender waits for. */
interface SenderRequests {
  readonly all: Set<Request>;
  /** By its matchtag, which is its own among those of one sender. */
  readonly byMatchtag: Map<number, Request>;
}

/** The requests of one service that are still to be answered, by sender, so that they end with it. */
export class OpenRequests {
  #bySender = new Map<string, SenderRequests>();
  #count = 0;

  get count(): number {
    return this.#count;
  }

  add(request: Request): void {
    if (this.#count >= OPEN_REQUESTS_MAX) {
      throw new FluxError(errno.ENOBUFS, `too many open requests for ${request.message.service} (limit ${OPEN_REQUESTS_MAX})`);
    }
    const { sender, matchtag } = request;
    let requests = this.#bySender.get(sender);
    if (requests !== undefined && requests.all.size >= OPEN_REQUESTS_PER_SENDER_MAX) {
      throw new FluxError(
        errno.ENOBUFS,
        `too many open requests of one sender for ${request.message.service} (limit ${OPEN_REQUESTS_PER_SENDER_MAX})`,
      );
    }
    if (requests === undefined) this.#bySender.set(sender, (requests = { all: new Set(), byMatchtag: new Map() }));
    requests.all.add(request);
    if (!requests.byMatchtag.has(matchtag)) requests.byMatchtag.set(matchtag, request);
    this.#count++;
  }

  remove(request: Request): void {
    const { sender, matchtag } = request;
    const requests = this.#bySender.get(sender);
    if (requests === undefined || !requests.all.delete(request)) return;
    if (requests.byMatchtag.get(matchtag) === request) requests.byMatchtag.delete(matchtag);
    this.#count--;
    if (requests.all.size === 0) this.#bySender.delete(sender);
  }

  /** Cancels the sender's request with that matchtag; without effect when there is none. */
  cancel(sender: string, matchtag: number): void {
    this.#bySender.get(sender)?.byMatchtag.get(matchtag)?.cancel(true);
  }

  /** The sender is gone: its requests end without an answer. */
  disconnect(sender: string): void {
    for (const request of [...(this.#bySender.get(sender)?.all ?? [])]) request.cancel(false);
  }

  /** The service ends: everything open fails with `reason`. */
  failAll(reason: FluxError): void {
    for (const { all } of [...this.#bySender.values()]) {
      for (const request of [...all]) {
        request.fail(reason);
      }
    }
  }
}

export class Service {
  readonly openRequests = new OpenRequests();
  /** For each Request of the service: it has been answered. */
  readonly ended = (request: Request): void => this.openRequests.remove(request);

  /** `common` are the methods every service of a module has: ping, stats-get, …; own methods come first. */
  constructor(
    readonly name: string,
    readonly methods: Methods,
    readonly common: Methods,
  ) {}

  /** Runs the method for `request` and sees to its answer. Throws nothing. */
  dispatch(request: Request): void {
    try {
      this.#dispatch(request);
    } catch (err) {
      request.fail(err);
    }
  }

  #dispatch(request: Request): void {
    const name = request.message.method;
    const method = this.methods[name] ?? this.common[name];
    if (name === "disconnect") this.openRequests.disconnect(request.sender);
    if (method === undefined) return this.#builtin(name, request);
    const run = typeof method === "function" ? method : method.run;
    if (!isOwner(request.message) && (typeof method === "function" || (request.rolemask & ROLE_USER) === 0)) {
      throw new FluxError(errno.EPERM, "Request requires owner credentials");
    }
    const answer = run(request);
    if (answer === DEFERRED) this.#keep(request);
    else if (answer instanceof Promise) this.#await(request, answer);
    else if (isAsyncIterable(answer)) this.#stream(request, answer);
    else request.respond(answer ?? undefined);
  }

  /** "cancel" and "…-cancel" end the sender's request with the given matchtag; "disconnect" needs no method. */
  #builtin(name: string, request: Request): void {
    if (name === "disconnect") return;
    if (name === "cancel" || name.endsWith("-cancel")) {
      const { matchtag } = unpack(request.payload, { matchtag: uint });
      this.openRequests.cancel(request.sender, matchtag);
      return;
    }
    throw new FluxError(errno.ENOSYS, `Unknown service method '${request.topic}'`);
  }

  #keep(request: Request): void {
    if (!request.isOpen) return;
    try {
      this.openRequests.add(request);
    } catch (err) {
      request.abort(err);
      throw err;
    }
  }

  #await(request: Request, promise: Promise<Answer>): void {
    promise.then(
      (answer) => {
        if (answer !== DEFERRED) request.respond(answer ?? undefined);
      },
      (err: unknown) => request.fail(err),
    );
    // Last: when there is no room for the request, what the promise comes to is still taken.
    this.#keep(request);
  }

  #stream(request: Request, items: AsyncIterable<JsonObject>): void {
    request.requireStreaming();
    this.#keep(request);
    const iterator = items[Symbol.asyncIterator]();
    request.onCancel(() => {
      iterator.return?.().catch(() => {
        // The request it served has ended: its error has nobody left to go to.
      });
    });
    const step = (): void => {
      iterator.next().then(
        (item) => {
          if (item.done) return request.finish();
          request.respond(item.value);
          if (request.isOpen) step();
        },
        (err: unknown) => request.fail(err),
      );
    };
    step();
  }
}

function isAsyncIterable(value: unknown): value is AsyncIterable<JsonObject> {
  return typeof value === "object" && value !== null && Symbol.asyncIterator in value;
}
