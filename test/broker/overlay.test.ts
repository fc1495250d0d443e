import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openInternal } from "../../src/broker/endpoints.ts";
import type { Card } from "../../src/broker/overlay/card.ts";
import { formatCard, parseCard } from "../../src/broker/overlay/card.ts";
import { Overlay, type OverlayEvents } from "../../src/broker/overlay/overlay.ts";
import { childrenOf, parentOf, parseTopology } from "../../src/broker/overlay/topology.ts";
import { Router } from "../../src/broker/router.ts";
import { serveService } from "../../src/broker/services/service.ts";
import type { Flux } from "../../src/client/flux.ts";
import { allowUser } from "../../src/client/service.ts";
import { errno } from "../../src/message/errno.ts";
import { realClock } from "../../src/os/clock.ts";
import { encodeZ85, generateKeypair, type Keypair } from "../../src/transport/zmtp/mod.ts";

const OWNER = process.getuid?.() ?? 0;

interface Node {
  readonly overlay: Overlay;
  readonly router: Router;
  readonly h: Flux;
  readonly log: string[];
  readonly keypair: Keypair;
  readonly events: string[];
  /** Resolves when `events` has this one. */
  happened(event: string): Promise<void>;
}

async function node(rank: number, size: number, options: { version?: string } = {}): Promise<Node> {
  const topology = parseTopology("kary:2", size);
  const log: string[] = [];
  const events: string[] = [];
  const waiting: { event: string; resolve: () => void }[] = [];
  const router = new Router({ rank, topology, warn: (text) => log.push(text) });
  const keypair = generateKeypair();
  const overlay = new Overlay({
    rank,
    uuid: crypto.randomUUID(),
    version: options.version ?? "1",
    owner: OWNER,
    keypair,
    childRanks: childrenOf(topology, rank),
    router,
    clock: realClock,
    log: (_, text) => log.push(text),
    hostOf: (r) => `host${r}`,
    welcome: () => ({ hello: rank }),
    connectTimeout_ms: 500,
    torpid: { min_ms: 1000, max_ms: 5000 },
  });
  const note = (event: string): void => {
    events.push(event);
    for (const item of waiting) if (item.event === event) item.resolve();
  };
  overlay.onEvents({
    childChanged: (child) => note(`${child.rank} ${child.status}`),
    statusChanged: () => note(`self ${overlay.status}`),
    parentLost: (error) => note(error === undefined ? "parent left" : "parent lost"),
  } satisfies OverlayEvents);
  const { handle: h } = openInternal(router, OWNER, { name: "broker", ownService: "service" }, () => crypto.randomUUID());
  await serveService(h, router);
  await h.serve("echo", {
    back: allowUser((req) => req.bytes ?? new Uint8Array(0)),
    never: allowUser(() => new Promise<void>(() => {})),
  });
  return {
    overlay,
    router,
    h,
    log,
    keypair,
    events,
    happened(event) {
      if (events.includes(event)) return Promise.resolve();
      return new Promise((resolve) => waiting.push({ event, resolve }));
    },
  };
}

function cardOf(n: Node, endpoint?: string): Card {
  return { hostname: "h", publicKey: encodeZ85(n.keypair.publicKey), endpoint };
}

/** A run directory that goes in the end. */
function directory(): { path: string; [Symbol.dispose](): void } {
  const path = mkdtempSync(join(tmpdir(), "flux-test-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/** A parent and its only child, joined. */
async function pair(dir: string): Promise<{ parent: Node; child: Node; endpoint: string }> {
  const [parent, child] = [await node(0, 2), await node(1, 2)];
  const endpoint = await parent.overlay.listen(`ipc://${dir}/tbon-0`);
  parent.overlay.knowChildren(new Map([[1, cardOf(child)]]));
  expect(await child.overlay.connectParent(0, cardOf(parent, endpoint))).toMatchObject({ hello: 0 });
  return { parent, child, endpoint };
}

test("a child joins and both sides route", async () => {
  using dir = directory();
  const { parent, child } = await pair(dir.path);
  expect(parent.events).toEqual(["1 full", "self full"]);
  expect(await child.h.rpcBytes("echo.back", Buffer.from("up"), { nodeid: 0 })).toEqual(Buffer.from("up"));
  expect(await parent.h.rpcBytes("echo.back", Buffer.from("down"), { nodeid: 1 })).toEqual(Buffer.from("down"));
  const big = Buffer.alloc(10 << 20, 7);
  expect(Buffer.compare(await parent.h.rpcBytes("echo.back", big, { nodeid: 1 }), big)).toBe(0);
  await child.overlay.close();
  await parent.overlay.close();
});

test("a grandchild that comes while its parent waits to be let in is not forgotten", async () => {
  using dir = directory();
  const [top, middle, low] = [await node(0, 4), await node(1, 4), await node(3, 4)];
  const topEndpoint = await top.overlay.listen(`ipc://${dir.path}/tbon-0`);
  const middleEndpoint = await middle.overlay.listen(`ipc://${dir.path}/tbon-1`);
  middle.overlay.knowChildren(new Map([[3, cardOf(low)]]));
  // Rank 0 reads the hello of rank 1, and answers when it knows its children.
  const joining = middle.overlay.connectParent(0, cardOf(top, topEndpoint));
  await low.overlay.connectParent(1, cardOf(middle, middleEndpoint));
  await middle.happened("self full");
  top.overlay.knowChildren(new Map([[1, cardOf(middle)], [2, cardOf(low)]]));
  await joining;
  await top.happened("1 full");
  for (const { overlay } of [low, middle, top]) await overlay.close();
});

test("a child that says goodbye is offline, one that breaks is lost, and nobody waits for it", async () => {
  using dir = directory();
  {
    const { parent, child } = await pair(dir.path);
    child.overlay.goodbye();
    await parent.happened("1 offline");
    await parent.overlay.close();
  }
  const { parent, child } = await pair(dir.path);
  const waiting = parent.h.rpc("echo.never", undefined, { nodeid: 1 });
  parent.overlay.disconnectChild(1);
  await expect(waiting).rejects.toMatchObject({ errno: errno.EHOSTUNREACH });
  expect(parent.overlay.children.get(1)).toMatchObject({ status: "lost", error: "administrative disconnect" });
  expect(parent.overlay.status).toBe("degraded");
  await child.happened("parent lost");
  await expect(parent.h.rpc("echo.back", undefined, { nodeid: 1 })).rejects.toMatchObject({ errno: errno.EHOSTUNREACH });
  await child.overlay.close();
  await parent.overlay.close();
});

test("a child that cuts itself off says why", async () => {
  using dir = directory();
  const { parent, child } = await pair(dir.path);
  child.overlay.disconnectParent("no heartbeat for 1s");
  await child.happened("parent lost");
  await parent.happened("1 lost");
  expect(parent.overlay.children.get(1)?.error).toContain("no heartbeat for 1s");
  await child.overlay.close();
  await parent.overlay.close();
});

test("a parent that leaves in order has left", async () => {
  using dir = directory();
  const { parent, child } = await pair(dir.path);
  await parent.overlay.close();
  await child.happened("parent left");
  await child.overlay.close();
});

test("a broker without the key that its rank published is refused", async () => {
  using dir = directory();
  const { parent, endpoint, child } = await pair(dir.path);
  const intruder = await node(1, 2);
  await expect(intruder.overlay.connectParent(0, cardOf(parent, endpoint))).rejects.toMatchObject({ errno: errno.EPERM });
  expect(parent.log.join("\n")).toContain("rank 1 does not hold the key it published");
  // The one that was there is still there.
  expect(await parent.h.rpcBytes("echo.back", Buffer.from("x"), { nodeid: 1 })).toEqual(Buffer.from("x"));
  await intruder.overlay.close();
  await child.overlay.close();
  await parent.overlay.close();
});

test("a parent with another key, a wrong rank, and a late child are refused", async () => {
  using dir = directory();
  const parent = await node(0, 2);
  const endpoint = await parent.overlay.listen(`ipc://${dir.path}/tbon-0`);
  const child = await node(1, 2);
  const far = await node(3, 7);
  parent.overlay.knowChildren(new Map([[1, cardOf(child)]]));
  const wrongKey = { ...cardOf(parent, endpoint), publicKey: encodeZ85(generateKeypair().publicKey) };
  await expect(child.overlay.connectParent(0, wrongKey)).rejects.toThrow();
  await expect(far.overlay.connectParent(0, cardOf(parent, endpoint))).rejects.toThrow("rank 3 is not a child of rank 0");
  parent.overlay.closeToChildren("the parent broker is shutting down");
  await expect(child.overlay.connectParent(0, cardOf(parent, endpoint))).rejects.toThrow("shutting down");
  for (const n of [child, far, parent]) await n.overlay.close();
  expect(parentOf(parseTopology("kary:2", 7), 3)).toBe(1);
});

test("a broker of another version is refused", async () => {
  using dir = directory();
  const parent = await node(0, 2);
  const endpoint = await parent.overlay.listen(`ipc://${dir.path}/tbon-0`);
  const old = await node(1, 2, { version: "0" });
  parent.overlay.knowChildren(new Map([[1, cardOf(old)]]));
  await expect(old.overlay.connectParent(0, cardOf(parent, endpoint))).rejects.toThrow("version 0 of rank 1 does not fit ours, 1");
  await old.overlay.close();
  await parent.overlay.close();
});

test("a parent that is not there in time is an error, not a wait for ever", async () => {
  using dir = directory();
  const child = await node(1, 2);
  const card: Card = { ...cardOf(child), endpoint: `ipc://${dir.path}/nobody` };
  await expect(child.overlay.connectParent(0, card)).rejects.toMatchObject({ errno: errno.ENOENT });
  await child.overlay.close();
});

test("cards survive the launcher's key-value store and fit into it", () => {
  const card: Card = { hostname: "node-with-a-long-name.example.com", publicKey: "x".repeat(40), endpoint: `ipc:///${"d".repeat(100)}` };
  const text = formatCard(card);
  expect(text).toMatch(/^[A-Za-z0-9_-]+$/);
  expect(text.length).toBeLessThan(900);
  expect(parseCard(text, 1)).toEqual(card);
  expect(() => parseCard("bm9uc2Vuc2U", 4)).toThrow("broker 4 published a malformed address card");
});
