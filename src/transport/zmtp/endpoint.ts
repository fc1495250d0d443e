// Endpoints: `tcp://host:port`, `tcp://*:0`, `tcp://[::1]:port` and `ipc:///path`, as libzmq writes them.
import { errno, FluxError } from "../../message/errno.ts";

/** sun_path holds 108 bytes with its NUL. */
const IPC_PATH_MAX = 107;

export type Endpoint = { kind: "tcp"; host: string; port: number } | { kind: "ipc"; path: string };

/** Reads an endpoint. The host `*` is 0.0.0.0, the port `*` is 0. Throws FluxError EINVAL, or ENAMETOOLONG for a path. */
export function parseEndpoint(text: string): Endpoint {
  if (text.startsWith("ipc://")) return parseIpc(text, text.slice(6));
  if (text.startsWith("tcp://")) return parseTcp(text, text.slice(6));
  throw new FluxError(errno.EINVAL, `endpoint '${text}': expected tcp:// or ipc://`);
}

function parseIpc(text: string, path: string): Endpoint {
  if (!path.startsWith("/") || path.includes("\0")) {
    throw new FluxError(errno.EINVAL, `endpoint '${text}': expected an absolute path after ipc://`);
  }
  if (Buffer.byteLength(path) > IPC_PATH_MAX) {
    throw new FluxError(errno.ENAMETOOLONG, `endpoint '${text}': a socket path has at most ${IPC_PATH_MAX} bytes`);
  }
  return { kind: "ipc", path };
}

function parseTcp(text: string, address: string): Endpoint {
  const match = /^(?:\[([0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?)\]|([A-Za-z0-9_.*-]+)):(\*|[0-9]{1,5})$/.exec(address);
  const host = match?.[1] ?? match?.[2];
  const portText = match?.[3];
  if (host === undefined || portText === undefined || (host.includes("*") && host !== "*")) {
    throw new FluxError(errno.EINVAL, `endpoint '${text}': expected tcp://host:port`);
  }
  const port = portText === "*" ? 0 : Number(portText);
  if (port > 65_535) throw new FluxError(errno.EINVAL, `endpoint '${text}': a port is at most 65535`);
  return { kind: "tcp", host: host === "*" ? "0.0.0.0" : host, port };
}

/** The text of an endpoint, IPv6 addresses in brackets. */
export function formatEndpoint(endpoint: Endpoint): string {
  if (endpoint.kind === "ipc") return `ipc://${endpoint.path}`;
  return `tcp://${formatHostPort(endpoint.host, endpoint.port)}`;
}

/** `host:port`, IPv6 in brackets, IPv4 in IPv6 as plain IPv4. */
export function formatHostPort(host: string, port: number): string {
  const plain = host.startsWith("::ffff:") && host.includes(".") ? host.slice(7) : host;
  return plain.includes(":") ? `[${plain}]:${port}` : `${plain}:${port}`;
}
