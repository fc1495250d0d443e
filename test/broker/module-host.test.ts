// What the module host answers for every module: debug flags and message counts, as flux-module(1) asks for them.
import { expect, test } from "bun:test";
import { defineModule, NOTHING_TO_DO } from "../../src/client/module.ts";
import { errno } from "../../src/message/errno.ts";
import { type Cluster, startCluster } from "../support/cluster.ts";

const plain = defineModule({
  name: "plain",
  async start(h) {
    await h.serve("plain", { hello: () => ({}) });
  },
});

const counting = defineModule({ name: "counting", start: () => ({ stats: () => ({ own: 1 }) }) });

async function withModules(run: (h: ReturnType<Cluster["open"]>) => Promise<void>): Promise<void> {
  const cluster = await startCluster({ size: 1, modules: [plain, counting] });
  try {
    await run(cluster.open());
  } finally {
    await cluster.stop();
  }
}

test("debug flags of a module are kept, changed bit by bit and as a whole", () =>
  withModules(async (h) => {
    const debug = async (op: string, flags: number): Promise<unknown> => (await h.rpc("plain.debug", { op, flags }))["flags"];
    expect(await debug("setbit", 0x10000)).toBe(0x10000);
    expect(await debug("setbit", 1)).toBe(0x10001);
    expect(await debug("clrbit", 0x10000)).toBe(1);
    expect(await debug("set", 6)).toBe(6);
    expect(await debug("setbit", 0)).toBe(6);
    expect(await debug("clr", 0)).toBe(0);
    expect((await h.rpc("counting.debug", { op: "setbit", flags: 0 }))["flags"]).toBe(0);
    await expect(debug("toggle", 1)).rejects.toMatchObject({ errno: errno.EPROTO });
  }));

test("a module without statistics of its own tells how many messages it sent and received", () =>
  withModules(async (h) => {
    const none = { request: 0, response: 0, event: 0, control: 0 };
    await h.rpc("plain.stats-clear");
    await h.rpc("plain.hello");
    await h.rpc("plain.hello");
    // The answers to stats-clear and hello, and the requests hello and stats-get itself.
    expect(await h.rpc("plain.stats-get")).toEqual({ tx: { ...none, response: 3 }, rx: { ...none, request: 3 } });
    expect(await h.rpc("counting.stats-get")).toEqual({ own: 1 });
  }));

test("a module that is removed leaves nobody waiting for an answer", async () => {
  const cluster = await startCluster({ size: 1 });
  try {
    const asked = Promise.withResolvers<void>();
    const slow = defineModule({
      name: "slow",
      async start(h) {
        await h.serve("slow", {
          never() {
            asked.resolve();
            return new Promise<void>(() => undefined);
          },
        });
      },
    });
    await cluster.brokers[0]?.host.load(slow);
    const h = cluster.open();
    const waiting = h.rpc("slow.never");
    const streaming = h.stream("slow.never").next();
    await asked.promise;
    await cluster.brokers[0]?.host.remove("slow");
    await expect(waiting).rejects.toMatchObject({ errno: errno.ENOSYS });
    await expect(streaming).rejects.toMatchObject({ errno: errno.ENOSYS });
  } finally {
    await cluster.stop();
  }
});

test("a module that has nothing to do leaves its service to brokers above", async () => {
  const picky = defineModule({
    name: "picky",
    async start(h, { rank }) {
      await h.serve("picky", { where: () => ({ rank }) });
      return rank > 0 ? NOTHING_TO_DO : undefined;
    },
  });
  const cluster = await startCluster({ size: 2 });
  try {
    for (const { host } of cluster.brokers) await host.load(picky);
    expect(cluster.brokers.map(({ host }) => host.has("picky"))).toEqual([true, false]);
    expect(await cluster.open(1).rpc("picky.where")).toEqual({ rank: 0 });
    await cluster.brokers[1]?.host.load(picky);
  } finally {
    await cluster.stop();
  }
});

test("a module that does not end is given up when its removal is forced", async () => {
  const end = Promise.withResolvers<void>();
  const stuck = defineModule({ name: "plain", start: () => ({ stop: () => end.promise }) });
  const cluster = await startCluster({ size: 1, modules: [] });
  const host = cluster.brokers[0]?.host;
  await host?.load(stuck);
  const removal = host?.remove("plain");
  await expect(host?.remove("plain") ?? Promise.resolve()).rejects.toMatchObject({ errno: errno.EBUSY });
  await host?.remove("plain", { cancel: true });
  await host?.load(plain);
  end.resolve();
  await removal;
  await cluster.open().rpc("plain.hello");
  await cluster.stop();
});
