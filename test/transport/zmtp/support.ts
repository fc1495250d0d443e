// What the tests of this folder share: waiting for one event, connected pairs, a clock turned by hand.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  connect,
  encodeZ85,
  generateKeypair,
  listen,
  type BoxBackend,
  type Clock,
  type ConnectOptions,
  type Keypair,
  type ListenOptions,
  type ZmtpConnection,
  type ZmtpListener,
} from "../../../src/transport/zmtp/mod.ts";

export interface Once<T> {
  promise: Promise<T>;
  resolve: (value: T) => void;
}

export function once<T>(): Once<T> {
  const { promise, resolve } = Promise.withResolvers<T>();
  return { promise, resolve: (value) => resolve(value) };
}

/** Hands out what arrives, in order, to whoever waits. */
export function queue<T>(): { put: (value: T) => void; next: () => Promise<T>; readonly size: number } {
  const values: T[] = [];
  const waiting: ((value: T) => void)[] = [];
  return {
    put(value) {
      const next = waiting.shift();
      if (next === undefined) values.push(value);
      else next(value);
    },
    next() {
      if (values.length > 0) return Promise.resolve(values.shift() as T);
      return new Promise((resolve) => waiting.push(resolve));
    },
    get size() {
      return values.length;
    },
  };
}

export function temporaryDirectory(): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), "zmtp-test-"));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

export interface Pair {
  listener: ZmtpListener;
  server: ZmtpConnection;
  client: ZmtpConnection;
  serverKey: Keypair;
  clientKey: Keypair;
  close(): Promise<void>;
}

/** Ours to ours: CURVE over tcp, or NULL over the UNIX socket at `path`. */
export async function pair(
  how: { backend?: BoxBackend; path?: string },
  listenOptions: Partial<ListenOptions> = {},
  connectOptions: Partial<ConnectOptions> = {},
): Promise<Pair> {
  const [serverKey, clientKey] = [generateKeypair(), generateKeypair()];
  const accepted = once<ZmtpConnection>();
  const backend = how.backend === undefined ? {} : { backend: how.backend };
  const listener = await listen(how.path === undefined ? "tcp://127.0.0.1:*" : `ipc://${how.path}`, {
    socketType: "ROUTER",
    security: how.path === undefined ? { kind: "curve", serverKey, authorize: () => true } : { kind: "null" },
    onPeer: accepted.resolve,
    ...backend,
    ...listenOptions,
  });
  const client = await connect(listener.endpoint, {
    socketType: "DEALER",
    timeout_ms: 5000,
    security:
      how.path === undefined
        ? { kind: "curve", keypair: clientKey, serverPublicKey: encodeZ85(serverKey.publicKey) }
        : null,
    ...backend,
    ...connectOptions,
  });
  const server = await accepted.promise;
  const close = async () => {
    client.destroy("the test is over");
    server.destroy("the test is over");
    await listener.close();
  };
  return { listener, server, client, serverKey, clientKey, close };
}

export interface HandClock extends Clock {
  /** Moves time on, firing what comes due in order. */
  advance(by_ms: number): void;
}

export function handClock(): HandClock {
  let now_ms = 1000;
  let timers: { at_ms: number; fire: () => void }[] = [];
  return {
    now_ms: () => now_ms,
    timer(delay_ms, fire) {
      const timer = { at_ms: now_ms + delay_ms, fire };
      timers.push(timer);
      return () => {
        timers = timers.filter((other) => other !== timer);
      };
    },
    advance(by_ms) {
      const end_ms = now_ms + by_ms;
      for (;;) {
        const due = timers.filter((timer) => timer.at_ms <= end_ms).sort((a, b) => a.at_ms - b.at_ms)[0];
        if (due === undefined) break;
        timers = timers.filter((timer) => timer !== due);
        now_ms = Math.max(now_ms, due.at_ms);
        due.fire();
      }
      now_ms = end_ms;
    },
  };
}

/** The thrown error, or a failure when there is none. */
export async function rejection(promise: Promise<unknown>): Promise<Error & { errno?: number }> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof Error) return error;
    throw error;
  }
  throw new Error("expected a rejection");
}
