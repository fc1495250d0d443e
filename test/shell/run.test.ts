// Jobs run by real shell processes on one broker and on several.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatJobId } from "../../src/formats/fluid.ts";
import { str } from "../../src/message/unpack.ts";
import { listProcesses } from "../../src/os/process-tree.ts";
import { jobspec, startLab, type JobLab } from "./support.ts";

let lab: JobLab;

beforeAll(async () => {
  lab = await startLab(3);
});

afterAll(async () => {
  await lab.stop();
});

const names = (id: bigint): string[] => lab.execlog(id).map((entry) => entry.name);

test("true: responses and exec eventlog of RFC 32 and 50", async () => {
  const job = await lab.run(["true"]);
  expect(job.responses.map((r) => r.type)).toEqual(["start", "finish", "release"]);
  expect(job.status()).toBe(0);
  expect(names(job.id)).toEqual(["init", "starting", "shell.init", "shell.start", "shell.task-exit", "shell-exit", "complete", "done"]);
  const { entries } = lab.output(job.id);
  expect(entries[0]?.context).toEqual({ version: 1, encoding: { stdout: "UTF-8", stderr: "UTF-8" }, count: { stdout: 1, stderr: 1 }, options: {} });
  expect(entries.filter((e) => e.context?.["eof"] === true)).toHaveLength(2);
  const init = lab.execlog(job.id)[2]?.context;
  expect(init).toEqual({ service: expect.stringMatching(/^\d+-shell-f/), "leader-rank": 0, size: 1 });
});

test("output of both streams, line by line and unfinished", async () => {
  const job = await lab.run(["sh", "-c", "echo out; echo err >&2; printf nonl"]);
  const { stdout, stderr } = lab.output(job.id);
  expect(stdout).toBe("out\nnonl");
  expect(stderr).toBe("err\n");
});

test("three nodes, six tasks: every task runs once, where the taskmap says", async () => {
  const job = await lab.run(["sh", "-c", "echo $FLUX_TASK_RANK $FLUX_TASK_LOCAL_ID $FLUX_JOB_SIZE $FLUX_JOB_NNODES"], { nodes: [0, 1, 2], ntasks: 6 });
  expect(job.status()).toBe(0);
  expect(lab.output(job.id).stdout.trim().split("\n").sort()).toEqual(["0 0 6 3", "1 1 6 3", "2 0 6 3", "3 1 6 3", "4 0 6 3", "5 1 6 3"]);
  const start = lab.execlog(job.id).find((e) => e.name === "shell.start");
  expect(start?.context).toEqual({ taskmap: { version: 1, map: [[0, 3, 2, 1]] } });
});

test("exit codes: highest task wins, signals count as 128+n", async () => {
  expect((await lab.run(["sh", "-c", "exit 3"])).status()).toBe(3 << 8);
  expect((await lab.run(["sh", "-c", "kill -9 $$"])).status()).toBe(137 << 8);
  const two = await lab.run(["sh", "-c", "exit $FLUX_TASK_RANK"], { nodes: [0, 1], ntasks: 4 });
  expect(two.status()).toBe(3 << 8);
});

test("a program that is not there is 127, one that may not run 126, with an exception that says so", async () => {
  const missing = await lab.run(["nosuchprogram"]);
  expect(missing.status()).toBe(127 << 8);
  expect(missing.raised[0]?.["note"]).toMatch(/^task 0 \(host .*\): start failed: nosuchprogram: No such file or directory$/);
  expect(lab.output(missing.id).entries.find((e) => e.name === "log")?.context?.["level"]).toBe(0);
  const denied = await lab.run(["/etc/passwd"]);
  expect(denied.status()).toBe(126 << 8);
});

test("environment is what the jobspec and Flux say, nothing else", async () => {
  const job = await lab.run(["/usr/bin/env"], { env: { FOO: "bar" } });
  const env = Object.fromEntries(lab.output(job.id).stdout.trim().split("\n").map((line) => line.split(/=(.*)/s).slice(0, 2) as [string, string]));
  const f58 = formatJobId(job.id, "f58");
  expect(env).toMatchObject({
    FOO: "bar",
    FLUX_JOB_ID: f58,
    FLUX_JOB_ID_PATH: `/${f58}`,
    FLUX_JOB_SIZE: "1",
    FLUX_JOB_NNODES: "1",
    FLUX_TASK_RANK: "0",
    FLUX_TASK_LOCAL_ID: "0",
    FLUX_KVS_NAMESPACE: `job-${job.id}`,
    CUDA_VISIBLE_DEVICES: "-1",
    CUDA_DEVICE_ORDER: "PCI_BUS_ID",
    PMI_FD: "3",
    PMI_RANK: "0",
    PMI_SIZE: "1",
  });
  expect(env["FLUX_JOB_TMPDIR"]).toEndWith(`/jobtmp-0-${f58}`);
  expect(env["HOME"]).toBeUndefined();
});

test("a directory that is not there: /tmp, and a message", async () => {
  const job = await lab.run(["pwd"], { cwd: "/nowhere" });
  expect(lab.output(job.id).stdout).toBe("/tmp\n");
  expect(lab.output(job.id).entries.find((e) => e.name === "log")?.context?.["message"]).toMatch(/Could not change dir to \/nowhere: No such file or directory. Going to \/tmp instead$/);
});

test("nothing of a job shows in the next one of the same shell", async () => {
  const first = await lab.run(["sh", "-c", "cd /usr; umask 077; export X=1; exit 0"], { env: { X: "1" }, cwd: "/usr", shell: { rlimit: { core: 0, fsize: 1024 } } });
  expect(first.status()).toBe(0);
  const second = await lab.run(["sh", "-c", "pwd; umask; echo x=$X; ulimit -f"]);
  expect(lab.output(second.id).stdout).toBe("/tmp\n0022\nx=\nunlimited\n");
});

test("an exception ends the job with SIGTERM", async () => {
  const job = lab.submit(jobspec(["sleep", "100"]), [0]);
  await job.started;
  lab.raise(job.id);
  await job.done;
  expect(job.status()).toBe(143 << 8);
});

test("a kill event reaches the tasks of all nodes", async () => {
  const job = lab.submit(jobspec(["sleep", "100"], { ntasks: 2, nnodes: 2 }), [0, 1]);
  await job.started;
  // The tasks run when the leader has said so in the exec eventlog.
  while (!lab.kvs(job.id, "exec.eventlog").includes("shell.start")) await Bun.sleep(5);
  lab.h.publish(`shell-${job.id}.kill`, { signum: 10 });
  await job.done;
  expect(job.status()).toBe(138 << 8);
});

test("time limit: exception and SIGALRM", async () => {
  const job = lab.submit(jobspec(["sleep", "100"]), [0], { expiration: Date.now() / 1000 + 0.3 });
  await job.done;
  expect(job.responses.find((r) => r.type === "exception")?.data).toEqual({ severity: 0, type: "timeout", note: "resource allocation expired" });
  expect(job.status()).toBe(142 << 8);
});

test("stdin comes by the shell's service and ends", async () => {
  const job = lab.submit(jobspec(["cat"], { ntasks: 2, nnodes: 2 }), [0, 1]);
  await job.started;
  while (!lab.kvs(job.id, "exec.eventlog").includes("shell.start")) await Bun.sleep(5);
  const service = str(lab.execlog(job.id).find((e) => e.name === "shell.init")?.context?.["service"], "service");
  await lab.h.rpc(`${service}.stdin`, { stream: "stdin", rank: "0", data: "zero\n" }, { nodeid: 0 });
  await lab.h.rpc(`${service}.stdin`, { stream: "stdin", rank: "all", data: "both\n" }, { nodeid: 0 });
  await lab.h.rpc(`${service}.stdin`, { stream: "stdin", rank: "all", eof: true }, { nodeid: 0 });
  await expect(lab.h.rpc(`${service}.stdin`, { stream: "stdin", rank: "all", data: "late" }, { nodeid: 0 })).rejects.toThrow();
  await job.done;
  expect(lab.output(job.id).stdout.split("\n").sort()).toEqual(["", "both", "both", "zero"]);
  expect(lab.kvs(job.id, "input")).toContain('"eof":true');
});

test("an event that names no signal is logged, and hurts nothing", async () => {
  const job = lab.submit(jobspec(["sh", "-c", "echo up; exec sleep 54328"]), [0]);
  await job.started;
  for (const payload of [{}, { signum: "x" }, { signum: 199 }, { signum: -1 }, { signum: 10 }]) lab.h.publish(`shell-${job.id}.kill`, payload);
  await job.done;
  expect(job.status()).toBe(138 << 8);
  const messages = lab.output(job.id).entries.flatMap(({ name, context }) => (name === "log" ? [context?.["message"]] : []));
  const malformed = "kill: ignoring malformed event";
  expect(messages).toEqual([malformed, malformed, "kill: signal 199: Invalid argument", "kill: signal -1: Invalid argument"]);
});

test("a shell that is killed hurts only its job", async () => {
  const job = lab.submit(jobspec(["sh", "-c", "kill -9 $PPID; exec sleep 54327"]), [0]);
  await job.done;
  expect(listProcesses().filter((p) => p.name === "sleep" && readFileSync(`/proc/${p.pid}/cmdline`, "utf8").includes("54327"))).toEqual([]);
  expect(job.responses.find((r) => r.type === "exception")?.data["note"]).toMatch(/^shell rank 0 \(on test0\): Killed$/);
  expect(job.status()).not.toBe(0);
  expect((await lab.run(["true"])).status()).toBe(0);
});

test("what a killed shell leaves is asked to end before it is killed", async () => {
  const dir = mkdtempSync(join(tmpdir(), "flux-shell-"));
  const file = join(dir, "asked");
  // Its output has no reader any more, and sh says there that sleep was terminated.
  const job = lab.submit(jobspec(["sh", "-c", `trap '' PIPE; trap 'echo yes >${file}; exit' TERM; kill -9 $PPID; while :; do sleep 0.02; done`]), [0]);
  await job.done;
  expect(readFileSync(file, "utf8")).toBe("yes\n");
  rmSync(dir, { recursive: true });
});
