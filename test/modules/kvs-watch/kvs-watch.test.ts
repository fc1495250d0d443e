import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { append, kvsCommit, kvsNamespaceCreate, kvsNamespaceRemove, kvsPut, kvsStream, kvsWaitCreate, kvsWatch, mkdir, put, symlink, unlink } from "../../../src/client/kvs.ts";
import type { Flux } from "../../../src/client/flux.ts";
import type { JsonObject } from "../../../src/formats/json.ts";
import { errnoOf, errno, removeDirectories, startStore, type Store } from "../kvs/support.ts";

let store: Store | undefined;
afterEach(async () => {
  await store?.stop();
  store = undefined;
});
afterAll(removeDirectories);

async function open(size: number = 1): Promise<Flux> {
  store = await startStore({ size });
  return store.open();
}

/** Texts of a watch, to be asked for one by one. */
function texts(watch: AsyncGenerator<Uint8Array, void, undefined>): { next(): Promise<string>; end(): Promise<unknown> } {
  return {
    async next() {
      const { value, done } = await watch.next();
      if (done || value === undefined) throw new Error("the watch has ended");
      return Buffer.from(value).toString();
    },
    end: () => watch.return(),
  };
}

async function watchers(h: Flux): Promise<unknown> {
  return (await h.rpc("kvs-watch.stats-get"))["watchers"];
}

const rankCases = [0, 5];
for (const rank of rankCases) {
  describe(`on rank ${rank} of 7`, () => {
    const size = 7;

    test("the value now and after each change", async () => {
      const h = await open(size);
      const hw = store?.open(rank) as Flux;
      await kvsPut(h, "a.b", "0");
      const watch = texts(kvsWatch(hw, "a..b"));
      expect(await watch.next()).toBe("0");
      for (let i = 1; i < 20; i++) {
        await kvsCommit(h, [put("other", String(i))]);
        await kvsPut(h, "a.b", String(i));
        expect(await watch.next()).toBe(String(i));
      }
      await watch.end();
      while ((await watchers(hw)) !== 0) await hw.rpc("kvs-watch.ping");
    });

    test("appends deliver only what is new, in order", async () => {
      const h = await open(size);
      const hw = store?.open(rank) as Flux;
      await kvsCommit(h, [append("log", "first\n")]);
      const watch = kvsWatch(hw, "log", { append: true });
      let text = Buffer.from((await watch.next()).value ?? "").toString();
      let got = text.length;
      const wanted = 200;
      const write = (async () => {
        for (let i = 0; i < wanted; i++) await kvsCommit(h, [append("log", `line ${i}\n`), put("noise", String(i))]);
      })();
      while (!text.endsWith(`line ${wanted - 1}\n`)) {
        const piece = Buffer.from((await watch.next()).value ?? "").toString();
        text += piece;
        got += piece.length;
      }
      await write;
      expect(text).toBe(`first\n${Array.from({ length: wanted }, (_, i) => `line ${i}\n`).join("")}`);
      expect(got).toBe(text.length);
      await watch.return();
    });

    test("waiting for a key and for a namespace", async () => {
      const h = await open(size);
      const hw = store?.open(rank) as Flux;
      const later = kvsWaitCreate(hw, "late.key");
      const inNamespace = kvsWaitCreate(hw, "k", { namespace: "later" });
      const watch = texts(kvsWatch(hw, "w", { namespace: "later", waitCreate: true, append: true }));
      const first = watch.next();
      await kvsCommit(h, [mkdir("late")]);
      await kvsPut(h, "late.key", "1");
      expect(Buffer.from(await later).toString()).toBe("1");
      await kvsNamespaceCreate(h, "later");
      await kvsPut(h, "other", "x", { namespace: "later" });
      await kvsPut(h, "k", "2", { namespace: "later" });
      expect(Buffer.from(await inNamespace).toString()).toBe("2");
      await kvsCommit(h, [append("w", "3")], { namespace: "later" });
      expect(await first).toBe("3");
      await kvsNamespaceRemove(h, "later");
      expect(await errnoOf(watch.next())).toBe(errno.EOPNOTSUPP);
    });

    test("it ends when the key is removed", async () => {
      const h = await open(size);
      const hw = store?.open(rank) as Flux;
      await kvsPut(h, "a", "1");
      const watch = texts(kvsWatch(hw, "a"));
      await watch.next();
      const next = errnoOf(watch.next());
      await kvsCommit(h, [unlink("a")]);
      expect(await next).toBe(errno.ENOENT);
      expect(await watchers(hw)).toBe(0);
    });
  });
}

test("uniq and full compare values", async () => {
  const h = await open();
  await kvsCommit(h, [put("d.a", "1"), symlink("link", "d.a")]);
  const uniq = texts(kvsWatch(h, "d.a", { uniq: true }));
  const full = texts(kvsWatch(h, "link", { full: true }));
  expect([await uniq.next(), await full.next()]).toEqual(["1", "1"]);
  await kvsPut(h, "d.a", "1");
  await kvsPut(h, "else", "1");
  await kvsPut(h, "d.a", "2");
  expect([await uniq.next(), await full.next()]).toEqual(["2", "2"]);
  // A commit that names neither key: only WATCH_FULL notices that what the key leads to has changed.
  await kvsCommit(h, [{ key: "d", flags: 0, dirent: { data: { a: { data: "Mw==", type: "val", ver: 1 } }, type: "dir", ver: 1 } }]);
  expect(await full.next()).toBe("3");
  await uniq.end();
  await full.end();
});

test("the initial sentinel comes after what was there", async () => {
  const h = await open();
  await kvsCommit(h, [append("log", "a")]);
  await kvsCommit(h, [append("log", "b")]);
  const answers: JsonObject[] = [];
  const stream = h.stream("kvs-watch.lookup", { namespace: "primary", key: "log", flags: 4 | 256 | 1024 });
  for await (const answer of stream) {
    answers.push(answer);
    if (answers.length === 3) await kvsCommit(h, [append("log", "c")]);
    if (answers.length === 4) break;
  }
  const data = answers.map(({ val }) => (val === undefined ? "sentinel" : Buffer.from((val as { data: string }).data, "base64").toString()));
  expect(data).toEqual(["a", "b", "sentinel", "c"]);
});

test("a stream delivers the blobs and ends", async () => {
  const h = await open();
  for (const text of ["a", "b", "c"]) await kvsCommit(h, [append("log", text)]);
  const got: string[] = [];
  for await (const piece of kvsStream(h, "log")) got.push(Buffer.from(piece).toString());
  expect(got).toEqual(["a", "b", "c"]);
  await kvsPut(h, "small", "s");
  for await (const piece of kvsStream(h, "small")) got.push(Buffer.from(piece).toString());
  expect(got.at(-1)).toBe("s");
});

test("an appended value that is overwritten or shortened ends the watch", async () => {
  const h = await open();
  await kvsCommit(h, [append("log", "a")]);
  await kvsCommit(h, [append("log", "b")]);
  const watch = texts(kvsWatch(h, "log", { append: true }));
  await watch.next();
  await watch.next();
  await kvsPut(h, "log", "new");
  expect(await errnoOf(watch.next())).toBe(errno.EINVAL);
  await kvsCommit(h, [mkdir("d")]);
  expect(await errnoOf(texts(kvsWatch(h, "d", { append: true })).next())).toBe(errno.EISDIR);
});

test("flags that do not go together", async () => {
  const h = await open();
  await kvsPut(h, "a", "1");
  const ask = (flags: number): Promise<number | undefined> => errnoOf(h.rpc("kvs-watch.lookup", { namespace: "primary", key: "a", flags }));
  expect(await ask(4)).toBe(errno.EPROTO);
  expect(await ask(512)).toBe(errno.EPROTO);
  expect(await ask(64)).toBe(errno.EINVAL);
  expect(await ask(1024)).toBe(errno.EINVAL);
  expect(await ask(0)).toBeUndefined();
  const both = h.stream("kvs-watch.lookup", { namespace: "primary", key: "a", flags: 4 | 512 });
  expect(await errnoOf(both.next())).toBe(errno.EINVAL);
});

test("guests watch only what is theirs", async () => {
  const h = await open();
  await kvsNamespaceCreate(h, "mine", { owner: 4242 });
  await kvsPut(h, "a", "1", { namespace: "mine" });
  await kvsPut(h, "a", "secret");
  const as = { userid: 4242, rolemask: 2 };
  const ask = (namespace: string): Promise<number | undefined> => errnoOf(h.call("kvs-watch.lookup", { namespace, key: "a", flags: 8 }, { as }));
  expect(await ask("mine")).toBeUndefined();
  expect(await ask("primary")).toBe(errno.EPERM);
});

test("a client that goes away takes its watchers along", async () => {
  const h = await open();
  await kvsPut(h, "a", "1");
  const other = store?.open() as Flux;
  const watch = texts(kvsWatch(other, "a"));
  await watch.next();
  expect(await watchers(h)).toBe(1);
  other.close();
  while ((await watchers(h)) !== 0) await h.rpc("kvs-watch.ping");
});
