import { expect, test } from "bun:test";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { Attributes } from "../../src/broker/attributes.ts";
import { setupDirectory } from "../../src/broker/rundir.ts";
import { checkNumbers, setupTree } from "../../src/broker/setup-attributes.ts";
import { errno } from "../../src/message/errno.ts";
import { makeTemporaryDirectory, removeDirectory } from "../../src/os/tmpdir.ts";

test("the command line may set what is not a fact", () => {
  const attrs = new Attributes();
  attrs.setFromCommandLine("tbon.topo", "kary:2");
  expect(attrs.lookup("tbon.topo")).toEqual({ value: "kary:2", immutable: false });
  expect(() => attrs.setFromCommandLine("nosuch", "1")).toThrow("nosuch: unknown attribute");
  expect(() => attrs.setFromCommandLine("rank", "1")).toThrow("rank: attribute may not be set on the command line");
});

test("immutable values are set once", () => {
  const attrs = new Attributes();
  attrs.set("rank", "3");
  expect(() => attrs.set("rank", "4")).toThrow(expect.objectContaining({ errno: errno.EPERM }));
  expect(() => attrs.delete("rank")).toThrow(expect.objectContaining({ errno: errno.EPERM }));
  expect(attrs.lookup("rank")).toEqual({ value: "3", immutable: true });
});

test("setattr changes run-time attributes only, unless forced", () => {
  const attrs = new Attributes();
  attrs.set("log-stderr-level", "3");
  attrs.set("statedir", "/a");
  attrs.setAtRuntime("log-stderr-level", "5", false);
  expect(attrs.get("log-stderr-level")).toBe("5");
  expect(() => attrs.setAtRuntime("statedir", "/b", false)).toThrow("attribute may not be updated");
  attrs.setAtRuntime("statedir", "/b", true);
  expect(attrs.get("statedir")).toBe("/b");
  expect(() => attrs.setAtRuntime("foo", "bar", false)).toThrow(expect.objectContaining({ errno: errno.ENOENT, message: "unknown attribute" }));
  attrs.setAtRuntime("test.anything", "1", false);
  expect(attrs.get("test.anything")).toBe("1");
});

test("an attribute without a value is listed but cannot be read", () => {
  const attrs = new Attributes();
  attrs.set("parent-uri", undefined);
  expect(attrs.names()).toEqual(["parent-uri"]);
  expect(() => attrs.lookup("parent-uri")).toThrow(expect.objectContaining({ errno: errno.ENOENT }));
});

test("tbon.fanout is the older name of a tree, and tbon.topo goes before it", () => {
  const topology = (...given: (readonly [string, string])[]): string | undefined => {
    const attrs = new Attributes();
    for (const [name, value] of given) attrs.setFromCommandLine(name, value);
    setupTree(attrs, { tbon: { topo: "binomial" } });
    return attrs.get("tbon.topo");
  };
  expect([topology(), topology(["tbon.fanout", "2"]), topology(["tbon.fanout", "2"], ["tbon.topo", "kary:4"])]).toEqual(["binomial", "kary:2", "kary:4"]);
});

test("numbers that nothing can be done with are refused at the start", () => {
  for (const [name, good, bad] of [
    ["tbon.prefertcp", "1", "yes"],
    ["broker.exit-norestart", "42", "always"],
    ["broker.exit-norestart", "255", "256"],
  ] as const) {
    const attrs = new Attributes();
    checkNumbers(attrs);
    attrs.setFromCommandLine(name, good);
    checkNumbers(attrs);
    attrs.setFromCommandLine(name, bad);
    expect(() => checkNumbers(attrs)).toThrow(name);
  }
});

test("a directory that was there goes in the end when asked to, by any value but 0", () => {
  const root = makeTemporaryDirectory("rundir-");
  for (const [value, stays] of [["0", true], ["1", false], ["yes", false]] as const) {
    const path = join(root, value);
    mkdirSync(path, { mode: 0o700 });
    const attrs = new Attributes();
    attrs.setFromCommandLine("rundir", path);
    attrs.setFromCommandLine("rundir-cleanup", value);
    setupDirectory(attrs, "rundir").cleanup();
    expect(existsSync(path)).toBe(stays);
  }
  removeDirectory(root);
});
