// The "config" service along a chain of brokers: who refuses a configuration, and changes that come at the same time.
import { afterEach, expect, test } from "bun:test";
import { serveConfig } from "../../src/broker/services/config.ts";
import type { JsonObject } from "../../src/formats/json.ts";
import { errno, FluxError } from "../../src/message/errno.ts";
import { errnoOf } from "../modules/kvs/support.ts";
import { type Cluster, startCluster } from "../support/cluster.ts";

let cluster: Cluster | undefined;
afterEach(async () => {
  await cluster?.stop();
});

test("a follower that refuses a configuration takes the next, and so do those below it", async () => {
  const tree = (cluster = await startCluster({ size: 3, topology: "kary:1" }));
  const applied = new Map([1, 2].map((rank) => [rank, Promise.withResolvers<void>()]));
  for (const rank of [0, 1, 2]) {
    const apply = async (config: JsonObject): Promise<void> => {
      if (rank === 1 && config["n"] === 1) throw new FluxError(errno.EINVAL, "not this one");
      if (config["n"] === 2) applied.get(rank)?.resolve();
    };
    const store = await serveConfig(tree.open(rank), { rank, initial: { n: 0 }, path: undefined, apply });
    if (rank > 0) await store.followParent(rank);
  }
  const h = tree.open(0);
  await h.rpc("config.load", { n: 1 });
  await h.rpc("config.load", { n: 2 });
  await Promise.all([...applied.values()].map(({ promise }) => promise));
  expect(tree.brokers[1]?.log.filter((line) => line.includes("parent update: not this one"))).toHaveLength(1);
  expect(await h.rpc("config.get", {}, { nodeid: 2 })).toEqual({ n: 2 });
});

test("changes are made one after another: the rollback of one does not undo the next", async () => {
  const tree = (cluster = await startCluster({ size: 1 }));
  const steps: unknown[] = [];
  const begun = Promise.withResolvers<void>();
  const goOn = Promise.withResolvers<void>();
  const apply = async (config: JsonObject): Promise<void> => {
    steps.push(config["n"]);
    if (config["n"] !== "bad") return;
    begun.resolve();
    await goOn.promise;
    throw new FluxError(errno.EINVAL, "bad");
  };
  const store = await serveConfig(tree.open(), { rank: 0, initial: { n: "first" }, path: undefined, apply });
  const h = tree.open();
  const bad = errnoOf(h.rpc("config.load", { n: "bad" }));
  await begun.promise;
  const good = h.rpc("config.load", { n: "good" });
  await h.rpc("config.get");
  goOn.resolve();
  expect(await bad).toBe(errno.EINVAL);
  await good;
  expect(steps).toEqual(["bad", "first", "good"]);
  expect(store.current).toEqual({ n: "good" });
});
