// libpmi.so and libpmi2.so: programs that load one find ours in the environment of their job, and are served by its shells.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { FLUX, type Instance, run, startInstance } from "./flux.ts";

const libraries = join(FLUX, "../lib");
const isWithout = !existsSync(join(libraries, "libpmi.so")) || Bun.which("cc") === null;
let instance: Instance;
let program: string;

beforeAll(async () => {
  instance = await startInstance(4);
  program = join(instance.folder, "library");
  if (isWithout) return;
  const { code, stderr } = await run(["cc", "-Wall", "-o", program, join(import.meta.dir, "mpi/library.c"), `-L${libraries}`, "-lpmi"]);
  if (code !== 0) throw new Error(`cc failed: ${stderr}`);
});
afterAll(() => instance.stop());

describe.skipIf(isWithout)("a program that is linked to libpmi.so", () => {
  test.each([1, 2, 8])("is served on four nodes, by a tree of shells in which each has %d children", async (k) => {
    const { stdout, stderr, code } = await instance.flux(["run", "-N4", "--tasks-per-node=2", "-o", `pmi-simple.exchange.k=${k}`, program]);
    expect([stderr, code]).toEqual(["", 0]);
    const node = (rank: number): string => `${rank - (rank % 2)}..${rank - (rank % 2) + 1}`;
    const line = (rank: number): string => `${rank}/8 spawned=0 universe=8 app=0 max=1024 clique=${node(rank)}: value of rank ${(rank + 1) % 8}`;
    expect(stdout.trim().split("\n").sort()).toEqual(Array.from({ length: 8 }, (_, rank) => line(rank)));
  });

  test.each<[string, string[], (rank: number) => string]>([
    ["in turns", ["--taskmap=cyclic"], (rank) => `${rank % 4}..${(rank % 4) + 4}`],
    ["by hand", ["--taskmap=manual:[[3,1,2,1],[0,3,1,2]]"], (rank) => (rank < 2 ? "0..1" : `${2 + ((rank - 2) % 3)}..${5 + ((rank - 2) % 3)}`)],
    ["nobody knows how", ["-o", "pmi-simple.nomap"], (rank) => `${rank}..${rank}`],
  ])("knows who is on its node where tasks are dealt out %s", async (_, options, clique) => {
    const { stdout, stderr, code } = await instance.flux(["run", "-N4", "--tasks-per-node=2", ...options, program]);
    expect([stderr, code]).toEqual(["", 0]);
    const told = stdout.trim().split("\n").sort().map((line) => /clique=(\S+):/.exec(line)?.[1]);
    expect(told).toEqual(Array.from({ length: 8 }, (_each, rank) => clique(rank)));
  });

  test("is alone outside of a job", async () => {
    const { stdout, code } = await run([program], { env: { LD_LIBRARY_PATH: libraries } });
    expect([stdout, code]).toEqual(["0/1 spawned=0 universe=1 app=0 max=1024 clique=0..0: value of rank 0\n", 0]);
  });

  test("ends its job by PMI_Abort, with its message", async () => {
    const { stderr, code } = await instance.flux(["run", "-n2", program, "abort"]);
    expect(stderr).toContain("type=exec severity=0 PMI_Abort: told to abort\n");
    // Once, by the exception.
    expect(stderr.match(/told to abort/g)).toHaveLength(1);
    // The highest of the one that aborted and of those that were ended for it.
    expect([7, 143]).toContain(code);
  });

  test("says itself why it aborts where nobody is there to tell", async () => {
    const { stderr, code } = await run([program, "abort"], { env: { LD_LIBRARY_PATH: libraries } });
    expect([stderr, code]).toEqual(["PMI_Abort: (0) told to abort\n", 7]);
  });

  test("is told what is wrong with its arguments", async () => {
    // Key, value, name, no such key, argument, and what we cannot do.
    const { stdout, code } = await instance.flux(["run", program, "wrong"]);
    expect([stdout, code]).toEqual(["4 6 3 -1 3 -1\n", 0]);
  });
});

describe.skipIf(isWithout)("the environment", () => {
  test("names the library, in front of what the user has", async () => {
    const script = "echo $LD_LIBRARY_PATH; echo $FLUX_PMI_LIBRARY_PATH";
    const { stdout } = await instance.flux(["run", "--env=LD_LIBRARY_PATH=/mine", "sh", "-c", script]);
    expect(stdout).toBe(`${libraries}:/mine\n${libraries}/libpmi.so\n`);
    const nested = await instance.flux(["run", "flux", "start", "flux", "run", "sh", "-c", script]);
    expect(nested.stdout).toBe(`${libraries}\n${libraries}/libpmi.so\n`);
    const off = await instance.flux(["run", "-o", "pmi=off", "sh", "-c", script]);
    expect(off.stdout).toBe("\n\n");
    expect((await instance.flux(["config", "builtin", "pmi_library_path"])).stdout).toBe(`${libraries}/libpmi.so\n`);
  });

  test.each(["libpmi", "libpmi2"])("a client of %s exchanges keys", async (method) => {
    const { stdout, stderr, code } = await instance.flux(["run", "-N2", "-n4", "flux", "pmi", `--method=${method}`, "exchange"]);
    expect([stderr, code]).toEqual(["", 0]);
    expect(stdout).toContain("completed pmi exchange on 4 tasks");
    const cray = await instance.flux(["run", "-n2", "sh", "-c", `flux pmi -v --libpmi2-cray --method=${method} exchange; flux pmi --method=${method} --libpmi2-cray get flux.instance-level`]);
    expect(cray.stdout).toContain("completed pmi exchange on 2 tasks");
    expect(cray.stderr.includes("no such key")).toBe(method === "libpmi2");
    const refused = await instance.flux(["run", "flux", "pmi", "--libpmi-noflux", `--method=${method}`, "barrier"]);
    expect(refused.stderr).toContain("this is Flux's own library");
  });
});

test("what all nodes of a job complain of is said once", async () => {
  const { stderr } = await instance.flux(["run", "-N4", "-o", "pmi=foo", "true"]);
  expect(stderr.match(/job\.exception/g)).toHaveLength(1);
});

test("a fan-out that is no number is refused", async () => {
  const { stderr, code } = await instance.flux(["run", "-N2", "-o", "pmi-simple.exchange.k=x", "true"]);
  expect([stderr, code]).toEqual([expect.stringContaining('invalid pmi-simple.exchange.k: "x"'), 1]);
});
