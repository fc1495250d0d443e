// Link: a way for a Flux handle to exchange messages with its broker. The other files of this folder are its kinds.
import type { FluxError } from "../message/errno.ts";
import type { Message } from "../message/message.ts";

export interface Link {
  /**
   * Begins delivery. `receive` is called for each message, `closed` once when the link ends for whatever reason
   * (undefined: it was closed on purpose).
   */
  start(receive: (message: Message) => void, closed: (reason: FluxError | undefined) => void): void;
  /** Sends, or queues to send, one message. Throws FluxError ENOBUFS at the queue's bound, ENOTCONN after the end. */
  send(message: Message): void;
  /** Bytes queued and not yet taken by the other side; 0 for links inside a process. */
  readonly queued_bytes: number;
  /** Resolves when the queue is short enough to go on sending bulk data. */
  drained(): Promise<void>;
  /** Sends what is queued, then ends the link. */
  close(): void;
}
