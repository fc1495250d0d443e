// Instances under MPICH's Hydra, with the real one: by descriptor and by port, on pretended hosts, with a broker that dies, with Ctrl-C.
import { describe, expect, test } from "bun:test";
import { chmodSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { lacks } from "../support/needs.ts";
import { FLUX, type Result, run } from "./flux.ts";
import { childrenOf, launch, type Scratch, scratch } from "./launch.ts";

const hydra = (box: Scratch, ...words: string[]): Promise<Result> => run(["mpiexec.hydra", ...words], { env: box.tmp, cwd: box.folder });

describe.skipIf(lacks("mpich"))("mpiexec.hydra", () => {
  test("-n 4 flux start SCRIPT", async () => {
    await using box = scratch();
    const script = join(box.folder, "workload.sh");
    writeFileSync(script, "#!/bin/sh\nflux uptime\nflux resource info\nflux run --label-io -N4 hostname\n");
    chmodSync(script, 0o755);
    const { stdout, stderr, code } = await hydra(box, "-n", "4", "flux", "start", "./workload.sh");
    expect(stderr).toBe("");
    const [uptime, resources, ...tasks] = stdout.trimEnd().split("\n");
    expect(uptime).toMatch(/ run \S+,  owner \S+,  depth 0,  size 4$/);
    expect(resources).toMatch(/^4 Nodes, \d+ Cores, \d+ GPUs$/);
    expect(tasks.sort()).toEqual([0, 1, 2, 3].map((rank) => `${rank}: ${hostname()}`));
    expect(code).toBe(0);
    await box.nothingLeft();
  });

  test("on four hosts: brokers talk by TCP, jobs see nothing of the launcher", async () => {
    await using box = scratch();
    const program = "flux getattr broker.mapping; flux getattr tbon.endpoint; flux run -N4 env; flux exec env; exit 5";
    const { stdout, code } = await hydra(box, "-hosts", "h1,h2,h3,h4", "-launcher", "fork", "-n", "4", "flux", "start", program);
    expect(stdout).toMatch(/^\[\[0,4,1,1\]\]\ntcp:\/\//);
    expect(stdout).not.toMatch(/^(HYDI|MPI_LOCAL|MPIR_CVAR_CH3_INTERFACE_HOSTNAME)/m);
    expect(code).toBe(5);
    await box.nothingLeft();
  });

  test("-pmi-port", async () => {
    await using box = scratch();
    expect(await hydra(box, "-pmi-port", "-n", "3", "flux", "start", "flux getattr size; flux run -N3 true && echo ran")).toEqual({ stdout: "3\nran\n", stderr: "", code: 0 });
    await box.nothingLeft();
  });

  test("flux pmi", async () => {
    await using box = scratch();
    expect((await hydra(box, "-n", "3", "flux", "pmi", "--method=simple", "barrier", "--test-timing")).stdout).toMatch(/^0: completed pmi barrier on 3 tasks in \d+\.\d{3}s\.\n$/);
    expect((await hydra(box, "-n", "3", "flux", "pmi", "exchange")).stdout).toMatch(/^0: completed pmi exchange on 3 tasks in \d+\.\d{3}s\.\n$/);
    expect((await hydra(box, "-n", "2", "flux", "pmi", "get", "PMI_process_mapping")).stdout).toBe("(vector,(0,1,1))\n");
    const missing = await hydra(box, "-n", "1", "flux", "pmi", "get", "nosuch");
    // Hydra itself may say on stdout that the program ended badly.
    expect(missing.code).not.toBe(0);
    expect(missing.stderr).toContain("flux-pmi: get nosuch: there is no such key\n");
    expect((await hydra(box, "-n", "3", "flux", "pmi", "barrier", "--test-abort=1")).code).toBe(1);
  });

  test("a barrier that not all enter: --timeout", async () => {
    await using box = scratch();
    const { stderr, code } = await hydra(box, "-n", "2", "sh", "-c", "[ $PMI_RANK = 0 ] || exec sleep 1; exec flux pmi --timeout=0.2s barrier");
    expect(stderr).toContain("flux-pmi: timeout expired before PMI operation completed\n");
    expect(code).toBe(1);
  });

  // It says something now and then: Hydra looks for the dead only when something else happens (its proxy may see the end of a
  // process's output before the process can be waited for, and then sleeps).
  const PROGRAM = "flux submit -N2 sleep 600; flux job wait-event $(flux job last) start >/dev/null; echo up; while sleep 0.1; do echo tick; done";

  test("a broker that is killed takes all with it", async () => {
    await using box = scratch();
    const mpiexec = launch(["mpiexec.hydra", "-n", "3", FLUX, "start", PROGRAM], box.tmp);
    await mpiexec.saw("up\n");
    const proxy = childrenOf(mpiexec.pid)[0] ?? -1;
    process.kill(childrenOf(proxy)[1] ?? -1, "SIGKILL");
    const { code } = await mpiexec.done;
    expect(code).toBe(9);
    await box.noProcessLeft();
  });

  test("Ctrl-C of mpiexec: the instance goes down in order", async () => {
    await using box = scratch();
    const mpiexec = launch(["mpiexec.hydra", "-n", "3", FLUX, "start", PROGRAM], box.tmp);
    await mpiexec.saw("up\n");
    mpiexec.kill("SIGINT");
    const { stderr } = await mpiexec.done;
    // mpiexec signals brokers and program; the broker, on its signal, also hangs up on the program: either may come first.
    expect(stderr).toMatch(/Interrupt \(rc=130\)|Hangup \(rc=129\)/);
    await box.nothingLeft();
  });
});
