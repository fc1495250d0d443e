import { afterAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { kvsCommit, kvsGetText, put } from "../../../src/client/kvs.ts";
import { hashOf } from "../../../src/formats/blobref.ts";
import content from "../../../src/modules/content/content.ts";
import contentFiles from "../../../src/modules/content-files/content-files.ts";
import { Files } from "../../../src/modules/content-files/files.ts";
import kvs from "../../../src/modules/kvs/kvs.ts";
import { startCluster } from "../../support/cluster.ts";
import { errno, errnoOf, newDirectory, removeDirectories } from "../kvs/support.ts";

afterAll(removeDirectories);

const attrs = (directory: string) => ({ statedir: directory, "content.hash": "sha1" });

test("store, load, validate, checkpoints", async () => {
  const directory = newDirectory();
  const cluster = await startCluster({ size: 1, attrs: attrs(directory) });
  const host = cluster.brokers[0]?.host;
  await host?.load(contentFiles, ["testing"]);
  const h = cluster.open(0);
  const hash = await h.rpcBytes("content-backing.store", Buffer.from("hello"));
  expect(hash).toEqual(hashOf(Buffer.from("hello"), "sha1"));
  expect(Buffer.from(await h.rpcBytes("content-backing.load", hash)).toString()).toBe("hello");
  await h.rpcBytes("content-backing.validate", hash);
  expect(readdirSync(join(directory, "content.files"))).toEqual([`sha1-${Buffer.from(hash).toString("hex")}`]);
  expect(await h.rpc("content-files.stats-get")).toEqual({ object_count: 1 });

  const missing = hashOf(Buffer.from("no"), "sha1");
  expect(await errnoOf(h.rpcBytes("content-backing.load", missing))).toBe(errno.ENOENT);
  expect(await errnoOf(h.rpcBytes("content-backing.validate", missing))).toBe(errno.ENOENT);
  expect(await errnoOf(h.rpcBytes("content-backing.load", Buffer.from("x")))).toBe(errno.EPROTO);
  expect(await errnoOf(h.rpc("content-backing.checkpoint-get"))).toBe(errno.ENOENT);
  for (const sequence of [1, 2]) await h.rpc("content-backing.checkpoint-put", { value: { version: 1, rootref: "r", sequence, timestamp: 1 } });
  expect(await h.rpc("content-backing.checkpoint-get")).toMatchObject({ value: [{ sequence: 2 }] });

  await host?.remove("content-files");
  await host?.load(contentFiles, ["testing", "truncate"]);
  expect(await h.rpc("content-files.stats-get")).toEqual({ object_count: 0 });
  await host?.remove("content-files");
  await expect(host?.load(contentFiles, ["notoption"]) ?? Promise.resolve()).rejects.toMatchObject({ errno: errno.EINVAL });
  await cluster.stop();
});

test("the KVS of one run is there in the next", async () => {
  const directory = newDirectory();
  const life = async (use: (h: ReturnType<Awaited<ReturnType<typeof startCluster>>["open"]>) => Promise<void>): Promise<void> => {
    const cluster = await startCluster({ size: 1, attrs: attrs(directory) });
    const host = cluster.brokers[0]?.host;
    for (const module of [content, contentFiles, kvs]) await host?.load(module);
    await use(cluster.open(0));
    for (const name of ["kvs", "content-files", "content"]) await host?.remove(name);
    await cluster.stop();
  };
  await life(async (h) => void (await kvsCommit(h, [put("a", "x".repeat(10_000))])));
  expect(existsSync(join(directory, "content.files", "kvs-primary"))).toBe(true);
  await life(async (h) => expect(await kvsGetText(h, "a")).toBe("x".repeat(10_000)));
});

test("blobs are on disk before the checkpoint that names them", async () => {
  const directory = newDirectory();
  const synced: string[] = [];
  const files = new Files(directory, async (path) => {
    synced.push(path === directory ? `directory${existsSync(join(directory, "kvs-primary")) ? " with checkpoint" : ""}` : basename(path));
  });
  await files.open(false);
  for (const name of ["a", "b"]) await files.write(name, Buffer.from(name));
  expect(synced).toEqual([]);
  await files.writeCheckpoint(Buffer.from("{}"));
  expect(synced).toEqual(["a", "b", "directory", ".kvs-primary.2", "directory with checkpoint"]);
  await files.sync();
  expect(synced).toHaveLength(5);
  const bad = new Files(directory, () => Promise.reject(Object.assign(new Error("no"), { code: "EIO" })));
  await bad.write("c", Buffer.from("c"));
  for (let i = 0; i < 2; i++) expect(await errnoOf(bad.writeCheckpoint(Buffer.from("new")))).toBe(errno.EIO);
  expect((await bad.readCheckpoint()).toString()).toBe("{}");
});

test("a checkpoint does not pass one that waits for its blobs", async () => {
  const slow = Promise.withResolvers<void>();
  const directory = newDirectory();
  const files = new Files(directory, (path) => (path.endsWith("/a") ? slow.promise : Promise.resolve()));
  await files.open(false);
  await files.write("a", Buffer.from("a"));
  const puts = ["1", "2"].map((text) => files.writeCheckpoint(Buffer.from(text)));
  await files.read("a");
  expect(existsSync(join(directory, "kvs-primary"))).toBe(false);
  slow.resolve();
  await Promise.all(puts);
  expect(existsSync(join(directory, "kvs-primary"))).toBe(true);
});

test("what could not be written leaves nothing, and what an earlier life has left goes", async () => {
  const directory = newDirectory();
  const store = join(directory, "content.files");
  mkdirSync(store);
  for (const name of [".sha1-00.17", ".nfs0001", "sha1-00"]) writeFileSync(join(store, name), "");
  const cluster = await startCluster({ size: 1, attrs: attrs(directory) });
  await cluster.brokers[0]?.host.load(contentFiles, ["testing"]);
  expect(readdirSync(store).toSorted()).toEqual([".nfs0001", "sha1-00"]);
  const blob = `sha1-${Buffer.from(hashOf(Buffer.from("x"), "sha1")).toString("hex")}`;
  mkdirSync(join(store, blob, "in the way"), { recursive: true });
  expect(await errnoOf(cluster.open().rpcBytes("content-backing.store", Buffer.from("x")))).toBe(errno.EISDIR);
  expect(readdirSync(store).toSorted()).toEqual([".nfs0001", "sha1-00", blob].toSorted());
  await cluster.stop();
});
