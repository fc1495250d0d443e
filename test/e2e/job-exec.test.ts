// What job-exec does about nodes and processes that misbehave.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Instance, startInstance } from "./flux.ts";

let instance: Instance;
beforeAll(async () => {
  instance = await startInstance(2);
});
afterAll(() => instance.stop());

async function configure(exec: string): Promise<void> {
  expect((await instance.flux(["config", "load"], { input: `[exec]\n${exec}\n` })).stderr).toBe("");
}

const drained = async (): Promise<string> => (await instance.flux(["resource", "drain", "-no", "{ranks} {reason}"])).stdout.trim();

test.each(["max-kill-count = 2", "max-kill-timeout = \"0.2s\""])("a job whose processes can't be killed ends, and its node is drained (%s)", async (limit) => {
  await configure(`kill-timeout = "0.05s"\nterm-signal = "SIGURG"\nkill-signal = "SIGURG"\n${limit}`);
  const id = (await instance.flux(["submit", "--wait-event=start", "sleep", "600"])).stdout.trim();
  const pid = (await instance.flux(["job", "hostpids", id])).stdout.trim().split(":")[1];
  await instance.flux(["dmesg", "-C"]);
  await instance.flux(["cancel", id]);
  expect((await instance.flux(["job", "wait-event", "-t20", id, "clean"])).code).toBe(0);
  expect((await instance.flux(["dmesg"])).stdout).toContain(limit.startsWith("max-kill-count") ? "exceeded max kill count" : "exceeded max-kill-timeout");
  expect(await drained()).toMatch(/^[01] unkillable user processes for job/);
  process.kill(Number(pid));
  await instance.sh("flux resource undrain $(flux resource drain -no {ranks})");
});

test("a node whose shell isn't ready while others are is drained, and the job fails", async () => {
  await configure('kill-timeout = "0.1s"');
  const userrc = join(instance.folder, "late.js");
  writeFileSync(userrc, "export default async (shell) => { if (shell.info.rank === 1) await new Promise((r) => setTimeout(r, 600_000)); };\n");
  const args = ["-N2", "-o", `userrc=${userrc}`, "--setattr=exec.bulkexec.barrier-timeout=0.3", "true"];
  const { stderr, code } = await instance.flux(["run", ...args]);
  expect(stderr).toContain("start barrier timeout waiting for 1/2 nodes (rank 1)");
  expect(code).not.toBe(0);
  expect(await drained()).toMatch(/^1 job \S+ start timeout: possible node hang$/);
  await instance.flux(["resource", "undrain", "1"]);
});

test("settings that make no sense are refused", async () => {
  for (const setting of ["barrier-timeout = 100", 'barrier-timeout = "55p"', 'max-kill-timeout = "0"', 'shell-exit-timeout = "soon"', "max-kill-count = 0"]) {
    const { code, stderr } = await instance.flux(["config", "load"], { input: `[exec]\n${setting}\n` });
    expect([code, stderr], setting).toEqual([1, expect.stringContaining(setting.split(" ")[0] ?? "")]);
  }
  for (const [config, problem] of [["[exec]\ntestexec.allow-guests = 'yes'", "invalid testexec.allow-guests: yes"], ["exec = 5", "error reading [exec] config table"]]) {
    expect((await instance.flux(["config", "load"], { input: `${config}\n` })).stderr).toContain(problem ?? "");
  }
  const { stderr } = await instance.flux(["run", "--setattr=exec.bulkexec.barier-timeout=1", "true"]);
  expect(stderr).toContain("failed to unpack system.exec.bulkexec: there is no setting barier-timeout");
  const mock = await instance.flux(["run", "--setattr=exec.bulkexec.mock_exception=init", "true"]);
  expect([mock.code, mock.stderr]).toEqual([1, expect.stringContaining("there is no setting mock_exception")]);
});

test("a time limit that the execution system doesn't take is said by an exception", async () => {
  const id = (await instance.flux(["submit", "--wait-event=start", "-t5m", "sleep", "600"])).stdout.trim();
  await instance.flux(["module", "debug", "--set", "1", "job-exec"]);
  expect((await instance.flux(["update", id, "duration=1m"])).code).toBe(0);
  expect((await instance.flux(["job", "wait-event", "-t20", "-m", "severity=1", id, "exception"])).stdout).toContain("failed to send expiration update");
  await instance.flux(["module", "debug", "--clear", "job-exec"]);
  await instance.flux(["cancel", id]);
});
