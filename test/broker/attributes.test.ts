import { expect, test } from "bun:test";
import { Attributes } from "../../src/broker/attributes.ts";
import { setupTree } from "../../src/broker/setup-attributes.ts";
import { errno } from "../../src/message/errno.ts";

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
