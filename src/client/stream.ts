// Stream: the responses of one streaming request, as an async iterable.
import type { JsonObject } from "../formats/json.ts";
import { errno, FluxError } from "../message/errno.ts";
import type { Message } from "../message/message.ts";

/** Responses that may wait for their reader. */
const QUEUE_MAX = 1_000_000;

export class Stream<T = JsonObject> implements AsyncIterableIterator<T> {
  #queue: Message[] = [];
  /** Index of the next message in the queue: shifting a long array is not free. */
  #head = 0;
  #waiting: { resolve: (r: IteratorResult<T>) => void; reject: (e: Error) => void } | undefined;
  #ended = false;
  #error: FluxError | undefined;
  /** Names the stream in further requests to its server, such as "rexec.write". */
  matchtag = 0;

  /** `cancel` tells the server that nobody reads any more; `read` takes from a response what the reader wants. */
  constructor(
    readonly cancel: () => void,
    readonly read: (message: Message) => T,
  ) {}

  /** One response from the server. Returns true when no more are wanted. For the handle's use. */
  push(message: Message): boolean {
    if (this.#ended) return true;
    const waiting = this.#waiting;
    if (waiting !== undefined) {
      this.#waiting = undefined;
      this.#settle(waiting, message);
      return false;
    }
    if (this.#queue.length - this.#head >= QUEUE_MAX) {
      this.cancel();
      this.end(new FluxError(errno.ENOBUFS, `${QUEUE_MAX} responses to ${message.topic} wait to be read`));
      return true;
    }
    this.#queue.push(message);
    return false;
  }

  /** No more responses; what is queued is still read. For the handle's use. */
  end(error: FluxError | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting === undefined) return;
    if (error !== undefined) {
      this.#error = undefined;
      waiting.reject(error);
    } else {
      waiting.resolve({ done: true, value: undefined });
    }
  }

  next(): Promise<IteratorResult<T>> {
    const message = this.#queue[this.#head];
    if (message !== undefined) {
      this.#take();
      return new Promise((resolve, reject) => this.#settle({ resolve, reject }, message));
    }
    if (this.#error !== undefined) {
      const error = this.#error;
      this.#error = undefined;
      return Promise.reject(error);
    }
    if (this.#ended) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
  }

  /** Leaving the loop: cancels the request. */
  return(): Promise<IteratorResult<T>> {
    if (!this.#ended) this.cancel();
    this.#queue = [];
    this.#head = 0;
    this.end(undefined);
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #take(): void {
    this.#head++;
    if (this.#head === this.#queue.length || this.#head > 1024) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
  }

  #settle(to: { resolve: (r: IteratorResult<T>) => void; reject: (e: Error) => void }, message: Message): void {
    try {
      to.resolve({ done: false, value: this.read(message) });
    } catch (err) {
      to.reject(err as Error);
    }
  }
}
