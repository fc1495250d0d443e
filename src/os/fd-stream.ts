// A duplex stream over a connected socket descriptor: what holds the parent's ends of a child's stdin, stdout, stderr and extra
// descriptors (PMI_FD), and our own end of an inherited one.
//
// Reading: `onData` gets each chunk once, in order; `pause()` stops reading, so that a child that writes is stopped by its full
// socket instead of filling our memory. Writing: `write` takes everything and says whether to go on; the queue has a bound.
// Closing: `onClose` comes once, after the last data, when both directions are done. The descriptor belongs to the stream.

import { errno, FluxError, toFluxError } from "../message/errno.ts";
import { checkSocket, closeFd } from "./libc.ts";

export interface FdStreamOptions {
  /** A chunk that was read. It may be kept: it is not used again. */
  onData?: (chunk: Uint8Array) => void;
  /** The other side will write no more. */
  onEnd?: () => void;
  /** Everything is over and the descriptor closed; `error` when it was not by the end of both directions. */
  onClose?: (error?: FluxError) => void;
  /** When the queue of unwritten bytes would pass this, `write` throws ENOBUFS. Default 16 MiB. */
  queueMax_bytes?: number;
  /** When the other side ends its direction, ours goes on until `end()`. Default: it ends too, after what is queued. */
  allowHalfOpen?: boolean;
}

export interface FdStream {
  /** Queue bytes, which must not change afterwards. False: more than a socket buffer waits, wait for `drained()`. EPIPE after the end, ENOBUFS at the bound. */
  write(data: Uint8Array | string): boolean;
  /** Resolves when nothing waits to be written, or the stream is closed. */
  drained(): Promise<void>;
  /** No more writes; the other side sees the end after what is queued. */
  end(): void;
  pause(): void;
  resume(): void;
  /** Close now, dropping what is queued. */
  destroy(): void;
  /** Resolves when the descriptor is closed; never rejects. */
  readonly closed: Promise<void>;
  readonly queued_bytes: number;
}

const QUEUE_MAX_BYTES = 16 * 1024 * 1024;
const CHUNK_JOIN_BYTES = 64 * 1024;

type Phase = "opening" | "open" | "closed";

/** Take over a connected socket descriptor (UNIX or TCP). Data may be written at once. EBADF, ENOTSOCK: not taken. */
export function openFdStream(fd: number, options: FdStreamOptions = {}): FdStream {
  checkSocket(fd); // the runtime would take a pipe, and never read it
  const queueMax_bytes = options.queueMax_bytes ?? QUEUE_MAX_BYTES;
  const queue: Uint8Array[] = [];
  const waiting: Array<() => void> = [];
  const done = Promise.withResolvers<void>();
  let phase: Phase = "opening";
  let socket: Bun.Socket | undefined;
  let queued_bytes = 0;
  let ending = false; // end() was called, or follows from the end of the other side
  let finished = false; // our direction was shut down
  let peerEnded = false;
  let paused = false;

  const settle = (): void => {
    for (const resolve of waiting.splice(0)) resolve();
  };

  const closed = (error?: FluxError): void => {
    if (phase === "closed") return;
    phase = "closed";
    queue.length = 0;
    queued_bytes = 0;
    settle();
    options.onClose?.(error);
    done.resolve();
  };

  const flush = (): void => {
    if (phase !== "open" || socket === undefined) return;
    while (queue.length > 0) {
      if (queue.length > 1 && (queue[0]?.length ?? 0) < CHUNK_JOIN_BYTES) queue.splice(0, queue.length, Buffer.concat(queue));
      const head = queue[0];
      if (head === undefined) break;
      const written = socket.write(head);
      if (written < 0) return; // closed: the close event follows
      queued_bytes -= written;
      if (written < head.length) {
        queue[0] = head.subarray(written);
        return; // drain comes
      }
      queue.shift();
    }
    settle();
    if (ending && peerEnded) socket.end();
    else if (ending && !finished) {
      finished = true;
      socket.shutdown();
    }
  };

  const handlers: Bun.SocketHandler<undefined> = {
    open(opened) {
      if (phase === "closed") {
        opened.terminate();
        return;
      }
      phase = "open";
      socket = opened;
      if (paused) opened.pause();
      flush();
    },
    data(_, chunk) {
      if (phase !== "closed") options.onData?.(chunk);
    },
    drain: flush,
    end() {
      peerEnded = true;
      options.onEnd?.();
      if (options.allowHalfOpen !== true) ending = true;
      flush();
    },
    error(_, error) {
      closed(toFluxError(error, errno.EIO));
    },
    close(_, error) {
      // A reset only says that the other side closed without having read all that was sent: its end is as final as any.
      const reset = error !== undefined && "code" in error && error.code === "ECONNRESET";
      if (reset && !peerEnded && phase !== "closed") options.onEnd?.();
      closed(error === undefined || reset ? undefined : toFluxError(error, errno.EIO));
    },
  };

  // The runtime takes a descriptor in place of a path, which the types of Bun.connect do not say.
  const settings: Bun.FdSocketOptions = { fd, allowHalfOpen: true, socket: handlers };
  Bun.connect(settings as Bun.FdSocketOptions & Bun.UnixSocketOptions).catch((error: unknown) => {
    if (socket === undefined) closeFd(fd);
    closed(toFluxError(error, errno.EIO));
  });

  return {
    write(data) {
      if (ending || phase === "closed") throw new FluxError(errno.EPIPE, "write to a stream that has ended");
      const bytes = typeof data === "string" ? Buffer.from(data) : data;
      if (queued_bytes + bytes.length > queueMax_bytes) {
        throw new FluxError(errno.ENOBUFS, `the reader is ${queued_bytes} bytes behind, the limit is ${queueMax_bytes}`);
      }
      if (bytes.length > 0) {
        queue.push(bytes);
        queued_bytes += bytes.length;
        if (queue.length === 1) flush();
      }
      return queued_bytes === 0 || (phase === "opening" && queued_bytes < CHUNK_JOIN_BYTES);
    },
    async drained() {
      if (queued_bytes === 0 || phase === "closed") return;
      const { promise, resolve } = Promise.withResolvers<void>();
      waiting.push(resolve);
      await promise;
    },
    end() {
      if (ending) return;
      ending = true;
      flush();
    },
    pause() {
      paused = true;
      socket?.pause();
    },
    resume() {
      paused = false;
      socket?.resume();
    },
    destroy() {
      if (phase === "closed") return;
      socket?.resume(); // a paused socket keeps its descriptor
      socket?.terminate();
      closed();
    },
    closed: done.promise,
    get queued_bytes() {
      return queued_bytes;
    },
  };
}
