// Messages over a UNIX stream socket: the client's and the broker's end of local:// (RFC 3 framing). ssh.ts uses the same link.
//
// Writes are joined once per tick. What the kernel doesn't take stays in a bounded queue: a peer that never reads
// costs that much memory, then its connection.
import type { Link } from "./link.ts";
import { errno, FluxError, strerror, toFluxError } from "../message/errno.ts";
import { encodeFramed, FrameDecoder } from "../message/framing.ts";
import type { Message } from "../message/message.ts";

/** Output that may wait for a peer that is slow to read. One larger message may pass an empty queue. */
export const QUEUE_MAX_BYTES = 128 << 20;
/** Bulk senders wait above this. */
const HIGH_WATER_BYTES = 4 << 20;
/** Buffers are joined up to this size for one write. */
const WRITE_BATCH_BYTES = 1 << 20;
/** How long a broker may take to say whether it lets us in. */
const WELCOME_TIMEOUT_MS = 30_000;

/** An exception that nobody catches ends a program; a broker puts it in its log. */
function throwLater(err: unknown): void {
  setImmediate(() => {
    throw err;
  });
}

/** What a link writes to: a socket of the runtime, or what acts like one. */
export interface ByteSocket {
  /** How many bytes were taken; negative when it has ended. When not all, the link's handleDrain() is due once more can be. */
  write(chunk: Buffer): number;
  /** Ends it after what was taken. */
  end(): void;
  /** Ends it now. */
  terminate(): void;
}

export class UnixLink implements Link {
  #socket: ByteSocket;
  readonly #receiverFailed: (err: unknown) => void;
  #decoder = new FrameDecoder();
  #receive: ((message: Message) => void) | undefined;
  #onClosed: ((reason: FluxError | undefined) => void) | undefined;
  #early: Message[] = [];
  #queue: Buffer[] = [];
  /** Bytes of queue[0] that were written already. */
  #written_bytes = 0;
  #queued_bytes = 0;
  #flushing = false;
  #blocked = false;
  #closing = false;
  #ended = false;
  #endReason: FluxError | undefined;
  #drainWaiters: (() => void)[] = [];

  /** `receiverFailed` hears of exceptions that the receiver throws; by default they are uncaught exceptions of the process. */
  constructor(socket: ByteSocket, receiverFailed: (err: unknown) => void = throwLater) {
    this.#socket = socket;
    this.#receiverFailed = receiverFailed;
  }

  get queued_bytes(): number {
    return this.#queued_bytes;
  }

  start(receive: (message: Message) => void, closed: (reason: FluxError | undefined) => void): void {
    this.#receive = receive;
    this.#onClosed = closed;
    const early = this.#early;
    this.#early = [];
    for (const message of early) this.#deliver(message, receive);
    if (this.#ended) closed(this.#endReason);
  }

  send(message: Message): void {
    if (this.#ended || this.#closing) throw new FluxError(errno.ENOTCONN, "the connection to the broker has ended");
    if (this.#queued_bytes > QUEUE_MAX_BYTES) {
      throw new FluxError(errno.ENOBUFS, `the peer does not read: ${this.#queued_bytes} bytes wait (limit ${QUEUE_MAX_BYTES})`);
    }
    this.#enqueue(encodeFramed(message));
  }

  /** Bytes outside of any message: the broker's welcome. */
  sendRaw(bytes: Buffer): void {
    this.#enqueue(bytes);
  }

  #enqueue(buffer: Buffer): void {
    this.#queue.push(buffer);
    this.#queued_bytes += buffer.length;
    if (this.#flushing || this.#blocked) return;
    this.#flushing = true;
    queueMicrotask(() => {
      this.#flushing = false;
      this.#flush();
    });
  }

  drained(): Promise<void> {
    if (this.#queued_bytes <= HIGH_WATER_BYTES || this.#ended) return Promise.resolve();
    return new Promise((resolve) => this.#drainWaiters.push(resolve));
  }

  close(): void {
    if (this.#ended || this.#closing) return;
    this.#closing = true;
    if (this.#queue.length === 0) this.#socket.end();
    else if (!this.#blocked && !this.#flushing) this.#flush();
  }

  /** Ends the link at once, dropping what is queued. */
  destroy(reason: FluxError | undefined): void {
    if (this.#ended) return;
    this.handleClose(reason);
    this.#socket.terminate();
  }

  /** Bytes arrived. A malformed message ends the link. */
  handleData(chunk: Uint8Array): void {
    const messages: Message[] = [];
    let malformed: FluxError | undefined;
    try {
      this.#decoder.push(chunk, (message) => messages.push(message));
    } catch (err) {
      malformed = toFluxError(err, errno.EPROTO);
    }
    for (const message of messages) {
      if (this.#ended) return;
      if (this.#receive !== undefined) this.#deliver(message, this.#receive);
      else this.#early.push(message);
    }
    if (malformed !== undefined) this.destroy(malformed);
  }

  /** What the receiver throws is not the peer's fault, and must not keep later messages from it. */
  #deliver(message: Message, receive: (message: Message) => void): void {
    try {
      receive(message);
    } catch (err) {
      this.#receiverFailed(err);
    }
  }

  handleDrain(): void {
    this.#blocked = false;
    this.#flush();
  }

  handleClose(reason: FluxError | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#endReason = reason;
    this.#queue = [];
    this.#queued_bytes = 0;
    this.#wakeDrained();
    this.#onClosed?.(reason);
  }

  #flush(): void {
    while (this.#queue.length > 0 && !this.#ended) {
      const chunk = this.#nextChunk();
      const wrote = this.#socket.write(chunk);
      if (wrote < 0) return this.destroy(new FluxError(errno.EPIPE));
      this.#advance(wrote);
      if (wrote < chunk.length) {
        this.#blocked = true;
        break;
      }
    }
    if (this.#queued_bytes <= HIGH_WATER_BYTES) this.#wakeDrained();
    if (this.#closing && this.#queue.length === 0) this.#socket.end();
  }

  #nextChunk(): Buffer {
    const first = this.#queue[0] as Buffer;
    const head = this.#written_bytes > 0 ? first.subarray(this.#written_bytes) : first;
    if (this.#queue.length === 1 || head.length >= WRITE_BATCH_BYTES) return head;
    const batch = [head];
    let size_bytes = head.length;
    for (let i = 1; i < this.#queue.length && size_bytes < WRITE_BATCH_BYTES; i++) {
      const buffer = this.#queue[i] as Buffer;
      batch.push(buffer);
      size_bytes += buffer.length;
    }
    return Buffer.concat(batch, size_bytes);
  }

  #advance(wrote: number): void {
    this.#queued_bytes -= wrote;
    let done = 0;
    let at = this.#written_bytes + wrote;
    while (done < this.#queue.length && at >= (this.#queue[done] as Buffer).length) {
      at -= (this.#queue[done] as Buffer).length;
      done++;
    }
    if (done > 0) this.#queue.splice(0, done);
    this.#written_bytes = at;
  }

  #wakeDrained(): void {
    const waiters = this.#drainWaiters;
    this.#drainWaiters = [];
    for (const wake of waiters) wake();
  }
}

/** Connects to a broker's socket. Throws FluxError ENOENT, ECONNREFUSED, or what the broker refuses us with. */
export function connectUnix(path: string): Promise<Link> {
  return new Promise((resolve, reject) => {
    let link: UnixLink | undefined;
    let welcomed = false;
    const timer = setTimeout(() => {
      reject(new FluxError(errno.ETIMEDOUT, `broker socket ${path} does not answer`));
      link?.destroy(undefined);
    }, WELCOME_TIMEOUT_MS);
    const refuse = (error: FluxError): void => {
      clearTimeout(timer);
      reject(error);
    };
    Bun.connect({
      unix: path,
      socket: {
        binaryType: "buffer",
        open(socket) {
          link = new UnixLink(socket);
        },
        data(_socket, chunk) {
          if (link === undefined) return;
          if (welcomed) return link.handleData(chunk);
          const code = chunk[0] ?? 0;
          if (code !== 0) {
            refuse(new FluxError(code, `broker at ${path} refuses access: ${strerror(code)}`));
            return link.destroy(undefined);
          }
          welcomed = true;
          clearTimeout(timer);
          resolve(link);
          if (chunk.length > 1) link.handleData(chunk.subarray(1));
        },
        drain: () => link?.handleDrain(),
        close() {
          const lost = new FluxError(errno.ECONNRESET, "lost the connection to the Flux broker");
          if (!welcomed) refuse(lost);
          link?.handleClose(lost);
        },
        error(_socket, err) {
          if (!welcomed) refuse(connectError(path, err));
          link?.handleClose(toFluxError(err, errno.EIO));
        },
      },
    }).catch((err: unknown) => refuse(connectError(path, err)));
  });
}

function connectError(path: string, err: unknown): FluxError {
  const cause = toFluxError(err, errno.ECONNREFUSED);
  if (cause.errno === errno.ENOENT) return new FluxError(errno.ENOENT, `broker socket ${path} was not found`);
  return new FluxError(cause.errno, `broker socket ${path}: ${strerror(cause.errno)}`);
}
