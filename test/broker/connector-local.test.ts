import { expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createConnection, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type AccessRules, OWNER_ONLY } from "../../src/broker/access.ts";
import { listenLocal } from "../../src/broker/connector-local.ts";
import { openInternal } from "../../src/broker/endpoints.ts";
import { parseTopology } from "../../src/broker/overlay/topology.ts";
import { Router } from "../../src/broker/router.ts";
import { serveEvent } from "../../src/broker/services/event.ts";
import { serveService } from "../../src/broker/services/service.ts";
import { Flux } from "../../src/client/flux.ts";
import { allowUser } from "../../src/client/service.ts";
import { errno } from "../../src/message/errno.ts";
import { encodeFramed } from "../../src/message/framing.ts";
import { requestMessage } from "../../src/message/message.ts";
import { ROLE_LOCAL, ROLE_NONE, ROLE_OWNER, ROLE_USER } from "../../src/message/roles.ts";

const ME = process.getuid?.() ?? 0;

interface Fixture extends AsyncDisposable {
  readonly path: string;
  readonly log: string[];
  readonly router: Router;
  open(): Promise<Flux>;
}

async function broker(options: { owner?: number; access?: Partial<AccessRules>; clientsMax?: number } = {}): Promise<Fixture> {
  const dir = mkdtempSync(join(tmpdir(), "flux-test-"));
  const path = join(dir, "local-0");
  const owner = options.owner ?? ME;
  const log: string[] = [];
  const router = new Router({ rank: 0, topology: parseTopology("kary:2", 1), owner, warn: (text) => log.push(text) });
  const { handle: h } = openInternal(router, owner, { name: "broker", ownService: "service" }, () => crypto.randomUUID());
  await serveService(h, router);
  await serveEvent(h, router);
  await h.serve("who", {
    am: allowUser((req) => ({ userid: req.userid, rolemask: req.rolemask })),
    owner: () => ({}),
    big: allowUser(() => Buffer.alloc(4 << 20)),
  });
  const connector = listenLocal({
    path,
    router,
    owner,
    newId: () => crypto.randomUUID(),
    access: () => ({ ...OWNER_ONLY, ...options.access }),
    log: (_, text) => log.push(text),
    ...(options.clientsMax === undefined ? {} : { clientsMax: options.clientsMax }),
  });
  return {
    path,
    log,
    router,
    open: () => Flux.open(`local://${path}`),
    [Symbol.asyncDispose]() {
      connector.close();
      h.close();
      expect(existsSync(path)).toBe(false);
      rmSync(dir, { recursive: true });
      return Promise.resolve();
    },
  };
}

/** A raw connection, welcomed. */
function raw(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path);
    socket.once("error", reject);
    socket.once("data", () => resolve(socket));
  });
}

test("the owner gets every right", async () => {
  await using b = await broker();
  const h = await b.open();
  expect(await h.rpc("who.am")).toEqual({ userid: ME, rolemask: ROLE_OWNER | ROLE_LOCAL });
  expect(await h.rpc("who.owner")).toEqual({});
  h.close();
});

test("others are refused with EPERM, unless the configuration lets them in", async () => {
  {
    await using b = await broker({ owner: ME + 1 });
    await expect(b.open()).rejects.toMatchObject({ errno: errno.EPERM });
  }
  await using b = await broker({ owner: ME + 1, access: { allowGuestUser: true } });
  const h = await b.open();
  expect(await h.rpc("who.am")).toEqual({ userid: ME, rolemask: ROLE_USER | ROLE_LOCAL });
  await expect(h.rpc("who.owner")).rejects.toMatchObject({ errno: errno.EPERM });
  await expect(h.rpc("service.add", { service: "mine" })).rejects.toMatchObject({ errno: errno.EPERM });
  await h.rpc("service.add", { service: `${ME}-mine` });
  h.close();
});

test("a guest cannot claim to be the owner", async () => {
  await using b = await broker({ owner: ME + 1, access: { allowGuestUser: true } });
  const socket = await raw(b.path);
  const answer = new Promise<Buffer>((resolve) => socket.once("data", resolve));
  const request = requestMessage("who.owner", {}, { matchtag: 7 });
  request.userid = ME + 1;
  request.rolemask = ROLE_OWNER;
  socket.write(encodeFramed(request));
  const header = (await answer).subarray(-20);
  expect(header.readUInt32BE(12)).toBe(errno.EPERM);
  socket.destroy();
});

test("of the owner's messages, what is set stays and what is not is filled in", async () => {
  await using b = await broker();
  const h = await b.open();
  expect(await h.rpc("who.am", {}, { as: { userid: ME + 5, rolemask: ROLE_USER } })).toEqual({ userid: ME + 5, rolemask: ROLE_USER });
  // As flux-proxy(1) passes on what it was sent.
  expect(await h.rpc("who.am", {}, { as: { userid: ME, rolemask: ROLE_NONE } })).toEqual({ userid: ME, rolemask: ROLE_OWNER | ROLE_LOCAL });
  h.close();
});

test("nonsense costs the connection that sent it, and no other", async () => {
  await using b = await broker();
  const h = await b.open();
  for (const bytes of ["GET / HTTP/1.0\r\n\r\n", "\xff\xee\x00\x12\xff\xff\xff\xff", "\xff\xee\x00\x12\x00\x00\x00\x1d\x14aaaaaaaaaaaaaaaaaaaa"]) {
    const socket = await raw(b.path);
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.resume();
    socket.write(Buffer.from(bytes, "latin1"));
    await closed;
  }
  expect(b.log.filter((line) => line.includes("dropping a client"))).toHaveLength(3);
  expect(await h.rpc("who.owner")).toEqual({});
  h.close();
});

test("a client that never reads is dropped at the bound, with a line in the log", async () => {
  await using b = await broker();
  const h = await b.open();
  const socket = await raw(b.path);
  socket.pause();
  socket.on("error", () => {});
  const before = [...b.router.endpoints].length;
  for (let i = 0; i < 60; i++) socket.write(encodeFramed(requestMessage("who.big", undefined, { matchtag: i + 1 })));
  while ([...b.router.endpoints].length === before) await new Promise((resolve) => setImmediate(resolve));
  expect(b.log.join("\n")).toContain("does not read");
  expect(await h.rpc("who.owner")).toEqual({});
  socket.destroy();
  h.close();
});

test("refusing at the limit is said once, and again when it is reached again", async () => {
  await using b = await broker({ clientsMax: 2 });
  const said = (): number => b.log.filter((line) => line.includes("refusing more")).length;
  const [first, second] = [await b.open(), await b.open()];
  for (let i = 0; i < 5; i++) await expect(b.open()).rejects.toMatchObject({ errno: errno.EMFILE });
  expect(said()).toBe(1);
  const before = [...b.router.endpoints].length;
  second.close();
  while ([...b.router.endpoints].length === before) await new Promise((resolve) => setImmediate(resolve));
  const third = await b.open();
  for (let i = 0; i < 5; i++) await expect(b.open()).rejects.toMatchObject({ errno: errno.EMFILE });
  expect(said()).toBe(2);
  first.close();
  third.close();
});

test("clients offer services to each other; a service goes with its client", async () => {
  await using b = await broker();
  const server = await b.open();
  const client = await b.open();
  await server.serve("echo", { back: (req) => ({ ...req.payload }) });
  expect(await client.rpc("echo.back", { a: 1 })).toEqual({ a: 1 });
  server.close();
  const gone = async (): Promise<void> => {
    for (;;) await client.rpc("echo.back", {});
  };
  await expect(gone()).rejects.toMatchObject({ errno: errno.ENOSYS });
  client.close();
});

test("events reach the clients that asked for them", async () => {
  await using b = await broker();
  const [one, two] = [await b.open(), await b.open()];
  const seen: string[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  await one.subscribe("a.", (event) => {
    seen.push(event.topic);
    if (event.topic === "a.last") resolve();
  });
  await two.publishSequenced("b.no", {});
  await two.publishSequenced("a.first", { x: 1 });
  await two.publishSequenced("a.last", {});
  await promise;
  expect(seen).toEqual(["a.first", "a.last"]);
  one.close();
  two.close();
});
