import { afterEach, expect, test } from "bun:test";
import barrier from "../../../src/modules/barrier/barrier.ts";
import type { Flux } from "../../../src/client/flux.ts";
import { DEFERRED, type Request } from "../../../src/client/request.ts";
import { type Cluster, startCluster } from "../../support/cluster.ts";
import { errnoOf, errno } from "../kvs/support.ts";

let cluster: Cluster | undefined;
afterEach(async () => {
  await cluster?.stop();
});

async function start(size: number): Promise<(rank: number) => Flux> {
  cluster = await startCluster({ size, modules: [barrier] });
  return (rank) => (cluster as Cluster).open(rank);
}

const enter = (h: Flux, nprocs: number, name: string = "b"): Promise<unknown> => h.rpc("barrier.enter", { name, nprocs, internal: false });

for (const size of [1, 3, 7]) {
  test(`processes on all of ${size} ranks meet, again and again`, async () => {
    const open = await start(size);
    const handles = Array.from({ length: 3 * size }, (_, i) => open(i % size));
    for (let round = 0; round < 3; round++) {
      let passed = 0;
      const [last, ...others] = handles;
      const waiting = others.map(async (h) => {
        await enter(h, handles.length);
        passed++;
      });
      await (last as Flux).rpc("barrier.ping");
      expect(passed).toBe(0);
      await enter(last as Flux, handles.length);
      await Promise.all(waiting);
    }
  });
}

test("a client that goes away fails the barrier for everybody", async () => {
  const open = await start(3);
  const leaver = open(1);
  const stays = [open(0), open(2)].map((h) => errnoOf(enter(h, 3)));
  void enter(leaver, 4, "other").catch(() => undefined);
  const third = open(1);
  await third.rpc("barrier.ping");
  const gone = open(2);
  void enter(gone, 4, "b4").catch(() => undefined);
  const b4 = errnoOf(enter(open(0), 4, "b4"));
  await gone.rpc("barrier.ping");
  gone.close();
  expect(await b4).toBe(errno.ECONNABORTED);
  await enter(third, 3);
  expect(await Promise.all(stays)).toEqual([undefined, undefined]);
});

test("a broker that is lost with some who wait there fails their barriers, and no others", async () => {
  cluster = await startCluster({ size: 7 });
  const tree = cluster;
  const monitored = Promise.withResolvers<Request>();
  await tree.open(1).serve("overlay", {
    monitor(req) {
      monitored.resolve(req);
      return DEFERRED;
    },
  });
  for (const { host } of tree.brokers) await host.load(barrier);
  const monitor = await monitored.promise;
  const waiting = async (name: string, ...ranks: number[]): Promise<(number | undefined)[]> => Promise.all(ranks.map((rank) => errnoOf(enter(tree.open(rank), 3, name))));
  const lost = waiting("lost", 3, 0); // Rank 3 is below rank 1.
  const others = waiting("others", 4, 5);
  const counted = async (rank: number, count: number): Promise<void> => {
    while (Number((await tree.open(rank).rpc("barrier.stats-get", {}, { nodeid: rank }))["barriers"]) < count) await Bun.sleep(1);
  };
  await counted(1, 2);
  await counted(0, 2);
  monitor.respond({ rank: 3, status: "lost", torpid: false });
  expect(await lost).toEqual([errno.EHOSTUNREACH, errno.EHOSTUNREACH]);
  await enter(tree.open(0), 3, "others");
  expect(await others).toEqual([undefined, undefined]);
  // The name begins anew.
  expect(await waiting("lost", 0, 2, 5)).toEqual([undefined, undefined, undefined]);
});

test("a count that was on its way up when the barrier ended is not one of the next", async () => {
  const open = await start(1);
  const h = open(0);
  const counted = { name: "b", nprocs: 2, count: 1, internal: true, from: 1 };
  const round = async (): Promise<void> => void (await Promise.all([enter(open(0), 2), enter(open(0), 2)]));
  await round();
  expect(Number((await h.rpc("barrier.enter", { ...counted, after: 0 }))["exit"])).toBeGreaterThan(0);
  expect(await h.rpc("barrier.stats-get")).toEqual({ barriers: 0 });
  await round();
  await h.rpc("barrier.enter", counted);
  await enter(open(0), 2);
});

test("a rank that was not there at the last exit has a part in the next", async () => {
  const open = await start(3);
  const round = async (): Promise<void> => void (await Promise.all([enter(open(0), 2), enter(open(1), 2)]));
  await round();
  const host = cluster?.brokers[1]?.host;
  await host?.remove("barrier");
  await host?.load(barrier);
  await round();
});

test("wrong use", async () => {
  const open = await start(1);
  const h = open(0);
  const first = enter(h, 2);
  expect(await errnoOf(enter(h, 2))).toBe(errno.EEXIST);
  expect(await errnoOf(enter(open(0), 3))).toBe(errno.EINVAL);
  expect(await errnoOf(enter(open(0), 0, "none"))).toBe(errno.EINVAL);
  expect(await errnoOf(open(0).call("barrier.enter", { name: "b", nprocs: 2 }, { as: { userid: 4242, rolemask: 2 } }))).toBe(errno.EPERM);
  await enter(open(0), 2);
  await first;
});
