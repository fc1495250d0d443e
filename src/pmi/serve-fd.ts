// A PMI server's connection over a descriptor: the handlers to give to spawnProcess as an extra descriptor.

import type { FdStream, FdStreamOptions } from "../os/fd-stream.ts";
import type { PmiConnection, PmiServer } from "./server.ts";

export interface PmiEndpoint {
  /** For `extraFds` of spawnProcess (or openFdStream). */
  handlers: FdStreamOptions;
  /** Say which stream came of it, before anything else happens. */
  connect(stream: FdStream | undefined): void;
}

/** The server's side of the process of this rank. Errors as `attach`. */
export function pmiEndpoint(server: PmiServer, rank: number): PmiEndpoint {
  let stream: FdStream | undefined;
  const connection: PmiConnection = server.attach(rank, {
    write: (data) => stream?.write(data),
    end: () => stream?.end(),
  });
  return {
    handlers: { onData: (chunk) => connection.receive(chunk), onClose: () => connection.disconnect() },
    connect(opened) {
      stream = opened;
    },
  };
}

/** Environment of a process whose PMI socket is its descriptor `fd` (the first extra descriptor is 3). */
export function pmiEnvironment(fd: number, rank: number, size: number): Record<"PMI_FD" | "PMI_RANK" | "PMI_SIZE", string> {
  return { PMI_FD: String(fd), PMI_RANK: String(rank), PMI_SIZE: String(size) };
}
