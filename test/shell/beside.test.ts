// What shells do beside running tasks: coprocesses, monitors, the topology for hwloc.
import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Json } from "../../src/formats/json.ts";
import { formatJobId } from "../../src/formats/fluid.ts";
import { str } from "../../src/message/unpack.ts";
import { processesBelow } from "../e2e/flux.ts";
import { type JobLab, jobspec, type JobRecord, startLab } from "./support.ts";

let lab: JobLab;
let dir: string;

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "flux-beside-"));
  lab = await startLab(2);
});

afterEach(() => {
  // A coprocess never outlives its job.
  expect(processesBelow(`FLUX_BESIDE=${dir}`)).toEqual([]);
});

afterAll(async () => {
  await lab.stop();
  rmSync(dir, { recursive: true, force: true });
});

const logs = (id: bigint): string[] => lab.output(id).entries.filter((e) => e.name === "log").map((e) => str(e.context?.["message"], "message"));
const note = (job: JobRecord): unknown => job.raised[0]?.["note"];

interface Beside {
  readonly nodes?: readonly number[];
  readonly shell?: Record<string, Json>;
  readonly task?: readonly string[];
}

/** Runs a job with coprocesses. */
async function beside(coprocess: Json, { nodes = [0], shell = {}, task = ["sleep", "0.3"] }: Beside = {}): Promise<JobRecord> {
  return lab.run(task, { nodes, ntasks: nodes.length, cwd: dir, env: { FLUX_BESIDE: dir }, shell: { coprocess, ...shell } });
}

function fileOf(name: string): string {
  return readFileSync(join(dir, name), "utf8");
}

/** Says so once it is ready, and once more when it is told to end. */
const LISTENER = ["sh", "-c", "trap 'echo bye {{node.id}}; exit 0' TERM; echo hi {{node.id}}; while :; do sleep 0.05; done"];

test("a coprocess runs while tasks do; its output is a file, its last words included", async () => {
  const job = await beside({ mon: { command: LISTENER, output: "mon-{{id}}.log" } });
  expect(job.status()).toBe(0);
  expect(fileOf(`mon-${formatJobId(job.id, "f58")}.log`)).toContain("hi 0\n");
  expect(fileOf(`mon-${formatJobId(job.id, "f58")}.log`)).toContain("bye 0\n");
});

test("of several nodes: one file, or one for each", async () => {
  await beside({ a: { command: LISTENER, output: "all.log" }, b: { command: LISTENER, output: "each-{{node.id}}.log" } }, { nodes: [0, 1] });
  for (const line of ["hi 0", "hi 1", "bye 0", "bye 1"]) expect(fileOf("all.log")).toContain(`${line}\n`);
  expect(fileOf("each-0.log")).toMatch(/hi 0\n.*bye 0\n/s);
  expect(fileOf("each-1.log")).toMatch(/hi 1\n.*bye 1\n/s);
});

test("on some nodes only; the file has a name when none is given", async () => {
  const job = await beside({ mon: { command: ["echo", "{{node.id}} {{id.dec}}"], ranks: "1" } }, { nodes: [0, 1] });
  expect(fileOf(`coproc-mon-${formatJobId(job.id, "f58")}.log`)).toBe(`1 ${job.id}\n`);
});

test("binary output of another node arrives as it is", async () => {
  await beside({ mon: { command: ["sh", "-c", "printf '\\377\\000x'"], output: "bytes", ranks: "1" } }, { nodes: [0, 1] });
  expect([...readFileSync(join(dir, "bytes"))]).toEqual([255, 0, 120]);
});

test("one that ignores SIGTERM is killed after the timeout, with a message", async () => {
  const stubborn = ["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"];
  const job = await beside({ mon: { command: stubborn, output: "x" } }, { shell: { "coprocess-kill-timeout": "0.2s" } });
  expect(job.status()).toBe(0);
  expect(logs(job.id)).toContain("coprocess: helper(s) still running, sending SIGKILL");
});

test.each([
  ["that cannot be started", ["/nowhere/program"], /launch failed: .*No such file or directory/],
  ["that ends early", ["sh", "-c", "exit 3"], undefined],
] as [string, string[], RegExp | undefined][])("one %s costs nothing, on any node", async (_, command, message) => {
  const job = await beside({ mon: { command, output: "y" } }, { nodes: [0, 1] });
  expect(job.status()).toBe(0);
  if (message === undefined) expect(logs(job.id)).toEqual([]);
  else expect(logs(job.id).every((text) => message.test(text))).toBe(true);
});

test("an output file that cannot be made is said once, and the job goes on", async () => {
  const job = await beside({ mon: { command: LISTENER, output: "/nowhere/file" } });
  expect(job.status()).toBe(0);
  expect(logs(job.id)).toEqual(["mon: error opening output file '/nowhere/file': No such file or directory"]);
});

test("they end with a job that is killed, and with a shell that is", async () => {
  const job = lab.submit(jobspec(["sleep", "100"], { cwd: dir, env: { FLUX_BESIDE: dir }, shell: { coprocess: { mon: { command: LISTENER, output: "killed.log" } } } }), [0]);
  while (!existsSync(join(dir, "killed.log"))) await Bun.sleep(5);
  lab.raise(job.id);
  await job.done;
  expect(job.status()).not.toBe(0);
  const lost = await beside({ mon: { command: LISTENER, output: "lost.log" } }, { task: ["sh", "-c", "sleep 0.2; kill -9 $PPID; sleep 100"] });
  expect(lost.status()).not.toBe(0);
  while (processesBelow(`FLUX_BESIDE=${dir}`).length > 0) await Bun.sleep(5);
});

test.each([
  ["nope", "coprocess option must be a non-empty object"],
  [{}, "coprocess option must be a non-empty object"],
  [{ mon: { command: "ls" } }, "coprocess: mon: command must be a non-empty array"],
  [{ mon: { command: [] } }, "coprocess: mon: command must be a non-empty array"],
  [{ mon: { command: [1] } }, "coprocess: mon: command elements must be strings"],
  [{ mon: { command: ["ls"], ranks: "x" } }, "coprocess: mon: invalid ranks 'x'"],
  [{ mon: { command: ["ls"], size: 1 } }, "coprocess: mon: size is not known"],
] as [Json, string][])("coprocess=%j: %s", async (option, wanted) => {
  expect(note(await beside(option))).toBe(wanted);
});

test("a wrong kill timeout is refused", async () => {
  const job = await beside({ mon: { command: ["true"] } }, { shell: { "coprocess-kill-timeout": "soon" } });
  expect(note(job)).toBe('failed to parse coprocess-kill-timeout: "soon" is no Flux Standard Duration');
});

test("an initrc defines one that runs when its option is given", async () => {
  const userrc = join(dir, "define.js");
  writeFileSync(userrc, 'export default (shell) => shell.defineCoprocess({ name: "mon", command: ["echo", "defined"], output: "defined.log" });\n');
  await lab.run(["sleep", "0.2"], { cwd: dir, shell: { userrc } });
  expect(existsSync(join(dir, "defined.log"))).toBe(false);
  await lab.run(["sleep", "0.2"], { cwd: dir, shell: { userrc, mon: 1 } });
  expect(fileOf("defined.log")).toBe("defined\n");
  await lab.run(["sleep", "0.2"], { cwd: dir, shell: { userrc, mon: { output: "other.log" } } });
  expect(fileOf("other.log")).toBe("defined\n");
});

test("sysmon tells memory and load at the end, and now and then", async () => {
  const busy = ["bash", "-c", 'x=$(head -c 30000000 /dev/zero | tr "\\0" x); end=$((SECONDS + 1)); while [ $SECONDS -lt $end ]; do :; done'];
  const job = await lab.run(busy, { shell: { verbose: 2, sysmon: { period: "0.1s" } } });
  const told = logs(job.id);
  const peak = told.map((text) => /^memory\.peak=([\d.]+)M$/.exec(text)?.[1]).find((found) => found !== undefined);
  expect(Number(peak)).toBeGreaterThan(28);
  expect(told.some((text) => /^loadavg-overall=\d+\.\d\d$/.test(text))).toBe(true);
  expect(told.some((text) => /^memory\.current=[\d.]+[KMG]$/.test(text))).toBe(true);
  expect(told.some((text) => /^loadavg=\d+\.\d\d$/.test(text))).toBe(true);
  const quiet = logs((await lab.run(["true"], { shell: { sysmon: 1 } })).id);
  expect(quiet.map((text) => text.replace(/=.*/, ""))).toEqual(["memory.peak", "loadavg-overall"]);
});

test.each([
  [{ period: "nonfsd" }, "sysmon: sysmon.period is not a valid FSD"],
  [{ badopt: 1 }, "sysmon: option parse error: sysmon.badopt is not known"],
] as [Json, string][])("sysmon=%j: %s", async (sysmon, wanted) => {
  expect(note(await lab.run(["true"], { shell: { sysmon } }))).toBe(wanted);
});

test("oom.adjust sets the tasks' preference", async () => {
  const job = await lab.run(["sh", "-c", "while test $(cat /proc/self/oom_score_adj) != 123; do sleep 0.01; done; echo ok"], { shell: { oom: { adjust: 123 } } });
  expect(lab.output(job.id).stdout).toBe("ok\n");
  expect(note(await lab.run(["true"], { shell: { oom: { adjust: 2000 } } }))).toBe("oom: oom.adjust must be a number from -1000 to 1000");
  expect(note(await lab.run(["true"], { shell: { oom: { other: 1 } } }))).toBe("oom: unknown option oom.other");
});

/** A control group with little memory; undefined where we may not make one. */
function smallGroup(): string | undefined {
  for (const [parent, limit] of [["/sys/fs/cgroup/memory", "memory.limit_in_bytes"], ["/sys/fs/cgroup", "memory.max"]] as const) {
    const group = join(parent, `flux-beside-${process.pid}`);
    try {
      mkdirSync(group);
      writeFileSync(join(group, limit), "30M");
      return group;
    } catch {
      if (existsSync(group)) rmdirSync(group);
    }
  }
  return undefined;
}

const group = smallGroup();
afterAll(() => {
  if (group !== undefined) rmdirSync(group);
});

test.skipIf(group === undefined)("a task that the kernel kills for want of memory is named", async () => {
  const hungry = `echo $$ > ${group}/cgroup.procs; exec perl -e '$x = "x" x (200 << 20); sleep 1'`;
  const job = await lab.run(["sh", "-c", `test $FLUX_TASK_RANK = 1 || exec true; ${hungry}`], { ntasks: 2 });
  expect(job.status()).toBe(137 << 8);
  expect(logs(job.id)).toEqual([expect.stringMatching(/^Out of memory: task 1 on \S+ was killed by the kernel \(memory\.peak = [\d.]+M\)\.$/)]);
  const other = await lab.run(["sh", "-c", "kill -9 $$"]);
  expect(logs(other.id)).toEqual([]);
});

test("hwloc.xmlfile: the topology as a file; hwloc.restrict: only the job's part", async () => {
  const count = ["sh", "-c", 'echo "${HWLOC_COMPONENTS-unset}"; grep -c type=.PU $HWLOC_XMLFILE'];
  const all = await lab.run(count, { env: { HWLOC_COMPONENTS: "x" }, shell: { hwloc: { xmlfile: 1 } } });
  const [components, cpus] = lab.output(all.id).stdout.trim().split("\n");
  expect(components).toBe("unset");
  const job = lab.submit(jobspec(count, { shell: { hwloc: { xmlfile: 1, restrict: 1 } } }), [0], { cores: "0" });
  await job.done;
  const [, restricted] = lab.output(job.id).stdout.trim().split("\n");
  expect(Number(restricted)).toBeLessThan(Number(cpus));
  expect(note(await lab.run(["true"], { shell: { hwloc: { xmlfile: "yes" } } }))).toBe("hwloc: failed to unpack hwloc options: hwloc.xmlfile");
});
