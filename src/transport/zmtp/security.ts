// Security mechanisms as the connection sees them. Each is an exchange of commands that ends with both sides'
// metadata, and a way to turn parts into frames and frames into parts. Two kinds: NULL (null.ts), CURVE (curve.ts).
import type { Command, Metadata } from "./command.ts";

export type SecurityKind = "null" | "curve";

/** What the handshake found out. */
export interface Peer extends Metadata {
  /** Z85; CURVE servers only. */
  publicKey?: string;
}

/** What is to follow a received handshake command: a command to send, and the peer when the handshake is over. */
export interface HandshakeStep {
  send?: Uint8Array;
  peer?: Peer;
}

/** A received frame, opened. `data` is memory of its own. */
export interface Opened {
  more: boolean;
  command: boolean;
  data: Uint8Array;
}

export interface Security {
  readonly kind: SecurityKind;
  /** As named in the greeting. */
  readonly mechanism: string;
  readonly asServer: boolean;

  /** The command that opens the handshake, once greetings are exchanged; a CURVE server has none. */
  start(): Uint8Array | undefined;
  /** Takes the peer's next handshake command. Throws FluxError: EPERM when the peer is not welcome, else EPROTO. */
  receive(command: Command): HandshakeStep;

  /** A part's frame is at most this much longer than the part. */
  readonly overhead_bytes: number;
  /** Memory to encode frames into. Holds until `endWrite`; nothing else may be encoded or opened in between. */
  beginWrite(size_bytes: number): Uint8Array;
  /** Writes one part's frame at `offset`; returns its end. */
  encode(target: Uint8Array, offset: number, part: Uint8Array, more: boolean, command: boolean): number;
  /** The first `size_bytes` of what was written, as memory that the socket may keep. */
  endWrite(target: Uint8Array, size_bytes: number): Uint8Array;
  /** Opens the frame with the given flags whose body is bytes[start..end). Throws FluxError EPROTO. */
  open(flags: number, bytes: Uint8Array, start: number, end: number): Opened;
}
