import { afterEach, expect, test } from "bun:test";
import groups from "../../../src/modules/groups/groups.ts";
import { errno } from "../../../src/message/errno.ts";
import { type Cluster, startCluster } from "../../support/cluster.ts";

let cluster: Cluster | undefined;
afterEach(async () => {
  await cluster?.stop();
  cluster = undefined;
});

async function known(c: Cluster, rank: number): Promise<Record<string, unknown>> {
  return (await c.open(rank).rpc("groups.stats-get", {}, { nodeid: rank }))["subtree"] as Record<string, unknown>;
}

test("asking for a group or leaving it does not make it; away from rank 0 asking is EPROTO", async () => {
  cluster = await startCluster({ size: 2, modules: [groups] });
  const [h0, h1] = [cluster.open(0), cluster.open(1)];
  expect(await h0.rpc("groups.get", { name: "none" })).toEqual({ members: "" });
  await expect(h1.rpc("groups.get", { name: "none" }, { nodeid: 1 })).rejects.toMatchObject({ errno: errno.EPROTO });
  await expect(h1.rpc("groups.leave", { name: "none" })).rejects.toMatchObject({ errno: errno.ENOENT });
  expect(await known(cluster, 0)).toEqual({});
  expect(await known(cluster, 1)).toEqual({});
});

test("a group goes with its last member and watcher", async () => {
  cluster = await startCluster({ size: 2, modules: [groups] });
  const [watcher, h1] = [cluster.open(0), cluster.open(1)];
  const stream = watcher.stream("groups.get", { name: "g" });
  expect((await stream.next()).value).toEqual({ members: "" });
  await h1.rpc("groups.join", { name: "g" });
  expect((await stream.next()).value).toEqual({ members: "1" });
  expect(await known(cluster, 0)).toEqual({ g: "1" });
  await h1.rpc("groups.leave", { name: "g" });
  expect((await stream.next()).value).toEqual({ members: "" });
  expect(await known(cluster, 1)).toEqual({});
  expect(await known(cluster, 0)).toEqual({ g: "" });
  await stream.return();
  // The cancel was sent before this request on another handle: both go through one queue.
  expect(await known(cluster, 0)).toEqual({});
});
