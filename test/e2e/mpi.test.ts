// Programs of MPICH (PMI-1 on PMI_FD) and of Open MPI 4 (which loads libpmi.so) as our jobs: 1 to 32 ranks on 1 to 4 brokers; abort; spawn.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { lacks } from "../support/needs.ts";
import { FLUX, type Instance, run, startInstance } from "./flux.ts";

interface Implementation {
  readonly name: string;
  readonly isWithout: boolean;
  readonly compiler: string;
  /** What a program's own MPI says and what it gives the server as reason when rank 1 aborts with code 7. */
  readonly aborts: string;
  readonly reason: string;
  /** Ranks that hear of it when one cannot spawn: with Open MPI, the others wait for what never comes. */
  readonly spawners: number;
}

const IMPLEMENTATIONS: readonly Implementation[] = [
  { name: "MPICH", isWithout: lacks("libmpich-dev"), compiler: "mpicc.mpich", aborts: "application called MPI_Abort(MPI_COMM_WORLD, 7)", reason: "aborted", spawners: 2 },
  {
    name: "Open MPI",
    isWithout: lacks("libopenmpi-dev") || !existsSync(join(FLUX, "../lib/libpmi.so")),
    compiler: "mpicc.openmpi",
    aborts: "MPI_ABORT was invoked on rank 1 in communicator MPI_COMM_WORLD\nwith errorcode 7.",
    reason: "N/A",
    spawners: 1,
  },
];
const folder = mkdtempSync(join(tmpdir(), "mpi-e2e-"));

let instance: Instance;
beforeAll(async () => {
  instance = await startInstance(4);
});
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  await instance.stop();
});

for (const { name, isWithout, compiler, aborts, reason, spawners } of IMPLEMENTATIONS) {
  describe.skipIf(isWithout)(`a program of ${name}`, () => programsOf(compiler, aborts, reason, spawners));
}

function programsOf(compiler: string, aborts: string, reason: string, spawners: number): void {
  const program = join(folder, compiler);
  /** More ranks than cores: by the number of each node's tasks. */
  const job = (nodes: number, ranks: number, ...words: string[]) =>
    instance.flux(["run", `--nodes=${nodes}`, `--tasks-per-node=${ranks / nodes}`, program, ...words]);

  beforeAll(async () => {
    const { code, stderr } = await run([compiler, "-o", program, join(import.meta.dir, "mpi/programs.c")]);
    if (code !== 0) throw new Error(`${compiler} failed: ${stderr}`);
  });

  test.each([
    [1, 1],
    [1, 2],
    [2, 2],
    [1, 8],
    [4, 8],
    [4, 32],
  ])("on %d nodes with %d ranks", async (nodes, ranks) => {
    const total = (ranks * (ranks - 1)) / 2;
    if (ranks <= 8) {
      const hello = await job(nodes, ranks, "hello");
      expect(hello.stdout.trimEnd().split("\n").sort()).toEqual(Array.from({ length: ranks }, (_, rank) => `hello from ${rank} of ${ranks}`).sort());
      expect(await job(nodes, ranks, "ring")).toEqual({ stdout: `ring ${total}\n`, stderr: "", code: 0 });
    }
    expect(await job(nodes, ranks, "allreduce")).toEqual({ stdout: `allreduce ${total + ranks}\n`, stderr: "", code: 0 });
  });

  test("aborts: an exception says so, all tasks end", async () => {
    const { stderr, code } = await job(2, 2, "abort", "7");
    expect(stderr).toMatch(new RegExp(`job\\.exception \\S+ type=exec severity=0 PMI_Abort: ${reason}\n`));
    expect(stderr).toContain(aborts);
    expect(code).toBe(143);
    expect((await instance.flux(["jobs", "-a", "-c1", "-no", "{result} {exception.type}"])).stdout).toBe("FAILED exec\n");
  });

  test("alone, aborts: with its exit code, unless it is ended before", async () => {
    // Whichever is first: its own exit, or the end that it has asked for.
    expect([7, 143]).toContain((await job(1, 1, "abort", "7")).code);
  });

  test("may not spawn, and is told", async () => {
    expect((await job(1, spawners, "spawn")).stdout).toBe("spawn refused\n".repeat(spawners));
  });
}

describe("a job's tasks", () => {
  test("know which ranks share a node, however they are placed", async () => {
    const mapping = (taskmap: string) => instance.flux(["run", "-N2", "--tasks-per-node=2", `--taskmap=${taskmap}`, "flux", "pmi", "get", "PMI_process_mapping", "flux.taskmap"]);
    expect((await mapping("block")).stdout).toBe("(vector,(0,2,2))\n{\"version\":1,\"map\":[[0,2,2,1]]}\n");
    expect((await mapping("cyclic")).stdout).toBe("(vector,(0,2,1),(0,2,1))\n{\"version\":1,\"map\":[[0,2,1,2]]}\n");
  });

  test("run flux pmi", async () => {
    const { stdout } = await instance.flux(["run", "-N4", "--tasks-per-node=2", "flux", "pmi", "exchange", "--count=3"]);
    expect(stdout).toMatch(/^(\S+: completed pmi exchange on 8 tasks in \d+\.\d{3}s\.\n){3}$/);
  });
});
