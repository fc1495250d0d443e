// A link inside a process: the message object itself is passed, nothing is encoded.
//
// Delivery never happens inside send(): messages go through one queue of the process that runs as a microtask, in
// order. After a batch it lets the event loop turn, so that two chatty modules can't starve the sockets.
import type { Link } from "./link.ts";
import { errno, FluxError } from "../message/errno.ts";
import type { Message } from "../message/message.ts";

/** Messages delivered before the event loop gets a turn. */
const BATCH_MAX = 500;

type Delivery = () => void;

let queue: Delivery[] = [];
let scheduled = false;
/** Deliveries since the event loop last got a turn. */
let delivered = 0;

function enqueue(delivery: Delivery): void {
  queue.push(delivery);
  if (scheduled) return;
  scheduled = true;
  queueMicrotask(run);
}

function run(): void {
  while (queue.length > 0) {
    const batch = queue;
    queue = [];
    for (let i = 0; i < batch.length; i++) {
      deliver(batch[i]);
      if (++delivered >= BATCH_MAX) {
        queue = [...batch.slice(i + 1), ...queue];
        // Also with an empty queue: an answer just delivered may lead to the next request, and so on for ever.
        setImmediate(() => {
          delivered = 0;
          run();
        });
        return;
      }
    }
  }
  scheduled = false;
}

let onReceiverError = (err: unknown): void => {
  setImmediate(() => {
    throw err;
  });
};

/** Who hears of exceptions that receivers throw; by default they are uncaught exceptions of the process. */
export function setReceiverErrorHandler(handler: (err: unknown) => void): void {
  onReceiverError = handler;
}

/** What one receiver throws must not keep the others from what was sent to them. */
function deliver(delivery: Delivery | undefined): void {
  try {
    delivery?.();
  } catch (err) {
    onReceiverError(err);
  }
}

/** The two ends of a link. Closing either ends both. */
export function memoryLinkPair(): [Link, Link] {
  const a = new MemoryLink();
  const b = new MemoryLink();
  a.peer = b;
  b.peer = a;
  return [a, b];
}

class MemoryLink implements Link {
  peer: MemoryLink | undefined;
  #receive: ((message: Message) => void) | undefined;
  #closed: ((reason: FluxError | undefined) => void) | undefined;
  /** Messages that came before start(). */
  #early: Message[] = [];
  readonly queued_bytes = 0;

  start(receive: (message: Message) => void, closed: (reason: FluxError | undefined) => void): void {
    this.#receive = receive;
    this.#closed = closed;
    for (const message of this.#early) receive(message);
    this.#early = [];
  }

  send(message: Message): void {
    const peer = this.peer;
    if (peer === undefined) throw new FluxError(errno.ENOTCONN, "the link is closed");
    enqueue(() => peer.#deliver(message));
  }

  drained(): Promise<void> {
    return Promise.resolve();
  }

  close(): void {
    const peer = this.peer;
    if (peer === undefined) return;
    this.peer = undefined;
    enqueue(() => peer.#end());
  }

  #deliver(message: Message): void {
    if (this.#receive !== undefined) this.#receive(message);
    else this.#early.push(message);
  }

  #end(): void {
    if (this.peer === undefined) return;
    this.peer = undefined;
    this.#closed?.(undefined);
  }
}
