// Queues of a configuration: what virtual ones inherit (RFC 33).
import { expect, test } from "bun:test";
import { parentQueue, queueTables } from "../../src/formats/queue-config.ts";

test("a virtual queue has the nodes and the policy of its parent, its own values first", () => {
  const batch = { requires: ["batch"], policy: { limits: { duration: "1h", "job-size": { max: { nnodes: 2 } } }, jobspec: { defaults: { system: { duration: "5m" } } } } };
  const tables = queueTables({
    queues: { batch, expedite: { parent: "batch", policy: { limits: { duration: "30m", "job-size": { max: { ncores: 4 } } } } }, plain: { parent: "batch" }, debug: {} },
  });
  expect(tables.get("batch")).toEqual(batch);
  expect(tables.get("expedite")).toEqual({
    parent: "batch",
    requires: ["batch"],
    policy: { limits: { duration: "30m", "job-size": { max: { nnodes: 2, ncores: 4 } } }, jobspec: { defaults: { system: { duration: "5m" } } } },
  });
  expect(tables.get("plain")).toEqual({ ...batch, parent: "batch" });
  expect(tables.get("debug")).toEqual({});
  expect([...tables.keys()]).toEqual(["batch", "expedite", "plain", "debug"]);
});

test("no table, no queues", () => {
  expect(queueTables({}).size).toBe(0);
  expect(queueTables({ queues: 1 }).size).toBe(0);
  expect(queueTables({ queues: { a: 1, b: { parent: "nope" } } }).get("b")).toEqual({ parent: "nope" });
  expect([parentQueue({ parent: "a" }), parentQueue({}), parentQueue(undefined)]).toEqual(["a", undefined, undefined]);
});
