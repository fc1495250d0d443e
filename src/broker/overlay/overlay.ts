// The overlay: this broker's links to its parent and children in the tree (ZMTP 3.1, CURVE), and what they say about
// the health of the tree.
//
// A child connects, proves its key, and says hello (request "overlay.hello"): rank, uuid, version. The parent checks
// that rank and key belong together, and answers with what a newcomer needs to know. From then on messages go through
// the router. Between neighbours there are two control messages: the status of a subtree (child to parent), and
// goodbye (an orderly end, either way). A link that ends without goodbye is lost: the router fails what was waiting.
//
// Who a broker's parent is comes from outside (`connectParent`), so that another one may be chosen later.
import type { JsonObject } from "../../formats/json.ts";
import { errno, FluxError, toFluxError } from "../../message/errno.ts";
import {
  controlMessage,
  errorResponse,
  type Message,
  MSG_CONTROL,
  MSG_REQUEST,
  MSG_RESPONSE,
  requestMessage,
  responseError,
  responseMessage,
} from "../../message/message.ts";
import { ROLE_OWNER } from "../../message/roles.ts";
import { str, uint, unpack } from "../../message/unpack.ts";
import type { Clock } from "../../os/clock.ts";
import { setTcpUserTimeout } from "../../os/tcp.ts";
import { connect, type HeartbeatSettings, type Keypair, listen, systemClock, type ZmtpConnection, type ZmtpListener } from "../../transport/zmtp/mod.ts";
import type { TorpidSettings } from "../torpid.ts";
import type { Peer, Router } from "../router.ts";
import { TorpidWatch, type WatchedChild } from "./torpid-watch.ts";
import { fromPieces, toPieces } from "./pieces.ts";
import type { Card } from "./card.ts";
import { type Child, Children, isOnline, SUBTREE_STATUS, type SubtreeStatus, subtreeStatusOf } from "./children.ts";

const CONTROL_STATUS = 1;
const CONTROL_GOODBYE = 2;

/** A connection must say hello within this. */
const HELLO_TIMEOUT_MS = 30_000;
const RETRY_FIRST_MS = 10;
const RETRY_MAX_MS = 1000;
/** After so long a wait for the parent, it is said why. */
const WAIT_WARN_MS = 5000;
/** Output that may wait for a neighbour before the link is given up. */
const QUEUE_MAX_BYTES = 512 << 20;
const MESSAGE_MAX_BYTES = 1 << 30;

export interface OverlayOptions {
  readonly rank: number;
  readonly uuid: string;
  readonly version: string;
  readonly owner: number;
  readonly keypair: Keypair;
  readonly childRanks: readonly number[];
  readonly router: Router;
  readonly clock: Clock;
  readonly log: (level: 3 | 7, text: string) => void;
  /** Name of a rank's host for messages. */
  readonly hostOf: (rank: number) => string;
  /** What a child is told in answer to its hello. */
  readonly welcome: () => JsonObject;
  /** How long one attempt to connect may take. */
  readonly connectTimeout_ms: number;
  /** How long the parent may take to be there at all. Default: connectTimeout_ms. */
  readonly patience_ms?: number;
  readonly torpid: TorpidSettings;
  /** How long sent bytes may stay unacknowledged on a TCP connection, before its host is taken for dead; 0: the system's limit. */
  readonly tcpTimeout_ms?: number;
}

export interface OverlayEvents {
  /** A child's status changed. */
  childChanged(child: Child): void;
  /** Our own subtree's status changed. */
  statusChanged(): void;
  /** The parent is gone. `error` undefined: it said goodbye. */
  parentLost(error: FluxError | undefined): void;
}

interface ParentLink {
  readonly connection: ZmtpConnection;
  readonly peer: Peer;
  saidGoodbye: boolean;
}

interface ChildLink {
  readonly connection: ZmtpConnection;
  saidGoodbye: boolean;
}

export class Overlay {
  readonly children: Children;
  readonly #options: OverlayOptions;
  readonly #links = new Map<number, ChildLink>();
  readonly #greeting = new Set<ZmtpConnection>();
  #events: OverlayEvents = { childChanged() {}, statusChanged() {}, parentLost() {} };
  #listener: ZmtpListener | undefined;
  #parent: ParentLink | undefined;
  #status: SubtreeStatus;
  #statusSince_ms: number;
  /** Resolves to the cards of the children when booting is over. */
  readonly #cards = Promise.withResolvers<ReadonlyMap<number, Card>>();
  /** Why no child may join any more. */
  #closedToChildren: string | undefined;
  #closing = false;
  #endPause: () => void = () => {};
  /** Shared by all connections. */
  readonly #heartbeat: HeartbeatSettings;
  readonly #torpidWatch: TorpidWatch | undefined;

  constructor(options: OverlayOptions) {
    this.#options = options;
    const now_ms = options.clock.monotonic_ms();
    this.children = new Children(options.childRanks, now_ms);
    this.#status = this.children.subtreeStatus();
    this.#statusSince_ms = now_ms;
    this.#heartbeat = heartbeatOf(options.torpid);
    if (options.childRanks.length === 0) return;
    this.#torpidWatch = new TorpidWatch({
      clock: options.clock,
      settings: options.torpid,
      children: () => this.#watchedChildren(),
      changed: (rank, isTorpid) => this.#setTorpid(rank, isTorpid),
    });
  }

  set torpid(settings: TorpidSettings) {
    Object.assign(this.#heartbeat, heartbeatOf(settings));
    if (this.#torpidWatch !== undefined) this.#torpidWatch.settings = settings;
  }

  get status(): SubtreeStatus {
    return this.#status;
  }

  get statusSince_ms(): number {
    return this.#statusSince_ms;
  }

  get isConnectedToParent(): boolean {
    return this.#parent !== undefined;
  }

  onEvents(events: OverlayEvents): void {
    this.#events = events;
  }

  /** Listens for children. Resolves to the endpoint they must connect to. */
  async listen(endpoint: string): Promise<string> {
    this.#listener = await listen(endpoint, {
      socketType: "ROUTER",
      // Every key may connect; hello() is where the key is held against the one the rank published.
      security: { kind: "curve", serverKey: this.#options.keypair, authorize: () => true },
      limits: LIMITS,
      heartbeat: this.#heartbeat,
      onPeer: (connection) => this.#greet(connection),
      onRefused: (reason, address) => this.#options.log(7, `overlay: connection from ${address} came to nothing: ${reason}`),
    });
    this.#options.log(7, `overlay: listening on ${this.#listener.endpoint}`);
    return this.#listener.endpoint;
  }

  /** The cards that the children have published: from now on hellos are answered. */
  knowChildren(cards: ReadonlyMap<number, Card>): void {
    this.#cards.resolve(cards);
  }

  /** No child may join from now on. */
  closeToChildren(reason: string): void {
    this.#closedToChildren ??= reason;
  }

  // ---- the parent

  /**
   * Connects to the parent and says hello; resolves to what the parent tells a newcomer. Tries again while nobody
   * listens there, for `patience_ms`. Throws FluxError when the parent refuses.
   */
  async connectParent(rank: number, card: Card): Promise<JsonObject> {
    if (card.endpoint === undefined) throw new FluxError(errno.EPROTO, `broker ${rank} published no endpoint`);
    const connection = await this.#connect(rank, card.endpoint, card.publicKey);
    let answer: Message;
    const told = this.#status;
    try {
      answer = await this.#sayHello(connection);
    } catch (err) {
      connection.close();
      throw err;
    }
    this.#limitUnacknowledged(connection);
    const { uuid } = unpack(answer.payload, { uuid: str });
    const peer: Peer = {
      id: uuid,
      rank,
      send: (message) => connection.send(toPieces(message)),
      failed: (reason) => connection.destroy(reason),
    };
    const link: ParentLink = { connection, peer, saidGoodbye: false };
    this.#parent = link;
    this.#options.router.setParent(peer);
    connection.onMessage = (parts) => this.#fromParent(link, fromPieces(parts));
    connection.onClose = (error) => this.#parentClosed(link, error);
    // A child may have come while the parent was reading our hello.
    if (this.#status !== told) this.#sendStatus();
    return answer.payload;
  }

  async #connect(rank: number, endpoint: string, serverPublicKey: string): Promise<ZmtpConnection> {
    const { clock, connectTimeout_ms, patience_ms = connectTimeout_ms, keypair, log } = this.#options;
    log(7, `overlay: connecting to ${endpoint}`);
    const begun_ms = clock.monotonic_ms();
    let hasWarned = false;
    for (let wait_ms = RETRY_FIRST_MS; ; wait_ms = Math.min(RETRY_MAX_MS, wait_ms * 2)) {
      const left_ms = begun_ms + patience_ms - clock.monotonic_ms();
      try {
        return await connect(endpoint, {
          socketType: "DEALER",
          security: { kind: "curve", keypair, serverPublicKey },
          limits: LIMITS,
          heartbeat: this.#heartbeat,
          timeout_ms: Math.max(1000, Math.min(connectTimeout_ms, left_ms)),
        });
      } catch (err) {
        const { errno: number, message } = toFluxError(err);
        const hopeless = number === errno.EPERM || number === errno.EPROTO || number === errno.EINVAL;
        if (hopeless || this.#closing || wait_ms >= left_ms) throw err;
        if (!hasWarned && clock.monotonic_ms() - begun_ms >= WAIT_WARN_MS) {
          hasWarned = true;
          log(3, `overlay: still waiting for the parent, rank ${rank}: ${message}`);
        }
      }
      await this.#pause(wait_ms);
    }
  }

  /** A pause between two attempts, which close() cuts short. */
  #pause(wait_ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = this.#options.clock.setTimer(wait_ms, resolve);
    this.#endPause = () => {
      this.#options.clock.clear(timer);
      resolve();
    };
    return promise;
  }

  #sayHello(connection: ZmtpConnection): Promise<Message> {
    const { rank, uuid, version, clock } = this.#options;
    const { promise, resolve, reject } = Promise.withResolvers<Message>();
    const timer = clock.setTimer(HELLO_TIMEOUT_MS, () => reject(new FluxError(errno.ETIMEDOUT, "the parent does not answer our hello")));
    connection.onClose = (error) => reject(toFluxError(error ?? new FluxError(errno.ECONNRESET, "the parent closed the connection")));
    connection.onMessage = (parts) => {
      const message = fromPieces(parts);
      if (message.type !== MSG_RESPONSE || message.topic !== "overlay.hello") return;
      const error = responseError(message);
      if (error !== undefined) reject(error);
      else resolve(message);
    };
    const hello = requestMessage("overlay.hello", { rank, uuid, version, status: SUBTREE_STATUS[this.#status] }, { matchtag: 1 });
    connection.send(toPieces(hello));
    return promise.finally(() => clock.clear(timer));
  }

  #fromParent(link: ParentLink, message: Message): void {
    if (message.type !== MSG_CONTROL) return this.#options.router.fromPeer(link.peer, message);
    if (message.aux1 === CONTROL_GOODBYE) link.saidGoodbye = true;
  }

  #parentClosed(link: ParentLink, error: Error | undefined): void {
    if (this.#parent !== link) return;
    this.#parent = undefined;
    this.#options.router.setParent(undefined);
    const reason = link.saidGoodbye ? undefined : toFluxError(error ?? new FluxError(errno.ECONNRESET, "the connection to the parent broker ended"));
    this.#events.parentLost(reason);
  }

  disconnectParent(reason: string): void {
    this.#parent?.connection.destroy(reason);
  }

  // ---- the children

  #greet(connection: ZmtpConnection): void {
    const { clock } = this.#options;
    this.#greeting.add(connection);
    const timer = clock.setTimer(HELLO_TIMEOUT_MS, () => connection.destroy("no hello"));
    const done = (): void => {
      clock.clear(timer);
      this.#greeting.delete(connection);
    };
    connection.onClose = done;
    connection.onMessage = (parts) => {
      connection.onMessage = () => connection.destroy("a message before the answer to hello");
      void this.#receiveHello(connection, parts).finally(done);
    };
  }

  /** Accepts a child or ends its connection; throws nothing. */
  async #receiveHello(connection: ZmtpConnection, parts: Uint8Array[]): Promise<void> {
    try {
      await this.#hello(connection, fromPieces(parts));
    } catch (err) {
      this.#options.log(3, `overlay: refused a broker at ${connection.peerAddress}: ${toFluxError(err).message}`);
      connection.close();
    }
  }

  async #hello(connection: ZmtpConnection, request: Message): Promise<void> {
    if (request.type !== MSG_REQUEST || request.topic !== "overlay.hello") throw new FluxError(errno.EPROTO, "the first message is not a hello");
    try {
      const { rank, uuid, version, status } = unpack(request.payload, { rank: uint, uuid: str, version: str, status: uint });
      const card = (await this.#cards.promise).get(rank);
      if (card === undefined) throw new FluxError(errno.EPROTO, `rank ${rank} is not a child of rank ${this.#options.rank}`);
      if (connection.peerPublicKey !== card.publicKey) throw new FluxError(errno.EPERM, `rank ${rank} does not hold the key it published`);
      if (version !== this.#options.version) throw new FluxError(errno.EINVAL, `version ${version} of rank ${rank} does not fit ours, ${this.#options.version}`);
      if (this.#closedToChildren !== undefined) throw new FluxError(errno.ESHUTDOWN, this.#closedToChildren);
      this.#accept(connection, rank, uuid, subtreeStatusOf(status), request);
    } catch (err) {
      connection.send(toPieces(errorResponse(request, toFluxError(err, errno.EPROTO))));
      throw err;
    }
  }

  #accept(connection: ZmtpConnection, rank: number, uuid: string, status: SubtreeStatus, hello: Message): void {
    const { router } = this.#options;
    this.#links.get(rank)?.connection.destroy("another broker with this rank has joined");
    this.#childGone(rank, this.#links.get(rank), new FluxError(errno.ECONNRESET, "it has joined anew"));
    this.#limitUnacknowledged(connection);
    const link: ChildLink = { connection, saidGoodbye: false };
    const peer: Peer = {
      id: uuid,
      rank,
      send: (message) => connection.send(toPieces(message)),
      failed: (reason) => connection.destroy(reason),
    };
    connection.send(toPieces(responseMessage(hello, { ...this.#options.welcome(), uuid: this.#options.uuid })));
    this.#links.set(rank, link);
    router.addChild(peer);
    connection.onMessage = (parts) => this.#fromChild(link, peer, fromPieces(parts));
    connection.onClose = (error) => this.#childGone(rank, link, error);
    this.#options.log(7, `overlay: accepting connection from ${this.#options.hostOf(rank)} (rank ${rank}) status ${status}`);
    this.#setChild(rank, status, undefined);
  }

  #fromChild(link: ChildLink, peer: Peer, message: Message): void {
    if (message.type === MSG_CONTROL) return this.#controlFromChild(link, peer.rank, message);
    // Brokers belong to the owner. Below them, credentials were stamped where the message entered.
    if (message.rolemask === 0) message.rolemask = ROLE_OWNER;
    this.#options.router.fromPeer(peer, message);
  }

  #controlFromChild(link: ChildLink, rank: number, message: Message): void {
    if (message.aux1 === CONTROL_STATUS) this.#setChild(rank, subtreeStatusOf(message.aux2), undefined);
    if (message.aux1 === CONTROL_GOODBYE) link.saidGoodbye = true;
  }

  #childGone(rank: number, link: ChildLink | undefined, error: Error | undefined): void {
    if (link === undefined || this.#links.get(rank) !== link) return;
    this.#links.delete(rank);
    this.#options.router.removeChild(rank);
    if (link.saidGoodbye) return this.#setChild(rank, "offline", undefined);
    const why = error?.message ?? "the connection ended";
    this.#options.log(3, `overlay: ${this.#options.hostOf(rank)} (rank ${rank}) failed`);
    this.#setChild(rank, "lost", why);
  }

  #setChild(rank: number, status: SubtreeStatus, error: string | undefined): void {
    const child = this.children.get(rank);
    if (child === undefined || (child.status === status && child.error === error)) return;
    child.status = status;
    child.error = error;
    if (!isOnline(child)) child.torpid = false;
    child.since_ms = this.#options.clock.monotonic_ms();
    this.#events.childChanged(child);
    const own = this.children.subtreeStatus();
    if (own === this.#status) return;
    this.#status = own;
    this.#statusSince_ms = child.since_ms;
    this.#sendStatus();
    this.#events.statusChanged();
  }

  /** Ends the link to a child: `flux overlay disconnect`. Throws FluxError ENOENT. */
  disconnectChild(rank: number): void {
    const link = this.#links.get(rank);
    if (link === undefined) throw new FluxError(errno.ENOENT, "requested rank is not this broker's direct child");
    link.connection.destroy("disconnected by the administrator");
    this.#childGone(rank, link, new FluxError(errno.ECONNRESET, "administrative disconnect"));
  }

  get hasChildren(): boolean {
    for (const child of this.children) if (isOnline(child)) return true;
    return false;
  }

  // ---- the end

  /** Tells the parent that this broker leaves in order, and ends the link. */
  goodbye(): void {
    const link = this.#parent;
    if (link === undefined) return;
    this.#parent = undefined;
    this.#send(link.connection, controlMessage(CONTROL_GOODBYE, 0));
    link.connection.close();
    this.#options.router.setParent(undefined);
  }

  /** Ends everything that is left. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#torpidWatch?.stop();
    this.#endPause();
    this.goodbye();
    for (const connection of this.#greeting) connection.destroy("the broker ends");
    for (const link of this.#links.values()) {
      this.#send(link.connection, controlMessage(CONTROL_GOODBYE, 0));
      link.connection.close();
    }
    this.#links.clear();
    await this.#listener?.close();
  }

  #sendStatus(): void {
    if (this.#parent !== undefined) this.#send(this.#parent.connection, controlMessage(CONTROL_STATUS, SUBTREE_STATUS[this.#status]));
  }

  #send(connection: ZmtpConnection, message: Message): void {
    try {
      connection.send(toPieces(message));
    } catch (err) {
      this.#options.log(7, `overlay: ${toFluxError(err).message}`);
    }
  }

  /** A host that is dead or cut off is known sooner than one that is only silent. */
  #limitUnacknowledged(connection: ZmtpConnection): void {
    const { tcpTimeout_ms, log } = this.#options;
    if (tcpTimeout_ms === undefined || connection.peerAddress.startsWith("/")) return;
    try {
      setTcpUserTimeout(connection.fd, tcpTimeout_ms);
    } catch (err) {
      log(7, `overlay: ${connection.peerAddress}: ${toFluxError(err).message}`);
    }
  }

  *#watchedChildren(): Generator<WatchedChild> {
    const now_ms = systemClock.now_ms();
    for (const [rank, { connection }] of this.#links) {
      const child = this.children.get(rank);
      if (child !== undefined) yield { rank, silent_ms: now_ms - connection.lastReceived_ms, isTorpid: child.torpid };
    }
  }

  #setTorpid(rank: number, isTorpid: boolean): void {
    const child = this.children.get(rank);
    if (child === undefined || child.torpid === isTorpid) return;
    child.torpid = isTorpid;
    this.#options.log(3, `overlay: ${this.#options.hostOf(rank)} (rank ${rank}) ${isTorpid ? "is torpid: nothing has come from it for long" : "is heard again"}`);
    this.#events.childChanged(child);
  }
}

/** After so many times torpid_max, a silent neighbour is given up. */
const LOST_AFTER = 10;

function heartbeatOf({ min_ms, max_ms }: TorpidSettings): HeartbeatSettings {
  return { interval_ms: min_ms, timeout_ms: max_ms === 0 ? Number.POSITIVE_INFINITY : max_ms * LOST_AFTER, ttl_ms: 0 };
}

const LIMITS = { max_message_bytes: MESSAGE_MAX_BYTES, max_queue_bytes: QUEUE_MAX_BYTES, max_queue_messages: 1_000_000 };
