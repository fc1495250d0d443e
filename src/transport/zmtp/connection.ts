// One ZMTP connection over a stream socket: handshake, then messages of parts both ways, heartbeats and close.
//
// States: handshake → ready → closing → closed. A failure tells the peer why (ERROR) and half-closes, because destroying
// the socket at once can lose the ERROR, and libzmq would come back for ever; the socket lingers for a bounded time.
import type { Socket } from "node:net";
import { errno, FluxError, toFluxError } from "../../message/errno.ts";
import type { Clock } from "./clock.ts";
import { encodeCommand, encodeError, encodePing, parseCommand, parseError, parsePing } from "./command.ts";
import { encodeFrame, FRAME_COMMAND, frameDecoder, FRAME_HEADER_MAX, type Frame, type FrameDecoder } from "./frame.ts";
import { createHandshake, REFUSED_KEY_REASON, type Handshake, type HandshakeResult } from "./handshake.ts";
import { startHeartbeat, type Heartbeat, type HeartbeatSettings } from "./heartbeat.ts";
import type { Limits } from "./limits.ts";
import { createOutbox, type Outbox } from "./outbox.ts";
import type { Security } from "./security.ts";
import { inOwnTurn, LARGE_BYTES } from "./turns.ts";

export interface ZmtpConnection {
  /** What the peer calls itself; may be empty. */
  readonly peerIdentity: Uint8Array;
  /** The client's long-term key in Z85; only on a CURVE server's connections. */
  readonly peerPublicKey?: string;
  /** "address:port", or the path of a UNIX socket. */
  readonly peerAddress: string;
  /** The socket's descriptor, for SO_PEERCRED; -1 once it is closed. */
  readonly fd: number;
  /** Called with each message. Input waits until it is set. An exception in it closes this connection with that error. */
  onMessage: (parts: Uint8Array[]) => void;
  /** Called once: with undefined after an orderly close by either side, otherwise with the reason. */
  onClose: (error: Error | undefined) => void;
  /**
   * Queues a message. The parts belong to the connection from now on: don't change them. Throws FluxError ENOBUFS at the
   * queue's bound, EMSGSIZE above max_message_bytes, ENOTCONN after close.
   */
  send(parts: readonly Uint8Array[]): void;
  /** Bytes that are not with the operating system yet. */
  readonly queued_bytes: number;
  /** When the peer last sent anything, by the clock given. */
  readonly lastReceived_ms: number;
  /** Sends what is queued, then closes. */
  close(): void;
  /** Drops what is queued, tells the peer the reason and closes. */
  destroy(reason: string | FluxError): void;
}

export interface ConnectionOptions {
  socket: Socket;
  security: Security;
  socketType: string;
  peerAddress: string;
  limits: Limits;
  heartbeat: HeartbeatSettings | undefined;
  clock: Clock;
  /** The handshake is over. */
  ready(connection: ZmtpConnection): void;
  /** The handshake failed; nothing else is called afterwards. */
  failed(error: FluxError): void;
}

/** A handshake under way. */
export interface HandshakeHandle {
  /** Ends it; `failed` is told. */
  abort(error: FluxError): void;
}

/** Runs the protocol on a connected socket. */
export function startConnection(options: ConnectionOptions): HandshakeHandle {
  const connection = new Connection(options);
  return { abort: (error) => connection.destroy(error) };
}

type State = "handshake" | "ready" | "closing" | "closed";

class Connection implements ZmtpConnection {
  readonly peerAddress: string;
  peerIdentity: Uint8Array = new Uint8Array(0);
  declare peerPublicKey?: string;
  lastReceived_ms: number;

  readonly #options: ConnectionOptions;
  readonly #socket: Socket;
  readonly #security: Security;
  readonly #decoder: FrameDecoder;
  readonly #handshake: Handshake;
  readonly #outbox: Outbox;
  #heartbeat: Heartbeat | undefined;
  #state: State = "handshake";
  #cancelTimer: (() => void) | undefined;

  #onMessage: ((parts: Uint8Array[]) => void) | undefined;
  #onClose: ((error: Error | undefined) => void) | undefined;
  /** Set once the end has been reported, or is to be reported as soon as there is a handler. */
  #ended: { error: Error | undefined } | undefined;

  /** The message being received. */
  #parts: Uint8Array[] = [];
  #partsBytes = 0;
  /** A large frame waits for its turn; input after it waits too. */
  #waiting = false;
  /** The peer has sent its end, seen while input waits. */
  #inputEnded = false;
  #closeWhenEmpty = false;

  constructor(options: ConnectionOptions) {
    const { socket, security, limits, clock } = options;
    this.#options = options;
    this.#socket = socket;
    this.#security = security;
    this.peerAddress = options.peerAddress;
    this.lastReceived_ms = clock.now_ms();
    this.#decoder = frameDecoder(limits.max_handshake_frame_bytes);
    this.#handshake = createHandshake(security, options.socketType, this.#decoder, (bytes) => socket.write(bytes));
    this.#outbox = createOutbox({
      security,
      limits,
      write: (bytes) => socket.write(bytes),
      emptied: () => {
        if (this.#closeWhenEmpty) this.#endSocket();
      },
      failed: (error) => this.#fail(toFluxError(error, errno.EIO)),
    });
    this.#attach();
    this.#timer(limits.handshake_timeout_ms, () => {
      this.#fail(new FluxError(errno.ETIMEDOUT, `the handshake took longer than ${limits.handshake_timeout_ms} ms`));
    });
    socket.write(this.#handshake.start());
  }

  get fd(): number {
    return (this.#socket as Socket & { _handle?: { fd?: number } | null })._handle?.fd ?? -1;
  }

  get queued_bytes(): number {
    return this.#outbox.queued_bytes + this.#socket.writableLength;
  }

  get onMessage(): (parts: Uint8Array[]) => void {
    return this.#onMessage ?? ignore;
  }

  set onMessage(handler: (parts: Uint8Array[]) => void) {
    const first = this.#onMessage === undefined;
    this.#onMessage = handler;
    if (first) queueMicrotask(() => this.#resume());
  }

  get onClose(): (error: Error | undefined) => void {
    return this.#onClose ?? ignore;
  }

  set onClose(handler: (error: Error | undefined) => void) {
    const first = this.#onClose === undefined;
    this.#onClose = handler;
    if (first && this.#ended !== undefined) this.#reportEnd();
  }

  send(parts: readonly Uint8Array[]): void {
    if (this.#state !== "ready" || this.#closeWhenEmpty) throw new FluxError(errno.ENOTCONN, `${this.peerAddress}: the connection is closed`);
    this.#outbox.push(parts);
  }

  close(): void {
    if (this.#state === "handshake") return this.destroy("closed before the handshake was over");
    if (this.#state !== "ready" || this.#closeWhenEmpty) return undefined;
    this.#closeWhenEmpty = true;
    this.#heartbeat?.stop();
    this.#timer(this.#options.limits.linger_ms, () => this.#finish(undefined));
    if (this.#outbox.queued_bytes === 0) this.#endSocket();
    return undefined;
  }

  destroy(reason: string | FluxError): void {
    this.#fail(typeof reason === "string" ? new FluxError(errno.ECONNABORTED, reason) : reason);
  }

  #attach(): void {
    const socket = this.#socket;
    socket.on("data", (chunk: Buffer) => this.#receive(chunk));
    socket.on("drain", () => this.#outbox.drained());
    socket.on("end", () => this.#peerEnded());
    socket.on("error", (error: Error) => this.#socketFailed(toFluxError(error, errno.ECONNRESET)));
    socket.on("close", () => this.#peerEnded());
  }

  #timer(delay_ms: number, fire: () => void): void {
    this.#cancelTimer?.();
    this.#cancelTimer = this.#options.clock.timer(delay_ms, fire);
  }

  #receive(chunk: Buffer): void {
    if (this.#state === "closing" || this.#state === "closed") return;
    this.lastReceived_ms = this.#options.clock.now_ms();
    // A plain view: methods of Uint8Array on a Buffer are slower.
    const bytes = new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    try {
      if (this.#state === "handshake") {
        const result = this.#handshake.receive(bytes);
        if (result === undefined) return;
        this.#becomeReady(result);
      } else {
        this.#decoder.push(bytes);
      }
      this.#pump();
    } catch (error) {
      this.#fail(toFluxError(error, errno.EPROTO));
    }
  }

  #becomeReady({ peer, heartbeats }: HandshakeResult): void {
    const { limits, clock, heartbeat } = this.#options;
    this.#cancelTimer?.();
    this.#state = "ready";
    this.peerIdentity = peer.identity;
    if (peer.publicKey !== undefined) this.peerPublicKey = peer.publicKey;
    this.#decoder.limit_bytes = limits.max_message_bytes + this.#security.overhead_bytes - FRAME_HEADER_MAX;
    this.#heartbeat = startHeartbeat({
      clock,
      settings: heartbeats ? heartbeat : undefined,
      lastReceived_ms: () => this.lastReceived_ms,
      sendPing: () => this.#outbox.pushCommand(encodePing(heartbeat?.ttl_ms ?? 0)),
      expired: (why) => this.#fail(new FluxError(errno.ETIMEDOUT, `${this.peerAddress}: ${why}`)),
    });
    this.#options.ready(this);
  }

  /** Handles the frames that are there. Input that can't be handled now is kept, and the socket paused. */
  #pump(): void {
    while (this.#state === "ready" && !this.#waiting) {
      if (this.#onMessage === undefined) {
        if (this.#decoder.partial) this.#socket.pause();
        return;
      }
      const frame = this.#decoder.next();
      if (frame === undefined) break;
      if (this.#security.kind !== "null" && frame.end - frame.start > LARGE_BYTES) this.#waitTurn(frame);
      else this.#receiveFrame(frame);
    }
    if (this.#inputEnded && !this.#waiting) this.#peerEnded();
  }

  #waitTurn(frame: Frame): void {
    this.#waiting = true;
    this.#socket.pause();
    inOwnTurn(() => {
      this.#waiting = false;
      if (this.#state !== "ready") return;
      try {
        this.#receiveFrame(frame);
      } catch (error) {
        return this.#fail(toFluxError(error, errno.EPROTO));
      }
      this.#resume();
    });
  }

  #resume(): void {
    if (this.#state !== "ready") return;
    try {
      this.#pump();
      if (!this.#waiting && this.#state === "ready") this.#socket.resume();
    } catch (error) {
      this.#fail(toFluxError(error, errno.EPROTO));
    }
  }

  #receiveFrame(frame: Frame): void {
    const { more, command, data } = this.#security.open(frame.flags, frame.bytes, frame.start, frame.end);
    if (command) return this.#receiveCommand(data);
    const { limits } = this.#options;
    this.#parts.push(data);
    this.#partsBytes += data.length;
    if (this.#parts.length > limits.max_parts) {
      throw new FluxError(errno.EMSGSIZE, `a message has more than max_parts ${limits.max_parts} parts`);
    }
    if (this.#partsBytes > limits.max_message_bytes) {
      throw new FluxError(errno.EMSGSIZE, `a message exceeds max_message_bytes ${limits.max_message_bytes}`);
    }
    if (more) return undefined;
    const parts = this.#parts;
    this.#parts = [];
    this.#partsBytes = 0;
    this.onMessage(parts);
    return undefined;
  }

  /** Commands that we don't know are passed over, as RFC 37 wants. */
  #receiveCommand(body: Uint8Array): void {
    const command = parseCommand(body);
    if (command.name === "PING") {
      const { ttl_ms, context } = parsePing(command.data);
      this.#outbox.pushCommand(encodeCommand("PONG", context));
      this.#heartbeat?.pinged(ttl_ms);
    } else if (command.name === "ERROR") {
      this.#finish(new FluxError(errno.ECONNRESET, `${this.peerAddress}: closed by the peer: ${parseError(command.data)}`));
    }
  }

  /** EPIPE is the peer's end too: a write has met it before we could read it. */
  #socketFailed(error: FluxError): void {
    if (error.errno === errno.EPIPE) this.#peerEnded();
    else this.#finish(error);
  }

  /** The peer's end, orderly between messages; after ours it completes the close. */
  #peerEnded(): void {
    this.#inputEnded = true;
    if (this.#state === "ready" && (this.#waiting || (this.#onMessage === undefined && this.#decoder.partial))) return;
    if (this.#state === "handshake") {
      const hint = this.#security.kind === "curve" && !this.#security.asServer ? ": does the server hold another key?" : "";
      return this.#finish(new FluxError(errno.ECONNRESET, `the peer closed the connection during the handshake${hint}`));
    }
    const cut = this.#state === "ready" && (this.#parts.length > 0 || this.#decoder.partial);
    return this.#finish(cut ? new FluxError(errno.ECONNRESET, `${this.peerAddress}: closed in the middle of a message`) : undefined);
  }

  /** Ends our side; the peer's end, or the linger timer, does the rest. */
  #endSocket(): void {
    if (this.#state === "closed") return;
    this.#state = "closing";
    this.#socket.end();
  }

  #fail(error: FluxError): void {
    if (this.#state === "closing" || this.#state === "closed") return;
    const frame = this.#errorFrame(error);
    this.#state = "closing";
    this.#heartbeat?.stop();
    this.#outbox.discard();
    this.#end(error);
    if (frame === undefined) return this.#finish(error);
    this.#socket.end(frame);
    this.#socket.resume();
    this.#timer(this.#options.limits.linger_ms, () => this.#finish(error));
    return undefined;
  }

  /** The ERROR that tells the peer; none when it would not understand it. */
  #errorFrame(error: FluxError): Uint8Array | undefined {
    if (this.#state === "handshake") {
      if (!this.#handshake.canRefuse) return undefined;
      const unwelcome = this.#security.asServer && error.errno === errno.EPERM;
      return encodeFrame(FRAME_COMMAND, encodeError(unwelcome ? REFUSED_KEY_REASON : error.message));
    }
    const body = encodeError(error.message);
    const target = this.#security.beginWrite(body.length + this.#security.overhead_bytes);
    return this.#security.endWrite(target, this.#security.encode(target, 0, body, false, true));
  }

  #finish(error: FluxError | undefined): void {
    if (this.#state === "closed") return;
    const inHandshake = this.#state === "handshake";
    this.#cancelTimer?.();
    this.#heartbeat?.stop();
    this.#outbox.discard();
    if (inHandshake) this.#end(error);
    this.#state = "closed";
    this.#socket.destroy();
    this.#end(error);
  }

  /** Reports the end, the first time: to the opener during the handshake, afterwards to the owner. */
  #end(error: FluxError | undefined): void {
    if (this.#ended !== undefined) return;
    this.#ended = { error };
    if (this.#heartbeat === undefined) this.#options.failed(error ?? new FluxError(errno.ECONNRESET));
    else if (this.#onClose !== undefined) this.#reportEnd();
  }

  #reportEnd(): void {
    queueMicrotask(() => this.#onClose?.(this.#ended?.error));
  }
}

function ignore(): void {
  // Stands in for a handler that has not been set.
}
