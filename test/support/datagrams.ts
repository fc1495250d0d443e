// A local datagram socket that a test reads, as a system's log or systemd would.
import { dlopen, ptr } from "bun:ffi";
import { closeSync } from "node:fs";

const AF_UNIX = 1;
const SOCK_DGRAM_NONBLOCK = 2 | 0o4000;
const MESSAGE_MAX_BYTES = 64 * 1024;

export interface Datagrams {
  /** What has come since the last call. */
  take(): string[];
  close(): void;
}

/** Serves the socket at `path`; "@NAME" is an abstract one. */
export function receiveDatagrams(path: string): Datagrams {
  const { symbols } = dlopen("libc.so.6", {
    socket: { args: ["i32", "i32", "i32"], returns: "i32" },
    bind: { args: ["i32", "ptr", "u32"], returns: "i32" },
    recv: { args: ["i32", "ptr", "u64", "i32"], returns: "i64" },
  });
  const name = path.startsWith("@") ? `\0${path.slice(1)}` : `${path}\0`;
  const address = new Uint8Array(2 + Buffer.byteLength(name));
  address[0] = AF_UNIX;
  Buffer.from(name).copy(address, 2);
  const fd = symbols.socket(AF_UNIX, SOCK_DGRAM_NONBLOCK, 0);
  if (fd < 0 || symbols.bind(fd, ptr(address), address.length) !== 0) throw new Error(`cannot bind ${path}`);
  const buffer = new Uint8Array(MESSAGE_MAX_BYTES);
  return {
    take() {
      const messages: string[] = [];
      for (;;) {
        const length = Number(symbols.recv(fd, ptr(buffer), buffer.length, 0));
        if (length < 0) return messages;
        messages.push(Buffer.from(buffer.subarray(0, length)).toString());
      }
    },
    close: () => closeSync(fd),
  };
}
