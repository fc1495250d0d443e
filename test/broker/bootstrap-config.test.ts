import { describe, expect, test } from "bun:test";
import { readBootstrap, resolveBind } from "../../src/broker/boot/bootstrap-config.ts";
import { childrenOf, childToward, descendantsOf, levelOf, maxLevel, parentOf, parseTopology } from "../../src/broker/overlay/topology.ts";
import type { JsonObject } from "../../src/formats/json.ts";

const read = (bootstrap: JsonObject, hostname: string = "a") => readBootstrap({ bootstrap }, hostname);
const cert = { curve_cert: "/c" };

describe("[bootstrap]", () => {
  test("is not there", () => expect(readBootstrap({}, "a")).toBeUndefined());

  test("without hosts, this one is alone", () => {
    expect(read({})).toMatchObject({ rank: 0, parents: [-1], hosts: [{ host: "a" }], enableIpv6: false });
  });

  test("the place in the list is the rank; hostlists are expanded; tokens filled", () => {
    const boot = read({ ...cert, default_port: 8050, default_bind: "tcp://en0:%p", default_connect: "tcp://e%h:%p", hosts: [{ host: "m", bind: "tcp://en4:9001" }, { host: "a,b[1-2]" }] }, "b1");
    expect(boot?.rank).toBe(2);
    expect(boot?.hosts).toEqual([
      { host: "m", bind: "tcp://en4:9001", connect: "tcp://em:8050", parent: undefined },
      { host: "a", bind: "tcp://en0:8050", connect: "tcp://ea:8050", parent: undefined },
      { host: "b1", bind: "tcp://en0:8050", connect: "tcp://eb1:8050", parent: undefined },
      { host: "b2", bind: "tcp://en0:8050", connect: "tcp://eb2:8050", parent: undefined },
    ]);
  });

  test("later entries of a host add to it: the tree of the manual", () => {
    const hosts = [{ host: "test[0-255]" }, { host: "test[1,128]", parent: "test0" }, { host: "test[2-127]", parent: "test1" }, { host: "test[129-255]", parent: "test128" }];
    const boot = read({ ...cert, hosts }, "test130");
    expect([boot?.rank, boot?.hosts.length, boot?.parents[1], boot?.parents[2], boot?.parents[255]]).toEqual([130, 256, 0, 1, 128]);
    const tree = parseTopology("custom", 256, boot?.parents);
    expect([childrenOf(tree, 0), maxLevel(tree), levelOf(tree, 130), childToward(tree, 0, 200), childToward(tree, 1, 200)]).toEqual([[1, 128], 2, 2, 128, undefined]);
    expect(descendantsOf(tree, 128).length).toBe(127);
  });

  test.each([
    [{ nosuch: 1 }, "unknown key 'nosuch'"],
    [{ default_port: 70000 }, "default_port must be in the range of 0-65535"],
    [{ default_port: "80" }, "[bootstrap]: 'default_port' is string, not a non-negative integer"],
    [{ hosts: { host: "a" } }, "hosts"],
    [{ hosts: [{ bind: "tcp://x:1" }] }, "invalid hosts[0]: 'host' is missing"],
    [{ hosts: [{ host: "a[" }] }, "invalid hosts[0]: "],
    [{ hosts: [{ host: "a b" }] }, "invalid hosts[0]: "],
    [{ hosts: [{ host: "a", color: "red" }] }, "invalid hosts[0]: unknown key 'color'"],
    [{ hosts: [{ host: "b" }] }, "a not found in hosts"],
    [{ hosts: [{ host: "a" }, { host: "b" }] }, "curve_cert must be defined for size > 1"],
    [{ hosts: [{ host: "a", bind: "udp://x:1" }] }, "does not begin with tcp:// or ipc://"],
    [{ hosts: [{ host: "a", connect: "tcp://x:*" }] }, "needs a port number"],
    [{ ...cert, hosts: [{ host: "a", parent: "b" }, { host: "b" }] }, "a is rank 0, which has no parent"],
    [{ ...cert, hosts: [{ host: "a" }, { host: "b", parent: "b" }] }, "parent key refers to self"],
  ])("%j is refused", (bootstrap, why) => {
    expect(() => read(bootstrap as JsonObject)).toThrow(why);
    expect(() => read(bootstrap as JsonObject)).toThrow("Config file error [bootstrap]: ");
  });
});

test("a place to listen: interfaces by name, every address", () => {
  expect(resolveBind("tcp://lo:80", false)).toBe("tcp://127.0.0.1:80");
  expect(resolveBind("tcp://*:80", false)).toBe("tcp://*:80");
  expect(resolveBind("tcp://*:80", true)).toBe("tcp://[::]:80");
  expect(resolveBind("tcp://10.0.0.1:80", false)).toBe("tcp://10.0.0.1:80");
  expect(resolveBind("ipc:///a", false)).toBe("ipc:///a");
  expect(() => resolveBind("tcp://nosuch0:80", false)).toThrow("there is no interface 'nosuch0'");
});

describe("trees", () => {
  test.each(["kary:0", "kary:1", "kary:2", "kary:32"])("%s: parents and children agree", (text) => {
    const tree = parseTopology(text, 70);
    for (let rank = 0; rank < 70; rank++) {
      const parent = parentOf(tree, rank);
      expect(rank === 0 ? parent === undefined : childrenOf(tree, parent as number).includes(rank)).toBe(true);
      if (rank > 0) expect(levelOf(tree, rank)).toBe(levelOf(tree, parent as number) + 1);
    }
    expect(descendantsOf(tree, 0).length).toBe(69);
  });

  test("a parent may have a higher rank; a circle is refused", () => {
    const tree = parseTopology("custom", 4, [-1, 3, 3, 0]);
    expect([childToward(tree, 0, 1), childToward(tree, 3, 2), childToward(tree, 1, 3), maxLevel(tree)]).toEqual([3, 2, undefined, 2]);
    expect(() => parseTopology("custom", 3, [-1, 2, 1])).toThrow("2 brokers are below each other");
    expect(() => parseTopology("ring", 3)).toThrow("unknown topology 'ring'");
  });
});
