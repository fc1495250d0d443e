// Against libzmq 4.3 (Debian's python3-zmq), both ways round.
import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { errno } from "../../../src/message/errno.ts";
import {
  connect,
  encodeZ85,
  generateKeypair,
  listen,
  type BoxBackend,
  type Keypair,
  type ListenOptions,
  type ZmtpConnection,
  type ZmtpListener,
} from "../../../src/transport/zmtp/mod.ts";
import { lacks, PYTHON } from "../../support/needs.ts";
import { once, queue, rejection, temporaryDirectory } from "./support.ts";

const BACKENDS: readonly BoxBackend[] = lacks("libsodium23") ? ["wasm"] : ["ffi", "wasm"];
const noPeer = lacks("python3-zmq");
const SHAPES: readonly (readonly number[])[] = [
  [0], [1], [100], [221], [222], [253], [254], [255], [256], [257], [65_535], [65_536], [300_000],
  [0, 0], [0, 5], [5, 0, 5], Array.from({ length: 100 }, () => 1), [255, 256, 0, 70_000], [10_000_000], [400_000, 3, 500_000],
];

interface PythonPeer {
  line(): Promise<Record<string, unknown>>;
  finish(): Promise<number>;
  signal(name: "SIGSTOP" | "SIGKILL"): void;
}

const cleanups: (() => unknown)[] = [];
const directory = temporaryDirectory();

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});
afterAll(() => directory.remove());

function python(options: Record<string, unknown>): PythonPeer {
  const child = Bun.spawn([PYTHON, join(import.meta.dir, "peer.py"), JSON.stringify(options)], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
  cleanups.push(() => child.kill("SIGKILL"));
  const reader = child.stdout.getReader();
  let text = "";
  return {
    async line() {
      while (!text.includes("\n")) {
        const { value, done } = await reader.read();
        if (done) throw new Error(`the libzmq peer ended early: ${text}`);
        text += Buffer.from(value).toString();
      }
      const end = text.indexOf("\n");
      const line = text.slice(0, end);
      text = text.slice(end + 1);
      return JSON.parse(line) as Record<string, unknown>;
    },
    async finish() {
      await child.stdin.end();
      return await child.exited;
    },
    signal: (name) => child.kill(name),
  };
}

function z85(keypair: Keypair): [string, string] {
  return [encodeZ85(keypair.publicKey), encodeZ85(keypair.secretKey)];
}

async function listening(endpoint: string, options: Partial<ListenOptions> & Pick<ListenOptions, "security">): Promise<ZmtpListener> {
  const listener = await listen(endpoint, {
    socketType: "ROUTER",
    onPeer(connection) {
      cleanups.push(() => connection.destroy("the test is over"));
      connection.onMessage = (parts) => connection.send(parts);
    },
    ...options,
  });
  cleanups.push(() => listener.close());
  return listener;
}

function partsOf(shape: readonly number[]): Buffer[] {
  return shape.map((size, index) => Buffer.alloc(size, `part ${index} `));
}

/** Sends every shape and a pipeline, and expects them back. */
async function exchange(connection: ZmtpConnection): Promise<void> {
  const received = queue<Uint8Array[]>();
  connection.onMessage = (parts) => received.put(parts);
  for (const shape of SHAPES) {
    const parts = partsOf(shape);
    connection.send(parts);
    const answer = await received.next();
    expect(answer.map((part) => part.length)).toEqual([...shape]);
    answer.forEach((part, i) => expect(parts[i]?.equals(part)).toBe(true));
  }
  for (let i = 0; i < 5000; i++) connection.send([Buffer.from(String(i)), Buffer.alloc(i % 300, "x")]);
  for (let i = 0; i < 5000; i++) {
    const [number, filler] = await received.next();
    if (Buffer.from(number ?? []).toString() !== String(i) || filler?.length !== i % 300) throw new Error(`message ${i} is wrong`);
  }
}

/** Resolves when something more, which can only be a PING or a PONG, has come from the peer. */
function heartbeatFrom(connection: ZmtpConnection): Promise<void> {
  const before_ms = connection.lastReceived_ms;
  return new Promise((resolve) => {
    const timer = setInterval(() => {
      if (connection.lastReceived_ms <= before_ms) return;
      clearInterval(timer);
      resolve();
    }, 5);
  });
}

describe.skipIf(noPeer)("NULL over ipc", () => {
  test("a libzmq DEALER talks to our listener", async () => {
    const listener = await listening(`ipc://${directory.path}/a`, { security: { kind: "null" } });
    const peer = python({ connect: listener.endpoint, type: "DEALER", task: "shapes" });
    expect(await peer.line()).toEqual({ shapes: SHAPES.length });
    expect(await peer.line()).toEqual({ pipelined: 5000 });
    expect(await peer.finish()).toBe(0);
  }, 60_000);

  test("we talk to a libzmq ROUTER", async () => {
    const peer = python({ bind: `ipc://${directory.path}/b`, type: "ROUTER", task: "echo" });
    const { endpoint } = await peer.line();
    const connection = await connect(String(endpoint), { socketType: "DEALER", security: null, timeout_ms: 5000 });
    cleanups.push(() => connection.destroy("the test is over"));
    await exchange(connection);
    expect(await peer.finish()).toBe(0);
  }, 60_000);

  test("identities are seen both ways", async () => {
    const accepted = once<ZmtpConnection>();
    const message = once<Uint8Array[]>();
    const listener = await listening(`ipc://${directory.path}/c`, {
      security: { kind: "null" },
      onPeer(connection) {
        connection.onMessage = message.resolve;
        accepted.resolve(connection);
      },
    });
    const peer = python({ connect: listener.endpoint, type: "DEALER", task: "say", identity: "rank 7", parts: ["hello", ""] });
    expect(Buffer.from((await accepted.promise).peerIdentity).toString()).toBe("rank 7");
    expect((await message.promise).map((part) => Buffer.from(part).toString())).toEqual(["hello", ""]);
    await peer.finish();
  }, 20_000);
});

describe.skipIf(noPeer).each(BACKENDS)("CURVE over tcp, %s", (backend) => {
  test("a libzmq DEALER talks to our listener", async () => {
    const [serverKey, clientKey] = [generateKeypair(), generateKeypair()];
    const authorized: string[] = [];
    const listener = await listening("tcp://127.0.0.1:*", {
      backend,
      security: {
        kind: "curve",
        serverKey,
        authorize: (publicKey, address) => {
          authorized.push(`${publicKey} ${address.split(":")[0]}`);
          return true;
        },
      },
    });
    const [publicKey] = z85(serverKey);
    const peer = python({ connect: listener.endpoint, type: "DEALER", task: "shapes", keys: z85(clientKey), server_key: publicKey });
    expect(await peer.line()).toEqual({ shapes: SHAPES.length });
    expect(await peer.line()).toEqual({ pipelined: 5000 });
    expect(await peer.finish()).toBe(0);
    expect(authorized).toEqual([`${encodeZ85(clientKey.publicKey)} 127.0.0.1`]);
  }, 60_000);

  test("we talk to a libzmq ROUTER", async () => {
    const [serverKey, clientKey] = [generateKeypair(), generateKeypair()];
    const allow = [encodeZ85(clientKey.publicKey)];
    const peer = python({ bind: "tcp://127.0.0.1:*", type: "ROUTER", task: "echo", server: z85(serverKey), allow });
    const { endpoint } = await peer.line();
    const connection = await connect(String(endpoint), {
      socketType: "DEALER",
      backend,
      security: { kind: "curve", keypair: clientKey, serverPublicKey: encodeZ85(serverKey.publicKey) },
      timeout_ms: 5000,
    });
    cleanups.push(() => connection.destroy("the test is over"));
    await exchange(connection);
    expect(await peer.finish()).toBe(0);
  }, 60_000);
});

describe.skipIf(noPeer)("refusals", () => {
  test("a libzmq client whose key is not authorized is told so and stays away", async () => {
    const serverKey = generateKeypair();
    const refused: string[] = [];
    const listener = await listening("tcp://127.0.0.1:*", {
      security: { kind: "curve", serverKey, authorize: () => false },
      onRefused: (reason) => refused.push(reason),
    });
    const keys = z85(generateKeypair());
    const peer = python({ connect: listener.endpoint, type: "DEALER", task: "events", keys, server_key: z85(serverKey)[0] });
    const { events, retried } = await peer.line();
    expect(events).toContain("EVENT_HANDSHAKE_FAILED_AUTH");
    expect(retried).toBe(false);
    expect(refused).toEqual([`the public key ${keys[0]} is not authorized`]);
  }, 30_000);

  test("a libzmq client that expects another server is refused and stays away", async () => {
    const refused: string[] = [];
    const listener = await listening("tcp://127.0.0.1:*", {
      security: { kind: "curve", serverKey: generateKeypair(), authorize: () => true },
      onRefused: (reason) => refused.push(reason),
    });
    const [otherKey] = z85(generateKeypair());
    const peer = python({ connect: listener.endpoint, type: "DEALER", task: "events", keys: z85(generateKeypair()), server_key: otherKey });
    expect((await peer.line())["retried"]).toBe(false);
    expect(refused).toEqual(["HELLO does not open: the client expects a server with another public key"]);
  }, 30_000);

  test("a libzmq server refuses our key", async () => {
    const serverKey = generateKeypair();
    const peer = python({ bind: "tcp://127.0.0.1:*", type: "ROUTER", task: "echo", server: z85(serverKey), allow: [] });
    const { endpoint } = await peer.line();
    const error = await rejection(
      connect(String(endpoint), {
        socketType: "DEALER",
        security: { kind: "curve", keypair: generateKeypair(), serverPublicKey: encodeZ85(serverKey.publicKey) },
        timeout_ms: 5000,
      }),
    );
    expect(error.message).toContain("the peer does not authorize our public key");
    expect(error.errno).toBe(errno.EPERM);
  }, 20_000);

  test("a libzmq server with another key ends our attempt", async () => {
    const peer = python({ bind: "tcp://127.0.0.1:*", type: "ROUTER", task: "echo", server: z85(generateKeypair()) });
    const { endpoint } = await peer.line();
    const error = await rejection(
      connect(String(endpoint), {
        socketType: "DEALER",
        security: { kind: "curve", keypair: generateKeypair(), serverPublicKey: encodeZ85(generateKeypair().publicKey) },
        timeout_ms: 5000,
      }),
    );
    expect(error.errno).toBe(errno.ECONNRESET);
    expect(error.message).toContain("during the handshake");
  }, 20_000);
});

describe.skipIf(noPeer).each(["null", "curve"] as const)("heartbeats with %s", (kind) => {
  const serverKey = generateKeypair();
  const security: ListenOptions["security"] = kind === "null" ? { kind } : { kind, serverKey, authorize: () => true };
  const keys = kind === "null" ? {} : { keys: z85(generateKeypair()), server_key: encodeZ85(serverKey.publicKey) };
  const endpoint = (name: string) => (kind === "null" ? `ipc://${directory.path}/${name}` : "tcp://127.0.0.1:*");

  test("libzmq's PINGs are answered, and ours by libzmq", async () => {
    const closed = once<Error | undefined>();
    const listener = await listening(endpoint("h1"), {
      security,
      heartbeat: { interval_ms: 40, timeout_ms: 300, ttl_ms: 400 },
      onPeer(connection) {
        connection.onMessage = (parts) => connection.send(parts);
        connection.onClose = closed.resolve;
      },
    });
    const peer = python({ connect: listener.endpoint, type: "DEALER", task: "quiet", for_ms: 1000, heartbeat: [50, 300, 400], ...keys });
    expect(await peer.line()).toEqual({ quiet: 1000 });
    await peer.finish();
    expect(await closed.promise).toBeUndefined();
  }, 20_000);

  test.each([
    ["its time to live", undefined, [50, 300, 400]],
    ["our timeout", { interval_ms: 50, timeout_ms: 300, ttl_ms: 0 }, undefined],
  ] as const)("a stopped libzmq peer is given up after %s", async (_name, ours, theirs) => {
    const closed = once<Error | undefined>();
    const said = once<Uint8Array[]>();
    const accepted = once<ZmtpConnection>();
    const listener = await listening(endpoint("h2"), {
      security,
      ...(ours === undefined ? {} : { heartbeat: ours }),
      onPeer(connection) {
        connection.onMessage = said.resolve;
        connection.onClose = closed.resolve;
        accepted.resolve(connection);
      },
    });
    const heartbeat = theirs === undefined ? {} : { heartbeat: theirs };
    const peer = python({ connect: listener.endpoint, type: "DEALER", task: "say", parts: ["hello"], ...heartbeat, ...keys });
    await said.promise;
    await heartbeatFrom(await accepted.promise);
    peer.signal("SIGSTOP");
    const error = await closed.promise;
    expect(error).toMatchObject({ errno: errno.ETIMEDOUT });
  }, 20_000);
});
