import { expect, test } from "bun:test";
import { defineModule } from "../../src/client/module.ts";
import { allowUser } from "../../src/client/service.ts";
import { errno } from "../../src/message/errno.ts";
import { startCluster } from "./cluster.ts";

const echo = defineModule({
  name: "echo",
  async start(h, context) {
    await h.serve("echo", {
      rank: allowUser(() => ({ rank: context.rank })),
      count: allowUser(async function* () {
        for (let i = 0; i < 3; i++) yield { i };
      }),
    });
  },
});

test("requests, streams, events and errors cross a tree of seven brokers", async () => {
  const cluster = await startCluster({ size: 7, modules: [echo] });
  const h = cluster.open(5);
  for (let rank = 0; rank < 7; rank++) {
    expect(await h.rpc("echo.rank", undefined, { nodeid: rank })).toEqual({ rank });
  }
  expect(await h.rpc("echo.rank", undefined, { upstreamOf: 5 })).toEqual({ rank: 2 });
  const seen: unknown[] = [];
  for await (const item of h.stream("echo.count", undefined, { nodeid: 3 })) seen.push(item);
  expect(seen).toEqual([{ i: 0 }, { i: 1 }, { i: 2 }]);
  await expect(h.rpc("nosuch.thing")).rejects.toMatchObject({ errno: errno.ENOSYS });
  await expect(h.rpc("echo.rank", undefined, { nodeid: 7 })).rejects.toMatchObject({ errno: errno.EHOSTUNREACH });

  await expect(cluster.open(0).rpc("echo.rank", undefined, { upstreamOf: 0 })).rejects.toMatchObject({ errno: errno.EHOSTUNREACH });

  const other = cluster.open(6);
  const got = new Promise((resolve) => void other.subscribe("news", (e) => resolve([e.topic, e.payload, e.sequence])).then(() => h.publish("news.today", { a: 1 })));
  expect(await got).toEqual(["news.today", { a: 1 }, 1]);
  await cluster.stop();
});

test("a request over a link that breaks fails instead of hanging", async () => {
  const cluster = await startCluster({ size: 3 });
  const hang = defineModule({
    name: "hang",
    async start(h) {
      await h.serve("hang", { forever: () => new Promise<void>(() => {}) });
    },
  });
  await cluster.brokers[2]?.host.load(hang);
  const h = cluster.open(1);
  const pending = h.rpc("hang.forever", undefined, { nodeid: 2 });
  await h.rpc("echo", undefined, { nodeid: 2 }).catch(() => undefined);
  cluster.disconnect(2);
  await expect(pending).rejects.toMatchObject({ errno: errno.EHOSTUNREACH });
});
