// Jobs as a user meets them: output, exit codes, signals, listing, cancelling; ids above 2^53 throughout.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { type Instance, startInstance } from "./flux.ts";

let instance: Instance;
beforeAll(async () => {
  instance = await startInstance(4);
});
afterAll(() => instance.stop());

test("a task's standard output and error go to ours", async () => {
  const { stdout, stderr, code } = await instance.flux(["run", "sh", "-c", "echo out; echo err >&2"]);
  expect([stdout, stderr, code]).toEqual(["out\n", "err\n", 0]);
});

test.each([
  [["sh", "-c", "exit 3"], 3],
  [["true"], 0],
  [["sh", "-c", "kill -TERM $$"], 143],
  [["sh", "-c", "kill -KILL $$"], 137],
  [["/nonexistent/program"], 127],
  [["/etc/passwd"], 126],
])("flux run %j ends with %d", async (argv, wanted) => {
  expect((await instance.flux(["run", ...argv])).code).toBe(wanted);
});

test("tasks know who they are", async () => {
  const { stdout } = await instance.flux(["run", "-n8", "sh", "-c", "echo $FLUX_TASK_RANK $FLUX_JOB_SIZE $FLUX_JOB_NNODES"]);
  expect(stdout.trim().split("\n").sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7].map((rank) => `${rank} 8 4`));
});

test("environment, working directory and standard input reach the tasks", async () => {
  const { stdout } = await instance.flux(["run", "--cwd=/usr", "--env=COLOUR=blue", "sh", "-c", "pwd; echo $COLOUR; cat"], { input: "typed\n" });
  expect(stdout).toBe("/usr\nblue\ntyped\n");
});

test("job ids are above 2^53 in every form, and every form is understood", async () => {
  const id = (await instance.flux(["submit", "true"])).stdout.trim();
  expect(id).toMatch(/^ƒ[1-9A-HJ-NP-Za-km-z]+$/);
  const dec = (await instance.flux(["job", "id", "--to=dec", id])).stdout.trim();
  expect(BigInt(dec)).toBeGreaterThan(2n ** 53n);
  for (const form of ["dec", "hex", "dothex", "kvs", "words", "emoji", "f58"]) {
    const text = (await instance.flux(["job", "id", `--to=${form}`, id])).stdout.trim();
    expect((await instance.flux(["job", "id", "--to=dec", text])).stdout.trim()).toBe(dec);
  }
  expect((await instance.flux(["job", "id", "--to=dec", id.replace("ƒ", "f")])).stdout.trim()).toBe(dec);
  const { stdout } = await instance.flux(["job", "wait-event", id, "clean"]);
  expect(stdout).toContain("clean");
  expect((await instance.flux(["jobs", "-no", "{id.dec}", id])).stdout.trim()).toBe(dec);
});

test("submit --cc, wait, watch: every copy runs once", async () => {
  const { stdout, code } = await instance.flux(["submit", "--cc=1-20", "--quiet", "--watch", "sh", "-c", "echo copy {cc}"]);
  const lines = stdout.trim().split("\n").sort();
  expect(lines).toEqual(Array.from({ length: 20 }, (_, i) => `copy ${i + 1}`).sort());
  expect(code).toBe(0);
  expect((await instance.flux(["submit", "--cc=1-3", "--wait", "--quiet", "sh", "-c", "exit {cc}"])).code).toBe(3);
});

test("a running job is cancelled, its attached command says so", async () => {
  const id = (await instance.flux(["submit", "sleep", "600"])).stdout.trim();
  await instance.flux(["job", "wait-event", id, "start"]);
  expect((await instance.flux(["cancel", id])).code).toBe(0);
  const { stderr, code } = await instance.flux(["job", "attach", id]);
  expect(stderr).toContain("job.exception");
  expect(code).toBe(143);
  expect((await instance.flux(["jobs", "-no", "{state} {result}", id])).stdout.trim()).toBe("INACTIVE CANCELED");
});

test("SIGTERM to flux run cancels a job that waits", async () => {
  const script = `mkfifo $TMPDIR/said; flux run -vv --urgency=hold true 2>$TMPDIR/said &
    while read line; do echo "$line"; case "$line" in *job.priority*) kill -TERM $!;; esac; done <$TMPDIR/said
    wait $!; echo code=$?`;
  const { stdout } = await instance.sh(script);
  expect(stdout).toContain("type=cancel severity=0 interrupted by SIGTERM");
  expect(stdout).toEndWith("code=1\n");
});

test("SIGTERM to flux job attach leaves a job that waits alone", async () => {
  const id = (await instance.flux(["submit", "--urgency=hold", "true"])).stdout.trim();
  const script = `mkfifo $TMPDIR/told; flux job attach -E ${id} 2>$TMPDIR/told &
    while read line; do echo "$line"; case "$line" in *job.priority*) kill -TERM $!;; esac; done <$TMPDIR/told
    wait $!; echo code=$?`;
  expect((await instance.sh(script)).stdout).toEndWith("flux-job: detaching...\ncode=1\n");
  expect((await instance.flux(["jobs", "-no", "{state}", id])).stdout.trim()).toBe("SCHED");
  await instance.flux(["cancel", id]);
});

test("flux job kill, raise, urgency, status, info, last", async () => {
  const held = (await instance.flux(["submit", "--urgency=hold", "true"])).stdout.trim();
  expect((await instance.flux(["jobs", "-no", "{state}", held])).stdout.trim()).toBe("SCHED");
  expect((await instance.flux(["job", "urgency", held, "16"])).code).toBe(0);
  expect((await instance.flux(["job", "status", held])).code).toBe(0);
  const id = (await instance.flux(["submit", "sleep", "600"])).stdout.trim();
  await instance.flux(["job", "wait-event", "-p", "guest.exec.eventlog", id, "shell.start"]);
  expect((await instance.flux(["job", "kill", "--signal=USR1", id])).code).toBe(0);
  expect((await instance.flux(["job", "status", id])).code).toBe(128 + 10);
  expect((await instance.flux(["job", "last"])).stdout.trim()).toBe(id);
  const spec = JSON.parse((await instance.flux(["job", "info", id, "jobspec"])).stdout) as { tasks: { command: string[] }[] };
  expect(spec.tasks[0]?.command).toEqual(["sleep", "600"]);
});

test("flux jobs --json and filters", async () => {
  await instance.flux(["submit", "--wait", "--job-name=named", "true"]);
  const { stdout } = await instance.flux(["jobs", "-a", "--name=named", "--json"]);
  const { jobs } = JSON.parse(stdout) as { jobs: { name: string; result: string }[] };
  expect(jobs.map((job) => [job.name, job.result])).toEqual([["named", "COMPLETED"]]);
  expect((await instance.flux(["jobs", "-n", "--filter=failed", "-o", "{result}"])).stdout).not.toContain("COMPLETED");
});

test("the job's eventlog obeys RFC 21 from submit to clean", async () => {
  const id = (await instance.flux(["submit", "true"])).stdout.trim();
  await instance.flux(["job", "wait-event", id, "clean"]);
  const { stdout } = await instance.flux(["job", "eventlog", id]);
  const names = stdout.trim().split("\n").map((line) => line.split(" ")[1]);
  expect(names).toEqual(["submit", "validate", "depend", "priority", "alloc", "start", "finish", "release", "free", "clean"]);
});
