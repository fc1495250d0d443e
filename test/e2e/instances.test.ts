// Instances in instances: flux alloc, batch and run flux start, three levels deep; what finds them: uri, proxy, jobs -R, pstree.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { type Instance, startInstance } from "./flux.ts";

let instance: Instance;
let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "flux-nested-"));
  instance = await startInstance(4);
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await instance.stop();
});

const flux = (...args: string[]) => instance.flux(args, { cwd: folder });

/** A job in the background that is an instance; cancelled in the end. */
async function background(...options: string[]): Promise<{ id: string; [Symbol.asyncDispose](): Promise<void> }> {
  const { stdout, stderr } = await flux("alloc", "--bg", ...options);
  const id = stdout.trim();
  if (id === "") throw new Error(stderr);
  return {
    id,
    async [Symbol.asyncDispose]() {
      await flux("cancel", id);
      await flux("job", "wait-event", id, "clean");
    },
  };
}

/** The process that started another. */
function parentOf(pid: number): number {
  return Number(/^PPid:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
}

/** Submits a batch job and waits for its end. */
async function batch(...args: string[]): Promise<string> {
  const { stdout, stderr } = await flux("batch", ...args);
  const id = stdout.trim();
  if (id === "") throw new Error(stderr);
  await flux("job", "wait-event", id, "clean");
  return id;
}

describe("flux alloc", () => {
  test("an enclosing instance too old to tell of changes of R is asked for it once", async () => {
    const script = "flux resource R | flux R decode --count=core; flux dmesg | grep -o 'falling back to job-info.lookup'";
    const { stdout } = await flux("alloc", "-n1", "--conf=resource.no-update-watch=true", "sh", "-c", script);
    expect(stdout).toBe("1\nfalling back to job-info.lookup\n");
  });

  test("an instance of depth 1 with the nodes asked for, and its command's exit code", async () => {
    const { stdout, code } = await flux("alloc", "-N2", "sh", "-c", "flux uptime; flux resource info; exit 3");
    expect(stdout).toMatch(/depth 1, {2}size 2\n2 Nodes, \d+ Cores, 0 GPUs\n$/);
    expect(code).toBe(3);
  });

  test("three levels, and the ids on the way", async () => {
    const { stdout } = await flux("alloc", "-N2", "flux", "alloc", "-N1", "flux", "alloc", "-n1", "sh", "-c", "flux getattr jobid-path; flux getattr instance-level; flux -p getattr instance-level; flux -r getattr instance-level; flux run printenv FLUX_JOB_ID_PATH; flux uri /; flux uri ..");
    const [path, level, parent, root, jobPath, rootUri, parentUri] = stdout.trim().split("\n");
    expect(path).toMatch(/^\/ƒ\w+\/ƒ\w+\/ƒ\w+$/);
    expect([level, parent, root]).toEqual(["3", "2", "0"]);
    expect(jobPath?.startsWith(`${path}/ƒ`)).toBe(true);
    expect(rootUri).toMatch(/^local:\/\/\//);
    expect(parentUri).toMatch(/^local:\/\/\//);
    expect(parentUri).not.toBe(rootUri);
  });

  test("wrong use", async () => {
    expect(await flux("alloc", "true")).toEqual({ stdout: "", stderr: "flux-alloc: ERROR: Number of slots to allocate must be specified: by -n or -N, for a script also in a line such as #flux: -N1\n", code: 1 });
    expect((await flux("alloc", "-n1", "/nonexistent/program")).code).toBe(127);
    const failing = await flux("alloc", "--bg", "-n1", "--broker-opts=-Sbroker.rc1_path=false");
    expect([failing.stdout, failing.code]).toEqual(["", 1]);
    expect(failing.stderr).toMatch(/rc1.0: false Exited \(rc=1\)[^]*flux-alloc: ERROR: ƒ\w+: instance startup failed\n$/);
    expect((await flux("alloc", "--bg", "-n9999")).stderr).toMatch(/unsatisfiable request[^]*unexpectedly exited\n$/);
    const conf = await flux("alloc", "-n1", "--conf=nosuch.toml", "true");
    expect([conf.code, conf.stderr]).toEqual([1, expect.stringContaining("flux-alloc: ERROR: --conf: ")]);
  });
});

test("what a nested instance has of a node: cores numbered from zero, as it is bound to them, and GPUs as in the parent", async () => {
  const conf = join(folder, "gpus.toml");
  writeFileSync(conf, `[resource]\nnoverify = true\n[[resource.config]]\nhosts = "${hostname()}"\ncores = "0-1"\ngpus = "0-3"\n`);
  const node = await startInstance(1, [`--config-path=${conf}`]);
  try {
    const holder = await node.flux(["submit", "--wait-event=start", "-n1", "-g2", "sleep", "600"]);
    const script = "flux resource list -no '{rlist}'; flux run -n1 -g2 sh -c 'echo $CUDA_VISIBLE_DEVICES'; flux run -g1 flux start flux run -g1 printenv CUDA_VISIBLE_DEVICES";
    const { stdout } = await node.flux(["alloc", "-n1", "-g2", "sh", "-c", script]);
    expect(stdout).toBe("rank0/core0,gpu[2-3]\n2,3\n2\n");
    await node.flux(["cancel", holder.stdout.trim()]);
  } finally {
    await node.stop();
  }
});

describe("flux batch", () => {
  const script = (name: string, content: string): string => {
    writeFileSync(join(folder, name), content);
    chmodSync(join(folder, name), 0o644);
    return `./${name}`;
  };
  const output = (id: string): string => readFileSync(join(folder, `flux-${id}.out`), "utf8");

  test("a script with directives, arguments and a configuration", async () => {
    const path = script("job.sh", "#!/bin/sh\n# flux: -N1\n# the name\n# flux: --job-name='my job' --setattr=user.who=me\necho $#: $1\nflux config get exec.kill-timeout\nflux resource info\n");
    const id = await batch("-N2", "--conf=exec.kill-timeout=7s", path, "two words");
    expect(output(id)).toMatch(/^1: two words\n"?7s"?\n2 Nodes/);
    expect((await flux("jobs", "-no", "{name}:{nnodes}:{status}", id)).stdout).toBe("my job:2:COMPLETED\n");
    const spec = JSON.parse((await flux("job", "info", id, "jobspec")).stdout) as { attributes: { user: unknown } };
    expect(spec.attributes.user).toEqual({ who: "me" });
  });

  test("the script is what it was when it was submitted", async () => {
    const path = script("changing.sh", "#!/bin/sh\necho before\n");
    const { stdout } = await flux("batch", "--urgency=hold", "-n1", path);
    script("changing.sh", "#!/bin/sh\necho after\n");
    await flux("job", "urgency", stdout.trim(), "16");
    await flux("job", "wait-event", stdout.trim(), "clean");
    expect(output(stdout.trim())).toBe("before\n");
  });

  test("--wrap, a script on stdin, output elsewhere", async () => {
    const wrapped = await batch("-n1", "--wrap", "flux", "run", "-n1", "echo", "from", "batch");
    expect(output(wrapped)).toBe("from batch\n");
    const { stdout } = await instance.flux(["batch", "-n1", "--output=out.{{name}}"], { cwd: folder, input: "#!/bin/sh\necho stdin\n" });
    await flux("job", "wait-event", stdout.trim(), "clean");
    expect(readFileSync(join(folder, "out.batch"), "utf8")).toBe("stdin\n");
    const kvs = await batch("-n1", "--output=kvs", "--wrap", "echo", "kept");
    expect((await flux("job", "attach", kvs)).stdout).toBe("kept\n");
  });

  test("the exit code of the script is the job's", async () => {
    const id = await batch("-n1", "--output=none", "--wrap", "exit", "5");
    expect((await flux("job", "attach", id)).code).toBe(5);
  });

  test("what is wrong is said before anything is submitted", async () => {
    expect(await flux("batch", "-n1", "nofile")).toEqual({ stdout: "", stderr: "flux-batch: ERROR: No such file or directory: 'nofile'\n", code: 1 });
    expect((await flux("batch", "-n1", script("plain.txt", "echo hello\n"))).stderr).toContain("does not appear to start with '#!'");
    const stray = await flux("batch", script("stray.sh", "#!/bin/sh\n# flux: -N1\ntrue\n# flux: -n3\n"));
    expect([stray.code, stray.stderr]).toEqual([1, "flux-batch: ERROR: ./stray.sh: line 4: orphan 'flux:' detected: directives disabled after line 2\n"]);
    const bad = await flux("batch", script("bad.sh", "#!/bin/sh\n# flux: --nosuch\ntrue\n"));
    expect([bad.code, bad.stderr]).toEqual([2, expect.stringContaining("argument parsing failed at ./bad.sh line 2")]);
  });

  test("the environment's rules of the command line come after those of the script", async () => {
    const path = script("env.sh", "#!/bin/sh\n# flux: --env-remove=COLOUR --env=SHAPE=round\necho $COLOUR $SHAPE\n");
    expect(output(await batch("-n1", "--env=COLOUR=blue", path))).toBe("blue round\n");
  });
});

describe("an instance in the background", () => {
  test("is found by uri, entered by proxy, and listed with its jobs", async () => {
    await using nested = await background("-N2");
    const { id } = nested;
    const remote = (await flux("uri", id)).stdout.trim();
    expect(remote).toMatch(/^ssh:\/\/[^/]+\/.*local-0$/);
    const local = (await flux("uri", "--local", id)).stdout.trim();
    expect(local).toBe(remote.replace(/^ssh:\/\/[^/]+/, "local://"));
    expect((await flux("proxy", id, "flux", "getattr", "jobid")).stdout.trim()).toBe(id);
    expect((await flux("proxy", local, "printenv", "FLUX_URI")).stdout).toMatch(/^local:\/\/.*flux-proxy-.*\/local\n$/);
    expect((await flux("proxy", id, "exit", "3")).code).toBe(3);
    const job = (await flux("proxy", id, "flux", "submit", "--wait-event=start", "sleep", "600")).stdout.trim();
    expect((await flux("proxy", id, "echo typed | flux run cat")).stdout).toBe("typed\n");
    expect((await flux("jobs", "-R", "-no", "{id} {name}")).stdout).toBe(`${id} flux\n\n${id}:\n${job} sleep\n`);
    expect((await flux("pstree")).stdout).toBe(".\n└── flux\n    └── sleep\n");
    expect((await flux("pstree", "-p")).stdout).toStartWith(". .\n");
    expect((await flux("pstree", "-x", "-n", "--skip-root=no")).stdout).toMatch(/^ +\. /);
    expect((await flux("pstree", "--ascii", "-p", "--skip-root=yes")).stdout).toBe(`${id} flux\n\`-- sleep\n`);
    const said = (await flux("jobs", "-no", "{instance.stats.total} {instance.stats} {instance.resources.all.nnodes} {instance.resources.allocated.ncores} {instance.progress}", id)).stdout;
    expect(said).toBe("2 PD:0 R:1 CD:1 F:0 2 1 0.5\n");
    expect((await flux("jobs", "-o", "{instance.utilization!P:>5}", id)).stdout).toMatch(/^CORE%\n *\d+(\.\d+)?%\n$/);
    expect((await flux("pstree", "-n", "-d", "stats")).stdout).toContain(" PD:0 R:1 CD:1 F:0 ");
    const extended = (await flux("pstree", "-x")).stdout.split("\n");
    expect(extended[0]?.split(/\s+/)).toEqual(["", "JOBID", "USER", "ST", "NTASKS", "NNODES", "RUNTIME"]);
    expect(extended[2]).toContain(`${job} `);
    expect(extended[2]).toEndWith("└── sleep");
    expect((await flux("uri", `${id}/${job}`)).stderr).toBe(`flux-uri: ERROR: URI not found for job ${job}\n`);
  });

  test("outlives a node that has none of its critical brokers", async () => {
    await using nested = await background("-N4", "--broker-opts=-Stbon.topo=kary:2");
    const { id } = nested;
    expect((await flux("proxy", id, "flux", "getattr", "broker.critical-ranks")).stdout).toBe("0-1\n");
    const pid = Number((await flux("proxy", id, "flux", "exec", "-r3", "flux", "getattr", "broker.pid")).stdout);
    const rundir = (await flux("proxy", id, "flux", "exec", "-r3", "flux", "getattr", "rundir")).stdout.trim();
    process.kill(parentOf(pid), "SIGKILL");
    const told = await flux("job", "wait-event", "--timeout=30", "--match-context=severity=2", id, "exception");
    expect(told.stdout).toContain('type="node-failure"');
    // Its own scheduler knows, too.
    await flux("proxy", id, "flux", "overlay", "status", "--timeout=30s", "--wait=degraded");
    expect((await flux("proxy", id, "flux", "run", "-N3", "--label-io", "echo", "alive")).stdout.split("\n").sort()).toEqual(["", "0: alive", "1: alive", "2: alive"]);
    expect((await flux("jobs", "-no", "{state}", id)).stdout).toBe("RUN\n");
    rmSync(rundir, { recursive: true, force: true }); // what was killed with its shell could not do it
  });

  test("refuses critical ranks that it has not", async () => {
    const { stderr, code } = await flux("alloc", "-n1", "--broker-opts=-Sbroker.critical-ranks=0-3", "true");
    expect([stderr, code]).toEqual([expect.stringContaining("invalid value for broker.critical-ranks='0-3'"), 1]);
  });

  test("proxy tells its command when the instance has ended", async () => {
    await using nested = await background("-n1");
    const script = `flux proxy ${nested.id} 'trap "echo hangup; exit 9" HUP; flux -p cancel ${nested.id}; while :; do sleep 0.05; done'`;
    const { stdout, stderr, code } = await instance.sh(script);
    expect(stdout).toContain("hangup\n");
    expect(stderr).toContain("flux-proxy: Lost connection to Flux");
    expect(code).toBe(9);
  });

  test("wrong words of uri and pstree", async () => {
    expect(await flux("uri")).toEqual({ stdout: "", stderr: "usage: flux uri [OPTIONS...] TARGET\nflux uri: error: the following arguments are required: TARGET\n", code: 2 });
    expect(await flux("uri", "/", "x")).toEqual({ stdout: "", stderr: expect.stringContaining("unrecognized arguments: x"), code: 2 });
    expect(await flux("pstree", "nosuch")).toEqual({ stdout: "", stderr: expect.stringContaining("argument JOBID: invalid JobID value: 'nosuch'"), code: 2 });
  });

  test("uri: what can't be found", async () => {
    expect((await flux("uri", "12345")).stderr).toBe("flux-uri: ERROR: jobid 12345 not found\n");
    expect((await flux("uri", "nosuch:foo")).stderr).toBe("flux-uri: ERROR: No plugin for URI scheme nosuch\n");
    expect((await flux("uri", "!")).stderr).toBe("flux-uri: ERROR: ! is not a valid jobid\n");
    expect((await instance.sh("flux uri pid:$$")).stdout.trim()).toBe(instance.uri);
    const ended = (await flux("submit", "--wait", "true")).stdout.trim();
    expect((await flux("uri", ended)).stderr).toBe(`flux-uri: ERROR: jobid ${ended} is not running\n`);
  });
});

describe("flux bulksubmit", () => {
  test("a job for each input, from the command line and stdin", async () => {
    const { stdout, code } = await flux("bulksubmit", "--quiet", "--watch", "echo", "{0}{1}", ":::", "a", "b", ":::", "1", "2");
    expect(stdout.trim().split("\n").sort()).toEqual(["a1", "a2", "b1", "b2"]);
    expect(code).toBe(0);
    const piped = await instance.flux(["bulksubmit", "--quiet", "--watch", "--cc=0-1", "--env=X={./%}", "sh", "-c", "echo $X {seq} {cc} $FLUX_JOB_CC {{taskid}}"], { input: "d/one.txt\nd/two.txt\n" });
    expect(piped.stdout.trim().split("\n").sort()).toEqual(["one 0 0 0 0", "one 0 1 1 0", "two 1 0 0 0", "two 1 1 1 0"]);
  });

  test("--dry-run shows what would be submitted", async () => {
    const { stdout } = await flux("bulksubmit", "--dry-run", "--define=p2=2**int(x)", "-n", "{.p2}", "hostname", ":::", "0", "1", "2");
    expect(stdout).toBe("bulksubmit: submit -n1 hostname\nbulksubmit: submit -n2 hostname\nbulksubmit: submit -n4 hostname\n");
    const shuffled = await instance.flux(["bulksubmit", "--dry-run", "--shuffle", "--sep=none"], { input: "1 2\t3\n4" });
    expect(shuffled.stdout.trim().split("\n").sort()).toEqual([1, 2, 3, 4].map((n) => `bulksubmit: submit ${n}`));
    expect((await instance.flux(["bulksubmit", "true"], { input: "" })).stderr).toBe("flux-bulksubmit: ERROR: no jobs provided for bulk submission\n");
  });

  test("the highest exit code", async () => {
    expect((await flux("bulksubmit", "--quiet", "--wait", "sh", "-c", "exit {}", ":::", "1", "4", "2")).code).toBe(4);
  });
});

test("flux multi-prog: each task its own program", async () => {
  writeFileSync(join(folder, "programs"), "0 echo a %t %o\n1-3 sh -c 'echo b %t %o; exit %o'\n");
  const { stdout, code } = await flux("run", "-n4", "-l", "flux", "multi-prog", "./programs");
  expect(stdout.trim().split("\n").sort()).toEqual(["0: a 0 0", "1: b 1 0", "2: b 2 1", "3: b 3 2"]);
  expect(code).toBe(2);
  expect((await flux("multi-prog", "-n", "0-1", "./programs")).stdout).toBe("0: echo a 0 0\n1: sh -c 'echo b 1 0; exit 0'\n");
});
