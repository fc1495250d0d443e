// The bounds of one connection and of a listener. Reaching one is an error that names it.

export interface Limits {
  /** Sum of the parts of one message, both directions. */
  max_message_bytes: number;
  /** Parts in one message, both directions. */
  max_parts: number;
  /** Bytes waiting to be sent, framing included. A single message may exceed it when nothing else waits. */
  max_queue_bytes: number;
  /** Messages waiting to be sent. */
  max_queue_messages: number;
  /** Largest frame of a peer that has not authenticated. */
  max_handshake_frame_bytes: number;
  /** From accepted (or connected) to authenticated. */
  handshake_timeout_ms: number;
  /** Connections of one listener that have not authenticated yet. */
  max_handshakes: number;
  /** How long a closed connection may take to deliver what was queued and to see the peer's end. */
  linger_ms: number;
}

export const defaultLimits: Limits = {
  max_message_bytes: 64 * 1024 * 1024,
  max_parts: 1024,
  max_queue_bytes: 16 * 1024 * 1024,
  max_queue_messages: 65_536,
  max_handshake_frame_bytes: 4096,
  handshake_timeout_ms: 10_000,
  max_handshakes: 1024,
  linger_ms: 1000,
};
