import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { IdSet } from "../../src/formats/idset.ts";
import { Rset, rsetShort } from "../../src/formats/rset.ts";

const example = {
  version: 1,
  execution: {
    R_lite: [{ rank: "19-22", children: { gpu: "0-7", core: "0-47" } }],
    nslots: 32,
    starttime: 1676560542,
    expiration: 1676562342,
    nodelist: ["node[186-189]"],
    properties: { ssd: "20-21" },
  },
  scheduling: { writer: "fluxion" },
};
const ids = fc.array(fc.integer({ min: 0, max: 7 }), { maxLength: 6 }).map((list) => IdSet.from(list));
const rset = fc
  .array(fc.record({ rank: fc.integer({ min: 0, max: 5 }), cores: ids, gpus: ids }), { maxLength: 6 })
  .map((nodes) => {
    const set = new Rset();
    for (const { rank, cores, gpus } of nodes)
      if (!cores.isEmpty || !gpus.isEmpty) set.add(rank, { cores, gpus, host: `h${rank}` });
    return set;
  });

const wrong = (change: object, message: string) =>
  expect(() =>
    Rset.parse({ version: 1, execution: { R_lite: [{ rank: "0", children: { core: "0" } }], nodelist: ["a"], ...change } }),
  ).toThrow(message);

describe("R", () => {
  test("the example of RFC 20", () => {
    const set = Rset.parse(JSON.stringify(example));
    expect([set.nnodes, set.ncores, set.ngpus, set.nslots, set.expiration]).toEqual([4, 192, 32, 32, 1676562342]);
    expect(set.hostOf(20)).toBe("node187");
    expect(set.ranksOf("node[188-200]").toString()).toBe("21-22");
    expect(set.propertiesOf(20)).toEqual(["ssd"]);
    expect(set.propertiesOf(19)).toEqual([]);
    expect(rsetShort(set)).toBe("rank[19-22]/core[0-47],gpu[0-7]");
    expect(set.toString()).toBe(
      '{"version":1,"execution":{"R_lite":[{"rank":"19-22","children":{"core":"0-47","gpu":"0-7"}}],"nslots":32,' +
        '"starttime":1676560542.0,"expiration":1676562342.0,"nodelist":["node[186-189]"],"properties":{"ssd":"20-21"}},"scheduling":{"writer":"fluxion"}}',
    );
  });
  test("comes back", () => {
    fc.assert(
      fc.property(rset, (set) => {
        expect(Rset.parse(set.toString()).toString()).toBe(set.toString());
      }),
    );
  });
  test("algebra holds for every core", () => {
    fc.assert(
      fc.property(rset, rset, (a, b) => {
        const [union, diff, both] = [a.union(b), a.diff(b), a.intersect(b)];
        for (let rank = 0; rank < 6; rank++) {
          for (let core = 0; core < 8; core++) {
            const has = (set: Rset) => set.node(rank)?.cores.has(core) === true;
            expect(has(union)).toBe(has(a) || has(b));
            expect(has(diff)).toBe(has(a) && !has(b));
            expect(has(both)).toBe(has(a) && has(b));
          }
        }
        expect(diff.union(both).toString()).toBe(a.toString());
        expect(diff.ngpus + both.ngpus).toBe(a.ngpus);
        if (both.isEmpty) expect(a.append(b).toString()).toBe(union.toString());
        else expect(() => a.append(b)).toThrow("in both sets");
      }),
      { numRuns: 200 },
    );
  });
  test("equal children share an entry, also apart", () => {
    const set = new Rset();
    set.add(3, { cores: IdSet.range(0, 3), host: "b" });
    set.add(0, { cores: IdSet.range(0, 3), host: "a" });
    set.add(1, { cores: IdSet.of(1), gpus: IdSet.of(2), host: "c" });
    expect(rsetShort(set)).toBe("rank[0,3]/core[0-3] rank1/core1,gpu2");
    expect(set.hosts.toString()).toBe("a,c,b");
    expect(rsetShort(set.slice(IdSet.of(1, 7)))).toBe("rank1/core1,gpu2");
    expect(rsetShort(set.remap())).toBe("rank[0,2]/core[0-3] rank1/core0,gpu2");
    const reranked = set.rerank("b,a,c");
    expect([...reranked.nodes()].map((node) => node.host)).toEqual(["b", "a", "c"]);
    expect(() => set.rerank("b,a")).toThrow("by 2 hosts");
    expect(() => set.rerank("b,a,x")).toThrow("host c is not in");
  });
  test("errors name the member", () => {
    wrong({ R_lite: 3 }, "execution.R_lite: must be a list");
    wrong({ R_lite: [{ rank: 0 }] }, "execution.R_lite[0].rank: must be an idset string");
    wrong({ R_lite: [{ rank: "0", children: { core: "3-1" } }] }, "execution.R_lite[0].children.core");
    wrong({ nodelist: ["a", "b"] }, "names 2 hosts for 1");
    wrong({ properties: { "a|b": "0" } }, "invalid character '|' in property");
    wrong({ expiration: "x" }, "execution.expiration");
    expect(() => Rset.parse('{"version":2}')).toThrow("version: must be 1, not 2");
  });
});
