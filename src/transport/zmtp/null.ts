// The NULL mechanism (ZeroMQ RFC 37): both sides send READY with their metadata, and traffic is in the clear. Only for
// UNIX sockets, where the directory and the peer's uid protect.
import { errno, FluxError } from "../../message/errno.ts";
import { encodeCommand, encodeMetadata, parseMetadata, type Metadata } from "./command.ts";
import { FRAME_COMMAND, FRAME_HEADER_MAX, FRAME_MORE, uninitialized, writeFrameHeader } from "./frame.ts";
import type { Security } from "./security.ts";

/** A part this much smaller than what it was received in is copied, so that keeping it does not pin the whole chunk. */
const SHARE_MIN_BYTES = 64 * 1024;

/** NULL on either side. */
export function nullSecurity(local: Metadata): Security {
  return {
    kind: "null",
    mechanism: "NULL",
    asServer: false,
    start: () => encodeCommand("READY", encodeMetadata(local)),
    receive(command) {
      if (command.name !== "READY") throw new FluxError(errno.EPROTO, `${command.name} where READY was expected`);
      return { peer: parseMetadata(command.data) };
    },
    overhead_bytes: FRAME_HEADER_MAX,
    beginWrite: uninitialized,
    encode(target, offset, part, more, command) {
      const flags = (more ? FRAME_MORE : 0) | (command ? FRAME_COMMAND : 0);
      const start = writeFrameHeader(target, offset, flags, part.length);
      target.set(part, start);
      return start + part.length;
    },
    endWrite: (target, size_bytes) => target.subarray(0, size_bytes),
    open: (flags, bytes, start, end) => ({
      more: (flags & FRAME_MORE) !== 0,
      command: (flags & FRAME_COMMAND) !== 0,
      data: ownPart(bytes, start, end),
    }),
  };
}

function ownPart(bytes: Uint8Array, start: number, end: number): Uint8Array {
  if (end - start >= SHARE_MIN_BYTES && (end - start) * 2 >= bytes.length) return bytes.subarray(start, end);
  return bytes.slice(start, end);
}
