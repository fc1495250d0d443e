// What waits to be sent on one connection: a bounded queue of messages. They become frames when the socket takes them,
// joined into one write per tick, so the order of nonces is the order of writes. The socket holds one write at most.
import { errno, FluxError } from "../../message/errno.ts";
import type { Limits } from "./limits.ts";
import type { Security } from "./security.ts";
import { inOwnTurn, LARGE_BYTES } from "./turns.ts";

interface Item {
  parts: readonly Uint8Array[];
  size_bytes: number;
  command: boolean;
}

export interface Outbox {
  /** Bytes that the socket has not taken yet, framing included. */
  readonly queued_bytes: number;
  /** Queues a message; its memory is read later in this tick or after. Throws FluxError ENOBUFS, EMSGSIZE or EINVAL. */
  push(parts: readonly Uint8Array[]): void;
  /**
   * Queues a command, outside of the bounds of messages. Commands here are heartbeats: when many of them wait, one more
   * would tell the peer nothing new, and is left out.
   */
  pushCommand(body: Uint8Array): void;
  /** The socket takes more. */
  drained(): void;
  /** Nothing more goes out. */
  discard(): void;
}

/** Frames are joined up to this; larger parts make a write of their own. */
const BATCH_BYTES = 128 * 1024;
const MAX_COMMANDS = 16;

export function createOutbox(options: {
  security: Security;
  limits: Limits;
  /** Hands bytes to the socket; false when it wants no more until drained. */
  write(bytes: Uint8Array): boolean;
  /** The queue has become empty. */
  emptied(): void;
  failed(error: unknown): void;
}): Outbox {
  return new BoundedOutbox(options);
}

type Options = Parameters<typeof createOutbox>[0];

class BoundedOutbox implements Outbox {
  readonly #options: Options;
  #items: Item[] = [];
  #head = 0;
  /** The next part of the head item. */
  #part = 0;
  #bytes = 0;
  #commands = 0;
  #scheduled = false;
  #blocked = false;
  #discarded = false;

  constructor(options: Options) {
    this.#options = options;
  }

  get queued_bytes(): number {
    return this.#bytes;
  }

  push(parts: readonly Uint8Array[]): void {
    const { limits, security } = this.#options;
    if (parts.length === 0 || parts.length > limits.max_parts) {
      throw new FluxError(errno.EINVAL, `a message has 1 to ${limits.max_parts} parts, not ${parts.length}`);
    }
    let size_bytes = 0;
    for (const part of parts) size_bytes += part.length;
    if (size_bytes > limits.max_message_bytes) {
      throw new FluxError(errno.EMSGSIZE, `a message of ${size_bytes} bytes exceeds max_message_bytes ${limits.max_message_bytes}`);
    }
    const waiting = this.#items.length - this.#head;
    size_bytes += parts.length * security.overhead_bytes;
    if (waiting >= limits.max_queue_messages) {
      throw new FluxError(errno.ENOBUFS, `${waiting} messages wait for the peer: max_queue_messages is reached`);
    }
    if (waiting > 0 && this.#bytes + size_bytes > limits.max_queue_bytes) {
      throw new FluxError(errno.ENOBUFS, `${this.#bytes} bytes wait for the peer: max_queue_bytes ${limits.max_queue_bytes} is reached`);
    }
    this.#add({ parts, size_bytes, command: false });
  }

  pushCommand(body: Uint8Array): void {
    if (this.#commands >= MAX_COMMANDS) return;
    this.#commands++;
    this.#add({ parts: [body], size_bytes: body.length + this.#options.security.overhead_bytes, command: true });
  }

  drained(): void {
    this.#blocked = false;
    this.#flushSafely();
  }

  discard(): void {
    this.#discarded = true;
    this.#items = [];
    this.#head = 0;
    this.#bytes = 0;
  }

  #add(item: Item): void {
    if (this.#discarded) return;
    this.#items.push(item);
    this.#bytes += item.size_bytes;
    if (this.#scheduled || this.#blocked) return;
    this.#scheduled = true;
    queueMicrotask(this.#tick);
  }

  readonly #tick = (): void => {
    this.#scheduled = false;
    this.#flushSafely();
  };

  #flushSafely(): void {
    try {
      this.#flush();
    } catch (error) {
      this.#options.failed(error);
    }
  }

  #flush(): void {
    if (this.#scheduled) return;
    while (!this.#blocked && this.#head < this.#items.length) {
      if (this.#nextPart().length > LARGE_BYTES) {
        this.#scheduled = true;
        inOwnTurn(this.#largeTurn);
        return;
      }
      this.#writeBatch();
    }
    if (this.#head === this.#items.length && !this.#discarded) this.#options.emptied();
  }

  readonly #largeTurn = (): void => {
    this.#scheduled = false;
    if (this.#discarded) return;
    try {
      this.#writeBatch();
      this.#flush();
    } catch (error) {
      this.#options.failed(error);
    }
  };

  #nextPart(): Uint8Array {
    const part = this.#items[this.#head]?.parts[this.#part];
    if (part === undefined) throw new FluxError(errno.EINVAL, "a message with a missing part");
    return part;
  }

  /** Encodes the next part, and those after it that fit, and writes them. */
  #writeBatch(): void {
    const { security } = this.#options;
    const room = Math.max(BATCH_BYTES, this.#nextPart().length + security.overhead_bytes);
    const capacity = Math.min(room, this.#bytes);
    const target = security.beginWrite(capacity);
    let size = 0;
    while (this.#head < this.#items.length) {
      const item = this.#items[this.#head] as Item;
      const part = item.parts[this.#part] as Uint8Array;
      if (size > 0 && size + part.length + security.overhead_bytes > capacity) break;
      const last = this.#part === item.parts.length - 1;
      size = security.encode(target, size, part, !last, item.command);
      if (last) this.#shift(item);
      else this.#part++;
    }
    this.#blocked = !this.#options.write(security.endWrite(target, size));
  }

  #shift(item: Item): void {
    this.#part = 0;
    this.#bytes -= item.size_bytes;
    if (item.command) this.#commands--;
    this.#head++;
    if (this.#head === this.#items.length) {
      this.#items.length = 0;
      this.#head = 0;
    } else if (this.#head >= 1024 && this.#head * 2 > this.#items.length) {
      this.#items.splice(0, this.#head);
      this.#head = 0;
    }
  }
}
