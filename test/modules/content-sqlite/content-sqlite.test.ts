import { afterAll, describe, expect, test } from "bun:test";
import { Database } from "bun:sqlite";
import { readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { kvsCommit, kvsGetText, put } from "../../../src/client/kvs.ts";
import { hashOf } from "../../../src/formats/blobref.ts";
import { FluxError } from "../../../src/message/errno.ts";
import content from "../../../src/modules/content/content.ts";
import contentSqlite from "../../../src/modules/content-sqlite/content-sqlite.ts";
import { ContentDatabase, type DatabaseOptions } from "../../../src/modules/content-sqlite/database.ts";
import { decompressLz4Block } from "../../../src/modules/content-sqlite/lz4.ts";
import { startCluster } from "../../support/cluster.ts";
import { errnoOf, errno, newDirectory, removeDirectories, startStore } from "../kvs/support.ts";

afterAll(removeDirectories);

const OPTIONS: DatabaseOptions = { journal_mode: "WAL", synchronous: "NORMAL", maxCheckpoints: 5, truncate: false };
const file = (directory: string): string => join(directory, "content.sqlite");
const blob = (text: string): Uint8Array => Buffer.from(text);

test("the service: store, load, validate, checkpoints", async () => {
  const store = await startStore();
  const h = store.open();
  const hash = await h.rpcBytes("content-backing.store", blob("hello"));
  expect(Buffer.from(await h.rpcBytes("content-backing.load", hash)).toString()).toBe("hello");
  await h.rpcBytes("content-backing.validate", hash);
  expect(await errnoOf(h.rpcBytes("content-backing.validate", hashOf(blob("no"))))).toBe(errno.ENOENT);
  expect(await errnoOf(h.rpcBytes("content-backing.load", hashOf(blob("no"))))).toBe(errno.ENOENT);
  expect(await errnoOf(h.rpcBytes("content-backing.load", blob("x")))).toBe(errno.EPROTO);
  expect(await errnoOf(h.rpc("content-backing.checkpoint-get"))).toBe(errno.ENOENT);
  for (let i = 1; i <= 7; i++) await h.rpc("content-backing.checkpoint-put", { value: { version: 1, rootref: "r", sequence: i, timestamp: 1 } });
  const { value } = await h.rpc("content-backing.checkpoint-get");
  expect(value).toMatchObject([7, 6, 5, 4, 3].map((sequence) => ({ sequence })));
  const stats = await h.rpc("content-sqlite.stats-get");
  expect(Object.keys(stats)).toEqual(["object_count", "current_epoch", "dbfile_size", "dbfile_free", "load_time", "store_time", "config", "checkpoints"]);
  expect(stats).toMatchObject({ current_epoch: 7, config: { journal_mode: "WAL", synchronous: "NORMAL" } });
  await store.stop();
});

test("garbage collection: what is marked stays", async () => {
  const store = await startStore();
  const h = store.open();
  const keep = await h.rpcBytes("content-backing.store", blob("keep"));
  const drop = await h.rpcBytes("content-backing.store", blob("drop"));
  await h.rpc("content-backing.checkpoint-put", { value: { version: 1 } });
  const { current_epoch, high_water } = await h.rpc("content-backing.gc-info", { epoch: 1 });
  const hashes = [`sha1-${Buffer.from(keep).toString("hex")}`];
  expect(await h.rpc("content-backing.mark", { epoch: Number(current_epoch), hashes })).toEqual({ marked: 1 });
  const { deleted } = await h.rpc("content-backing.sweep", { epoch: Number(current_epoch), cursor: 0, high_water: Number(high_water), delete_cap: 100, window: 1000 });
  expect(Number(deleted)).toBeGreaterThanOrEqual(1);
  expect(Buffer.from(await h.rpcBytes("content-backing.load", keep)).toString()).toBe("keep");
  expect(await errnoOf(h.rpcBytes("content-backing.load", drop))).toBe(errno.ENOENT);
  await store.stop();
});

describe("damaged files", () => {
  async function written(): Promise<string> {
    const directory = newDirectory();
    const store = await startStore({ directory });
    await kvsCommit(store.open(), Array.from({ length: 200 }, (_, i) => put(`k${i}`, `value ${i} `.repeat(100))));
    await store.stop();
    return directory;
  }

  test("a file that is no database is named in the error", async () => {
    const directory = newDirectory();
    writeFileSync(file(directory), "this is not a database, but it is long enough to look at ".repeat(100));
    await expect(startStore({ directory })).rejects.toThrow(`${file(directory)}: file is not a database`);
  });

  test("a truncated file is refused, not used", async () => {
    const directory = await written();
    truncateSync(file(directory), Math.floor(statSync(file(directory)).size / 2 / 4096) * 4096);
    await expect(startStore({ directory })).rejects.toThrow(file(directory));
  });

  test("a file with garbage inside is refused, or everything in it is right", async () => {
    const directory = await written();
    const bytes = readFileSync(file(directory));
    bytes.fill(0xa5, 4096, 3 * 4096);
    writeFileSync(file(directory), bytes);
    await expect(startStore({ directory })).rejects.toThrow(file(directory));
  });
});

test("a full database passes ENOSPC on, and works again when there is room", () => {
  const path = file(newDirectory());
  let db = new ContentDatabase(path, { ...OPTIONS, maxPages: 20 });
  const data = (i: number): Uint8Array => Buffer.alloc(3000, `${i},`);
  db.beginBatch();
  db.store(hashOf(data(0)), data(0));
  db.endBatch();
  db.beginBatch();
  const fill = (): void => {
    for (let i = 1; i < 100; i++) db.store(hashOf(data(i)), data(i));
    db.endBatch();
  };
  expect(fill).toThrow(expect.objectContaining({ errno: errno.ENOSPC }));
  db.abortBatch();
  // Nothing of the batch is there, and what was there before is.
  expect(db.objectCount()).toBe(1);
  expect(Buffer.compare(db.load(hashOf(data(0))), data(0))).toBe(0);
  db.close();
  db = new ContentDatabase(path, OPTIONS);
  db.beginBatch();
  fill();
  expect(db.objectCount()).toBe(100);
  db.close();
});

test("stores on a full device fail with ENOSPC, and content.flush with them", async () => {
  const directory = newDirectory();
  const cluster = await startCluster({ attrs: { statedir: directory, "content.hash": "sha1" }, rank0: [content] });
  const h = cluster.open();
  // A backing store whose disk is full at first.
  let full = true;
  await h.serve("content-backing", {
    store: (req) => {
      if (full) throw new FluxError(errno.ENOSPC);
      return hashOf(req.bytes ?? new Uint8Array(0));
    },
  });
  await h.rpc("content.register-backing", { name: "test" });
  await h.rpcBytes("content.store", blob("data"));
  expect(await errnoOf(h.rpc("content.flush"))).toBe(errno.ENOSPC);
  expect(await h.rpc("content.stats-get")).toMatchObject({ dirty: 1 });
  full = false;
  await h.rpc("content.flush");
  expect(await h.rpc("content.stats-get")).toMatchObject({ dirty: 0 });
  await cluster.stop();
});

test("arguments and configuration", async () => {
  const load = async (...args: string[]): Promise<Record<string, unknown>> => {
    const directory = newDirectory();
    const cluster = await startCluster({ attrs: { rundir: directory, "content.hash": "sha1" }, rank0: [content, [contentSqlite, ...args]] });
    const stats = await cluster.open().rpc("content-sqlite.stats-get");
    await cluster.stop();
    return stats;
  };
  expect((await load())["config"]).toEqual({ journal_mode: "OFF", synchronous: "OFF" });
  expect((await load("journal_mode=WAL", "synchronous=FULL"))["config"]).toEqual({ journal_mode: "WAL", synchronous: "FULL" });
  await expect(load("journal_mode=wal")).rejects.toThrow("Invalid argument: journal_mode must be one of");
  await expect(load("max-checkpoints=0")).rejects.toThrow("max-checkpoints");
  await expect(load("what")).rejects.toThrow("Unknown module option: 'what'");
  const noTable = startCluster({ attrs: { rundir: newDirectory(), "content.hash": "sha1" }, rank0: [content, contentSqlite], config: { "content-sqlite": "WAL" } });
  await expect(noTable).rejects.toThrow("error reading [content-sqlite] config table");
});

test("truncate begins anew", async () => {
  const directory = newDirectory();
  const store = await startStore({ directory });
  await kvsCommit(store.open(), [put("a", "1")]);
  await store.stop();
  const cluster = await startCluster({ attrs: { statedir: directory, "content.hash": "sha1" }, rank0: [content, [contentSqlite, "truncate"]] });
  expect(await cluster.open().rpc("content-sqlite.stats-get")).toMatchObject({ object_count: 0, checkpoints: [] });
  await cluster.stop();
});

test("a file of an older version is brought up to date, and compressed blobs are read", async () => {
  const directory = newDirectory();
  // "abcabcabcabcabcabcabcabc": 3 literals, then a match of 16 at distance 3, then 5 literals.
  const compressed = Buffer.from([0x3c, 97, 98, 99, 3, 0, 0x50, 98, 99, 97, 98, 99]);
  const text = "abcabcabcabcabcabcabcabc";
  const db = new Database(file(directory));
  db.run("CREATE TABLE objects(hash BLOB PRIMARY KEY, size INT, object BLOB)");
  db.run("CREATE TABLE checkpt(key TEXT UNIQUE, value TEXT)");
  const root = blob('{"data":{"a":{"data":"MQ==","type":"val","ver":1}},"type":"dir","ver":1}');
  const add = db.query("INSERT INTO objects VALUES (?1, ?2, ?3)");
  add.run(hashOf(root), -1, root);
  add.run(hashOf(blob(text)), text.length, compressed);
  const rootref = `sha1-${Buffer.from(hashOf(root)).toString("hex")}`;
  db.query("INSERT INTO checkpt VALUES ('kvs-primary', ?1)").run(JSON.stringify({ version: 1, rootref, timestamp: 1.5, sequence: 9 }));
  db.close();
  const store = await startStore({ directory });
  const h = store.open();
  expect(await kvsGetText(h, "a")).toBe("1");
  expect(await h.rpc("kvs.getroot", { namespace: "primary" })).toMatchObject({ rootseq: 9, rootref });
  expect(Buffer.from(await h.rpcBytes("content.load", hashOf(blob(text)))).toString()).toBe(text);
  await store.stop();
});

test("damaged compressed blobs are errors", () => {
  for (const bytes of [[], [0xf0], [0x10, 1, 9, 0], [0x10, 1, 0, 0], [0x1f, 1, 1, 0, 255], [0x10, 1]]) {
    expect(() => decompressLz4Block(Uint8Array.from(bytes), 100)).toThrow("damaged");
  }
  expect(() => decompressLz4Block(Uint8Array.from([0]), -2)).toThrow("damaged");
});
