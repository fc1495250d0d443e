// The local socket (local://PATH, RFC 3 framing): where the programs of this host come in.
//
// Who a client is says the kernel (SO_PEERCRED). The owner gets every right; root (access.allow-root-owner) and other
// users (access.allow-guest-user) only when the configuration lets them (access.ts). The first byte from us is 0 for "welcome",
// otherwise the errno of the refusal. A client that sends nonsense, or never reads, loses its own connection only.
import type { Socket, UnixSocketListener } from "bun";
import { errno, FluxError, toFluxError } from "../message/errno.ts";
import type { Message } from "../message/message.ts";
import { isOwner, ROLE_LOCAL, ROLE_NONE, USERID_UNKNOWN } from "../message/roles.ts";
import { peerCredentials } from "../os/credentials.ts";
import { getRlimit } from "../os/limits.ts";
import { listenAt, removeSocket } from "../os/socket-path.ts";
import { UnixLink } from "../transport/unix.ts";
import { type AccessRules, rolesOf } from "./access.ts";
import type { EndpointRouter } from "./router.ts";

/** Anybody may connect: who is let in is decided by credentials. The directory around it is the owner's. */
const SOCKET_MODE = 0o777;
/** Descriptors kept for everything else: files, pipes of subprocesses, links between brokers. */
const DESCRIPTOR_RESERVE = 256;
const CLIENTS_MAX = 16_384;

export interface LocalConnectorOptions {
  readonly path: string;
  readonly router: EndpointRouter;
  readonly owner: number;
  readonly newId: () => string;
  readonly access: () => AccessRules;
  readonly log: (level: 3 | 4 | 7, text: string) => void;
  /** Connections at a time; default: what the descriptors allow. */
  readonly clientsMax?: number;
}

export interface LocalConnector {
  readonly clientCount: number;
  /** Ends all connections, after what is queued has been sent, and removes the socket. */
  close(): void;
}

interface Client {
  link: UnixLink;
  id: string | undefined;
}

export function listenLocal(options: LocalConnectorOptions): LocalConnector {
  const clients = new Set<Client>();
  const limit = options.clientsMax ?? clientLimit();
  /** Clients are being refused, and that was said: once until there is room again. */
  let full = false;
  const handlers: Bun.SocketHandler<Client> = {
    binaryType: "buffer",
    open(socket) {
      const link = new UnixLink(socket);
      const client: Client = { link, id: undefined };
      socket.data = client;
      const refusal = clients.size >= limit ? errno.EMFILE : undefined;
      if (refusal !== undefined) {
        if (!full) options.log(4, `connector-local: ${clients.size} clients are connected: refusing more`);
        full = true;
        return refuse(link, refusal);
      }
      clients.add(client);
      admit(options, client, socket);
    },
    data: (socket, chunk) => socket.data.link.handleData(chunk),
    drain: (socket) => socket.data.link.handleDrain(),
    error: (socket, err) => socket.data.link.handleClose(toFluxError(err, errno.EIO)),
    close(socket) {
      clients.delete(socket.data);
      if (clients.size < limit) full = false;
      socket.data.link.handleClose(undefined);
    },
  };
  const server: UnixSocketListener<Client> = listenAt(options.path, SOCKET_MODE, (path) => Bun.listen<Client>({ unix: path, socket: handlers }));
  return {
    get clientCount() {
      return clients.size;
    },
    close() {
      server.stop();
      for (const client of clients) client.link.close();
      removeSocket(options.path);
    },
  };
}

function clientLimit(): number {
  const { soft } = getRlimit("nofile");
  return soft < 0 ? CLIENTS_MAX : Math.max(16, Math.min(CLIENTS_MAX, soft - DESCRIPTOR_RESERVE));
}

function refuse(link: UnixLink, number: number): void {
  link.start(
    () => {},
    () => {},
  );
  link.sendRaw(Buffer.from([number]));
  link.close();
}

function admit(options: LocalConnectorOptions, client: Client, socket: Socket<Client>): void {
  let uid: number;
  try {
    ({ uid } = peerCredentials((socket as Socket<Client> & { fd: number }).fd));
  } catch (err) {
    options.log(3, `connector-local: cannot tell who connects: ${toFluxError(err).message}`);
    return refuse(client.link, errno.EPERM);
  }
  const rolemask = rolesOf(uid, options.owner, options.access(), (text) => options.log(4, text));
  if (rolemask === undefined) return refuse(client.link, errno.EPERM);
  connectEndpoint(options, client, uid, rolemask | ROLE_LOCAL);
}

function connectEndpoint(options: LocalConnectorOptions, client: Client, userid: number, rolemask: number): void {
  const { router } = options;
  const { link } = client;
  const id = options.newId();
  const endpoint = {
    id,
    name: "client",
    mayVanish: true,
    userid,
    rolemask,
    send: (message: Message) => link.send(message),
    failed(reason: FluxError) {
      if (reason.errno === errno.ENOBUFS) options.log(4, `connector-local: dropping a client of user ${userid}: ${reason.message}`);
      link.destroy(reason);
    },
  };
  router.addEndpoint(endpoint);
  link.sendRaw(Buffer.from([0]));
  link.start(
    (message) => {
      stamp(message, userid, rolemask);
      router.fromEndpoint(id, message);
    },
    (reason) => {
      if (reason?.errno === errno.EPROTO) options.log(4, `connector-local: dropping a client of user ${userid}: ${reason.message}`);
      router.removeEndpoint(id);
    },
  );
}

/**
 * Who sends is what the kernel says; only the owner may speak for somebody else (RFC 12). Of his messages each field
 * that is not set is filled in: flux-proxy(1) passes messages on with a user id but without roles.
 */
function stamp(message: Message, userid: number, rolemask: number): void {
  const trusted = isOwner({ userid, rolemask });
  if (!trusted || message.userid === USERID_UNKNOWN) message.userid = userid;
  if (!trusted || message.rolemask === ROLE_NONE) message.rolemask = rolemask;
}
