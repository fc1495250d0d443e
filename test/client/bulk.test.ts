// Names of hosts for what runs on many ranks.
import { expect, test } from "bun:test";
import { openInternal } from "../../src/broker/endpoints.ts";
import { parseTopology } from "../../src/broker/overlay/topology.ts";
import { Router } from "../../src/broker/router.ts";
import { hostNames } from "../../src/client/bulk.ts";
import { IdSet } from "../../src/formats/idset.ts";
import { errno } from "../../src/message/errno.ts";
import { OWNER, startCluster } from "../support/cluster.ts";

test("ranks have the names of their hosts", async () => {
  const cluster = await startCluster({ size: 3 });
  const names = await hostNames(cluster.open());
  expect([names(IdSet.parse("1-2")), names(IdSet.of(7))]).toEqual(["test[1-2]", "unknown"]);
  expect(await cluster.open().optionalAttr("nosuch")).toBeUndefined();
  await cluster.stop();
});

test("a broker that does not answer is no broker without the attribute", async () => {
  const router = new Router({ rank: 0, topology: parseTopology("kary:2", 1), warn: () => undefined });
  const { handle } = openInternal(router, OWNER, { name: "test" }, () => crypto.randomUUID());
  await expect(hostNames(handle)).rejects.toMatchObject({ errno: errno.ENOSYS });
  await expect(handle.optionalAttr("statedir")).rejects.toMatchObject({ errno: errno.ENOSYS });
});
