// Instances under Slurm, with a real one: by srun, interactive, in an allocation, as a batch job; without PMI; cancelled.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { shellExitCode } from "../../src/formats/waitstatus.ts";
import { spawnPty } from "../../src/os/pty.ts";
import { lacks } from "../support/needs.ts";
import { FLUX, userEnvironment } from "./flux.ts";
import { launch, type Scratch, scratch } from "./launch.ts";
import { type Slurm, startSlurm } from "./slurm.ts";

const isWithout = lacks("slurmctld") || lacks("slurmd") || lacks("slurm-client");

let slurm: Slurm;
beforeAll(async () => {
  if (!isWithout) slurm = await startSlurm();
});
afterAll(async () => {
  if (!isWithout) await slurm.stop();
});

const WORKLOAD = `#!/bin/sh
flux uptime
NNODES=$(flux getattr size)
flux resource info
flux run --label-io -N $NNODES hostname
`;

function workload(box: Scratch): string {
  const path = join(box.folder, "workload.sh");
  writeFileSync(path, WORKLOAD);
  chmodSync(path, 0o755);
  return path;
}

/** What the workload prints on `size` nodes. */
function expectWorkload(stdout: string, size: number): void {
  const [uptime, resources, ...tasks] = stdout.trimEnd().split("\n");
  expect(uptime).toMatch(new RegExp(`^ \\d\\d:\\d\\d:\\d\\d run \\S+,  owner \\S+,  depth 0,  size ${size}$`));
  expect(resources).toMatch(new RegExp(`^${size} Nodes, \\d+ Cores, \\d+ GPUs$`));
  expect(tasks.sort()).toEqual(Array.from({ length: size }, (_, rank) => `${rank}: ${hostname()}`));
}

describe.skipIf(isWithout)("srun", () => {
  test("the time limit of the Slurm job, and a change of it, is that of the instance", async () => {
    await using box = scratch();
    // The one that the instance runs asks once a minute: another one asks at once.
    const program = `flux job timeleft; echo $YOGRT_BACKEND; export SLURM_CONF=$CONF
      scontrol update jobid=$JOBID timelimit=30
      flux slurm-expiration-sync -v --jobid=$JOBID 2>&1 | { read -r line; echo "$line"; flux job timeleft; kill 0; }`;
    const start = `JOBID=$SLURM_JOB_ID CONF=$SLURM_CONF exec flux start '${program}'`;
    const { stdout } = await slurm.run(["srun", "-N1", "-t10", "--mpi=pmi2", "sh", "-c", start], box.tmp);
    const [before, backend, said, after] = stdout.trim().split("\n");
    expect([backend, said]).toEqual(["flux", expect.stringMatching(/expiration is \d+\.\d+$/)]);
    expect(Number(before)).toBeWithin(540, 601);
    expect(Number(after)).toBeWithin(1740, 1801);
    await box.nothingLeft();
  });

  test("-N2 flux start SCRIPT", async () => {
    await using box = scratch();
    const { stdout, stderr, code } = await slurm.run(["srun", "-N2", "--mpi=pmi2", "flux", "start", workload(box)], box.tmp);
    expect(stderr).toBe("");
    expectWorkload(stdout, 2);
    expect(code).toBe(0);
    await box.nothingLeft();
  });

  test("on four nodes: each has its name and its resources, the exit code is the program's", async () => {
    await using box = scratch();
    const program = "flux getattr hostlist; flux getattr broker.mapping; flux resource list -s free -no '{nnodes} {nodelist}'; flux run -N4 -l hostname | sort; exit 3";
    const broker = `FLUX_FAKE_HOSTNAME=$SLURMD_NODENAME exec flux start "${program}"`;
    const { stdout, code } = await slurm.run(["srun", "-N4", "--mpi=pmi2", "sh", "-c", broker], box.tmp);
    expect(stdout.split("\n").slice(0, 3)).toEqual(["node[1-4]", "[[0,4,1,1]]", "4 node[1-4]"]);
    expect(code).toBe(3);
    await box.nothingLeft();
  });

  test("several brokers a node, placed cyclically", async () => {
    await using box = scratch();
    const { stdout } = await slurm.run(["srun", "-N2", "-n4", "--ntasks-per-node=2", "-m", "cyclic", "--mpi=pmi2", "flux", "start", "flux getattr size; flux getattr broker.mapping; flux run -N4 true && echo ran"], box.tmp);
    expect(stdout).toBe("4\n[[0,2,1,2]]\nran\n");
    await box.nothingLeft();
  });

  test("--pty flux start: an interactive instance", async () => {
    await using box = scratch();
    const screen = { text: "", waiting: undefined as { pattern: RegExp; resolve: () => void } | undefined };
    const check = (): void => {
      if (screen.waiting?.pattern.test(screen.text)) screen.waiting.resolve();
    };
    const saw = (pattern: RegExp): Promise<void> =>
      new Promise((resolve) => {
        screen.waiting = { pattern, resolve };
        check();
      });
    const terminal = spawnPty({
      argv: ["srun", "-N2", "--mpi=pmi2", "--pty", "flux", "start"],
      env: { ...userEnvironment(), ...slurm.env, ...box.tmp, HOME: box.folder },
      onData(chunk) {
        screen.text += Buffer.from(chunk).toString();
        check();
      },
    });
    // As people do: what is typed before the prompt is there may get lost.
    const type = async (line: string): Promise<void> => {
      await saw(/[$#] $/);
      screen.text = "";
      terminal.write(`${line}\r`);
    };
    await type("flux uptime");
    await saw(/ run \S+,  owner \S+,  depth 0,  size 2/);
    await type("flux resource info");
    await saw(/2 Nodes, \d+ Cores, \d+ GPUs/);
    await type("flux run --label-io -N2 sh -c 'echo on-$((20+2))'");
    await saw(/(0: on-22[^]*1: on-22|1: on-22[^]*0: on-22)/);
    await type("test -t 0 && test -t 1 && echo a-$((40+2))-terminal");
    await saw(/a-42-terminal/);
    await type("exit 5");
    expect(shellExitCode((await terminal.exited).status)).toBe(5);
    await box.nothingLeft();
  });

  test("in an allocation of salloc", async () => {
    await using box = scratch();
    const script = workload(box);
    const { stdout, code } = await slurm.run(["salloc", "-N2", "sh", "-c", `srun --mpi=pmi2 flux start ${script}; srun --mpi=pmi2 flux start ${script} >/dev/null`], box.tmp);
    expectWorkload(stdout, 2);
    expect(code).toBe(0);
    await box.nothingLeft();
  });

  test("in a batch job of sbatch", async () => {
    await using box = scratch();
    const batch = join(box.folder, "batch.sh");
    const output = join(box.folder, "out");
    writeFileSync(batch, `#!/bin/sh\nsrun --mpi=pmi2 flux start ${workload(box)}\n`);
    const { stdout, code } = await slurm.run(["sbatch", "--wait", "-N2", `--output=${output}`, batch], box.tmp, box.folder);
    expect(stdout).toMatch(/^Submitted batch job \d+\n$/);
    expect(code).toBe(0);
    expectWorkload(readFileSync(output, "utf8"), 2);
    await box.nothingLeft();
  });

  test("flux uri and flux proxy find it, also from where it has no process", async () => {
    await using box = scratch();
    const job = launch(["srun", "-N2", "--job-name=find-me", "--mpi=pmi2", "flux", "start", "echo at $FLUX_URI; exec sleep 60"], { ...slurm.env, ...box.tmp });
    await job.saw("at local://");
    const id = (await slurm.run(["squeue", "-h", "-o", "%i", "-n", "find-me"])).stdout.trim();
    const elsewhere = join(box.folder, "scontrol");
    writeFileSync(elsewhere, '#!/bin/sh\n[ "$SLURM_JOB_ID" ] || exit 1\nPATH=$OLDPATH\nexec scontrol "$@"\n');
    chmodSync(elsewhere, 0o755);
    const path = slurm.env["PATH"] ?? "";
    const uri = await slurm.run(["flux", "uri", `slurm:${id}`]);
    expect(await slurm.run(["flux", "uri", `slurm:${id}`], { PATH: `${box.folder}:${path}`, OLDPATH: path })).toEqual(uri);
    expect((await slurm.run(["flux", "proxy", `slurm:${id}`, "flux getattr size"])).stdout).toBe("2\n");
    expect((await slurm.run(["flux", "uri", "slurm:4711"])).stderr).toBe("flux-uri: ERROR: unable to query nodelist for Slurm job 4711\n");
    await slurm.run(["scancel", id]);
    const { stdout } = await job.done;
    expect(uri.stdout).toBe(stdout.replace("at local://", `ssh://${hostname()}`));
    await box.nothingLeft();
  });

  test("what Slurm told the brokers is not told to their jobs", async () => {
    await using box = scratch();
    const program = "env | grep -E '^(SLURM_|PMI_)'; echo job; flux run env | grep -E '^(SLURM_|PMI_)' | sort";
    const { stdout } = await slurm.run(["srun", "-N2", "--mpi=pmi2", "flux", "start", program], box.tmp);
    expect(stdout).toMatch(/^job\nPMI_FD=\d+\nPMI_RANK=0\nPMI_SIZE=1\n$/);
  });
});

describe.skipIf(isWithout)("without PMI", () => {
  const noLibrary = { FLUX_PMI_CLIENT_METHODS: "simple single" };

  test("each is an instance of its own, and one line says so", async () => {
    await using box = scratch();
    const { stdout, stderr, code } = await slurm.run(["srun", "-N3", "--mpi=none", "flux", "start", "flux getattr size"], { ...box.tmp, ...noLibrary });
    expect(stdout).toBe("1\n1\n1\n");
    expect(stderr).toBe("flux-broker: warning: no PMI was found, though srun has started 3 of us: each is an instance of its own, of size 1 (try srun --mpi=pmi2)\n");
    expect(code).toBe(0);
    await box.nothingLeft();
  });

  test("one task says nothing", async () => {
    await using box = scratch();
    const { stdout, stderr } = await slurm.run(["srun", "-n1", "--mpi=none", "flux", "start", "flux getattr size"], { ...box.tmp, ...noLibrary });
    expect([stdout, stderr]).toEqual(["1\n", ""]);
  });

  test.skipIf(lacks("libpmi0"))("Slurm's PMI-1 library is found and used", async () => {
    await using box = scratch();
    const { stdout, code } = await slurm.run(["srun", "-N3", "--mpi=none", "flux", "start", "flux getattr size; flux getattr broker.boot-method; flux run -N3 true && echo ran"], box.tmp);
    expect(stdout).toBe("3\nlibpmi\nran\n");
    expect(code).toBe(0);
    await box.nothingLeft();
  });

  test.skipIf(lacks("libpmi0"))("a library may be named, and must then be there", async () => {
    await using box = scratch();
    const start = (library: string) => slurm.run(["srun", "-N2", "--mpi=none", "flux", "start", "flux getattr size"], { ...box.tmp, FLUX_PMI_LIBRARY: library });
    expect((await start("libpmi.so.0")).stdout).toBe("2\n");
    const { stderr, code } = await start("/nowhere/libpmi.so");
    expect(stderr).toContain("flux-broker: /nowhere/libpmi.so: ");
    expect(code).toBe(1);
  });
});

describe.skipIf(isWithout)("PMI", () => {
  test.skipIf(lacks("libpmi2-0"))("Slurm's PMI-2 library serves brokers and flux pmi", async () => {
    await using box = scratch();
    const { stdout } = await slurm.run(["srun", "-N3", "--mpi=pmi2", "flux", "start", "-Sbroker.boot-method=libpmi2", "flux getattr size; flux getattr broker.boot-method; flux getattr broker.mapping"], box.tmp);
    expect(stdout).toBe("3\nlibpmi2\n[[0,3,1,1]]\n");
    const exchange = await slurm.run(["srun", "-N4", "--mpi=pmi2", "flux", "pmi", "--method=libpmi2", "exchange"], box.tmp);
    expect(exchange.stdout).toMatch(/^0: completed pmi exchange on 4 tasks in \d+\.\d{3}s\.\n$/);
  });

  test("flux pmi barrier, exchange and get", async () => {
    const pmi = (...words: string[]) => slurm.run(["srun", "-N4", "--mpi=pmi2", "flux", "pmi", ...words]);
    expect((await pmi("barrier", "--test-count=2")).stdout).toBe("0: completed pmi barrier on 4 tasks\n".repeat(2));
    expect((await pmi("exchange", "--count=2")).stdout).toMatch(/^(0: completed pmi exchange on 4 tasks in \d+\.\d{3}s\.\n){2}$/);
    expect((await pmi("get", "PMI_process_mapping")).stdout).toBe("(vector,(0,4,1))\n");
    expect((await pmi("get", "--ranks=1-2", "PMI_process_mapping")).stdout).toBe("(vector,(0,4,1))\n".repeat(2));
    expect((await pmi("--method=single", "barrier")).stdout).toBe("0: completed pmi barrier on 1 tasks\n".repeat(4));
  });

  test("FLUX_PMI_DEBUG shows what is tried and said", async () => {
    await using box = scratch();
    const { stderr } = await slurm.run(["srun", "-n1", "--mpi=pmi2", "flux", "start", "true"], { ...box.tmp, FLUX_PMI_DEBUG: "1" });
    expect(stderr).toContain("flux-broker: trying 'simple'\n");
    expect(stderr).toContain("pmi[0]: S: cmd=response_to_init rc=0 pmi_version=1 pmi_subversion=1\n");
    expect(stderr).toMatch(/^flux-broker: simple: initialize: rank=0 size=1 name=\d+\.0: success$/m);
  });
});

describe.skipIf(isWithout)("a job that is cancelled", () => {
  // Slurm signals one process after the other: the shell may see its child end before its own signal comes.
  const PROGRAM = "flux submit -N2 sleep 600; flux job wait-event $(flux job last) start >/dev/null; echo up; sleep 601; exit $?";

  test.each([[[]], [["--signal=TERM"]], [["--signal=INT"]]])("scancel %j: goes down in order", async (words) => {
    await using box = scratch();
    const job = launch(["srun", "-N2", "--mpi=pmi2", "--job-name=doomed", FLUX, "start", PROGRAM], { ...slurm.env, ...box.tmp });
    await job.saw("up\n");
    const id = (await slurm.run(["squeue", "-h", "-t", "running", "--name=doomed", "-o", "%i"])).stdout.trim();
    await slurm.run(["scancel", ...words, words.length > 0 ? `${id}.0` : id]);
    const { code } = await job.done;
    expect(code).not.toBe(0);
    await box.nothingLeft();
  });

  test("scancel --signal=KILL: no process is left", async () => {
    await using box = scratch();
    const job = launch(["srun", "-N2", "--mpi=pmi2", "--job-name=doomed", FLUX, "start", PROGRAM], { ...slurm.env, ...box.tmp });
    await job.saw("up\n");
    const id = (await slurm.run(["squeue", "-h", "-t", "running", "--name=doomed", "-o", "%i"])).stdout.trim();
    await slurm.run(["scancel", "--signal=KILL", `${id}.0`]);
    expect((await job.done).code).toBe(137);
    await box.noProcessLeft();
  });
});
