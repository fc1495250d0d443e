// "Starting a Test Instance": the walk that every newcomer takes, as a script and step by step.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { flux, type Instance, startInstance } from "./flux.ts";

const cores = 3 * availableParallelism();

describe("in a running instance of three brokers", () => {
  let instance: Instance;
  beforeAll(async () => {
    instance = await startInstance(3);
  });
  afterAll(() => instance.stop());

  test("flux uptime", async () => {
    const { stdout, code } = await instance.flux(["uptime"]);
    expect(stdout).toMatch(/^ \d\d:\d\d:\d\d run \S+,  owner \S+,  depth 0,  size 3\n$/);
    expect(code).toBe(0);
  });

  test("flux resource info", async () => {
    expect(await instance.flux(["resource", "info"])).toEqual({ stdout: `3 Nodes, ${cores} Cores, 0 GPUs\n`, stderr: "", code: 0 });
  });

  test("flux run --label-io -N3 hostname", async () => {
    const { stdout, stderr, code } = await instance.flux(["run", "--label-io", "-N3", "hostname"]);
    expect(stdout.trim().split("\n").sort()).toEqual([0, 1, 2].map((rank) => `${rank}: ${hostname()}`));
    expect([stderr, code]).toEqual(["", 0]);
  });
});

test("the same as a script: flux start --test-size=3 ./script.sh", async () => {
  const folder = mkdtempSync(join(tmpdir(), "flux-walk-"));
  const script = join(folder, "script.sh");
  writeFileSync(script, "#!/bin/sh\nflux resource info\nflux uptime\nNNODES=$(flux resource list -no {nnodes})\nflux run --label-io -N $NNODES hostname\nexit 7\n");
  chmodSync(script, 0o755);
  const { stdout, stderr, code } = await flux(["start", "--test-size=3", "./script.sh"], { cwd: folder, env: { TMPDIR: folder } });
  rmSync(folder, { recursive: true });
  expect(stderr).toContain("exited with rc=7");
  expect(stdout.split("\n")[0]).toBe(`3 Nodes, ${cores} Cores, 0 GPUs`);
  expect(stdout).toContain("size 3\n");
  for (const rank of [0, 1, 2]) expect(stdout).toContain(`${rank}: ${hostname()}\n`);
  expect(code).toBe(7);
});
