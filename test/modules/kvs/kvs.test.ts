import { afterAll, afterEach, describe, expect, test } from "bun:test";
import {
  append, kvsCommit, kvsDir, kvsFence, kvsGet, kvsGetroot, kvsGetText, kvsGetTreeobj, kvsLookup, kvsNamespaceCreate, kvsNamespaceList,
  kvsNamespaceRemove, kvsPut, kvsReadlink, kvsSync, kvsWaitVersion, KVS, KVS_COMMIT, type KvsOp, mkdir, put, putDirref, putTreeobj, symlink, unlink,
} from "../../../src/client/kvs.ts";
import type { Flux } from "../../../src/client/flux.ts";
import { blobrefOf } from "../../../src/formats/blobref.ts";
import { isJsonObject, type JsonObject } from "../../../src/formats/json.ts";
import { dirObject, valObject, valrefObject } from "../../../src/formats/treeobj.ts";
import { errnoOf, errno, newDirectory, removeDirectories, startStore, type Store } from "./support.ts";

let store: Store | undefined;
afterEach(async () => {
  await store?.stop();
  store = undefined;
});
afterAll(removeDirectories);

async function open(options: Parameters<typeof startStore>[0] = {}, rank: number = 0): Promise<Flux> {
  store = await startStore(options);
  return store.open(rank);
}

const bytes = (text: string): Uint8Array => Buffer.from(text);

describe("one rank", () => {
  test("values of all sizes come back", async () => {
    const h = await open();
    for (const size of [0, 1, 53, 54, 55, 56, 1000, 3_000_000]) {
      const value = Buffer.alloc(size, "ab\0\xff");
      await kvsPut(h, `v.n${size}`, value);
      expect(Buffer.compare(await kvsGet(h, `v.n${size}`), value)).toBe(0);
    }
    expect(Object.keys(await kvsDir(h, "v"))).toEqual(["n0", "n1", "n1000", "n3000000", "n53", "n54", "n55", "n56"]);
  });

  test("small values are in the directory, larger ones are blobs, as in flux-core", async () => {
    const h = await open();
    await kvsCommit(h, [put("small", "x".repeat(54)), put("large", "x".repeat(55))]);
    expect(await kvsGetTreeobj(h, "small")).toEqual(valObject(bytes("x".repeat(54))));
    expect(await kvsGetTreeobj(h, "large")).toEqual(valrefObject(blobrefOf(bytes("x".repeat(55)))));
  });

  test("roots have the blobrefs that flux-core computes", async () => {
    const h = await open();
    // sha1 of {"data":{},"type":"dir","ver":1} and of the directory with a = 42.
    expect((await kvsGetroot(h)).rootref).toBe(blobrefOf(bytes('{"data":{},"type":"dir","ver":1}')));
    const { rootref, rootseq } = await kvsPut(h, "a", "42");
    expect(rootseq).toBe(1);
    expect(rootref).toBe(blobrefOf(bytes('{"data":{"a":{"data":"NDI=","type":"val","ver":1}},"type":"dir","ver":1}')));
    const { rootref: nested } = await kvsPut(h, "d.e", "1");
    const d = blobrefOf(bytes('{"data":{"e":{"data":"MQ==","type":"val","ver":1}},"type":"dir","ver":1}'));
    expect(nested).toBe(
      blobrefOf(bytes(`{"data":{"a":{"data":"NDI=","type":"val","ver":1},"d":{"data":["${d}"],"type":"dirref","ver":1}},"type":"dir","ver":1}`)),
    );
  });

  test("errors of lookups", async () => {
    const h = await open();
    await kvsCommit(h, [put("a.b", "1"), symlink("l", "a.b"), symlink("loop", "loop"), symlink("dangling", "nowhere")]);
    const cases: [string, number, number][] = [
      ["none", 0, errno.ENOENT], ["a.none", 0, errno.ENOENT], ["a.b.c", 0, errno.ENOENT], ["a", 0, errno.EISDIR], [".", 0, errno.EISDIR],
      ["a.b", KVS.READDIR, errno.ENOTDIR], ["a.b", KVS.READLINK, errno.EINVAL], ["a", KVS.READLINK, errno.EINVAL],
      ["loop", 0, errno.ELOOP], ["dangling", 0, errno.ENOENT], ["l", KVS.READDIR, errno.ENOTDIR],
    ];
    for (const [key, flags, wanted] of cases) expect([key, flags, await errnoOf(kvsLookup(h, key, flags))]).toEqual([key, flags, wanted]);
    expect(await errnoOf(kvsLookup(h, "a", 0, { namespace: "nope" }))).toBe(errno.EOPNOTSUPP);
    expect(await errnoOf(h.rpc("kvs.lookup", { key: "a", flags: 0 }))).toBe(errno.EPROTO);
    expect(await errnoOf(h.rpc("kvs.lookup", { key: "a", flags: 0, rootdir: { type: "val" } }))).toBe(errno.EINVAL);
  });

  test("errors of commits leave nothing behind", async () => {
    const h = await open();
    await kvsCommit(h, [put("a.b", "1"), symlink("l", "a"), symlink("other", "x", "elsewhere")]);
    const before = await kvsGetroot(h);
    const bad: [KvsOp, number][] = [
      [put(".", "1"), errno.EINVAL], [append("a", "1"), errno.EISDIR], [append("l", "1"), errno.EOPNOTSUPP], [put("other.x", "1"), errno.EINVAL],
      [{ key: "x", flags: 0, dirent: { type: "nope", data: "", ver: 1 } }, errno.EINVAL], [{ key: "x", flags: 1, dirent: null }, errno.EINVAL],
      [{ key: "x", flags: KVS.APPEND, dirent: { data: {}, type: "dir", ver: 1 } }, errno.EPROTO], [{ key: "x", flags: 0, dirent: { data: "a===", type: "val", ver: 1 } }, errno.EPROTO],
    ];
    for (const [op, wanted] of bad) {
      expect([op.key, await errnoOf(kvsCommit(h, [put("new.dir.k", "1"), append("log", "x"), unlink("a.b"), op]))]).toEqual([op.key, wanted]);
    }
    expect(await kvsGetroot(h)).toEqual(before);
    expect(await kvsGetText(h, "a.b")).toBe("1");
    expect(await errnoOf(kvsGetTreeobj(h, "new"))).toBe(errno.ENOENT);
    expect(await errnoOf(kvsGetTreeobj(h, "log"))).toBe(errno.ENOENT);
    expect(await errnoOf(kvsCommit(h, [], { namespace: "nope" }))).toBe(errno.EOPNOTSUPP);
  });

  test("lazy commits that follow each other closely are joined, in order, and wait for nobody who doesn't wait", async () => {
    const h = await open();
    const roots = new Set<number>();
    let last = Promise.resolve();
    for (let i = 0; i < 200; i++) {
      const commit = kvsCommit(h, [append("log", `${i},`)], { lazy: true });
      last = commit.then(({ rootseq }) => void roots.add(rootseq));
      await new Promise((resolve) => void setImmediate(resolve));
    }
    const { rootseq } = await kvsPut(h, "after", "1");
    await last;
    expect(Math.max(...roots)).toBeLessThanOrEqual(rootseq);
    expect(roots.size).toBeLessThan(100);
    expect(await kvsGetText(h, "log")).toBe(Array.from({ length: 200 }, (_, i) => `${i},`).join(""));
  });

  test("a failing commit does not take those it was merged with along", async () => {
    const h = await open();
    const results = await Promise.allSettled([kvsPut(h, "a", "1"), kvsCommit(h, [put("b", "1"), append(".", "x")]), kvsPut(h, "c", "1")]);
    expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    expect(Object.keys(await kvsDir(h))).toEqual(["a", "c"]);
  });

  test("commits of one turn make one root, unless they ask for their own", async () => {
    const h = await open();
    const events: JsonObject[] = [];
    await h.subscribe("kvs.namespace-primary-setroot", ({ payload }) => events.push(payload));
    const merged = await Promise.all([kvsPut(h, "a", "1"), kvsPut(h, "b..c", "2"), kvsPut(h, "a", "3")]);
    expect(new Set(merged.map(({ rootseq }) => rootseq))).toEqual(new Set([1]));
    const own = await Promise.all([kvsPut(h, "a", "4"), kvsPut(h, "a", "5", { flags: KVS_COMMIT.NO_MERGE }), kvsPut(h, "a", "6")]);
    expect(own.map(({ rootseq }) => rootseq)).toEqual([2, 3, 4]);
    expect(await kvsGetText(h, "a")).toBe("6");
    expect(events.map(({ rootseq }) => rootseq)).toEqual([1, 2, 3, 4]);
    expect(events[0]).toMatchObject({ namespace: "primary", rootref: merged[0]?.rootref, keys: { a: null, "b.c": null }, owner: expect.any(Number) });
    expect(events[0]?.["names"]).toHaveLength(3);
  });

  test("appends make a list of blobs; within one turn they share one", async () => {
    const h = await open();
    await kvsCommit(h, [append("log", "a")]);
    expect(await kvsGetTreeobj(h, "log")).toMatchObject({ type: "val" });
    await Promise.all([kvsCommit(h, [append("log", "b"), append("log", "c")]), kvsCommit(h, [append("log", "d")])]);
    expect(await kvsGetTreeobj(h, "log")).toEqual(valrefObject([blobrefOf(bytes("a")), blobrefOf(bytes("bcd"))]));
    expect(await kvsGetText(h, "log")).toBe("abcd");
    await kvsCommit(h, [append("log", "1"), put("log", "new"), append("log", "2")]);
    expect(await kvsGetText(h, "log")).toBe("new2");
    await kvsCommit(h, [unlink("log"), append("log", "z")]);
    expect(await kvsGetText(h, "log")).toBe("z");
  });

  test("symbolic links, also into other namespaces", async () => {
    const h = await open();
    await kvsNamespaceCreate(h, "other");
    await kvsCommit(h, [put("x.y", "there")], { namespace: "other" });
    await kvsCommit(h, [put("a.b", "1"), symlink("link", "a"), symlink("far", "x", "other"), symlink("farroot", ".", "other"), symlink("l2", "link.b")]);
    expect(await kvsGetText(h, "link.b")).toBe("1");
    expect(await kvsGetText(h, "l2")).toBe("1");
    expect(await kvsGetText(h, "far.y")).toBe("there");
    expect(await kvsGetText(h, "farroot.x.y")).toBe("there");
    expect(await kvsReadlink(h, "far")).toEqual({ target: "x", namespace: "other" });
    await kvsPut(h, "link.c", "2");
    expect(await kvsGetText(h, "a.c")).toBe("2");
    expect(await errnoOf(kvsPut(h, "far.z", "2"))).toBe(errno.EINVAL);
  });

  test("directories as tree objects, and a namespace's root linked into another", async () => {
    const h = await open();
    await kvsCommit(h, [putTreeobj("d", dirObject({ v: valObject(bytes("x".repeat(100))), sub: dirObject({ w: valObject(bytes("1")) }) }))]);
    expect(await kvsGetText(h, "d.v")).toBe("x".repeat(100));
    expect((await kvsGetTreeobj(h, "d.sub")).type).toBe("dirref");
    await kvsPut(h, "d.sub.z", "2");
    expect(Object.keys(await kvsDir(h, "d.sub"))).toEqual(["w", "z"]);
    await kvsNamespaceCreate(h, "guest");
    for (let i = 0; i < 20; i++) await kvsCommit(h, [put("deep.er.k", String(i)), append("log", "line\n")], { namespace: "guest" });
    const { rootref } = await kvsGetroot(h, "guest");
    await kvsCommit(h, [putDirref("job.guest", rootref)]);
    await kvsNamespaceRemove(h, "guest");
    expect(await kvsGetText(h, "job.guest.deep.er.k")).toBe("19");
    expect(await kvsGetText(h, "job.guest.log")).toBe("line\n".repeat(20));
    await kvsCommit(h, [mkdir("d")]);
    expect(await kvsDir(h, "d")).toEqual({});
  });

  test("names that look like members of objects", async () => {
    const h = await open();
    await kvsCommit(h, ["__proto__", "constructor", "toString", 'quote"s', "ünï"].map((name) => put(`odd.${name}`, name)));
    for (const name of ["__proto__", "constructor", "toString", 'quote"s', "ünï"]) expect(await kvsGetText(h, `odd.${name}`)).toBe(name);
    expect(Object.keys(await kvsDir(h, "odd"))).toHaveLength(5);
  });

  test("an old root can still be read", async () => {
    const h = await open();
    await kvsPut(h, "a.b", "old");
    const { rootref } = await kvsGetroot(h);
    for (let i = 0; i < 10; i++) await kvsPut(h, "a.b", `new${i}`);
    await h.rpc("content.flush");
    await h.rpc("content.dropcache");
    await h.rpc("kvs.dropcache");
    expect(await kvsGetText(h, "a.b", { at: { data: [rootref], type: "dirref", ver: 1 } })).toBe("old");
  });

  test("namespaces", async () => {
    const h = await open();
    await kvsNamespaceCreate(h, "n1", { owner: 4242 });
    expect(await errnoOf(kvsNamespaceCreate(h, "n1"))).toBe(errno.EEXIST);
    expect((await kvsNamespaceList(h)).map(({ namespace, owner }) => [namespace, owner])).toContainEqual(["n1", 4242]);
    await kvsPut(h, "a", "in n1", { namespace: "n1" });
    expect(await errnoOf(kvsGet(h, "a"))).toBe(errno.ENOENT);
    expect(await errnoOf(kvsPut(h, "a", "1", { namespace: "n1", flags: KVS_COMMIT.SYNC }))).toBe(errno.EINVAL);
    const waiting = errnoOf(kvsWaitVersion(h, 99, "n1"));
    await kvsNamespaceRemove(h, "n1");
    await kvsNamespaceRemove(h, "n1");
    expect(await waiting).toBe(errno.EOPNOTSUPP);
    expect(await errnoOf(kvsGetroot(h, "n1"))).toBe(errno.EOPNOTSUPP);
    expect(await errnoOf(kvsNamespaceRemove(h, "primary"))).toBe(errno.EOPNOTSUPP);
    expect(await errnoOf(h.rpc("kvs.namespace-create", { namespace: "x", rootref: "junk", owner: -1, flags: 0 }))).toBe(errno.EINVAL);
  });

  test("guests: their own namespaces only, and nothing but values and empty directories", async () => {
    const h = await open();
    const as = { userid: 4242, rolemask: 2 };
    await kvsNamespaceCreate(h, "mine", { owner: 4242 });
    await kvsPut(h, "secret", "1");
    const call = async (topic: string, payload: JsonObject): Promise<number | undefined> => errnoOf(h.call(topic, payload, { as }));
    const commit = (namespace: string, op: KvsOp): Promise<number | undefined> => call("kvs.commit", { namespace, flags: 0, ops: [op] });
    expect(await commit("mine", put("a", "1"))).toBeUndefined();
    expect(await commit("mine", mkdir("d"))).toBeUndefined();
    expect(await commit("mine", unlink("d"))).toBeUndefined();
    expect(await commit("mine", symlink("l", "a"))).toBe(errno.EPERM);
    expect(await commit("mine", putDirref("l", (await kvsGetroot(h)).rootref))).toBe(errno.EPERM);
    expect(await commit("primary", put("a", "1"))).toBe(errno.EPERM);
    expect(await call("kvs.lookup", { namespace: "mine", key: "a", flags: 0 })).toBeUndefined();
    expect(await call("kvs.lookup", { namespace: "primary", key: "secret", flags: 0 })).toBe(errno.EPERM);
    expect(await call("kvs.getroot", { namespace: "primary" })).toBe(errno.EPERM);
    await kvsCommit(h, [symlink("trap", "secret", "primary")], { namespace: "mine" });
    expect(await call("kvs.lookup", { namespace: "mine", key: "trap", flags: 0 })).toBe(errno.EPERM);
    for (const topic of ["namespace-create", "namespace-remove", "namespace-list", "relaycommit", "sync"]) {
      expect([topic, await call(`kvs.${topic}`, {})]).toEqual([topic, errno.EPERM]);
    }
  });

  test("statistics have the members of flux-core", async () => {
    const h = await open();
    await kvsPut(h, "a", "1");
    const stats = await h.rpc("kvs.stats-get");
    expect(Object.keys(stats)).toEqual(["cache", "namespace", "transaction-opcount", "pending_requests"]);
    expect(isJsonObject(stats["namespace"]) && stats["namespace"]["primary"]).toMatchObject({ "store revision": 1, "#versionwaiters": 0 });
  });
});

describe("several ranks", () => {
  test("a commit on rank 5 is there on rank 3 when its version is", async () => {
    const h5 = await open({ size: 7 }, 5);
    const h3 = store?.open(3) as Flux;
    const { rootseq } = await kvsPut(h5, "a.b", "x".repeat(1000));
    await kvsWaitVersion(h3, rootseq);
    expect(await kvsGetText(h3, "a.b")).toBe("x".repeat(1000));
    // Read your own writes, at once.
    for (let i = 0; i < 50; i++) {
      await kvsPut(h5, "a.c", String(i));
      expect(await kvsGetText(h5, "a.c")).toBe(String(i));
    }
  });

  test("a rank that is paused keeps its root", async () => {
    const h = await open({ size: 3 });
    const h2 = store?.open(2) as Flux;
    await kvsPut(h, "a", "1");
    await h2.rpc("kvs.setroot-pause", { namespace: "primary" });
    const { rootseq } = await kvsPut(h, "a", "2");
    const waiting = kvsWaitVersion(h2, rootseq);
    expect(await kvsGetText(h2, "a")).toBe("1");
    await h2.rpc("kvs.setroot-unpause", { namespace: "primary" });
    await waiting;
    expect(await kvsGetText(h2, "a")).toBe("2");
  });

  test("fences over ranks make one commit", async () => {
    const h = await open({ size: 7 });
    const handles = [0, 1, 3, 5, 6].map((rank) => store?.open(rank) as Flux);
    const results = await Promise.all(handles.map((handle, i) => kvsFence(handle, "f1", 5, [put(`f.k${i}`, String(i))])));
    expect(new Set(results.map(({ rootseq }) => rootseq))).toEqual(new Set([1]));
    expect(Object.keys(await kvsDir(h, "f"))).toEqual(["k0", "k1", "k2", "k3", "k4"]);
    for (const handle of handles) expect(await kvsGetText(handle, "f.k3")).toBe("3");
    const first = kvsFence(h, "f2", 2, [put("g", "1")]);
    expect(await errnoOf(kvsFence(h, "f2", 3, []))).toBe(errno.EINVAL);
    await kvsFence(handles[2] as Flux, "f2", 2, [append(".", "x")]).catch(() => undefined);
    await kvsFence(handles[2] as Flux, "f2", 2, []);
    await first;
    expect(await kvsGetText(h, "g")).toBe("1");
  });

  for (const rank of [0, 2]) {
    test(`a process on rank ${rank} that goes away fails its fence, and has no part in the next`, async () => {
      const h = await open({ size: 3 });
      const leaver = store?.open(rank) as Flux;
      await kvsGetroot(leaver); // Its rank knows the namespace.
      const waiting = errnoOf(kvsFence(h, "f", 3, [put("kept", "1")]));
      await h.rpc("kvs.ping");
      kvsFence(leaver, "f", 3, [put("gone", "1")]).catch(() => undefined);
      await leaver.rpc("kvs.ping");
      leaver.close();
      expect(await waiting).toBe(errno.ECONNABORTED);
      let done = false;
      const first = kvsFence(h, "f", 2, [put("a", "1")]).then(() => (done = true));
      await h.rpc("kvs.ping");
      expect(done).toBe(false);
      await kvsFence(store?.open(1) as Flux, "f", 2, [put("b", "1")]);
      await first;
      expect((await kvsDir(h, "."))["gone"]).toBeUndefined();
    });
  }

  test("namespaces come and go on all ranks", async () => {
    const h = await open({ size: 7 });
    const h6 = store?.open(6) as Flux;
    expect(await errnoOf(kvsGetroot(h6, "ns"))).toBe(errno.EOPNOTSUPP);
    await kvsNamespaceCreate(h6, "ns");
    expect((await h6.rpc("kvs.namespace-list"))["namespaces"]).toHaveLength(2);
    await kvsPut(h6, "a", "1", { namespace: "ns" });
    expect(await kvsGetText(h, "a", { namespace: "ns" })).toBe("1");
    const waiting = errnoOf(kvsWaitVersion(h6, 5, "ns"));
    await kvsNamespaceRemove(h, "ns");
    expect(await waiting).toBe(errno.EOPNOTSUPP);
    expect(await errnoOf(kvsGet(h6, "a", { namespace: "ns" }))).toBe(errno.EOPNOTSUPP);
    expect(await errnoOf(kvsPut(h6, "a", "2", { namespace: "ns" }))).toBe(errno.EOPNOTSUPP);
    await kvsNamespaceCreate(h, "ns");
    expect(await errnoOf(kvsGet(h6, "a", { namespace: "ns" }))).toBe(errno.ENOENT);
  });

  test("readers on other ranks see whole states while rank 0 changes fast", async () => {
    const h = await open({ size: 7 });
    const readers = [3, 4, 5].map((rank) => store?.open(rank) as Flux);
    await kvsCommit(h, [put("p.a", "0"), put("q.b.c", "0")]);
    const state = { writing: true };
    const write = (async () => {
      for (let i = 1; i <= 300; i++) await kvsCommit(h, [put("p.a", String(i)), put("q.b.c", String(i))]);
      state.writing = false;
    })();
    const read = async (handle: Flux): Promise<number> => {
      let last = 0;
      while (state.writing) {
        const root = await kvsLookup(handle, ".", KVS.TREEOBJ);
        const now = Number(await kvsGetText(handle, "q.b.c"));
        expect(now).toBeGreaterThanOrEqual(last);
        expect(root.type).toBe("dirref");
        last = now;
      }
      return last;
    };
    await Promise.all([write, ...readers.map(read)]);
    for (const reader of readers) {
      await kvsWaitVersion(reader, (await kvsGetroot(h)).rootseq);
      expect(await kvsGetText(reader, "p.a")).toBe("300");
    }
  });

  test("a lost parent fails what waits, with an error", async () => {
    await open({ size: 3 });
    const h2 = store?.open(2) as Flux;
    await kvsPut(h2, "a", "1");
    expect(await kvsGetText(h2, "a")).toBe("1");
    store?.disconnect(2);
    expect(await errnoOf(kvsPut(h2, "a", "2"))).toBe(errno.EHOSTUNREACH);
    expect(await kvsGetText(h2, "a")).toBe("1");
  });
});

describe("restart", () => {
  test("everything that was committed is there after an orderly end", async () => {
    const directory = newDirectory();
    let h = await open({ directory });
    for (let i = 0; i < 500; i++) await kvsCommit(h, [put(`dir.d${i % 7}.k${i}`, `value ${i}`.repeat(i % 30)), append("log", `line ${i}\n`)]);
    const before = await kvsGetroot(h);
    await store?.stop();
    h = await open({ directory });
    expect(await kvsGetroot(h)).toMatchObject({ rootref: before.rootref, rootseq: before.rootseq });
    for (let i = 0; i < 500; i++) expect(await kvsGetText(h, `dir.d${i % 7}.k${i}`)).toBe(`value ${i}`.repeat(i % 30));
    expect((await kvsGetText(h, "log")).split("\n")).toHaveLength(501);
    await kvsPut(h, "dir.d3.new", "1");
    expect(Object.keys(await kvsDir(h, "dir.d3"))).toHaveLength(72);
  });

  test("what was synced is there after a crash", async () => {
    const directory = newDirectory();
    const crashed = await startStore({ directory });
    let h = crashed.open();
    await kvsCommit(h, [put("a.b", "1")]);
    await kvsCommit(h, [put("a.c", "x".repeat(500))], { flags: KVS_COMMIT.SYNC });
    const copy = newDirectory();
    const { cpSync } = await import("node:fs");
    cpSync(directory, copy, { recursive: true });
    h = await open({ directory: copy });
    expect(await kvsGetText(h, "a.b")).toBe("1");
    expect(await kvsGetText(h, "a.c")).toBe("x".repeat(500));
    await crashed.stop();
  });

  test("without a sync, a checkpoint follows by itself", async () => {
    const directory = newDirectory();
    const crashed = await startStore({ directory, config: { kvs: { "checkpoint-period": "10ms" } } });
    const h0 = crashed.open();
    await kvsPut(h0, "a", "1");
    const checkpoint = async (): Promise<unknown> => (await h0.rpc("content.checkpoint-get"))["value"];
    while ((await errnoOf(checkpoint())) === errno.ENOENT) await Bun.sleep(5);
    expect(await checkpoint()).toMatchObject([{ version: 1, sequence: 1, rootref: (await kvsGetroot(h0)).rootref }]);
    await crashed.stop();
  });

  test("a bad checkpoint-period is refused", async () => {
    await expect(startStore({ config: { kvs: { "checkpoint-period": "soon" } } })).rejects.toThrow("invalid checkpoint-period config: soon");
    await expect(startStore({ config: { kvs: "1s" } })).rejects.toThrow("error reading [kvs] config table: it must be a table");
  });

  test("without a backing store it works in memory, and sync says ENOSYS", async () => {
    const h = await open({ memory: true });
    await kvsPut(h, "a.b", "x".repeat(200));
    expect(await kvsGetText(h, "a.b")).toBe("x".repeat(200));
    expect(await errnoOf(kvsSync(h))).toBe(errno.ENOSYS);
  });
});
