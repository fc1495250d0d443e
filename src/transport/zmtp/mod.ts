// ZeroMQ's wire protocol ZMTP 3.1 (ZeroMQ RFC 37) with NULL and CURVE (RFC 26) security, over tcp:// and ipc://.
// It interoperates with libzmq 4.3 as a DEALER or a ROUTER, one connection at a time: routing is the overlay's.
export { loadBox, type BoxBackend, type CryptoBox } from "./box.ts";
export { systemClock, type Clock } from "./clock.ts";
export type { ZmtpConnection } from "./connection.ts";
export { connect, type ConnectOptions, type ConnectSecurity } from "./connector.ts";
export { formatEndpoint, parseEndpoint, type Endpoint } from "./endpoint.ts";
export type { HeartbeatSettings } from "./heartbeat.ts";
export {
  decodeKey,
  decodeZ85,
  encodeZ85,
  formatCertificate,
  generateKeypair,
  keypairOf,
  parseCertificate,
  type Certificate,
  type Keypair,
} from "./keypair.ts";
export { defaultLimits, type Limits } from "./limits.ts";
export { listen, type ListenOptions, type ListenSecurity, type ZmtpListener } from "./listener.ts";
export type { NetLayer, SocketType } from "./options.ts";
