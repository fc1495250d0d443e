// Router: where a message goes next (RFC 3). Pure: it knows endpoints (modules and local clients), neighbouring
// brokers, and which service lives where; it does no I/O.
//
// A request to any node is taken by the first broker on the way to rank 0 that has its service; one to a rank goes
// down or up the tree; one marked upstream skips the sender's own broker. Each hop pushes the id of where the
// request came from on its route stack, and the response pops its way back. Events go up to rank 0, are numbered
// there, and come down to every broker.
import { errno, FluxError, toFluxError } from "../message/errno.ts";
import {
  errorResponse,
  FLAG_UPSTREAM,
  type Message,
  MSG_EVENT,
  MSG_REQUEST,
  MSG_RESPONSE,
  NODEID_ANY,
} from "../message/message.ts";
import { isOwner, ROLE_OWNER } from "../message/roles.ts";
import { childToward, type Topology } from "./overlay/topology.ts";
import { RpcTracker } from "./rpc-tracker.ts";
import { USED_MAX, UsedServices } from "./used-services.ts";

/** A module or a local client. */
export interface Endpoint {
  /** Unique in the instance: it stands in route stacks. */
  readonly id: string;
  /** Name for messages to people: a module's name, or "client". */
  readonly name: string;
  /** The module's name when it is one. */
  readonly module?: string | undefined;
  /** It may go without a word, and then those who wait for its answers are told: a client, a module in a process of its own. */
  readonly mayVanish: boolean;
  readonly userid: number;
  readonly rolemask: number;
  send(message: Message): void;
  /** send() threw: end this endpoint. */
  failed(reason: FluxError): void;
}

/** A neighbouring broker. */
export interface Peer {
  readonly id: string;
  readonly rank: number;
  send(message: Message): void;
  failed(reason: FluxError): void;
}

/** A message that comes from (tx) or goes to (rx) a module, or to (tx) or from (rx) a neighbouring broker. */
export interface Passing {
  readonly direction: "rx" | "tx";
  readonly message: Message;
  readonly module: string | undefined;
  readonly rank: number | undefined;
}

/** What a connector needs of a router. */
export type EndpointRouter = Pick<Router, "addEndpoint" | "removeEndpoint" | "fromEndpoint">;

export interface RouterOptions {
  readonly rank: number;
  readonly topology: Topology;
  /** User id of the instance owner, in whose name the broker answers. Default: ours. */
  readonly owner?: number;
  /** Something went wrong that nobody waits for an answer about. */
  readonly warn: (text: string) => void;
}

interface EndpointState {
  readonly endpoint: Endpoint;
  /** Event topic prefixes, with how often each was subscribed to. */
  readonly subscriptions: Map<string, number>;
  readonly services: Set<string>;
  readonly used: UsedServices;
  /** Requests for its services, of one that may vanish. Other modules answer theirs when they end. */
  tracker: RpcTracker | undefined;
}

interface PeerState {
  readonly peer: Peer;
  readonly tracker: RpcTracker;
}

/** A message that crossed more brokers than this is in a loop. */
const HOPS_MAX = 64;

export class Router {
  readonly rank: number;
  topology: Topology;
  /** Sees every message that passes a module or a link; undefined costs nothing. */
  tap: ((passing: Passing) => void) | undefined;
  readonly #warn: (text: string) => void;
  readonly #owner: number;
  readonly #endpoints = new Map<string, EndpointState>();
  readonly #services = new Map<string, Endpoint>();
  readonly #peers = new Map<string, PeerState>();
  readonly #children = new Map<number, PeerState>();
  #parent: PeerState | undefined;
  /** Rank 0: the last number given to an event. Elsewhere: the last one seen. */
  #eventSequence = 0;

  constructor(options: RouterOptions) {
    this.rank = options.rank;
    this.topology = options.topology;
    this.#warn = options.warn;
    this.#owner = options.owner ?? process.getuid?.() ?? 0;
  }

  /** Requests that went over links and are not answered yet. */
  openRequests(over: "parent" | "children"): number {
    const links = [...this.#peers.values()].filter((link) => (link === this.#parent) === (over === "parent"));
    return links.reduce((sum, { tracker }) => sum + tracker.size, 0);
  }

  get eventSequence(): number {
    return this.#eventSequence;
  }

  get endpoints(): Iterable<Endpoint> {
    return [...this.#endpoints.values()].map((state) => state.endpoint);
  }

  // ---- who is there

  addEndpoint(endpoint: Endpoint): void {
    this.#endpoints.set(endpoint.id, { endpoint, subscriptions: new Map(), services: new Set(), used: new UsedServices(), tracker: undefined });
  }

  /** The endpoint is gone: its services end, and the services it used are told. */
  removeEndpoint(id: string): void {
    const state = this.#endpoints.get(id);
    if (state === undefined) return;
    this.#endpoints.delete(id);
    for (const service of state.services) this.#services.delete(service);
    const gone = state.endpoint.module === undefined ? new FluxError(errno.ENOSYS, "the service has ended") : new FluxError(errno.EHOSTUNREACH, "module disconnect");
    for (const request of state.tracker?.takeAll() ?? []) this.#routeError(request, gone);
    for (const disconnect of state.used.disconnects(id, state.endpoint, state.services)) this.#routeRequest(disconnect);
  }

  /** Routes requests for `service` to the endpoint. Throws FluxError EEXIST. */
  addService(service: string, endpointId: string): void {
    const state = this.#stateOf(endpointId);
    if (this.#services.has(service)) throw new FluxError(errno.EEXIST, `service ${service} is already registered`);
    this.#services.set(service, state.endpoint);
    state.services.add(service);
    if (state.endpoint.mayVanish) state.tracker ??= new RpcTracker();
  }

  /** Throws FluxError ENOENT unless the endpoint has the service. */
  removeService(service: string, endpointId: string): void {
    const state = this.#stateOf(endpointId);
    if (!state.services.delete(service)) throw new FluxError(errno.ENOENT, `service ${service} is not registered`);
    this.#services.delete(service);
  }

  hasService(service: string): boolean {
    return this.#services.has(service);
  }

  /** None of one that is gone. */
  servicesOf(endpointId: string): string[] {
    return [...(this.#endpoints.get(endpointId)?.services ?? [])];
  }

  subscribe(endpointId: string, prefix: string): void {
    const { subscriptions } = this.#stateOf(endpointId);
    subscriptions.set(prefix, (subscriptions.get(prefix) ?? 0) + 1);
  }

  /** Throws FluxError ENOENT when there is no such subscription. */
  unsubscribe(endpointId: string, prefix: string): void {
    const { subscriptions } = this.#stateOf(endpointId);
    const count = subscriptions.get(prefix);
    if (count === undefined) throw new FluxError(errno.ENOENT);
    if (count > 1) subscriptions.set(prefix, count - 1);
    else subscriptions.delete(prefix);
  }

  setParent(peer: Peer | undefined): void {
    if (this.#parent !== undefined) this.#dropPeer(this.#parent);
    this.#parent = undefined;
    if (peer === undefined) return;
    this.#parent = { peer, tracker: new RpcTracker() };
    this.#peers.set(peer.id, this.#parent);
  }

  addChild(peer: Peer): void {
    this.removeChild(peer.rank);
    const state = { peer, tracker: new RpcTracker() };
    this.#children.set(peer.rank, state);
    this.#peers.set(peer.id, state);
  }

  removeChild(rank: number): void {
    const state = this.#children.get(rank);
    if (state === undefined) return;
    this.#children.delete(rank);
    this.#dropPeer(state);
  }

  /** The link broke: whoever waits for an answer over it gets EHOSTUNREACH. */
  #dropPeer(state: PeerState): void {
    this.#peers.delete(state.peer.id);
    const error = new FluxError(errno.EHOSTUNREACH, `No route to host: lost the connection to broker ${state.peer.rank}`);
    for (const request of state.tracker.takeAll()) this.#routeError(request, error);
  }

  // ---- messages coming in

  /** A message from a module or client. Its credentials are set already. */
  fromEndpoint(id: string, message: Message): void {
    const state = this.#endpoints.get(id);
    if (state === undefined) return;
    this.tap?.({ direction: "tx", message, module: state.endpoint.module, rank: undefined });
    if (message.type === MSG_REQUEST) {
      if (state.used.remember(message)) this.#warn(`${state.endpoint.name} uses over ${USED_MAX} services: some will not learn when it ends`);
      message.routes?.push(id);
      this.#routeRequest(message);
    } else if (message.type === MSG_RESPONSE) {
      state.tracker?.answered(message);
      this.#routeResponse(message);
    } else if (message.type === MSG_EVENT) {
      this.publish(message);
    }
  }

  /** A message from a neighbouring broker. Control messages are the overlay's and don't come here. */
  fromPeer(peer: Peer, message: Message): void {
    this.tap?.({ direction: "rx", message, module: undefined, rank: peer.rank });
    if (message.type === MSG_REQUEST) {
      if ((message.routes?.length ?? 0) > HOPS_MAX) return this.#warn(`request ${message.topic} is in a routing loop: dropped`);
      message.routes?.push(peer.id);
      this.#routeRequest(message);
    } else if (message.type === MSG_RESPONSE) {
      this.#peers.get(peer.id)?.tracker.answered(message);
      this.#routeResponse(message);
    } else if (message.type === MSG_EVENT) {
      if (peer === this.#parent?.peer) this.#broadcast(message);
      else this.publish(message);
    }
  }

  // ---- events

  /** Rank 0 numbers the event and sends it to everyone (returns its number); other ranks pass it up (returns 0). */
  publish(event: Message): number {
    if (this.rank !== 0) {
      if (this.#parent !== undefined) this.#sendPeer(this.#parent, event);
      return 0;
    }
    event.aux1 = (this.#eventSequence + 1) >>> 0;
    this.#broadcast(event);
    return event.aux1;
  }

  #broadcast(event: Message): void {
    if (this.rank !== 0 && event.sequence <= this.#eventSequence) {
      return this.#warn(`event ${event.topic} came with sequence ${event.sequence} after ${this.#eventSequence}: dropped`);
    }
    this.#eventSequence = event.sequence;
    for (const child of this.#children.values()) this.#sendPeer(child, event);
    const topic = event.topic ?? "";
    for (const state of this.#endpoints.values()) {
      if (!matches(state.subscriptions, topic) || !maySee(state.endpoint, event)) continue;
      this.#sendEndpoint(state.endpoint, event);
    }
  }

  // ---- requests and responses

  #routeRequest(request: Message): void {
    const upstream = (request.flags & FLAG_UPSTREAM) !== 0;
    const toRank = request.nodeid !== NODEID_ANY && !upstream;
    if (toRank && request.nodeid !== this.rank) return this.#forward(request);
    const skipLocal = upstream && request.nodeid === this.rank;
    const service = skipLocal ? undefined : this.#services.get(request.service);
    if (service !== undefined) return this.#deliverRequest(service, request);
    if (!toRank && this.#parent !== undefined) return this.#sendRequest(this.#parent, request);
    if (!toRank && this.rank !== 0) return this.#refuse(request, new FluxError(errno.EHOSTUNREACH, "No route to host: the upstream broker is offline"));
    if (skipLocal) return this.#refuse(request, new FluxError(errno.EHOSTUNREACH, "nothing is upstream of rank 0"));
    this.#refuse(request, new FluxError(errno.ENOSYS, `No service matching ${request.topic} is registered`));
  }

  /** Toward a rank that isn't this one: down when it is below, otherwise up. */
  #forward(request: Message): void {
    const target = request.nodeid;
    if (target >= this.topology.size) {
      return this.#refuse(request, new FluxError(errno.EHOSTUNREACH, `no rank ${target} in an instance of size ${this.topology.size}`));
    }
    const next = this.#nextHop(target);
    if (next === undefined) return this.#refuse(request, new FluxError(errno.EHOSTUNREACH, `No route to host: broker ${target} is offline`));
    this.#sendRequest(next, request);
  }

  #nextHop(target: number): PeerState | undefined {
    const child = childToward(this.topology, this.rank, target);
    return child === undefined ? this.#parent : this.#children.get(child);
  }

  #sendRequest(to: PeerState, request: Message): void {
    if (!to.tracker.sent(request)) this.#warn(`too many requests are open to broker ${to.peer.rank}: not tracking ${request.topic}`);
    this.#sendPeer(to, request);
  }

  #deliverRequest(endpoint: Endpoint, request: Message): void {
    if (this.#endpoints.get(endpoint.id)?.tracker?.sent(request) === false) this.#warn(`too many requests are open to ${endpoint.name}: not tracking ${request.topic}`);
    this.tap?.({ direction: "rx", message: request, module: endpoint.module, rank: undefined });
    try {
      endpoint.send(request);
    } catch (err) {
      this.#refuse(request, toFluxError(err));
      endpoint.failed(toFluxError(err));
    }
  }

  #refuse(request: Message, error: FluxError): void {
    if (request.wantsResponse) this.#routeError(request, error);
  }

  /** An answer of the broker itself. Stock clients take no response without credentials. */
  #routeError(request: Message, error: FluxError): void {
    const response = errorResponse(request, error);
    response.userid = this.#owner;
    response.rolemask = ROLE_OWNER;
    this.#routeResponse(response);
  }

  #routeResponse(response: Message): void {
    const id = response.routes?.pop();
    if (id === undefined) return;
    const state = this.#endpoints.get(id);
    if (state !== undefined) return this.#sendEndpoint(state.endpoint, response);
    const peer = this.#peers.get(id);
    if (peer !== undefined) this.#sendPeer(peer, response);
    // Otherwise whoever asked has gone in the meantime.
  }

  #sendEndpoint(endpoint: Endpoint, message: Message): void {
    this.tap?.({ direction: "rx", message, module: endpoint.module, rank: undefined });
    try {
      endpoint.send(message);
    } catch (err) {
      endpoint.failed(toFluxError(err));
    }
  }

  #sendPeer(state: PeerState, message: Message): void {
    this.tap?.({ direction: "tx", message, module: undefined, rank: state.peer.rank });
    try {
      state.peer.send(message);
    } catch (err) {
      state.peer.failed(toFluxError(err));
    }
  }

  #stateOf(endpointId: string): EndpointState {
    const state = this.#endpoints.get(endpointId);
    if (state === undefined) throw new FluxError(errno.ENOENT, `no endpoint ${endpointId}`);
    return state;
  }
}

/** Whether an event goes to whoever has these subscriptions. */
export function matches(subscriptions: ReadonlyMap<string, number>, topic: string): boolean {
  for (const prefix of subscriptions.keys()) if (topic.startsWith(prefix)) return true;
  return false;
}

/** A private event is for the instance owner and for its sender. */
function maySee(endpoint: Endpoint, event: Message): boolean {
  return !event.isPrivate || isOwner(endpoint) || endpoint.userid === event.userid;
}
