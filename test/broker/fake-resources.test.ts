// The table [fake-resources]: what it takes, R that comes of it, and functions that change R.
import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { amendR, fakeR, parseFakeResources } from "../../src/broker/modprobe/fake-resources.ts";
import { Rset } from "../../src/formats/rset.ts";

const XML = `<?xml version="1.0"?><topology version="2.0"><object type="Machine" os_index="0" cpuset="0x3">
  <info name="HostName" value="real"/>
  <object type="Core" os_index="0" cpuset="0x1"/><object type="Core" os_index="1" cpuset="0x2"/></object></topology>`;

describe("the table", () => {
  test("has defaults", () => {
    const R = fakeR(parseFakeResources({ nnodes: 3 }), undefined);
    expect(R).toMatchObject({ execution: { R_lite: [{ rank: "0-2", children: { core: "0-63" } }], nodelist: ["fake[0-2]"] } });
    expect(JSON.stringify(R)).not.toContain("gpu");
  });

  test("says what nodes are like", () => {
    const R = fakeR(parseFakeResources({ nnodes: 2, "cores-per-node": 4, "gpus-per-node": 1, "host-prefix": "n" }), undefined);
    expect(R).toMatchObject({ execution: { R_lite: [{ rank: "0-1", children: { core: "0-3", gpu: "0" } }], nodelist: ["n[0-1]"] } });
  });

  test("goes by hwloc XML before numbers, but not for names", () => {
    const R = fakeR(parseFakeResources({ nnodes: 2, "cores-per-node": 4 }), XML);
    expect(R).toMatchObject({ execution: { R_lite: [{ rank: "0-1", children: { core: "0-1" } }], nodelist: ["fake[0-1]"] } });
  });

  test.each([
    [{}, "needs the key nnodes"],
    [{ nnodes: 0 }, "nnodes must be from 1"],
    [{ nnodes: "4" }, "nnodes"],
    [{ nnodes: 4, cores: 2 }, "unknown key cores"],
    [{ nnodes: 4, "gpus-per-node": 1e9 }, "65536"],
    [[], "object"],
  ])("%j is refused", (table, message) => {
    expect(() => parseFakeResources(table)).toThrow(message);
  });
});

describe("amend-r", () => {
  const R = { execution: {} };
  const inFile = async (name: string, text: string, run: (path: string) => Promise<void>): Promise<void> => {
    const dir = mkdtempSync(join(tmpdir(), "amend-"));
    try {
      const path = join(dir, name);
      writeFileSync(path, text);
      await run(path);
    } finally {
      rmSync(dir, { recursive: true });
    }
  };

  test("a function in a script gets R and the XML", () =>
    inFile("a.mjs", "export const amend = async (R, xml) => ({ ...R, xml });", async (path) => {
      expect(await amendR(R, path, "x.xml", "<x/>")).toEqual({ execution: {}, xml: "<x/>" });
    }));

  test("what returns no R, or isn't there, is refused", async () => {
    await inFile("a.js", "export function amend() { return 1; }", async (path) => expect(amendR(R, path, undefined, undefined)).rejects.toThrow("must return R"));
    await inFile("b.js", "export const x = 1;", async (path) => expect(amendR(R, path, undefined, undefined)).rejects.toThrow("exports no function amend"));
    await expect(amendR(R, "/none.js", undefined, undefined)).rejects.toThrow("No such file or directory");
  });
});

test("R keeps its form for many nodes", () => {
  const R = Rset.parse(fakeR(parseFakeResources({ nnodes: 10_000 }), undefined));
  expect([R.ranks.count, R.ncores]).toEqual([10_000, 640_000]);
});
