// Ours to ours over real sockets: messages, bounds, closing, refusals, time limits, and peers that send rubbish.
import { dlopen } from "bun:ffi";
import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { existsSync, fstatSync, statSync, writeFileSync } from "node:fs";
import * as net from "node:net";
import { errno, FluxError } from "../../../src/message/errno.ts";
import { encodeCommand } from "../../../src/transport/zmtp/command.ts";
import { encodeFrame } from "../../../src/transport/zmtp/frame.ts";
import { encodeGreeting } from "../../../src/transport/zmtp/greeting.ts";
import { connect, encodeZ85, generateKeypair, listen, type BoxBackend, type ListenOptions, type ZmtpConnection } from "../../../src/transport/zmtp/mod.ts";
import { lacks } from "../../support/needs.ts";
import { once, pair, queue, rejection, temporaryDirectory } from "./support.ts";

const directory = temporaryDirectory();
const cleanups: (() => unknown)[] = [];
let serial = 0;

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});
afterAll(() => directory.remove());

const LIBC = dlopen("libc.so.6", { shutdown: { args: ["i32", "i32"], returns: "i32" } });
const SHUT_RDWR = 2;
const socketPath = () => `${directory.path}/socket${serial++}`;
const KINDS: readonly (readonly [string, () => { backend?: BoxBackend; path?: string }])[] = [
  ["NULL ipc", () => ({ path: socketPath() })],
  ...(lacks("libsodium23") ? [] : [["CURVE ffi", () => ({ backend: "ffi" as const })] as const]),
  ["CURVE wasm", () => ({ backend: "wasm" })],
];

async function pairOf(...args: Parameters<typeof pair>): ReturnType<typeof pair> {
  const both = await pair(...args);
  cleanups.push(() => both.close());
  return both;
}

const otherServer = () => ({ kind: "curve" as const, keypair: generateKeypair(), serverPublicKey: encodeZ85(generateKeypair().publicKey) });
const greeting = (mechanism: string) => Buffer.from(encodeGreeting(mechanism, false));

function nullOptions(): ListenOptions {
  return { socketType: "ROUTER", security: { kind: "null" }, onPeer: () => undefined };
}

function errorOf(send: () => void): unknown {
  try {
    send();
  } catch (error) {
    return error;
  }
  return undefined;
}

const text = (parts: Uint8Array[]) => parts.map((part) => Buffer.from(part).toString());

describe.each(KINDS)("%s", (_name, how) => {
  test("messages keep their order and parts, both ways at once", async () => {
    const { server, client } = await pairOf(how());
    const sizes = [0, 1, 100, 255, 256, 5000, 70_000, 300_000, 2_000_000];
    const [atServer, atClient] = [queue<Uint8Array[]>(), queue<Uint8Array[]>()];
    server.onMessage = (parts) => atServer.put(parts);
    client.onMessage = (parts) => atClient.put(parts);
    const messages = sizes.map((size, i) => [Buffer.from(String(i)), new Uint8Array(size).fill(i), new Uint8Array(0)]);
    for (const message of messages) {
      client.send(message);
      server.send(message);
    }
    for (const inbox of [atServer, atClient]) {
      for (const message of messages) {
        const got = await inbox.next();
        expect(got.length).toBe(3);
        got.forEach((part, i) => expect(Buffer.compare(part, message[i] ?? new Uint8Array(0))).toBe(0));
      }
    }
  });

  test("who is who", async () => {
    const before_ms = performance.now();
    const { server, client, clientKey } = await pairOf(
      how(),
      { identity: Buffer.from("parent") },
      { identity: Buffer.from("child") },
    );
    expect([text([server.peerIdentity]), text([client.peerIdentity])]).toEqual([["child"], ["parent"]]);
    expect(client.peerPublicKey).toBeUndefined();
    if (_name !== "NULL ipc") expect(server.peerPublicKey).toBe(encodeZ85(clientKey.publicKey));
    expect(fstatSync(server.fd).isSocket()).toBe(true);
    expect(server.lastReceived_ms).toBeGreaterThanOrEqual(before_ms);
  });

  test("close delivers what was queued, and both ends see an orderly end", async () => {
    const { server, client } = await pairOf(how());
    const [got, serverEnd, clientEnd] = [queue<Uint8Array[]>(), once<Error | undefined>(), once<Error | undefined>()];
    server.onMessage = (parts) => got.put(parts);
    server.onClose = serverEnd.resolve;
    client.onClose = clientEnd.resolve;
    for (let i = 0; i < 1000; i++) client.send([Buffer.from(String(i)), new Uint8Array(2000)]);
    client.close();
    expect(() => client.send([new Uint8Array(1)])).toThrow("is closed");
    for (let i = 0; i < 1000; i++) expect(text([(await got.next())[0] ?? new Uint8Array(0)])).toEqual([String(i)]);
    expect(await serverEnd.promise).toBeUndefined();
    expect(await clientEnd.promise).toBeUndefined();
  });

  test("a peer's end that a write meets first is as orderly as one that was read", async () => {
    const { server, client } = await pairOf(how());
    const end = once<Error | undefined>();
    server.onMessage = () => undefined;
    server.onClose = end.resolve;
    // Both in one turn of the event loop, so that nothing can be read in between.
    expect(LIBC.symbols.shutdown(client.fd, SHUT_RDWR)).toBe(0);
    server.send([Buffer.from("too late")]);
    expect(await end.promise).toBeUndefined();
  });

  test("destroy tells the peer why", async () => {
    const { server, client } = await pairOf(how());
    const [serverEnd, clientEnd] = [once<Error | undefined>(), once<Error | undefined>()];
    server.onClose = serverEnd.resolve;
    client.onClose = clientEnd.resolve;
    client.onMessage = () => undefined;
    server.destroy("rank 3 is drained");
    expect(await serverEnd.promise).toMatchObject({ errno: errno.ECONNABORTED, message: "rank 3 is drained" });
    const error = await clientEnd.promise;
    expect(error).toMatchObject({ errno: errno.ECONNRESET });
    expect(error?.message).toContain("closed by the peer: rank 3 is drained");
  });

  test("the queue is bounded in bytes and in messages", async () => {
    const limits = { max_queue_bytes: 1_000_000, max_queue_messages: 10 };
    const { client } = await pairOf(how(), {}, { limits });
    client.send([new Uint8Array(2_000_000)]);
    expect(errorOf(() => client.send([new Uint8Array(1)]))).toMatchObject({ errno: errno.ENOBUFS });
    expect(client.queued_bytes).toBeGreaterThan(2_000_000);
    const { client: other } = await pairOf(how(), {}, { limits });
    for (let i = 0; i < 10; i++) other.send([new Uint8Array(1)]);
    expect(errorOf(() => other.send([new Uint8Array(1)]))).toMatchObject({ errno: errno.ENOBUFS });
    expect(errorOf(() => other.send([]))).toMatchObject({ errno: errno.EINVAL });
    expect(errorOf(() => other.send([new Uint8Array(65 * 1024 * 1024)]))).toMatchObject({ errno: errno.EMSGSIZE });
  });

  test("a message above the receiver's bound costs the connection", async () => {
    const { server, client } = await pairOf(how(), { limits: { max_message_bytes: 10_000 } });
    const ended = once<Error | undefined>();
    server.onMessage = () => undefined;
    server.onClose = ended.resolve;
    client.send([new Uint8Array(6000), new Uint8Array(6000)]);
    expect(await ended.promise).toMatchObject({ errno: errno.EMSGSIZE });
  });

  test("an exception of the owner costs the connection, not the process", async () => {
    const { server, client } = await pairOf(how());
    const ended = once<Error | undefined>();
    server.onMessage = () => {
      throw new FluxError(errno.ENOSYS, "cannot route");
    };
    server.onClose = ended.resolve;
    client.send([new Uint8Array(1)]);
    expect(await ended.promise).toMatchObject({ errno: errno.ENOSYS });
  });

  test("large messages leave turns to other connections", async () => {
    const [large, small] = [await pairOf(how()), await pairOf(how())];
    const COUNT = 8;
    const events = queue<string>();
    let arrived = 0;
    small.server.onMessage = (parts) => small.server.send(parts);
    small.client.onMessage = () => events.put("small");
    large.server.onMessage = () => {
      if (++arrived === 1) small.client.send([new Uint8Array(1)]);
      events.put("large");
    };
    for (let i = 0; i < COUNT; i++) large.client.send([new Uint8Array(1_500_000)]);
    const order = [];
    while (order.length < COUNT + 1) order.push(await events.next());
    expect(order.indexOf("small")).toBeLessThan(COUNT);
  });

  test("many heartbeats at once cost nothing", async () => {
    const { server, client } = await pairOf(how(), {}, { heartbeat: { interval_ms: 1, timeout_ms: 5000, ttl_ms: 5000 } });
    const got = once<Uint8Array[]>();
    server.onMessage = got.resolve;
    client.onMessage = () => undefined;
    const before_ms = client.lastReceived_ms;
    await new Promise<void>((resolve) => {
      const timer = setInterval(() => {
        if (client.lastReceived_ms < before_ms + 50) return;
        clearInterval(timer);
        resolve();
      }, 5);
    });
    client.send([Buffer.from("hello")]);
    expect(text(await got.promise)).toEqual(["hello"]);
  });
});

describe("connecting", () => {
  test("nobody listens", async () => {
    const server = net.createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as net.AddressInfo;
    await new Promise((resolve) => server.close(resolve));
    const tcp = await rejection(connect(`tcp://127.0.0.1:${port}`, { socketType: "DEALER", security: otherServer(), timeout_ms: 5000 }));
    expect(tcp.errno).toBe(errno.ECONNREFUSED);
    expect(tcp.message).toContain(`tcp://127.0.0.1:${port}: `);
    const ipc = await rejection(connect(`ipc://${socketPath()}`, { socketType: "DEALER", security: null, timeout_ms: 5000 }));
    expect(ipc.errno).toBe(errno.ENOENT);
  });

  test("a peer that says nothing", async () => {
    const server = net.createServer((socket) => socket.resume()).listen(0, "127.0.0.1");
    cleanups.push(() => server.close());
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as net.AddressInfo;
    const error = await rejection(connect(`tcp://127.0.0.1:${port}`, { socketType: "DEALER", security: otherServer(), timeout_ms: 100 }));
    expect(error.errno).toBe(errno.ETIMEDOUT);
  });

  test("NULL is not for tcp", async () => {
    expect((await rejection(connect("tcp://127.0.0.1:1", { socketType: "DEALER", security: null, timeout_ms: 1000 }))).errno).toBe(errno.EPERM);
    const options: ListenOptions = { socketType: "ROUTER", security: { kind: "null" }, onPeer: () => undefined };
    expect((await rejection(listen("tcp://127.0.0.1:*", options))).errno).toBe(errno.EPERM);
  });

  test("another server key, an unauthorized key, another mechanism, another socket type", async () => {
    const refused = queue<string>();
    const serverKey = generateKeypair();
    const listener = await listen("tcp://127.0.0.1:*", {
      socketType: "ROUTER",
      security: { kind: "curve", serverKey, authorize: () => false },
      onPeer: () => undefined,
      onRefused: (reason) => refused.put(reason),
    });
    cleanups.push(() => listener.close());
    const wrong = await rejection(connect(listener.endpoint, { socketType: "DEALER", security: otherServer(), timeout_ms: 5000 }));
    expect(wrong.errno).toBe(errno.EPERM);
    expect(wrong.message).toContain("another public key");
    expect(await refused.next()).toContain("another public key");
    const right = { ...otherServer(), serverPublicKey: encodeZ85(serverKey.publicKey) };
    const unauthorized = await rejection(connect(listener.endpoint, { socketType: "DEALER", security: right, timeout_ms: 5000 }));
    expect(unauthorized.errno).toBe(errno.EPERM);
    expect(unauthorized.message).toContain("does not authorize our public key");
    expect(await refused.next()).toContain(encodeZ85(right.keypair.publicKey));
    const dealer = await listen(`ipc://${socketPath()}`, { socketType: "ROUTER", security: { kind: "null" }, onPeer: () => undefined, onRefused: (reason) => refused.put(reason) });
    cleanups.push(() => dealer.close());
    const mechanism = await rejection(connect(dealer.endpoint, { socketType: "DEALER", security: right, timeout_ms: 5000 }));
    expect(mechanism.message).toContain("the peer wants NULL security");
  });

  test("32 at once", async () => {
    const serverKey = generateKeypair();
    let peers = 0;
    const listener = await listen("tcp://127.0.0.1:*", {
      socketType: "ROUTER",
      security: { kind: "curve", serverKey, authorize: () => true },
      onPeer: () => peers++,
    });
    cleanups.push(() => listener.close());
    const clients = await Promise.all(
      Array.from({ length: 32 }, () =>
        connect(listener.endpoint, { socketType: "DEALER", security: { ...otherServer(), serverPublicKey: encodeZ85(serverKey.publicKey) }, timeout_ms: 5000 }),
      ),
    );
    expect(peers).toBeGreaterThanOrEqual(31);
    for (const client of clients) client.destroy("the test is over");
  });
});

describe("listening", () => {
  test("a stale socket file is replaced, a live one is not, and ours is removed at close", async () => {
    const path = socketPath();
    const dies = `require("node:net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`;
    expect(Bun.spawnSync([process.execPath, "-e", dies]).signalCode).toBe("SIGKILL");
    expect(statSync(path).isSocket()).toBe(true);
    const listener = await listen(`ipc://${path}`, nullOptions());
    expect(statSync(path).mode & 0o777).toBe(0o700);
    expect((await rejection(listen(`ipc://${path}`, nullOptions()))).errno).toBe(errno.EADDRINUSE);
    await listener.close();
    expect(existsSync(path)).toBe(false);
  });

  test("a file that is no socket is left alone", async () => {
    const path = socketPath();
    writeFileSync(path, "precious");
    await rejection(listen(`ipc://${path}`, nullOptions()));
    expect(existsSync(path)).toBe(true);
  });

  test("connections outlive the listener", async () => {
    const { listener, server, client } = await pairOf({ path: socketPath() });
    const got = once<Uint8Array[]>();
    server.onMessage = got.resolve;
    await listener.close();
    client.send([Buffer.from("still here")]);
    expect(text(await got.promise)).toEqual(["still here"]);
  });
});

describe("rubbish", () => {
  const serverKey = generateKeypair();
  const ready = encodeFrame(4, encodeCommand("READY", Buffer.from("\x0bSocket-Type\0\0\0\x06DEALER", "latin1")));
  const STAGES: readonly (readonly [string, "null" | "curve", () => Uint8Array])[] = [
    ["at once", "null", () => randomBytes(200)],
    ["after half a greeting", "null", () => Buffer.concat([greeting("NULL").subarray(0, 20), randomBytes(500)])],
    ["after the greeting", "null", () => Buffer.concat([greeting("NULL"), randomBytes(500)])],
    ["after READY", "null", () => Buffer.concat([greeting("NULL"), ready, Uint8Array.of(0xf8), randomBytes(500)])],
    ["a huge frame before READY", "null", () => Buffer.concat([greeting("NULL"), Buffer.from("06000000ffffffffff", "hex"), randomBytes(500)])],
    ["a huge frame after READY", "null", () => Buffer.concat([greeting("NULL"), ready, Buffer.from("0200000fffffffffff", "hex")])],
    ["at once", "curve", () => randomBytes(200)],
    ["after the greeting", "curve", () => Buffer.concat([greeting("CURVE"), randomBytes(5000)])],
    ["in HELLO", "curve", () => Buffer.concat([greeting("CURVE"), encodeFrame(4, encodeCommand("HELLO", Uint8Array.of(1), randomBytes(193)))])],
    ["a message in place of HELLO", "curve", () => Buffer.concat([greeting("CURVE"), encodeFrame(0, randomBytes(100))])],
    ["INITIATE first", "curve", () => Buffer.concat([greeting("CURVE"), encodeFrame(4, encodeCommand("INITIATE", randomBytes(300)))])],
  ];

  test.each(STAGES)("%s (%s) costs only that connection", async (_stage, kind, bytes) => {
    const ended = queue<string>();
    const accepted = queue<ZmtpConnection>();
    const listener = await listen(kind === "null" ? `ipc://${socketPath()}` : "tcp://127.0.0.1:*", {
      socketType: "ROUTER",
      security: kind === "null" ? { kind } : { kind, serverKey, authorize: () => true },
      limits: { linger_ms: 50, handshake_timeout_ms: 500 },
      onRefused: (reason) => ended.put(reason),
      onPeer(connection) {
        connection.onMessage = (parts) => connection.send(parts);
        connection.onClose = (error) => ended.put(error?.message ?? "orderly");
        accepted.put(connection);
      },
    });
    cleanups.push(() => listener.close());
    const good = await connect(listener.endpoint, {
      socketType: "DEALER",
      timeout_ms: 5000,
      security: kind === "null" ? null : { kind, keypair: generateKeypair(), serverPublicKey: encodeZ85(serverKey.publicKey) },
    });
    cleanups.push(() => good.destroy("the test is over"));
    const echo = queue<Uint8Array[]>();
    good.onMessage = (parts) => echo.put(parts);
    for (let round = 0; round < 5; round++) {
      const url = new URL(listener.endpoint.replace(/^(tcp|ipc)/, "http"));
      const socket = kind === "null" ? net.connect(listener.endpoint.slice(6)) : net.connect(Number(url.port), url.hostname);
      const closed = once<void>();
      socket.on("close", () => closed.resolve());
      socket.on("error", () => undefined);
      socket.resume();
      socket.write(bytes());
      expect(await ended.next()).not.toBe("orderly");
      await closed.promise;
      good.send([Buffer.from("alive?")]);
      expect(text(await echo.next())).toEqual(["alive?"]);
    }
  });

  test.each([
    ["nothing", new Uint8Array(0)],
    ["half a greeting", greeting("CURVE").subarray(0, 30)],
    ["only the greeting", greeting("CURVE")],
    ["half a HELLO", Buffer.concat([greeting("CURVE"), encodeFrame(4, encodeCommand("HELLO", new Uint8Array(194))).subarray(0, 100)])],
  ])("a handshake that stops after %s times out", async (_name, bytes) => {
    const refused = once<string>();
    const listener = await listen("tcp://127.0.0.1:*", {
      socketType: "ROUTER",
      security: { kind: "curve", serverKey, authorize: () => true },
      limits: { handshake_timeout_ms: 100, linger_ms: 50 },
      onPeer: () => undefined,
      onRefused: refused.resolve,
    });
    cleanups.push(() => listener.close());
    const socket = net.connect(Number(listener.endpoint.split(":").at(-1)), "127.0.0.1");
    const closed = once<void>();
    socket.on("close", () => closed.resolve());
    socket.on("error", () => undefined);
    socket.resume();
    socket.write(bytes);
    expect(await refused.promise).toBe("the handshake took longer than 100 ms");
    await closed.promise;
  });

  test("a peer that never reads fills the queue to its bound, and close does not wait for it", async () => {
    const path = socketPath();
    const server = net.createServer({ allowHalfOpen: true }, (socket) => {
      socket.on("error", () => undefined);
      socket.write(Buffer.concat([greeting("NULL"), encodeFrame(4, encodeCommand("READY", Buffer.from("\x0bSocket-Type\0\0\0\x06ROUTER", "latin1")))]));
      socket.pause();
      cleanups.push(() => socket.destroy());
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    cleanups.push(() => server.close());
    const limits = { max_queue_bytes: 1_000_000, linger_ms: 100 };
    const client = await connect(`ipc://${path}`, { socketType: "DEALER", security: null, timeout_ms: 5000, limits });
    const ended = once<Error | undefined>();
    client.onClose = ended.resolve;
    let refusal: unknown;
    for (let turn = 0; refusal === undefined && turn < 1000; turn++) {
      try {
        for (let i = 0; i < 10; i++) client.send([new Uint8Array(10_000)]);
      } catch (error) {
        refusal = error;
      }
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    expect(refusal).toMatchObject({ errno: errno.ENOBUFS });
    expect(client.queued_bytes).toBeLessThan(2_000_000);
    client.close();
    await ended.promise;
  });

  test("handshakes under way are bounded", async () => {
    const refused = queue<string>();
    const listener = await listen("tcp://127.0.0.1:*", {
      socketType: "ROUTER",
      security: { kind: "curve", serverKey, authorize: () => true },
      limits: { max_handshakes: 2 },
      onPeer: () => undefined,
      onRefused: (reason) => refused.put(reason),
    });
    for (let i = 0; i < 3; i++) {
      const socket = net.connect(Number(listener.endpoint.split(":").at(-1)), "127.0.0.1");
      socket.on("error", () => undefined);
      socket.resume();
      cleanups.push(() => socket.destroy());
    }
    expect(await refused.next()).toContain("max_handshakes is reached");
    await listener.close();
    expect([await refused.next(), await refused.next()]).toEqual(["the listener was closed", "the listener was closed"]);
  });
});
