import { afterEach, expect, test } from "bun:test";
import heartbeat from "../../../src/modules/heartbeat/heartbeat.ts";
import type { JsonObject } from "../../../src/formats/json.ts";
import { str } from "../../../src/message/unpack.ts";
import { type Cluster, startCluster } from "../../support/cluster.ts";

let cluster: Cluster | undefined;
afterEach(async () => {
  await cluster?.stop();
  cluster = undefined;
});

test("pulses reach every rank at the period", async () => {
  cluster = await startCluster({ size: 3, modules: [[heartbeat, "period=5ms"]] });
  const h = cluster.open(2);
  const { promise, resolve } = Promise.withResolvers<void>();
  let count = 0;
  await h.subscribe("heartbeat.pulse", () => {
    if (++count === 5) resolve();
  });
  await promise;
  const stats = await h.rpc("heartbeat.stats-get", {}, { nodeid: 2 });
  expect(stats).toMatchObject({ period: 0.005, timeout: 300, warn_thresh: 3 });
  expect(stats["count"]).toBeGreaterThanOrEqual(5);
});

test("bad settings are refused", async () => {
  const start = async (config: object, ...args: string[]): Promise<Cluster> =>
    startCluster({ rank0: [[heartbeat, ...args]], config: { heartbeat: { ...config } } });
  await expect(start({ period: "0s" })).rejects.toThrow("heartbeat.period must be a positive FSD value");
  await expect(start({ timeout: "1s" })).rejects.toThrow("heartbeat.timeout must be >= 2*heartbeat.period, infinity, or 0");
  await expect(start({ warn_thresh: 0 })).rejects.toThrow("heartbeat.warn_thresh must be positive");
  await expect(start({ what: 1 })).rejects.toThrow("unknown key what");
  await expect(start({}, "period=x")).rejects.toThrow("period: error parsing FSD");
  await expect(start({}, "else")).rejects.toThrow("else: unknown option");
  cluster = await start({ period: "1h", timeout: "infinity" });
  expect(await cluster.open().rpc("heartbeat.stats-get")).toMatchObject({ period: 3600, timeout: -1, count: 1 });
});

test("an argument goes before the configuration, also when that changes", async () => {
  cluster = await startCluster({ rank0: [[heartbeat, "period=1h"]] });
  const h = cluster.open();
  await h.rpc("heartbeat.config-reload", { heartbeat: { period: "3s", warn_thresh: 5 } });
  expect(await h.rpc("heartbeat.stats-get")).toMatchObject({ period: 3600, warn_thresh: 5 });
});

test("a rank that misses the pulse for too long cuts itself off", async () => {
  cluster = await startCluster({ size: 2, modules: [heartbeat], config: { heartbeat: { period: "10ms", timeout: "50ms" } } });
  const { promise, resolve } = Promise.withResolvers<JsonObject>();
  await cluster.open(1).serve("overlay", { "disconnect-parent": (req) => resolve(req.unpack({ reason: str })) });
  await cluster.brokers[0]?.host.remove("heartbeat");
  expect(await promise).toEqual({ reason: expect.stringMatching(/^no heartbeat for /) });
});
