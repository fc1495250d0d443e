// A descriptor's stream as what a UnixLink writes to: ssh's stdin, the channel of a module's process.
import type { FdStream } from "../os/fd-stream.ts";
import type { ByteSocket } from "./unix.ts";

/** Given to the stream at a time. */
const WRITE_MAX_BYTES = 1 << 20;

/** `drained` is called when the stream has room again; `terminate` when the link wants the other side gone. */
export function streamSocket(stream: FdStream, drained: () => void, terminate: () => void): ByteSocket {
  let waiting = false;
  const waitForRoom = (): void => {
    if (waiting) return;
    waiting = true;
    void stream.drained().then(() => {
      waiting = false;
      drained();
    });
  };
  return {
    write(chunk) {
      const part = stream.queued_bytes > 0 ? 0 : Math.min(chunk.length, WRITE_MAX_BYTES);
      try {
        if (part > 0) stream.write(chunk.subarray(0, part));
      } catch {
        return -1; // The other side has gone.
      }
      if (part < chunk.length) waitForRoom();
      return part;
    },
    end: () => stream.end(),
    terminate() {
      stream.destroy();
      terminate();
    },
  };
}
