import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { Hostlist } from "../../src/formats/hostlist.ts";
import { IdSet } from "../../src/formats/idset.ts";

const host = fc
  .tuple(
    fc.constantFrom("foo", "bar", "a-b", "", "x9y", "99999999999999999999"),
    fc.constantFrom("", "0", "00", "001", "002", "3", "4", "5", "9", "10", "11", "099", "100"),
  )
  .map((parts) => parts.join(""))
  .filter((name) => name !== "");

describe("hostlist", () => {
  test("test vectors of RFC 29", () => {
    const vectors: [string, string][] = [
      ["", ""],
      ["foox,fooy,fooz", "foox,fooy,fooz"],
      ["[1-3,5-6]", "1,2,3,5,6"],
      ["foo[1-5]", "foo1,foo2,foo3,foo4,foo5"],
      ["foo[0-4]-eth2", "foo0-eth2,foo1-eth2,foo2-eth2,foo3-eth2,foo4-eth2"],
      ["foo1,foo1,foo1", "foo1,foo1,foo1"],
      ["[00-02]", "00,01,02"],
      ["[00-2]", "00,01,02"],
      ["foo[1,1,2,1]", "foo1,foo1,foo2,foo1"],
      ["foo[005,4,11-13]", "foo005,foo004,foo011,foo012,foo013"],
    ];
    for (const [text, hosts] of vectors) expect([...Hostlist.parse(text)].join(","), text).toBe(hosts);
  });
  test("compact form", () => {
    expect(Hostlist.of("foo0", "foo1", "foo2", "foo3", "foo5").toString()).toBe("foo[0-3,5]");
    expect(Hostlist.of("foo9", "foo10", "bar", "foo011").toString()).toBe("foo[9-10],bar,foo011");
    expect(Hostlist.of("foo08", "foo09", "foo10", "foo11").toString()).toBe("foo[08-11]");
    expect(Hostlist.of("foo1").toString()).toBe("foo1");
    expect(Hostlist.of("foo1", "foo1").toString()).toBe("foo[1,1]");
    expect(Hostlist.parse("n[0-99999]").length).toBe(100000);
    expect(Hostlist.parse("n1[0-2]").toString()).toBe("n[10-12]");
  });
  test("any list of names comes back in order", () => {
    fc.assert(
      fc.property(fc.array(host, { maxLength: 12 }), (hosts) => {
        const list = Hostlist.from(hosts);
        expect([...list]).toEqual(hosts);
        expect([...Hostlist.parse(list.toString())]).toEqual(hosts);
        expect(list.length).toBe(hosts.length);
        hosts.forEach((name, i) => {
          expect(list.nth(i)).toBe(name);
          expect(list.find(name)).toBe(hosts.indexOf(name));
          expect(list.findAll(name)).toEqual(hosts.flatMap((other, at) => (other === name ? [at] : [])));
        });
        expect([...list.clone().uniq()].sort()).toEqual([...new Set(hosts)].sort());
        expect([...list.clone().sort()].sort()).toEqual([...hosts].sort());
      }),
      { numRuns: 1000 },
    );
  });
  test("operations", () => {
    const list = Hostlist.parse("foo[0-5],bar,foo1");
    expect(list.nth(-1)).toBe("foo1");
    expect(list.nth(8)).toBeUndefined();
    expect(list.find("foo01")).toBe(-1);
    expect(list.slice(IdSet.parse("0,2-3,6")).toString()).toBe("foo[0,2-3],bar");
    expect(() => list.slice(IdSet.of(8))).toThrow("there is no host 8");
    expect(list.delete("foo[1-2]")).toBe(3);
    expect(list.toString()).toBe("foo[0,3-5],bar");
    expect(list.append(list).length).toBe(10);
    expect(Hostlist.parse("foo[3,1,2],a").sort().toString()).toBe("a,foo[1-3]");
    expect(Hostlist.parse("foo[1-2]").equals(Hostlist.of("foo1", "foo2"))).toBe(true);
  });
  test("errors say where", () => {
    expect(() => Hostlist.parse("foo[1-3")).toThrow("a bracket is not closed");
    expect(() => Hostlist.parse("foo]")).toThrow("at character 3");
    for (const text of ["foo[]", "foo[a]", "foo[3-1]", "foo[1]bar[2]", "fo o", "foo[[1]]", "foo[1-]", "foo[0-99999999]"]) {
      expect(() => Hostlist.parse(text), text).toThrow("invalid hostlist");
    }
    expect(() => Hostlist.of("a,b")).toThrow("invalid host name");
  });
});
