// What goes wrong under a job: a node is lost, tasks that ignore signals, a module that is unloaded, shells that cannot start.
import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { errno } from "../../../src/message/errno.ts";
import { Pool } from "../../../src/modules/job-exec/pool.ts";
import { Request } from "../../../src/client/request.ts";
import { requestMessage } from "../../../src/message/message.ts";
import { createVirtualClock } from "../../../src/os/clock.ts";
import { type Child, spawnProcess } from "../../../src/os/spawn.ts";
import { jobspec, startLab, type JobLab } from "../../shell/support.ts";

let lab: JobLab | undefined;

afterEach(async () => {
  await lab?.stop();
  lab = undefined;
});

/** Processes whose command line has this word. */
function running(word: string): number {
  return readdirSync("/proc").filter((pid) => /^\d+$/.test(pid) && commandLine(pid).split("\0").includes(word)).length;
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return ""; // it is gone
  }
}

async function until(what: () => boolean): Promise<void> {
  for (let i = 0; i < 600 && !what(); i++) await Bun.sleep(5);
  expect(what()).toBe(true);
}

test("a node that is lost ends the job with a message that names it", async () => {
  lab = await startLab(3);
  const job = lab.submit(jobspec(["sleep", "100"], { nnodes: 3, ntasks: 3 }), [0, 1, 2]);
  await job.started;
  await until(() => lab?.kvs(job.id, "exec.eventlog").includes("shell.start") === true);
  lab.cluster.disconnect(2);
  await job.done;
  expect(job.responses.filter((r) => r.type === "exception").map((r) => r.data["note"])).toEqual(["node failure on test2 (rank 2)"]);
  expect(job.status()).toBe(143 << 8);
});

test("a node that the job can do without is a note only", async () => {
  lab = await startLab(2);
  const job = lab.submit(jobspec(["sh", "-c", "test $FLUX_TASK_RANK = 0 && sleep 0.5 || sleep 100"], { nnodes: 2, ntasks: 2 }), [0, 1]);
  await job.started;
  await lab.h.rpc("job-exec.critical-ranks", { id: job.id, ranks: "0" });
  await until(() => lab?.kvs(job.id, "exec.eventlog").includes("shell.start") === true);
  lab.cluster.disconnect(1);
  await job.done;
  expect(job.responses.filter((r) => r.type === "exception").map((r) => r.data)).toEqual([{ severity: 2, type: "node-failure", note: "node failure on test1 (shell rank 1)" }]);
  expect(lab.execlog(job.id).find((e) => e.name === "shell.task-exit")?.context?.["wait_status"]).toBe(0);
});

test("when a shell fails before all are ready, its exit code is the job's, and not that of those that are ended for it", async () => {
  lab = await startLab(3);
  const folder = mkdtempSync(join(tmpdir(), "flux-rc-"));
  const userrc = join(folder, "rc.js");
  writeFileSync(
    userrc,
    `import { existsSync, writeFileSync } from "node:fs";
    const ready = (rank) => ${JSON.stringify(folder)} + "/ready" + rank;
    export default async (shell) => {
      const { rank } = shell.info;
      if (rank !== 1) return shell.register({ "shell.init": () => writeFileSync(ready(rank), "") });
      while (!existsSync(ready(0)) || !existsSync(ready(2))) await Bun.sleep(5);
      throw new Error("not on this node");
    };\n`,
  );
  const job = await lab.run(["sleep", "100"], { nnodes: 3, ntasks: 3, nodes: [0, 1, 2], shell: { userrc } });
  expect(job.status()).toBe(1 << 8);
  rmSync(folder, { recursive: true });
});

test("tasks that ignore SIGTERM get SIGKILL after the kill timeout", async () => {
  lab = await startLab(1, { config: { exec: { "kill-timeout": "100ms" } } });
  const job = lab.submit(jobspec(["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"]), [0]);
  await until(() => lab?.kvs(job.id, "output").includes("up") === true);
  lab.raise(job.id);
  await job.done;
  expect(job.status()).toBe(137 << 8);
});

test("a signal that comes before there are tasks is not lost", async () => {
  // Nothing is killed by force here before the test gives up.
  lab = await startLab(1, { config: { exec: { "kill-timeout": "10m" } } });
  for (const turns of [0, 1, 2, 4, 8, 16]) {
    const job = lab.submit(jobspec(["sleep", "54324"]), [0]);
    for (let i = 0; i < turns; i++) await Bun.sleep(0);
    lab.raise(job.id);
    await job.done;
    expect(job.status()).not.toBe(0);
  }
}, 20_000);

test("a shell that no longer listens is killed with its tasks", async () => {
  lab = await startLab(1, { config: { exec: { "kill-timeout": "50ms" } } });
  const job = lab.submit(jobspec(["sh", "-c", "kill -STOP $PPID; sleep 54325"]), [0]);
  await until(() => running("54325") > 0);
  lab.raise(job.id);
  await job.done;
  expect(job.status()).not.toBe(0);
  await until(() => running("54325") === 0);
});

test("unloading job-exec leaves no process behind", async () => {
  lab = await startLab(2);
  const job = lab.submit(jobspec(["sleep", "54326"], { nnodes: 2, ntasks: 2 }), [0, 1]);
  job.done.catch(() => undefined);
  await until(() => running("54326") === 2);
  for (const broker of [...lab.cluster.brokers].reverse()) await broker.host.remove("job-exec");
  await until(() => running("54326") === 0);
});

test("a shell process that cannot start fails the job that waits for it", () => {
  const failures: number[] = [];
  const pool = new Pool({
    clock: createVirtualClock(),
    start: () => {
      throw Object.assign(new Error("no"), { code: "EAGAIN" });
    },
    keep: () => 1,
    jobsMax: () => 1,
    log: () => undefined,
  });
  pool.lease({}, { lost: () => undefined, taken: () => undefined, failed: (error) => failures.push(error.errno) });
  expect(failures).toEqual([errno.EAGAIN]);
});

test("a shell process that ends before it asks for work fails the job that waits for it", async () => {
  const exit = Promise.withResolvers<{ status: number }>();
  const failed = Promise.withResolvers<string>();
  const pool = new Pool({ clock: createVirtualClock(), start: () => ({ pid: 5_000_001, reaped: exit.promise }), keep: () => 1, jobsMax: () => 1, log: () => undefined });
  pool.lease({}, { lost: () => undefined, taken: () => undefined, failed: (error) => failed.resolve(error.message) });
  exit.resolve({ status: 256 });
  expect(await failed.promise).toBe("job shell ended with wait status 256 before it took the job");
});

test("shell processes that never ask for work are killed and make room for others", async () => {
  const clock = createVirtualClock();
  const children: Child[] = [];
  const logged: string[] = [];
  const pool = new Pool({
    clock,
    start() {
      const child = spawnProcess({ argv: ["sleep", "54327"], stdout: "null", stderr: "null", newSession: true });
      children.push(child);
      return child;
    },
    keep: () => 1,
    jobsMax: () => 1,
    log: (_, text) => logged.push(text),
    startLimit_ms: 1000,
  });
  const failures: string[] = [];
  for (let i = 0; i < 9; i++) pool.lease({}, { lost: () => undefined, taken: () => undefined, failed: (error) => failures.push(error.message) });
  expect(pool.stats).toMatchObject({ starting: 8, waiting: 9 });
  // One asks in time, and lives.
  const [first, ...silent] = children;
  const wait = requestMessage("job-exec.shell-wait", { pid: first?.pid ?? 0 }, { streaming: true });
  pool.join(new Request(wait, () => undefined, () => undefined), first?.pid ?? 0);
  expect(pool.stats).toMatchObject({ shells: 1, starting: 8, waiting: 8 });
  await clock.advance(999);
  expect([logged, failures]).toEqual([[], []]);
  await clock.advance(1);
  await until(() => failures.length === 8);
  expect(new Set(failures)).toEqual(new Set(["job shell ended with wait status 9 before it took the job"]));
  expect(logged).toContain(`job shell ${silent[0]?.pid} did not ask for work within 1 s: it is killed`);
  expect(pool.stats).toMatchObject({ shells: 1, starting: 0, waiting: 0 });
  expect(first?.kill(0)).toBe(true);
  const stopped = pool.stop();
  await clock.advance(2000);
  await stopped;
  await Promise.all(children.map(({ reaped }) => reaped));
  expect(clock.pending).toBe(0);
});
