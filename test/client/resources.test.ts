import { afterEach, expect, test } from "bun:test";

import { drain, reloadResources, resourceEvents, resourceStatus, schedResources, topologyXml, undrain } from "../../src/client/resources.ts";
import { errno } from "../../src/message/errno.ts";
import resource from "../../src/modules/resource/resource.ts";
import { fakeGroups, fakeKvs, until } from "../modules/resource/fakes.ts";
import { type Cluster, startCluster } from "../support/cluster.ts";

let cluster: Cluster | undefined;
afterEach(async () => {
  await cluster?.stop();
  cluster = undefined;
});

test("status, draining, events and topology through the typed face", async () => {
  const groups = fakeGroups();
  groups.set("broker.online", "0-2");
  const config = { resource: { noverify: true, exclude: "0", config: [{ hosts: "test[0-3]", cores: "0-1" }] } };
  cluster = await startCluster({ size: 4, rank0: [fakeKvs(), groups], modules: [resource], config });
  const h = cluster.open(3);
  await until(async () => (await resourceStatus(h)).online.count === 3, "three are online");
  await drain(h, "test2", { reason: "dust" });
  const status = await resourceStatus(h);
  expect(status.drain.map(({ ranks, reason }) => [ranks.toString(), reason])).toEqual([["2", "dust"]]);
  expect([status.offline.toString(), status.exclude.toString()]).toEqual(["3", "0"]);
  const { all, up, down, allocated, free } = await schedResources(h);
  expect([all, up, down, allocated, free].map((set) => set.ranks.toString())).toEqual(["1-3", "1", "2-3", "", "1"]);
  await expect(drain(h, "2")).rejects.toMatchObject({ errno: errno.EEXIST });
  await drain(h, "2", { mode: "overwrite", reason: "more dust" });
  await undrain(h, "2");
  const names: string[] = [];
  for await (const { name, R } of resourceEvents(h, () => names.push("|"))) {
    names.push(name);
    if (name === "resource-define") expect(R?.nnodes).toBe(4);
    if (names.filter((n) => n === "undrain").length === 1) break;
  }
  expect(names.filter((name) => name !== "online")).toEqual(["restart", "resource-define", "drain", "drain", "undrain"]);
  expect(await topologyXml(h, 3)).toContain("<topology");
  await expect(reloadResources(h, "/nonexistent")).rejects.toMatchObject({ errno: errno.ENOENT });
});
