// Shell options: files, limits, labels, taskmap, affinity, PMI, doom, signal; each as the user sees it.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Json } from "../../src/formats/json.ts";
import { str } from "../../src/message/unpack.ts";
import { jobspec, startLab, type JobLab, type SpecOptions } from "./support.ts";

let lab: JobLab;
let dir: string;

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "flux-options-"));
  lab = await startLab(2);
});

afterAll(async () => {
  await lab.stop();
  rmSync(dir, { recursive: true, force: true });
});

const two = (shell: Record<string, Json>, more: SpecOptions = {}): SpecOptions & { nodes: number[] } => ({ nodes: [0, 1], ntasks: 4, shell, ...more });
const logs = (id: bigint): string[] => lab.output(id).entries.filter((e) => e.name === "log").map((e) => str(e.context?.["message"], "message"));

test("one file for all, with labels; the eventlog says where", async () => {
  const path = join(dir, "all-{{id}}.txt");
  const job = await lab.run(["sh", "-c", "echo one; echo two >&2"], two({ output: { stdout: { type: "file", path, label: true } } }));
  expect(job.status()).toBe(0);
  const redirects = lab.output(job.id).entries.filter((e) => e.name === "redirect").map((e) => e.context);
  const real = str(redirects[0]?.["path"], "path");
  expect(redirects.map((r) => [r?.["stream"], r?.["rank"]])).toEqual([["stdout", "[0-3]"], ["stderr", "[0-3]"]]);
  expect(readFileSync(real, "utf8").trim().split("\n").sort()).toEqual([0, 1, 2, 3].flatMap((rank) => [`${rank}: one`, `${rank}: two`]));
});

test("a file for each task, written where it runs", async () => {
  const path = join(dir, "task-{{task.id}}-{{node.id}}.txt");
  await lab.run(["sh", "-c", "echo $FLUX_TASK_RANK"], two({ output: { stdout: { type: "file", path } } }));
  for (let task = 0; task < 4; task++) expect(readFileSync(join(dir, `task-${task}-${task >> 1}.txt`), "utf8")).toBe(`${task}\n`);
});

test("messages of a shell go to the file of its node's stderr; those of options to who watches", async () => {
  const path = join(dir, "log-{{node.id}}.txt");
  const job = await lab.run(["true"], two({ verbose: 1, output: { mode: "foo", stderr: { type: "file", path } } }));
  for (const node of [0, 1]) expect(readFileSync(join(dir, `log-${node}.txt`), "utf8")).toContain(`flux-shell[${node}]: DEBUG: exit 0\n`);
  expect(logs(job.id)).toContain("ignoring invalid output.mode=foo");
  expect(logs(job.id)).not.toContain("exit 0");
});

test.each<[string, Record<string, Json>, string]>([
  ["another PMI", { pmi: "smple" }, "invalid option pmi=smple: there is no smple here; use simple or off"],
  ["a PMI that is not here", { pmi: "pmix" }, "invalid option pmi=pmix: there is no pmix here; use simple or off"],
  ["a part of pmi", { pmi: { badopt: 1 } }, 'invalid option pmi={"badopt":1}: it must be a string, simple or off'],
  ["a part of pmi-simple", { "pmi-simple": { foo: 1 } }, "unknown option pmi-simple.foo: there are nomap, kvs and exchange.k"],
  ["a part of pmi-simple.exchange", { "pmi-simple": { exchange: { foo: 1 } } }, "unknown option pmi-simple.exchange.foo: there are nomap, kvs and exchange.k"],
  ["a store of PMI", { "pmi-simple": { kvs: "unknown" } }, 'invalid option pmi-simple.kvs="unknown": there is only exchange'],
  ["whether PMI has a map", { "pmi-simple": { nomap: "foo" } }, 'invalid option pmi-simple.nomap="foo": it is 0 or 1'],
  ["how much is said", { verbose: "x" }, "invalid option verbose=x: it is a number"],
  ["what oom does", { oom: "x" }, 'oom: invalid option oom="x": there is oom.adjust'],
  ["a file of hosts", { taskmap: { scheme: "hostfile", value: "nosuch" } }, "failed to open hostfile: nosuch: No such file or directory"],
])("a wrong value for %s ends the job with one clear line", async (_, shell, note) => {
  const job = await lab.run(["true"], { shell });
  expect(job.status()).toBe(1 << 8);
  expect(job.raised.map((raised) => raised["note"])).toEqual([note]);
});

test("names of other PMIs may stand beside ours", async () => {
  const job = await lab.run(["sh", "-c", "echo ${PMI_FD:+served}"], { shell: { pmi: "pmix,simple" } });
  expect([job.status(), lab.output(job.id).stdout]).toEqual([0, "served\n"]);
});

test("a file of hosts is looked for in the job's directory; its lines are hostlists", async () => {
  writeFileSync(join(dir, "hosts"), "test[1,0]\n\ntest1\n");
  writeFileSync(join(dir, "wrong"), "test0\ntest[0\n");
  const by = (value: string): ReturnType<typeof two> => two({ taskmap: { scheme: "hostfile", value } }, { cwd: dir });
  const job = await lab.run(["true"], by("hosts"));
  expect(lab.execlog(job.id).find((e) => e.name === "shell.start")?.context).toEqual({ taskmap: { version: 1, map: [[1, 1, 1, 1], [0, 1, 1, 1], [1, 1, 2, 1]] } });
  const wrong = await lab.run(["true"], by("wrong"));
  expect(wrong.raised[0]?.["note"]).toContain("taskmap.hostfile: wrong: line 2: ");
});

test("an output file that cannot be written ends the job with one clear line", async () => {
  const job = await lab.run(["true"], { shell: { output: { stdout: { type: "file", path: "/nowhere/x" } } } });
  expect(job.status()).toBe(1 << 8);
  expect(job.raised[0]?.["note"]).toBe("error opening output file '/nowhere/x': No such file or directory");
});

test("append mode keeps what is there", async () => {
  const shell = { output: { mode: "append", stdout: { type: "file", path: join(dir, "appended") } } };
  await lab.run(["echo", "a"], { shell });
  await lab.run(["echo", "b"], { shell });
  expect(readFileSync(join(dir, "appended"), "utf8")).toBe("a\nb\n");
});

test("input from a file", async () => {
  const job = await lab.run(["cat"], { shell: { input: { stdin: { type: "file", path: "/etc/hostname" } } } });
  expect(lab.output(job.id).stdout).toBe(readFileSync("/etc/hostname", "utf8"));
});

test("output.limit truncates and says so", async () => {
  const job = await lab.run(["echo", "0123456789abcdef"], { shell: { output: { limit: "10" } } });
  expect(lab.output(job.id).stdout).toBe("");
  expect(logs(job.id)).toEqual(["stdout will be truncated, 10 limit exceeded", "stdout: 7 of 17 bytes truncated"]);
});

test("binary output is base64", async () => {
  const job = await lab.run(["printf", "\\377\\376\\0x\\n"]);
  const data = lab.output(job.id).entries.find((e) => e.context?.["encoding"] === "base64");
  expect(data?.context?.["data"]).toBe("//4AeAo=");
});

test("twenty megabytes arrive whole, while the KVS is slow", async () => {
  lab.kvsState.slow = async () => Bun.sleep(2);
  const job = await lab.run(["sh", "-c", "seq -f 'line %08.0f with some text' 1 700000"]);
  lab.kvsState.slow = undefined;
  const { stdout } = lab.output(job.id);
  expect(stdout.length).toBe(700_000 * 29);
  expect(stdout.endsWith("line 00700000 with some text\n")).toBe(true);
});

test("taskmap=cyclic deals tasks out in turns", async () => {
  const job = await lab.run(["sh", "-c", "echo $FLUX_TASK_RANK $FLUX_TASK_LOCAL_ID"], two({ taskmap: { scheme: "cyclic" } }));
  expect(lab.output(job.id).stdout.trim().split("\n").sort()).toEqual(["0 0", "1 0", "2 1", "3 1"]);
  expect(lab.execlog(job.id).find((e) => e.name === "shell.start")?.context).toEqual({ taskmap: { version: 1, map: [[0, 2, 1, 2]] } });
});

test("a bad taskmap ends the job on all nodes", async () => {
  const job = await lab.run(["true"], two({ taskmap: { scheme: "manual", value: "[[0,1,1,1]]" } }));
  expect(job.status()).toBe(1 << 8);
  expect(job.raised.length + job.responses.filter((r) => r.type === "exception").length).toBeGreaterThan(0);
});

test("cpu-affinity=per-task and map", async () => {
  const mask = ["sh", "-c", "grep Cpus_allowed_list /proc/self/status"];
  const job = await lab.run(mask, { ntasks: 2, shell: { "cpu-affinity": "per-task" } });
  expect(lab.output(job.id).stdout.match(/\d.*/g)?.sort()).toEqual(["0", "1"]);
  const map = await lab.run(mask, { shell: { "cpu-affinity": "map:1" } });
  expect(lab.output(map.id).stdout).toContain("\t1\n");
});

test("mustache tags in arguments", async () => {
  const job = await lab.run(["echo", "{{id.dec}} {{name}} {{ntasks}} {{task.rank}} {{node.name}}"]);
  expect(lab.output(job.id).stdout).toBe(`${job.id} echo 1 0 test0\n`);
});

// A program that speaks PMI-1 with nothing but the shell: puts its rank, enters the barrier, reads its neighbour's.
const PMI = `
  exec 9<>/proc/self/fd/$PMI_FD 2>/dev/null || true
  ask() { printf '%s\\n' "$1" >&$PMI_FD; IFS= read -r answer <&$PMI_FD; }
  ask 'cmd=init pmi_version=1 pmi_subversion=1'
  ask 'cmd=get_my_kvsname'; kvs=\${answer##*kvsname=}
  ask "cmd=put kvsname=$kvs key=k$PMI_RANK value=v$PMI_RANK"
  ask 'cmd=barrier_in'
  ask "cmd=get kvsname=$kvs key=k$(( (PMI_RANK + 1) % PMI_SIZE ))"; echo "\${answer##*value=}"
  ask "cmd=get kvsname=$kvs key=PMI_process_mapping"; [ $PMI_RANK = 0 ] && echo "\${answer##*value=}"
  ask 'cmd=finalize'
`;

test("PMI-1 exchanges keys between nodes", async () => {
  const job = await lab.run(["bash", "-c", PMI], two({}));
  expect(job.status()).toBe(0);
  expect(lab.output(job.id).stdout.trim().split("\n").sort()).toEqual(["(vector,(0,2,2))", "v0", "v1", "v2", "v3"]);
});

test("pmi=off gives no descriptor", async () => {
  const job = await lab.run(["/usr/bin/env"], { shell: { pmi: "off" } });
  expect(lab.output(job.id).stdout).not.toContain("PMI_");
});

test("exit-timeout: who ended first, how, and what became of the job", async () => {
  const job = await lab.run(["sh", "-c", "test $FLUX_TASK_RANK = 1 && exit 1; sleep 100"], { ntasks: 2, shell: { "exit-timeout": "100ms" } });
  expect(job.raised[0]).toMatchObject({ type: "exec", severity: 0, note: "sh: task rank 1 on host test0 exited (Exit 1) and exit-timeout=0.1s has expired", wait_status: 256 });
  expect(job.status()).toBe(1 << 8);
});

test("exit-on-error ends the others at once", async () => {
  const job = await lab.run(["sh", "-c", "test $FLUX_TASK_RANK = 3 && kill -SEGV $$; sleep 100"], two({ "exit-on-error": 1 }));
  expect(job.raised[0]?.["note"]).toBe("sh: task rank 3 on host test1 failed (Segmentation fault) and exit-on-error is set");
  expect(job.status()).toBe(139 << 8);
});

test("signal before the time limit", async () => {
  const spec = jobspec(["sh", "-c", "trap 'echo warned; exit 0' USR1; sleep 100 & wait"], { shell: { signal: { signum: 10, timeleft: 0.4 } } });
  const job = lab.submit(spec, [0], { expiration: Date.now() / 1000 + 0.8 });
  await job.done;
  expect(lab.output(job.id).stdout).toBe("warned\n");
  expect(logs(job.id)).toEqual(["job will expire in 0.4s, sending SIGUSR1 to job"]);
});

test("rlimit reaches the task", async () => {
  const job = await lab.run(["sh", "-c", "ulimit -n; ulimit -c"], { shell: { rlimit: { nofile: 333, core: 0 } } });
  expect(lab.output(job.id).stdout).toBe("333\n0\n");
});

test("a jobspec that a shell cannot use is an exception, not a hang", async () => {
  const spec = { ...jobspec(["true"]), resources: [{ type: "node", count: 1, with: [{ type: "slot", label: "task", count: 1, with: [{ type: "widget", count: 1 }] }] }] };
  const job = lab.submit(spec, [0]);
  await job.done;
  expect(job.raised[0]?.["note"]).toContain("widget");
  expect(job.status()).toBe(1 << 8);
});

test("templates in variables, those of tasks for each task", async () => {
  const job = await lab.run(["sh", "-c", "echo $A $B $C"], two({ "env-expand": { A: "{{size}}", B: "{{taskid}}@{{node.id}}", C: "{{task.foo}}" } }));
  expect(lab.output(job.id).stdout.trim().split("\n").sort()).toEqual([0, 1, 2, 3].map((rank) => `4 ${rank}@${rank >> 1} {{task.foo}}`));
});

test("tags: what a node has, and unknown ones stay", async () => {
  const job = await lab.run(["echo", "{{node.resources}}", "{{foo}}", "{{node.foo}}", "{{id.nosuch}}"]);
  expect(lab.output(job.id).stdout).toBe('{"ncores":2,"cores":"0-1","gpus":""} {{foo}} {{node.foo}} {{id.nosuch}}\n');
  expect(logs(job.id)).toEqual(["Invalid jobid encoding 'id.nosuch' specified"]);
});

test("cpu-affinity=verbose says it, dry-run does not do it; sets are used again for more tasks", async () => {
  const mask = ["sh", "-c", "grep Cpus_allowed_list /proc/self/status"];
  const map = await lab.run(mask, { ntasks: 4, shell: { "cpu-affinity": "verbose,map:1;0x1" } });
  expect(logs(map.id)).toEqual(["cpus: 0-1", "task 0: cpus: 1", "task 1: cpus: 0", "task 2: cpus: 1", "task 3: cpus: 0"]);
  expect(lab.output(map.id).stdout.match(/\d.*/g)?.sort()).toEqual(["0", "0", "1", "1"]);
  const dry = await lab.run(mask, { ntasks: 2, shell: { "cpu-affinity": "dry-run,per-task" } });
  expect(logs(dry.id)).toEqual(["cpus: 0-1", "task 0: cpus: 0", "task 1: cpus: 1"]);
  expect(lab.output(dry.id).stdout.match(/\d.*/g)).toEqual(["0-1", "0-1"]);
  const wrong = await lab.run(["true"], { shell: { "cpu-affinity": "map:0x0;1" } });
  expect(wrong.raised[0]?.["note"]).toBe("cpu-affinity: cpuset 0x0 contains no cores or is invalid");
});

test("cpu-affinity: CPUs that there are not bind nobody, what is no mode is told", async () => {
  const far = await lab.run(["true"], { shell: { "cpu-affinity": "map:1000" } });
  expect([far.status(), logs(far.id)]).toEqual([0, ["task 0: cpus 1000: there is none that it could run on. It is not bound to them"]]);
  const number = await lab.run(["true"], { shell: { "cpu-affinity": 1 } });
  expect([number.status(), logs(number.id)]).toEqual([0, ["invalid option: 1"]]);
});

test.each([
  ["node", 'invalid per-resource "node": must have parts, such as per-resource.type=node'],
  [{ count: 2 }, 'invalid per-resource: type must be node or core'],
  [{ type: "gpu" }, 'invalid per-resource "gpu": type must be node or core'],
  [{ type: "node", count: 0 }, 'invalid per-resource "0": count must be a number > 0'],
  [{ type: "core", count: "x" }, 'invalid per-resource "x": count must be a number > 0'],
  [{ type: "core", count: 1e9 }, 'invalid job "2000000000": has more than 4194304 tasks'],
] as [Json, string][])("per-resource=%j: %s", async (option, note) => {
  const job = await lab.run(["true"], { shell: { "per-resource": option } });
  expect([job.status(), job.raised.map((each) => each["note"])]).toEqual([1 << 8, [note]]);
});

test.each([
  ["output", "foo", "invalid option output=foo: it has parts, such as output.mode=append"],
  ["output", { stdout: 1 }, "invalid option output.stdout=1: it has parts, such as output.stdout.path=FILE"],
  ["output", { stderr: { buffer: "none" } }, "invalid option output.stderr.buffer=none: it has parts, such as output.stderr.buffer.type=none"],
  ["output", { client: 5 }, "invalid option output.client=5: it has parts, such as output.client.hwm=1000"],
  ["input", 1, "invalid option input=1: it has parts, such as input.limit=1M"],
  ["input", { stdin: "x" }, "invalid option input.stdin=x: it has parts, such as input.stdin.path=FILE"],
  ["hwloc", 1, "invalid option hwloc=1: it has parts, such as hwloc.xmlfile"],
] as [string, Json, string][])("option %s without its parts: %j", async (name, option, note) => {
  const job = await lab.run(["true"], { shell: { [name]: option } });
  expect([job.status(), job.raised.map((each) => each["note"])]).toEqual([1 << 8, [note]]);
});

test("gpu-affinity: all, shares, maps; more tasks than GPUs share them", async () => {
  const show = ["sh", "-c", "echo $CUDA_VISIBLE_DEVICES"];
  const withGpus = async (option: Json, gpus: string, ntasks: number): Promise<string[]> => {
    const R = { version: 1, execution: { R_lite: [{ rank: "0", children: { core: "0-1", gpu: gpus } }], nodelist: ["test0"], starttime: 0, expiration: 0 } };
    const job = lab.submit(jobspec(show, { ntasks, shell: { "gpu-affinity": option } }), [0], { R });
    await job.done;
    return lab.output(job.id).stdout.trim().split("\n").sort();
  };
  expect(await withGpus("on", "0-3", 2)).toEqual(["0,1,2,3", "0,1,2,3"]);
  expect(await withGpus("per-task", "0-3", 2)).toEqual(["0,1", "2,3"]);
  expect(await withGpus("per-task", "0-1", 4)).toEqual(["0", "0", "1", "1"]);
  expect(await withGpus("map:7;4-6", "0-3", 2)).toEqual(["4,5,6", "7"]);
  expect(await withGpus([1], "0-3", 1)).toEqual(["0,1,2,3"]);
});

test("a job that has more slots than tasks uses its share of the GPUs that it has, asked for or not", async () => {
  const R = { version: 1, execution: { R_lite: [{ rank: "0-1", children: { core: "0-1", gpu: "0-1" } }], nodelist: ["test[0-1]"], starttime: 0, expiration: 0 } };
  const shell = { "gpu-affinity": "per-task" };
  const job = lab.submit(jobspec(["sh", "-c", "echo $FLUX_TASK_RANK: $CUDA_VISIBLE_DEVICES"], { ntasks: 3, nnodes: 2, shell }), [0, 1], { R });
  await job.done;
  expect(lab.output(job.id).stdout.trim().split("\n").sort()).toEqual(["0: 0", "1: 1", "2: 0"]);
});

test("flow control: tasks pause while many entries are on their way, and nothing is lost", async () => {
  const job = await lab.run(["seq", "2000"], two({ verbose: 1, output: { client: { lwm: 1, hwm: 10 } } }, { ntasks: 2 }));
  const lines = lab.output(job.id).stdout.trim().split("\n").map(Number).sort((a, b) => a - b);
  expect(lines).toEqual(Array.from({ length: 4000 }, (_, i) => Math.floor(i / 2) + 1));
  expect(logs(job.id)).toContain("flow control stop");
  expect(logs(job.id)).toContain("flow control start");
});

test.each([
  [{ output: { client: { lwm: 2, hwm: 1 } } }, "invalid client.lwm and/or client.hwm specified"],
  [{ output: { client: { lwm: -1 } } }, "invalid client.lwm and/or client.hwm specified"],
  [{ output: { "batch-timeout": "soon" } }, "invalid output.batch-timeout option"],
  [{ input: { "batch-timeout": -1 } }, "invalid input.batch-timeout option"],
  [{ input: { limit: "64M" } }, "Invalid KVS input.limit=64M"],
] as [Record<string, Json>, string][])("%j: %s", async (shell, note) => {
  expect((await lab.run(["true"], { shell })).raised[0]?.["note"]).toBe(note);
});

test("input.limit ends a job that is given more", async () => {
  const job = lab.submit(jobspec(["cat"], { shell: { input: { limit: "1K", "batch-timeout": "10ms" } } }), [0]);
  await job.started;
  while (!lab.kvs(job.id, "exec.eventlog").includes("shell.start")) await Bun.sleep(5);
  const service = str(lab.execlog(job.id).find((e) => e.name === "shell.init")?.context?.["service"], "service");
  await lab.h.rpc(`${service}.stdin`, { stream: "stdin", rank: "all", data: "x".repeat(1000) }, { nodeid: 0 });
  await expect(lab.h.rpc(`${service}.stdin`, { stream: "stdin", rank: "all", data: "x".repeat(1000) }, { nodeid: 0 })).rejects.toThrow();
  await job.done;
  expect(job.raised[0]?.["note"]).toMatch(/^stdin exceeds 1K limit\. Try file input/);
  expect(lab.kvs(job.id, "input")).toContain("xxx");
});

test("an unknown output.mode is said and ignored", async () => {
  const job = await lab.run(["echo", "x"], { shell: { output: { mode: "sideways", stdout: { type: "file", path: join(dir, "mode") } } } });
  expect(job.status()).toBe(0);
  expect(readFileSync(join(dir, "mode"), "utf8")).toContain("x\n");
});
