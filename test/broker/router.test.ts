import { expect, test } from "bun:test";
import { parseTopology } from "../../src/broker/overlay/topology.ts";
import { Router } from "../../src/broker/router.ts";
import { requestMessage } from "../../src/message/message.ts";
import { ROLE_OWNER } from "../../src/message/roles.ts";

test("an endpoint that uses too many services is said once, and again for the next endpoint", () => {
  const warnings: string[] = [];
  const router = new Router({ rank: 0, topology: parseTopology("kary:2", 1), owner: 1, warn: (text) => warnings.push(text) });
  const use = (id: string, count: number): void => {
    router.addEndpoint({ id, name: id, userid: 1, rolemask: ROLE_OWNER, send: () => {}, failed: () => {} });
    for (let i = 0; i < count; i++) router.fromEndpoint(id, requestMessage(`s${i}.x`, undefined, { matchtag: i + 1 }));
  };
  use("one", 10_000);
  expect(warnings).toEqual([]);
  router.removeEndpoint("one");
  use("two", 10_005);
  use("three", 10_005);
  expect(warnings.map((text) => text.split(" uses over")[0])).toEqual(["two", "three"]);
});
