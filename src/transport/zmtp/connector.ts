// Connecting to an endpoint: one attempt, within a time limit, that ends with a connection or an error that says why.
import { errno, FluxError, toFluxError } from "../../message/errno.ts";
import { loadBox } from "./box.ts";
import { startConnection, type ZmtpConnection } from "./connection.ts";
import { curveClient } from "./curve.ts";
import { parseEndpoint, type Endpoint } from "./endpoint.ts";
import { decodeKey, type Keypair } from "./keypair.ts";
import { nullSecurity } from "./null.ts";
import { refuseClearTcp, settingsOf, type CommonOptions, type Settings } from "./options.ts";
import type { Security } from "./security.ts";

export type ConnectSecurity =
  | null
  | { kind: "null" }
  | {
      kind: "curve";
      keypair: Keypair;
      /** Z85. */
      serverPublicKey: string;
    };

export interface ConnectOptions extends CommonOptions {
  security: ConnectSecurity;
  /** For everything, from the name's resolution to the end of the handshake. */
  timeout_ms: number;
}

/**
 * Connects. Rejects with FluxError: ECONNREFUSED or ENOENT (nobody listens), EHOSTUNREACH, ETIMEDOUT, EPERM (one side does
 * not accept the other's key, or refused for the reason in the text), EPROTO, ECONNRESET.
 */
export async function connect(endpoint: string, options: ConnectOptions): Promise<ZmtpConnection> {
  const parsed = parseEndpoint(endpoint);
  refuseClearTcp(parsed, endpoint, options.security?.kind ?? "null");
  const settings = settingsOf(options);
  settings.limits.handshake_timeout_ms = options.timeout_ms;
  const security = await newSecurity(options, settings);
  try {
    return await attempt(parsed, options.timeout_ms, settings, security);
  } catch (thrown) {
    const error = toFluxError(thrown, errno.EHOSTUNREACH);
    throw new FluxError(error.errno, `${endpoint}: ${error.message}`, { cause: thrown });
  }
}

async function newSecurity(options: ConnectOptions, settings: Settings): Promise<Security> {
  const { security } = options;
  const local = { socketType: settings.socketType, identity: settings.identity };
  if (security === null || security.kind === "null") return nullSecurity(local);
  return curveClient(await loadBox(options.backend), {
    keypair: security.keypair,
    serverPublicKey: decodeKey(security.serverPublicKey),
    local,
    randomBytes: settings.randomBytes,
  });
}

function attempt(endpoint: Endpoint, timeout_ms: number, settings: Settings, security: Security): Promise<ZmtpConnection> {
  return new Promise((resolve, reject) => {
    const { clock, limits, heartbeat, socketType } = settings;
    const target = endpoint.kind === "ipc" ? { path: endpoint.path } : { host: endpoint.host, port: endpoint.port, noDelay: true };
    const socket = settings.net.connect({ ...target, allowHalfOpen: true });
    const started_ms = clock.now_ms();
    const cancel = clock.timer(timeout_ms, () => {
      socket.destroy();
      reject(new FluxError(errno.ETIMEDOUT, `no connection within ${timeout_ms} ms`));
    });
    const failed = (error: Error) => {
      cancel();
      socket.destroy();
      reject(error);
    };
    socket.once("error", failed);
    socket.once("connect", () => {
      cancel();
      socket.off("error", failed);
      const left_ms = Math.max(1, Math.ceil(timeout_ms - (clock.now_ms() - started_ms)));
      startConnection({
        socket,
        security,
        socketType,
        peerAddress: endpoint.kind === "ipc" ? endpoint.path : `${endpoint.host}:${endpoint.port}`,
        limits: { ...limits, handshake_timeout_ms: left_ms },
        heartbeat,
        clock,
        ready: resolve,
        failed: reject,
      });
    });
  });
}
