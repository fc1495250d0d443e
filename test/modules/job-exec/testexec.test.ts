// Simulated jobs: the protocol of RFC 32 without a shell, and how fast it goes.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { jobspec, startLab, type JobLab } from "../../shell/support.ts";
import type { Json } from "../../../src/formats/json.ts";

let lab: JobLab;

beforeAll(async () => {
  lab = await startLab(1, { config: { exec: { "shell-pool-size": 0, "kill-timeout": "1s" } } });
});

afterAll(async () => {
  await lab.stop();
});

const sim = (test: Record<string, Json>) => jobspec(["true"], { system: { exec: { test } } });
const names = (id: bigint) => lab.execlog(id).map((e) => e.name);

test("a simulated job has all responses and its exec eventlog in the primary namespace", async () => {
  const job = lab.submit(sim({ run_duration: "1ms", wait_status: 512 }), [0]);
  await job.done;
  expect(job.responses).toEqual([
    { type: "start", data: {} },
    { type: "finish", data: { status: 512 } },
    { type: "release", data: { ranks: "all", final: true } },
  ]);
  expect(names(job.id)).toEqual(["init", "starting", "recoverable", "complete", "done"]);
});

test("one that runs longer shows its eventlog while it runs, and dies of a signal", async () => {
  const job = lab.submit(sim({ run_duration: "100s" }), [0]);
  await job.started;
  while (names(job.id).length < 3) await Bun.sleep(5);
  expect(names(job.id)).toEqual(["init", "starting", "recoverable"]);
  lab.raise(job.id);
  await job.done;
  expect(job.status()).toBe(15);
});

test("mock exceptions", async () => {
  const run = await lab.submit(sim({ run_duration: "1s", mock_exception: "run" }), [0]).done;
  expect(run.responses.map((r) => r.type)).toEqual(["start", "exception", "finish", "release"]);
  expect(run.responses[1]?.data).toEqual({ severity: 0, type: "exec", note: "mock run exception generated" });
  expect(run.status()).toBe(15);
  const init = await lab.submit(sim({ run_duration: "1s", mock_exception: "init" }), [0]).done;
  expect(init.responses[0]?.data["note"]).toBe("mock initialization exception generated");
  expect(init.responses.at(-1)?.type).toBe("release");
});

test("override starts and finishes by request", async () => {
  const job = lab.submit(sim({ override: 1 }), [0]);
  const override = async (event: string, status?: number) => lab.h.rpc("job-exec.override", { jobid: job.id, event, ...(status !== undefined && { status }) });
  while (!(await lab.h.rpc("job-exec.stats-get"))["jobs"]) await Bun.sleep(1);
  await expect(override("finish")).rejects.toThrow("Job not running");
  await override("start");
  await job.started;
  await expect(override("start")).rejects.toThrow("Job already running");
  await override("finish", 256);
  await job.done;
  expect(job.status()).toBe(256);
  await expect(override("start")).rejects.toThrow("Job not found");
});

test("expiration, and one that is moved", async () => {
  const job = lab.submit(sim({ run_duration: "100s" }), [0], { expiration: Date.now() / 1000 + 100 });
  await job.started;
  await lab.h.rpc("job-exec.expiration", { id: job.id, expiration: Date.now() / 1000 + 0.05 });
  await job.done;
  expect(job.responses.find((r) => r.type === "exception")?.data["type"]).toBe("timeout");
  expect(job.status()).toBe(14);
});

test("an R or jobspec that is malformed hurts only its job", async () => {
  const job = lab.submit(sim({ run_duration: "x" }), [0]);
  await job.done;
  expect(job.responses.map((r) => r.type)).toEqual(["exception", "release"]);
});

test("a thousand simulated jobs at once take well under a second", async () => {
  const before = performance.now();
  await Promise.all(Array.from({ length: 1000 }, async () => lab.submit(sim({ run_duration: "1ms" }), [0]).done));
  const took_ms = performance.now() - before;
  expect(took_ms).toBeLessThan(2000);
  // One write each, which the KVS may join with others.
  const commits = lab.kvsState.commits.filter((c) => c.namespace === "primary");
  expect(commits.length).toBeLessThan(1100);
  expect(commits.every(({ lazy }) => lazy)).toBe(true);
});
