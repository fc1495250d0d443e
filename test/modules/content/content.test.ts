import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { statSync } from "node:fs";
import type { Flux } from "../../../src/client/flux.ts";
import { blobrefOf, hashOf } from "../../../src/formats/blobref.ts";
import { FluxError } from "../../../src/message/errno.ts";
import { BlobCache, hashOfKey, keyOf } from "../../../src/modules/content/cache.ts";
import contentSqlite from "../../../src/modules/content-sqlite/content-sqlite.ts";
import { errnoOf, errno, removeDirectories, startStore, type Store } from "../kvs/support.ts";

let store: Store | undefined;
afterEach(async () => {
  await store?.stop();
  store = undefined;
});
afterAll(removeDirectories);

const blob = (text: string): Uint8Array => Buffer.from(text);

describe("cache", () => {
  const limits = { size_bytes: 100, count: 10, dirty_bytes: 1000 };
  const key = (i: number): string => keyOf(hashOf(blob(String(i))));

  test("clean blobs go, least recently used first; dirty ones stay", () => {
    const cache = new BlobCache(limits);
    cache.addDirty(key(0), new Uint8Array(50));
    for (let i = 1; i <= 5; i++) cache.addClean(key(i), new Uint8Array(30));
    expect(cache.stats).toEqual({ count: 4, valid: 4, dirty: 1, size: 140 });
    expect([1, 2, 3, 4, 5].filter((i) => cache.get(key(i)) !== undefined)).toEqual([3, 4, 5]);
    cache.get(key(3));
    cache.addClean(key(6), new Uint8Array(30));
    expect(cache.get(key(4))).toBeUndefined();
    expect(cache.get(key(0))).toBeDefined();
    expect(cache.dropClean()).toBe(3);
  });

  test("the number of clean blobs is bounded too", () => {
    const cache = new BlobCache(limits);
    for (let i = 0; i < 30; i++) cache.addClean(key(i), new Uint8Array(0));
    expect(cache.stats.count).toBe(10);
  });

  test("a blob is written unless everybody gave it up", () => {
    const cache = new BlobCache(limits);
    for (let i = 0; i < 2; i++) cache.addDirty(key(1), blob("x"));
    cache.addDirty(key(2), blob("y"));
    cache.giveUp(key(1));
    cache.giveUp(key(2));
    cache.giveUp(key(3));
    expect(cache.takeDirty(10).map((b) => b.key)).toEqual([key(1)]);
    expect(cache.get(key(2))).toMatchObject({ dirty: false, ephemeral: true });
    cache.giveUp(key(1));
    expect(cache.get(key(1))).toMatchObject({ dirty: true, writing: true });
    cache.addDirty(key(2), blob("y"));
    expect(cache.takeDirty(10).map((b) => b.key)).toEqual([key(2)]);
  });

  test("too much that can't be written is ENOSPC", () => {
    const cache = new BlobCache(limits);
    cache.addDirty(key(1), new Uint8Array(900));
    expect(() => cache.addDirty(key(2), new Uint8Array(200))).toThrow("limit 1000");
  });

  test("keys are hashes", () => {
    const hash = hashOf(blob("x"));
    expect(Buffer.compare(hashOfKey(keyOf(hash)), hash)).toBe(0);
  });
});

test("what is stored on any rank is loaded on any other", async () => {
  store = await startStore({ size: 7 });
  const handles = [0, 3, 5, 6].map((rank) => (store as Store).open(rank));
  for (const [i, h] of handles.entries()) {
    const data = blob(`blob ${i}`.repeat(100));
    const hash = await h.rpcBytes("content.store", data);
    expect(`sha1-${Buffer.from(hash).toString("hex")}`).toBe(blobrefOf(data));
    for (const other of handles) expect(Buffer.compare(await other.rpcBytes("content.load", hash), data)).toBe(0);
  }
});

test("blobs survive dropcache and come back from the database", async () => {
  store = await startStore();
  const h = store.open();
  const hashes: Uint8Array[] = [];
  for (let i = 0; i < 1000; i++) hashes.push(await h.rpcBytes("content.store", blob(`blob ${i}`)));
  await h.rpc("content.flush");
  await h.rpc("content.dropcache");
  expect(await h.rpc("content.stats-get")).toMatchObject({ count: 0, valid: 0, dirty: 0, size: 0 });
  for (const [i, hash] of hashes.entries()) expect(Buffer.from(await h.rpcBytes("content.load", hash)).toString()).toBe(`blob ${i}`);
});

test("errors", async () => {
  store = await startStore({ size: 3, contentArgs: ["blob-size-limit=1000"] });
  for (const rank of [0, 2]) {
    const h = store.open(rank);
    expect(await errnoOf(h.rpcBytes("content.load", hashOf(blob("nowhere"))))).toBe(errno.ENOENT);
    expect(await errnoOf(h.rpcBytes("content.load", blob("short")))).toBe(errno.EPROTO);
    expect(await errnoOf(h.rpcBytes("content.store", new Uint8Array(1001)))).toBe(errno.EFBIG);
    expect(await errnoOf(h.call("content.load", hashOf(blob("x")), { as: { userid: 4242, rolemask: 2 } }))).toBe(errno.EPERM);
  }
  expect(await errnoOf(store.open(1).rpc("content.register-backing", { name: "x" }))).toBe(errno.EINVAL);
  expect(await errnoOf(store.open(0).rpc("content.register-backing", { name: "x" }))).toBe(errno.EBUSY);
  await expect(startStore({ contentArgs: ["what=1"] })).rejects.toThrow("unknown module option: what=1");
});

test("without a backing store blobs wait, and are written when one comes", async () => {
  store = await startStore({ memory: true });
  const h: Flux = store.open();
  const hash = await h.rpcBytes("content.store", blob("waiting"));
  for (const topic of ["content.flush", "content.checkpoint-get", "content.checkpoint-put"]) {
    expect([topic, await errnoOf(h.rpc(topic, { value: {} }))]).toEqual([topic, errno.ENOSYS]);
  }
  await h.rpc("content.dropcache");
  expect(Buffer.from(await h.rpcBytes("content.load", hash)).toString()).toBe("waiting");
  await store.brokers[0]?.host.load(contentSqlite);
  await h.rpc("content.flush");
  await h.rpc("content.dropcache");
  expect(Buffer.from(await h.rpcBytes("content.load", hash)).toString()).toBe("waiting");
  expect(statSync(`${store.directory}/content.sqlite`).size).toBeGreaterThan(0);
  expect((await h.rpc("attr.get", { name: "content.backing-module" }))["value"]).toBe("content-sqlite");
});

test("whether there was a backing store before is known, or there is none", async () => {
  store = await startStore({ memory: true });
  const { router } = store.brokers[0] as Store["brokers"][0];
  for (const { id } of router.endpoints) if (router.servicesOf(id).includes("attr")) router.removeService("attr", id);
  await store.open().serve("attr", {
    get: () => Promise.reject(new FluxError(errno.EAGAIN)),
    set: () => ({}),
  });
  expect(await errnoOf(store.open().rpc("content.register-backing", { name: "x" }))).toBe(errno.EAGAIN);
  expect(await errnoOf(store.open().rpc("content.unregister-backing"))).toBe(errno.EINVAL);
});

test("sha256", async () => {
  store = await startStore({ size: 3, attrs: { "content.hash": "sha256" } });
  const hash = await store.open(2).rpcBytes("content.store", blob("x"));
  expect(hash).toHaveLength(32);
  expect(Buffer.from(await store.open(1).rpcBytes("content.load", hash)).toString()).toBe("x");
});
