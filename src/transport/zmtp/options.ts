// What listeners and connectors are told, and what they take from outside: time, randomness, network, crypto.
import { randomBytes as systemRandomBytes } from "node:crypto";
import * as net from "node:net";
import { errno, FluxError } from "../../message/errno.ts";
import type { BoxBackend } from "./box.ts";
import { systemClock, type Clock } from "./clock.ts";
import type { Endpoint } from "./endpoint.ts";
import type { HeartbeatSettings } from "./heartbeat.ts";
import type { RandomBytes } from "./keypair.ts";
import { defaultLimits, type Limits } from "./limits.ts";

export type SocketType = "ROUTER" | "DEALER";
/** The part of node:net in use. */
export type NetLayer = Pick<typeof net, "createServer" | "connect">;

export interface CommonOptions {
  socketType: SocketType;
  /** What we call ourselves, at most 255 bytes; empty when not given. */
  identity?: Uint8Array;
  /** Bounds that differ from `defaultLimits`. */
  limits?: Partial<Limits>;
  /** No PINGs of our own when not given. */
  heartbeat?: HeartbeatSettings;
  clock?: Clock;
  randomBytes?: RandomBytes;
  net?: NetLayer;
  /** The crypto back end; by default the fastest that is there. */
  backend?: BoxBackend;
}

export interface Settings {
  socketType: SocketType;
  identity: Uint8Array;
  limits: Limits;
  heartbeat: HeartbeatSettings | undefined;
  clock: Clock;
  randomBytes: RandomBytes;
  net: NetLayer;
}

export function settingsOf(options: CommonOptions): Settings {
  return {
    socketType: options.socketType,
    identity: options.identity ?? new Uint8Array(0),
    limits: { ...defaultLimits, ...options.limits },
    heartbeat: options.heartbeat,
    clock: options.clock ?? systemClock,
    randomBytes: options.randomBytes ?? systemRandomBytes,
    net: options.net ?? net,
  };
}

/** NULL has no cryptography at all: it is for UNIX sockets only. Throws FluxError EPERM. */
export function refuseClearTcp(endpoint: Endpoint, text: string, kind: "null" | "curve"): void {
  if (endpoint.kind === "tcp" && kind === "null") {
    throw new FluxError(errno.EPERM, `${text}: NULL security is only for ipc:// endpoints, use CURVE`);
  }
}
