import { expect, test } from "bun:test";
import { configTable, readTable } from "../../src/client/config-table.ts";
import { errno } from "../../src/message/errno.ts";
import { arr, bool, def, str } from "../../src/message/unpack.ts";

test("a table of the configuration is there, or empty, or refused by its name", () => {
  const config = { exec: { testexec: { "allow-guests": true } }, kvs: 5 };
  expect(configTable(config, "exec", "testexec")).toEqual({ "allow-guests": true });
  expect(configTable(config, "queues")).toEqual({});
  expect(configTable(config, "queues", "batch")).toEqual({});
  expect(() => configTable(config, "kvs")).toThrow("error reading [kvs] config table: it must be a table");
  expect(() => configTable(config, "exec", "testexec", "allow-guests")).toThrow("[exec.testexec.allow-guests]");
});

test("a wrong key is named with its table, and not called an error of a protocol", () => {
  const read = (table: Parameters<typeof readTable>[0]) => readTable(table, "access.roles", { users: arr(str), all: def(bool, false) });
  expect(read({ users: ["a"] })).toEqual({ users: ["a"], all: false });
  expect(() => read({ users: ["a", 1] })).toThrow(expect.objectContaining({ errno: errno.EINVAL, message: "'access.roles.users[1]' is number, not a string" }));
  expect(() => read({})).toThrow(expect.objectContaining({ message: "'access.roles.users' is missing" }));
});
