// A listening endpoint: accepts connections, runs their handshakes, hands over those that succeed.
import { chmodSync, lstatSync, unlinkSync } from "node:fs";
import type { AddressInfo, Server, Socket } from "node:net";
import { errno, FluxError, isErrno, toFluxError } from "../../message/errno.ts";
import { loadBox } from "./box.ts";
import { startConnection, type HandshakeHandle, type ZmtpConnection } from "./connection.ts";
import { curveServer } from "./curve.ts";
import { formatEndpoint, formatHostPort, parseEndpoint, type Endpoint } from "./endpoint.ts";
import type { Keypair } from "./keypair.ts";
import { nullSecurity } from "./null.ts";
import { refuseClearTcp, settingsOf, type CommonOptions, type NetLayer, type Settings } from "./options.ts";
import type { Security } from "./security.ts";

export interface ZmtpListener {
  /** The actual endpoint, with the port that the system chose. */
  endpoint: string;
  /** Stops listening and drops unfinished handshakes; connections that were handed over live on. */
  close(): Promise<void>;
}

export type ListenSecurity =
  | { kind: "null" }
  | {
      kind: "curve";
      serverKey: Keypair;
      /** Whether the client with this long-term key, from this address, is welcome. */
      authorize(publicKeyZ85: string, address: string): boolean;
    };

export interface ListenOptions extends CommonOptions {
  security: ListenSecurity;
  /** A connection whose handshake is over. Set its handlers here. */
  onPeer(connection: ZmtpConnection): void;
  /** A connection that came to nothing, and why. */
  onRefused?(reason: string, address: string): void;
}

/** Nobody but the user who runs us. */
const SOCKET_MODE = 0o700;
const BACKLOG = 512;

/** Listens. Rejects with FluxError: EINVAL (endpoint), EADDRINUSE, EACCES, … */
export async function listen(endpoint: string, options: ListenOptions): Promise<ZmtpListener> {
  const parsed = parseEndpoint(endpoint);
  refuseClearTcp(parsed, endpoint, options.security.kind);
  const settings = settingsOf(options);
  const newSecurity = await securityFactory(options, settings);
  const pending = new Set<HandshakeHandle>();
  const server = settings.net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    accept(socket, parsed, options, settings, newSecurity, pending);
  });
  try {
    await bind(server, parsed, settings.net);
  } catch (thrown) {
    const error = toFluxError(thrown, errno.EADDRNOTAVAIL);
    throw new FluxError(error.errno, `${endpoint}: ${error.message}`, { cause: thrown });
  }
  // A descriptor limit or an aborted connection ends one accept, not the listener.
  server.on("error", (error: Error) => options.onRefused?.(`accept: ${error.message}`, endpoint));
  return { endpoint: actualEndpoint(server, parsed), close: async () => closeServer(server, pending) };
}

async function securityFactory(options: ListenOptions, settings: Settings): Promise<(address: string) => Security> {
  const { security } = options;
  const local = { socketType: settings.socketType, identity: settings.identity };
  if (security.kind === "null") return () => nullSecurity(local);
  const box = await loadBox(options.backend);
  return (address) =>
    curveServer(box, {
      serverKey: security.serverKey,
      local,
      randomBytes: settings.randomBytes,
      authorize: (publicKey) => security.authorize(publicKey, address),
    });
}

function accept(
  socket: Socket,
  endpoint: Endpoint,
  options: ListenOptions,
  settings: Settings,
  newSecurity: (address: string) => Security,
  pending: Set<HandshakeHandle>,
): void {
  const address = endpoint.kind === "ipc" ? endpoint.path : formatHostPort(socket.remoteAddress ?? "?", socket.remotePort ?? 0);
  if (pending.size >= settings.limits.max_handshakes) {
    socket.on("error", () => socket.destroy());
    socket.destroy();
    options.onRefused?.(`${pending.size} handshakes are under way: max_handshakes is reached`, address);
    return;
  }
  let handle: HandshakeHandle | undefined;
  let over = false;
  const settle = () => {
    over = true;
    if (handle !== undefined) pending.delete(handle);
  };
  handle = startConnection({
    socket,
    security: newSecurity(address),
    socketType: settings.socketType,
    peerAddress: address,
    limits: settings.limits,
    heartbeat: settings.heartbeat,
    clock: settings.clock,
    ready(connection) {
      settle();
      options.onPeer(connection);
    },
    failed(error) {
      settle();
      options.onRefused?.(error.message, address);
    },
  });
  if (!over) pending.add(handle);
}

async function bind(server: Server, endpoint: Endpoint, net: NetLayer): Promise<void> {
  if (endpoint.kind === "tcp") return await listening(server, { host: endpoint.host, port: endpoint.port, backlog: BACKLOG });
  const { path } = endpoint;
  try {
    await listening(server, { path, backlog: BACKLOG });
  } catch (error) {
    if (!isErrno(toFluxError(error), errno.EADDRINUSE) || !isSocket(path) || (await isAlive(path, net))) throw error;
    unlinkSync(path);
    await listening(server, { path, backlog: BACKLOG });
  }
  chmodSync(path, SOCKET_MODE);
}

function listening(server: Server, options: { host: string; port: number; backlog: number } | { path: string; backlog: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error) => reject(error);
    server.once("error", failed);
    server.listen(options, () => {
      server.off("error", failed);
      resolve();
    });
  });
}

/** Only a socket may be replaced: a connection to an ordinary file is refused too. */
function isSocket(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isSocket() === true;
}

/** False when the socket file is what a dead process left behind. */
function isAlive(path: string, net: NetLayer): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = net.connect({ path });
    probe.on("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.on("error", (error: Error) => resolve(!isErrno(toFluxError(error), errno.ECONNREFUSED)));
  });
}

function actualEndpoint(server: Server, endpoint: Endpoint): string {
  if (endpoint.kind === "ipc") return formatEndpoint(endpoint);
  const { port } = server.address() as AddressInfo;
  return formatEndpoint({ ...endpoint, port });
}

function closeServer(server: Server, pending: Set<HandshakeHandle>): void {
  // The callback would wait for the connections that were handed over. The descriptor is closed at once, and so is the
  // socket's file removed.
  server.close();
  for (const handle of pending) handle.abort(new FluxError(errno.ESHUTDOWN, "the listener was closed"));
}
