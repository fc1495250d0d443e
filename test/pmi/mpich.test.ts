// Against the real thing: a program of MPICH as the client of our server, and our client under MPICH's Hydra.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";

import { collectOutput, findProgram } from "../../src/os/spawn.ts";
import { exitCode } from "../../src/formats/waitstatus.ts";
import { makeTemporaryDirectory, removeDirectory } from "../../src/os/tmpdir.ts";
import { lacks } from "../support/needs.ts";
import { launch } from "./launcher.ts";

const dir = makeTemporaryDirectory("pmi-test-");
const hello = join(dir, "mpi_hello");
const program = join(import.meta.dir, "client-program.ts");

const pathOf = (name: string): string => findProgram(name, process.env["PATH"], "/");

beforeAll(async () => {
  if (lacks("libmpich-dev")) return;
  const mpicc = pathOf("mpicc.mpich");
  const { status, stderr } = await collectOutput({ argv: [mpicc, "-o", hello, join(import.meta.dir, "mpi_hello.c")] });
  if (status !== 0) throw new Error(`mpicc failed: ${stderr}`);
});
afterAll(() => removeDirectory(dir));

const lines = (text: string): string[] => text.trim().split("\n").sort();
const wanted = [0, 1, 2, 3].map((rank) => `rank ${rank} of 4 sum 6`);

describe.skipIf(lacks("libmpich-dev"))("our server, MPICH's client", () => {
  test("four ranks of one server", async () => {
    const result = await launch([hello], 4);
    expect(result.errors).toEqual([]);
    expect(result.statuses).toEqual([0, 0, 0, 0]);
    expect(lines(result.stdout)).toEqual(wanted);
  });

  test("four ranks of two servers that exchange", async () => {
    const result = await launch([hello], 4, 2);
    expect(result.errors).toEqual([]);
    expect(lines(result.stdout)).toEqual(wanted);
  });

  test("MPI_Abort arrives with its exit code", async () => {
    const result = await launch([hello, "2"], 4);
    expect(result.aborts.map(([rank, exitCode]) => [rank, exitCode])).toEqual([[2, 7]]);
  });
});

const seen = (stdout: string): object[] => lines(stdout).map((line) => JSON.parse(line) as object);

describe("our client", () => {
  test("under our server", async () => {
    const result = await launch([process.execPath, program], 3);
    expect(result.stderr).toBe("");
    expect(seen(result.stdout)).toEqual([0, 1, 2].map((rank) => ({ rank, size: 3, right: 3, missing: null, mapping: [0, 0, 0], universe: 3, appnum: 0 })));
  });

  test("aborts with its code and message", async () => {
    const result = await launch([process.execPath, program, "abort"], 3);
    expect(result.aborts).toEqual([[1, 7, "enough"]]);
  });

  for (const [title, options] of [
    ["by descriptor", []],
    ["by port", ["-pmi-port"]],
    ["on four pretended hosts", ["-hosts", "h1,h2,h3,h4", "-launcher", "fork"]],
  ] as const) {
    test.skipIf(lacks("mpich"))(`under Hydra ${title}`, async () => {
      const hydra = pathOf("mpiexec.hydra");
      const { stdout, stderr, status } = await collectOutput({ argv: [hydra, ...options, "-n", "4", process.execPath, program] });
      expect(stderr).toBe("");
      expect(status).toBe(0);
      const mapping = title === "on four pretended hosts" ? [0, 1, 2, 3] : [0, 0, 0, 0];
      expect(seen(stdout)).toEqual([0, 1, 2, 3].map((rank) => ({ rank, size: 4, right: 4, missing: null, mapping, universe: null, appnum: 0 })));
    });
  }

  test.skipIf(lacks("mpich"))("aborts under Hydra with its exit code", async () => {
    const { status } = await collectOutput({ argv: [pathOf("mpiexec.hydra"), "-n", "2", process.execPath, program, "abort"] });
    expect(exitCode(status)).toBe(7);
  });

  test.skipIf(lacks("mpich"))("FLUX_PMI_DEBUG prints the conversation", async () => {
    const result = await collectOutput({ argv: [pathOf("mpiexec.hydra"), "-n", "1", process.execPath, program], env: { ...process.env, FLUX_PMI_DEBUG: "1" } });
    expect(result.stderr).toContain("pmi[0]: C: cmd=init pmi_version=1 pmi_subversion=1");
    expect(result.stderr).toContain("pmi[0]: S: cmd=barrier_out");
  });
});
