// Flux: the handle. The only way in or out of a component, wherever it runs: commands and shells open one on the
// broker's socket, modules are given one that stays inside the process. Both look the same.
//
//   const h = await Flux.open();                                  // $FLUX_URI
//   const { rootref } = await h.rpc("kvs.getroot", { namespace: "primary" });
//   for await (const e of h.stream("job-info.eventlog-watch", { id, path: "eventlog", flags: 0 })) …
//   await h.subscribe("heartbeat.pulse", (event) => …);
//   await h.serve("barrier", { enter(req) {…} });
import type { JsonObject } from "../formats/json.ts";
import { remoteUri } from "../formats/uri.ts";
import { errno, FluxError, isErrno, toFluxError } from "../message/errno.ts";
import {
  errorResponse,
  eventMessage,
  FLAG_PRIVATE,
  MATCHTAG_NONE,
  type Message,
  MSG_EVENT,
  MSG_REQUEST,
  MSG_RESPONSE,
  requestMessage,
  responseError,
  serviceOf,
} from "../message/message.ts";
import type { Credentials } from "../message/roles.ts";
import { str, unpack } from "../message/unpack.ts";
import type { Link } from "../transport/link.ts";
import { openLink } from "../transport/open.ts";
import { formatLogEntry, type LogLevel } from "./log.ts";
import { Request } from "./request.ts";
import { type Methods, Service } from "./service.ts";
import { Stream } from "./stream.ts";

export interface RpcOptions {
  /** Rank that must serve the request; default: the nearest broker that can, on the way to rank 0. */
  readonly nodeid?: number;
  /** The caller's own rank: the request goes to the nearest such service strictly above it. */
  readonly upstreamOf?: number;
  /** Give up with ETIMEDOUT after this long. */
  readonly timeout_ms?: number;
  /** For services that ask another one on behalf of a user: his credentials. Only the instance owner can do that. */
  readonly as?: Credentials;
}

export interface StreamOptions extends Pick<RpcOptions, "nodeid" | "upstreamOf"> {
  /** Topic that ends the stream on the server; default "SERVICE.cancel". */
  readonly cancelTopic?: string;
}

/** An event as its subscriber gets it. */
export interface FluxEvent {
  readonly topic: string;
  readonly sequence: number;
  readonly payload: JsonObject;
  readonly message: Message;
}

export interface Subscription {
  unsubscribe(): Promise<void>;
}

export interface Served {
  /** Ends the service: open requests fail with ENOSYS. */
  stop(): Promise<void>;
  /** Requests not answered yet. */
  readonly openRequests: number;
}

/** What a module's handle knows without asking; a client's handle asks. */
export interface Identity {
  /** Module name, or the program's name for log messages. */
  readonly name: string;
  /** Services that the broker has routed here already, without service.add. */
  readonly ownService?: string;
}

type Pending = (response: Message | FluxError) => boolean;

interface EventHandler {
  readonly prefix: string;
  readonly run: (event: FluxEvent) => void;
}

/** Requests waiting for a response in one handle. */
const PENDING_MAX = 1_000_000;

export class Flux {
  readonly #link: Link;
  readonly #identity: Identity;
  /** matchtag → what to do with a response; it returns true when it expects no more. */
  readonly #pending = new Map<number, Pending>();
  #nextMatchtag = 1;
  /** topic → what to do with responses that carry no matchtag. */
  readonly #untagged = new Map<string, (response: Message) => void>();
  readonly #services = new Map<string, Service>();
  readonly #handlers = new Set<EventHandler>();
  readonly #attrs = new Map<string, Promise<string>>();
  #common: Methods = {};
  #closed: FluxError | undefined;
  readonly #onClose = new Set<(reason: FluxError | undefined) => void>();
  /** When a message last came in (Date.now()). */
  lastReceived_ms = Date.now();

  /** Use Flux.open() or, over a link that is connected already, this. */
  constructor(link: Link, identity: Identity) {
    this.#link = link;
    this.#identity = identity;
    link.start(
      (message) => this.#receive(message),
      (reason) => this.#ended(reason),
    );
  }

  /**
   * A handle on the broker at `uri` (default: $FLUX_URI).
   * Throws FluxError: ENOENT or ECONNREFUSED when no broker is there, EPERM when it does not let this user in.
   */
  static async open(uri?: string): Promise<Flux> {
    return new Flux(await openLink(uri), { name: programName() });
  }

  get name(): string {
    return this.#identity.name;
  }

  get isClosed(): boolean {
    return this.#closed !== undefined;
  }

  /** Sends a request and resolves to the response's payload ({} when it has none), or rejects with its FluxError. */
  async rpc(topic: string, payload?: JsonObject | Uint8Array, options?: RpcOptions): Promise<JsonObject> {
    return (await this.call(topic, payload, options)).payload;
  }

  /** The same for services that answer with raw bytes. */
  async rpcBytes(topic: string, payload?: JsonObject | Uint8Array, options?: RpcOptions): Promise<Uint8Array> {
    return (await this.call(topic, payload, options)).bytes ?? new Uint8Array(0);
  }

  /** Sends a request and resolves to the whole response message. */
  call(topic: string, payload?: JsonObject | Uint8Array, options: RpcOptions = {}): Promise<Message> {
    return new Promise((resolve, reject) => {
      let timer: ReturnType<typeof setTimeout> | undefined;
      const matchtag = this.#expect((response) => {
        clearTimeout(timer);
        const error = response instanceof FluxError ? response : responseError(response);
        if (error !== undefined) reject(error);
        else resolve(response as Message);
        return true;
      });
      if (options.timeout_ms !== undefined) {
        timer = setTimeout(() => {
          this.#pending.delete(matchtag);
          reject(new FluxError(errno.ETIMEDOUT, `no answer to ${topic} within ${options.timeout_ms} ms`));
        }, options.timeout_ms);
      }
      const request = requestMessage(topic, payload, { ...options, matchtag });
      if (options.as !== undefined) {
        request.userid = options.as.userid;
        request.rolemask = options.as.rolemask;
      }
      this.#sendOrFail(matchtag, request);
    });
  }

  /** Sends a request that gets no response. */
  notify(topic: string, payload?: JsonObject | Uint8Array, options: RpcOptions = {}): void {
    this.#link.send(requestMessage(topic, payload, { ...options, noResponse: true }));
  }

  /**
   * Sends a streaming request: an async iterable of its responses that ends at ENODATA and throws any other error.
   * Leaving the loop cancels the request on the server.
   */
  stream(topic: string, payload?: JsonObject, options: StreamOptions = {}): Stream {
    return this.#stream(topic, payload, options, payloadOf);
  }

  /** The same for services whose responses are text and not objects ("log.dmesg"). */
  streamText(topic: string, payload?: JsonObject, options: StreamOptions = {}): Stream<string> {
    return this.#stream(topic, payload, options, textOf);
  }

  #stream<T>(topic: string, payload: JsonObject | undefined, options: StreamOptions, read: (message: Message) => T): Stream<T> {
    const cancelTopic = options.cancelTopic ?? `${serviceOf(topic)}.cancel`;
    let matchtag = 0;
    const stream = new Stream(() => {
      if (this.#pending.delete(matchtag) && !this.isClosed) this.notify(cancelTopic, { matchtag }, options);
    }, read);
    matchtag = this.#expect((response) => {
      const error = response instanceof FluxError ? response : responseError(response);
      if (error === undefined) return stream.push(response as Message);
      stream.end(error.errno === errno.ENODATA ? undefined : error);
      return true;
    });
    stream.matchtag = matchtag;
    this.#sendOrFail(matchtag, requestMessage(topic, payload, { ...options, matchtag, streaming: true }));
    return stream;
  }

  /**
   * Sends a streaming request without a matchtag: its responses name in their payload what they answer, and go to the
   * function that onUntagged(topic) was given (the scheduler and execution protocols, RFCs 27 and 32).
   */
  sendUntagged(topic: string, payload: JsonObject, options: RpcOptions = {}): void {
    this.#link.send(requestMessage(topic, payload, { ...options, streaming: true }));
  }

  /** `run` gets every response with this topic and no matchtag, error responses too; undefined: they are dropped. */
  onUntagged(topic: string, run: ((response: Message) => void) | undefined): void {
    if (run === undefined) this.#untagged.delete(topic);
    else this.#untagged.set(topic, run);
  }

  /** Publishes an event to every rank, without waiting for it to be sequenced. A private one only its sender's user and the owner get. */
  publish(topic: string, payload?: JsonObject | Uint8Array, options: { readonly private?: boolean } = {}): void {
    this.#link.send(eventMessage(topic, payload, options));
  }

  /** Publishes an event; resolves to its sequence number when rank 0 has sent it. */
  async publishSequenced(
    topic: string,
    payload?: JsonObject | Uint8Array,
    options: { readonly private?: boolean } = {},
  ): Promise<number> {
    const bytes = eventMessage(topic, payload).bytes;
    const flags = options.private ? FLAG_PRIVATE : 0;
    const request = bytes === undefined ? { topic, flags } : { topic, flags, payload: Buffer.from(bytes).toString("base64") };
    const { seq } = await this.rpc("event.publish", request, { nodeid: 0 });
    return Number(seq);
  }

  /** Calls `run` for each event whose topic starts with `prefix` ("" is every event). */
  async subscribe(prefix: string, run: (event: FluxEvent) => void): Promise<Subscription> {
    const handler: EventHandler = { prefix, run };
    this.#handlers.add(handler);
    try {
      await this.rpc("event.subscribe", { topic: prefix });
    } catch (err) {
      this.#handlers.delete(handler);
      throw err;
    }
    return {
      unsubscribe: async () => {
        if (this.#handlers.delete(handler) && !this.isClosed) await this.rpc("event.unsubscribe", { topic: prefix });
      },
    };
  }

  /**
   * Offers `methods` as `service` on this broker. The promise resolves when requests are routed here.
   * Throws FluxError EEXIST when somebody else has the name.
   */
  async serve(service: string, methods: Methods): Promise<Served> {
    if (this.#services.has(service)) throw new FluxError(errno.EEXIST, `service ${service} is served already`);
    const served = new Service(service, methods, this.#common);
    this.#services.set(service, served);
    const own = service === this.#identity.ownService;
    try {
      if (!own) await this.rpc("service.add", { service });
    } catch (err) {
      this.#services.delete(service);
      throw err;
    }
    return {
      get openRequests() {
        return served.openRequests.count;
      },
      stop: async () => {
        if (!this.#services.delete(service)) return;
        served.openRequests.failAll(new FluxError(errno.ENOSYS, `service ${service} has ended`));
        if (!own && !this.isClosed) await this.rpc("service.remove", { service });
      },
    };
  }

  /** Methods that every service of this handle answers besides its own: the module host's ping, stats-get, …. */
  setCommonMethods(methods: Methods): void {
    this.#common = methods;
  }

  /** True when serve() was called for `service`. */
  serves(service: string): boolean {
    return this.#services.has(service);
  }

  /** A broker attribute. It is asked for once: use rpc("attr.get") for those that change. Throws FluxError ENOENT. */
  attr(name: string): Promise<string> {
    let value = this.#attrs.get(name);
    if (value === undefined) {
      value = this.rpc("attr.get", { name }).then((payload) => throughProxy(name, unpack(payload, { value: str }).value));
      value.catch(() => this.#attrs.delete(name));
      this.#attrs.set(name, value);
    }
    return value;
  }

  /** The same; undefined when the broker has no such attribute. */
  async optionalAttr(name: string): Promise<string | undefined> {
    try {
      return await this.attr(name);
    } catch (err) {
      if (isErrno(err, errno.ENOENT)) return undefined;
      throw err;
    }
  }

  /** Adds a line to the broker's log (RFC 5424 levels: 0 emerg … 7 debug). Never throws. */
  log(level: LogLevel, text: string): void {
    if (this.isClosed) return;
    try {
      this.notify("log.append", Buffer.from(`${formatLogEntry(level, this.#identity.name, text)}\0`));
    } catch {
      // The link is closing or full. There is no other place to say so.
    }
  }

  /** Bytes sent and not yet taken by the broker; see drained(). */
  get queued_bytes(): number {
    return this.#link.queued_bytes;
  }

  /** For bulk senders: resolves when the broker has taken enough of what was sent. */
  drained(): Promise<void> {
    return this.#link.drained();
  }

  /** `fn` runs when the handle ends: `reason` is undefined after close(). */
  onClose(fn: (reason: FluxError | undefined) => void): void {
    this.#onClose.add(fn);
  }

  /** Ends the handle: what was sent goes out, what waits for an answer rejects with ECANCELED, what waits for ours gets ENOSYS. */
  close(): void {
    if (this.isClosed) return;
    for (const [name, service] of this.#services) service.openRequests.failAll(new FluxError(errno.ENOSYS, `service ${name} has ended`));
    this.#link.close();
    this.#ended(undefined);
  }

  #receive(message: Message): void {
    this.lastReceived_ms = Date.now();
    switch (message.type) {
      case MSG_RESPONSE:
        return this.#receiveResponse(message);
      case MSG_EVENT:
        return this.#receiveEvent(message);
      case MSG_REQUEST:
        return this.#receiveRequest(message);
      default:
        return;
    }
  }

  #receiveResponse(message: Message): void {
    if (message.matchtag === MATCHTAG_NONE) return this.#untagged.get(message.topic ?? "")?.(message);
    const pending = this.#pending.get(message.matchtag);
    if (pending?.(message)) this.#pending.delete(message.matchtag);
  }

  #receiveEvent(message: Message): void {
    const topic = message.topic ?? "";
    for (const handler of this.#handlers) {
      if (!topic.startsWith(handler.prefix)) continue;
      try {
        handler.run({
          topic,
          sequence: message.sequence,
          get payload() {
            return message.payload;
          },
          message,
        });
      } catch (err) {
        this.log(3, `handler of event ${topic} failed: ${toFluxError(err).message}`);
      }
    }
  }

  #receiveRequest(message: Message): void {
    const service = this.#services.get(message.service);
    if (service === undefined) {
      if (message.wantsResponse) {
        this.#respond(errorResponse(message, new FluxError(errno.ENOSYS, `No service matching ${message.topic} is registered`)));
      }
      return;
    }
    service.dispatch(new Request(message, this.#respond, service.ended));
  }

  /** A response that can't be sent is lost with its link: the requester learns that from the broker. */
  readonly #respond = (response: Message): void => {
    if (!this.isClosed) this.#link.send(response);
  };

  #expect(pending: Pending): number {
    if (this.#pending.size >= PENDING_MAX) {
      throw new FluxError(errno.ENOBUFS, `too many requests wait for an answer (limit ${PENDING_MAX})`);
    }
    let matchtag = this.#nextMatchtag;
    while (this.#pending.has(matchtag)) matchtag = matchtag >= 0x7fffffff ? 1 : matchtag + 1;
    this.#nextMatchtag = matchtag >= 0x7fffffff ? 1 : matchtag + 1;
    this.#pending.set(matchtag, pending);
    return matchtag;
  }

  #sendOrFail(matchtag: number, message: Message): void {
    try {
      if (this.#closed !== undefined) throw this.#closed;
      this.#link.send(message);
    } catch (err) {
      const pending = this.#pending.get(matchtag);
      this.#pending.delete(matchtag);
      pending?.(toFluxError(err));
    }
  }

  #ended(reason: FluxError | undefined): void {
    if (this.isClosed) return;
    this.#closed = reason ?? new FluxError(errno.ECANCELED, "the Flux handle was closed");
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const fail of pending) fail(this.#closed);
    for (const service of this.#services.values()) {
      service.openRequests.failAll(new FluxError(errno.ENOSYS));
    }
    for (const fn of this.#onClose) fn(reason);
  }
}

/** In a shell of `flux proxy` to another host: an instance that is on its broker's host is not on this one. */
function throughProxy(name: string, value: string): string {
  const remote = process.env["FLUX_PROXY_REMOTE"];
  return name === "parent-uri" && remote !== undefined && value.startsWith("local://") ? remoteUri(value, remote) : value;
}

function programName(): string {
  return (process.argv[1] ?? "flux").split("/").pop() ?? "flux";
}

function payloadOf(message: Message): JsonObject {
  return message.payload;
}

function textOf(message: Message): string {
  return message.text ?? "";
}
