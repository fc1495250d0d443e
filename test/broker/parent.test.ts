// What a nested instance tells its parent.
import { expect, test } from "bun:test";
import { criticalNodes } from "../../src/broker/parent.ts";

test.each([
  ["one broker a node", "[[0,4,1,1]]", "0-1", "0-1"],
  ["two brokers a node", "[[0,2,2,1]]", "0-1", "0"],
  ["brokers dealt out in turns", "[[0,2,1,2]]", "0-1", "0-1"],
  ["a rank that there is not", "[[0,2,1,1]]", "0,7", "0"],
])("critical nodes of the job: %s", (_, mapping, ranks, nodes) => {
  expect(criticalNodes(mapping, ranks)).toBe(nodes);
});
