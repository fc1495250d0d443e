// ProxyRouter: many clients on one link to a broker, which takes them for one. As a broker does, it pushes a client's id on the route
// stack of its requests, and responses pop their way back.
//
// The broker knows subscriptions and services of the link only, so which client has them is kept here, and the router asks for them
// itself, with a handle whose requests carry no id. The link may break and be replaced: what waits for an answer then gets ECONNRESET,
// and subscriptions and services are asked for anew.
import type { Endpoint, EndpointRouter } from "../broker/router.ts";
import { matches } from "../broker/router.ts";
import { RpcTracker } from "../broker/rpc-tracker.ts";
import { UsedServices } from "../broker/used-services.ts";
import { Flux } from "../client/flux.ts";
import { errno, FluxError, toFluxError } from "../message/errno.ts";
import { errorResponse, type Message, MSG_EVENT, MSG_REQUEST, MSG_RESPONSE, responseMessage } from "../message/message.ts";
import { ROLE_LOCAL, ROLE_NONE, ROLE_OWNER, USERID_UNKNOWN } from "../message/roles.ts";
import { str, unpack } from "../message/unpack.ts";
import type { Link } from "../transport/link.ts";
import { memoryLinkPair } from "../transport/memory.ts";

interface Client {
  readonly endpoint: Endpoint;
  /** Event topic prefixes, with how often each was subscribed to. */
  readonly subscriptions: Map<string, number>;
  readonly services: Set<string>;
  readonly used: UsedServices;
}

/** What a request that the router answers itself does to its client, and how that is undone. */
type Local = (client: Client, name: string) => () => void;

export class ProxyRouter implements EndpointRouter {
  readonly #clients = new Map<string, Client>();
  readonly #services = new Map<string, Client>();
  readonly #local: Readonly<Record<string, { key: string; apply: Local }>> = {
    "event.subscribe": { key: "topic", apply: (client, prefix) => this.#subscribe(client, prefix) },
    "event.unsubscribe": { key: "topic", apply: (client, prefix) => this.#unsubscribe(client, prefix) },
    "service.add": { key: "service", apply: (client, service) => this.#addService(client, service) },
    "service.remove": { key: "service", apply: (client, service) => this.#removeService(client, service) },
  };
  readonly #tracker = new RpcTracker();
  readonly #userid: number;
  #link: Link | undefined;
  /** Speaks to the broker on behalf of the whole link. */
  readonly h: Flux;
  readonly #own: Link;

  /** `userid` of everybody who may connect. */
  constructor(userid: number) {
    this.#userid = userid;
    const [ours, theirs] = memoryLinkPair();
    this.#own = ours;
    this.h = new Flux(theirs, { name: "flux-proxy" });
    ours.start(
      (message) => this.#toLink(message),
      () => {},
    );
  }

  /** Ends the connection to the broker, which sees all clients go. */
  close(): void {
    this.h.close();
    this.#link?.close();
    this.#link = undefined;
  }

  /** Takes the place of a link that broke; `lost` is called once when this one breaks. */
  connect(link: Link, lost: (reason: FluxError | undefined) => void): void {
    this.#link = link;
    link.start(
      (message) => this.#fromLink(message),
      (reason) => {
        this.#link = undefined;
        const error = new FluxError(errno.ECONNRESET, "the proxy lost its connection to the broker");
        for (const request of this.#tracker.takeAll()) this.#toClient(errorResponse(request, error));
        lost(reason);
      },
    );
    for (const client of this.#clients.values()) {
      for (const [prefix, count] of client.subscriptions) for (let i = 0; i < count; i++) this.h.notify("event.subscribe", { topic: prefix });
      for (const service of client.services) this.h.notify("service.add", { service });
    }
  }

  addEndpoint(endpoint: Endpoint): void {
    this.#clients.set(endpoint.id, { endpoint, subscriptions: new Map(), services: new Set(), used: new UsedServices() });
  }

  removeEndpoint(id: string): void {
    const client = this.#clients.get(id);
    if (client === undefined) return;
    this.#clients.delete(id);
    for (const service of client.services) {
      this.#services.delete(service);
      this.#tell("service.remove", { service });
    }
    for (const [prefix, count] of client.subscriptions) for (let i = 0; i < count; i++) this.#tell("event.unsubscribe", { topic: prefix });
    for (const disconnect of client.used.disconnects(id, client.endpoint, client.services)) this.#toLink(disconnect);
  }

  fromEndpoint(id: string, message: Message): void {
    const client = this.#clients.get(id);
    if (client === undefined) return;
    if (message.type !== MSG_REQUEST) return this.#toLink(message);
    const local = this.#local[message.topic ?? ""];
    if (local !== undefined) return void this.#answer(client, message, local.key, local.apply);
    client.used.remember(message);
    message.routes?.push(id);
    this.#toLink(message);
  }

  // ---- what belongs to one client

  async #answer(client: Client, request: Message, key: string, apply: Local): Promise<void> {
    const send = (response: Message): void => {
      response.userid = this.#userid;
      response.rolemask = ROLE_OWNER;
      if (request.wantsResponse && this.#clients.has(client.endpoint.id)) sendTo(client, response);
    };
    let undo: () => void = () => {};
    try {
      const name = unpack(request.payload, { [key]: str })[key] ?? "";
      undo = apply(client, name);
      await this.h.rpc(request.topic ?? "", { [key]: name });
      send(responseMessage(request, undefined));
    } catch (err) {
      undo();
      send(errorResponse(request, toFluxError(err)));
    }
  }

  #subscribe({ subscriptions }: Client, prefix: string): () => void {
    subscriptions.set(prefix, (subscriptions.get(prefix) ?? 0) + 1);
    return () => void dropOne(subscriptions, prefix);
  }

  #unsubscribe({ subscriptions }: Client, prefix: string): () => void {
    if (!dropOne(subscriptions, prefix)) throw new FluxError(errno.ENOENT);
    return () => {};
  }

  #addService(client: Client, service: string): () => void {
    if (this.#services.has(service)) throw new FluxError(errno.EEXIST, `service ${service} is already registered`);
    this.#services.set(service, client);
    client.services.add(service);
    return () => {
      client.services.delete(service);
      this.#services.delete(service);
    };
  }

  #removeService(client: Client, service: string): () => void {
    if (!client.services.delete(service)) throw new FluxError(errno.ENOENT, `service ${service} is not registered`);
    this.#services.delete(service);
    return () => {};
  }

  // ---- to and from the broker

  #fromLink(message: Message): void {
    if (message.type === MSG_EVENT) {
      const topic = message.topic ?? "";
      for (const client of this.#clients.values()) if (matches(client.subscriptions, topic)) sendTo(client, message);
    } else if (message.type === MSG_RESPONSE) {
      this.#tracker.answered(message);
      this.#toClient(message);
    } else if (message.type === MSG_REQUEST) {
      const client = this.#services.get(message.service);
      if (client !== undefined) sendTo(client, message);
      else if (message.wantsResponse) this.#toLink(errorResponse(message, new FluxError(errno.ENOSYS)));
    }
  }

  #toClient(response: Message): void {
    if (response.rolemask === ROLE_NONE) response.rolemask = ROLE_OWNER;
    if (response.userid === USERID_UNKNOWN) response.userid = this.#userid;
    const id = response.routes?.pop();
    if (id === undefined) return this.#own.send(response);
    const client = this.#clients.get(id);
    if (client !== undefined) sendTo(client, response);
  }

  /** Who we are the broker knows itself, and on another host it may be somebody else: only a mock user's credentials are passed on. */
  #toLink(message: Message): void {
    if (message.userid === this.#userid) message.userid = USERID_UNKNOWN;
    if (message.rolemask === (ROLE_OWNER | ROLE_LOCAL)) message.rolemask = ROLE_NONE;
    try {
      if (this.#link === undefined) throw new FluxError(errno.ECONNRESET, "the proxy has no connection to the broker");
      if (message.type === MSG_REQUEST) this.#tracker.sent(message);
      this.#link.send(message);
    } catch (err) {
      if (message.type !== MSG_REQUEST || !message.wantsResponse) return;
      const response = errorResponse(message, toFluxError(err));
      this.#tracker.answered(response);
      this.#toClient(response);
    }
  }

  #tell(topic: string, payload: Readonly<Record<string, string>>): void {
    if (this.#link !== undefined && !this.h.isClosed) this.h.notify(topic, payload);
  }
}

function sendTo({ endpoint }: Client, message: Message): void {
  try {
    endpoint.send(message);
  } catch (err) {
    endpoint.failed(toFluxError(err));
  }
}

/** False when there was none. */
function dropOne(subscriptions: Map<string, number>, prefix: string): boolean {
  const count = subscriptions.get(prefix);
  if (count === undefined) return false;
  if (count > 1) subscriptions.set(prefix, count - 1);
  else subscriptions.delete(prefix);
  return true;
}
