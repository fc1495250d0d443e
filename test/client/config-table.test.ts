import { expect, test } from "bun:test";
import { configTable } from "../../src/client/config-table.ts";

test("a table of the configuration is there, or empty, or refused by its name", () => {
  const config = { exec: { testexec: { "allow-guests": true } }, kvs: 5 };
  expect(configTable(config, "exec", "testexec")).toEqual({ "allow-guests": true });
  expect(configTable(config, "queues")).toEqual({});
  expect(configTable(config, "queues", "batch")).toEqual({});
  expect(() => configTable(config, "kvs")).toThrow("error reading [kvs] config table: it must be a table");
  expect(() => configTable(config, "exec", "testexec", "allow-guests")).toThrow("[exec.testexec.allow-guests]");
});
