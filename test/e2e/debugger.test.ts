// What debuggers need: tasks that wait for them, the table of processes, the MPIR interface, and programs of theirs beside the tasks.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { lacks } from "../support/needs.ts";
import { FLUX, type Instance, run, startInstance } from "./flux.ts";

let instance: Instance;
beforeAll(async () => {
  instance = await startInstance(2);
});
afterAll(() => instance.stop());

const hasInterface = existsSync(join(FLUX, "../lib/libfluxmpir.so"));

/** Submits a job and returns its id when its tasks have started. */
async function started(...args: string[]): Promise<string> {
  const id = (await instance.flux(["submit", ...args])).stdout.trim();
  await instance.flux(["job", "wait-event", "-p", "exec", id, "shell.start"]);
  return id;
}

async function pidsOf(id: string): Promise<number[]> {
  const { stdout } = await instance.flux(["job", "hostpids", id]);
  return stdout.trim().split(",").map((pair) => Number(pair.split(":")[1]));
}

test("hostpids names the tasks' processes, also some of them", async () => {
  const id = await started("-N2", "-n4", "sleep", "100");
  const pids = await pidsOf(id);
  expect(pids).toHaveLength(4);
  for (const pid of pids) expect(readFileSync(`/proc/${pid}/cmdline`, "utf8")).toBe("sleep\x00100\x00");
  const some = await instance.flux(["job", "hostpids", "-r", "1,3", "-d", " ", id]);
  expect(some.stdout.trim().split(" ").map((pair) => Number(pair.split(":")[1]))).toEqual([pids[1] ?? 0, pids[3] ?? 0]);
  await instance.flux(["cancel", id]);
});

test("tasks stop in their program before it does anything, and go on when they are told to", async () => {
  const id = await started("-N2", "-n4", "-o", "stop-tasks-in-exec", "sh", "-c", "echo ran");
  const events = await instance.flux(["job", "eventlog", "-p", "exec", id]);
  expect(events.stdout).toContain("sync=true");
  for (const pid of await pidsOf(id)) {
    expect(readFileSync(`/proc/${pid}/status`, "utf8")).toContain("State:\tT (stopped)");
    expect(readFileSync(`/proc/${pid}/cmdline`, "utf8")).toBe("sh\x00-c\x00echo ran\x00");
    expect(readlinkSync(`/proc/${pid}/exe`)).not.toBe(FLUX);
  }
  await instance.flux(["job", "kill", "-s", "CONT", id]);
  const { stdout, code } = await instance.flux(["job", "attach", id]);
  expect([stdout, code]).toEqual(["ran\n".repeat(4), 0]);
});

test("a program that is not there is said as ever, also to tasks on terminals", async () => {
  const missing = await instance.flux(["run", "-o", "stop-tasks-in-exec", "nosuchprogram"]);
  expect([missing.code, missing.stderr]).toEqual([127, expect.stringContaining("start failed: nosuchprogram: No such file or directory")]);
  const id = await started("-o", "stop-tasks-in-exec", "-o", "pty", "tty");
  await instance.flux(["job", "kill", "-s", "CONT", id]);
  expect((await instance.flux(["job", "attach", id])).stdout).toContain("/dev/pts/");
});

test("flux exec --jobid runs programs beside the tasks, which end with them", async () => {
  const id = await started("-N2", "sleep", "100");
  const { stdout, code } = await instance.flux(["exec", "-l", "--jobid", id, "sh", "-c", "echo here"]);
  expect([stdout.trim().split("\n").sort(), code]).toEqual([["0: here", "1: here"], 0]);
  const running = instance.flux(["exec", "--jobid", id, "sh", "-c", "echo up; exec sleep 200"]);
  while (!(await instance.sh("pgrep -xf 'sleep 200' || true")).stdout.trim().includes("\n")) await Bun.sleep(5);
  await instance.flux(["cancel", id]);
  expect((await running).code).toBe(143);
});

test("programs that ignore the end of the job are killed after rexec-shutdown-timeout", async () => {
  const beside = join(instance.folder, "beside");
  const id = await started("-o", "rexec-shutdown-timeout=0.3s", "sh", "-c", `flux exec -n -j $FLUX_JOB_ID true; while [ ! -e ${beside} ]; do sleep 0.02; done`);
  const { code } = await instance.flux(["exec", "--jobid", id, "sh", "-c", `trap '' TERM; touch ${beside}; while :; do sleep 0.05; done`]);
  expect(code).toBe(137);
  expect((await instance.flux(["job", "attach", id])).code).toBe(0);
  for (const wrong of ["1", "1.1f"]) {
    const refused = await instance.flux(["run", "-o", `rexec-shutdown-timeout=${wrong}`, "true"]);
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining("invalid rexec-shutdown-timeout")]);
  }
});

test.skipIf(!hasInterface)("attach --debug lets stopped tasks go on; a job that is over cannot be debugged", async () => {
  const id = await started("-N2", "-n2", "-o", "stop-tasks-in-exec", "echo", "ran");
  const { stdout, code } = await instance.flux(["job", "attach", "--debug", id]);
  expect([stdout, code]).toEqual(["ran\nran\n", 0]);
  const over = await instance.flux(["job", "attach", "--debug", id]);
  expect([over.code, over.stderr]).toEqual([1, "flux-job: cannot debug job that has finished running\n"]);
  const emulated = await instance.flux(["run", "-n2", "--debug-emulate", "echo", "ran"]);
  expect([emulated.stdout, emulated.code]).toEqual(["ran\nran\n", 0]);
});

const GDB = `
set pagination off
set confirm off
set breakpoint pending on
handle SIGPWR SIGUSR1 SIGUSR2 nostop noprint pass
break MPIR_Breakpoint
run
print MPIR_proctable_size
print MPIR_debug_state
print MPIR_being_debugged
print MPIR_proctable[1]
print totalview_jobid
kill
quit
`;

test.skipIf(!hasInterface || lacks("gdb"))("a real debugger finds the MPIR interface", async () => {
  const id = await started("-N2", "-n2", "-o", "stop-tasks-in-exec", "sleep", "100");
  const pids = await pidsOf(id);
  const script = join(instance.folder, "gdb");
  writeFileSync(script, GDB);
  const { stdout } = await run(["gdb", "-nx", "-batch", "-x", script, "--args", FLUX, "job", "attach", "--debug", id], { env: { FLUX_URI: instance.uri, DEBUGINFOD_URLS: "" } });
  const dec = (await instance.flux(["job", "id", "--to=dec", id])).stdout.trim();
  expect(stdout).toContain("$1 = 2\n$2 = 1\n$3 = 1\n");
  expect(stdout).toContain(`executable_name = `);
  expect(stdout).toContain(`"sleep", pid = ${pids[1]}}`);
  expect(stdout).toContain(`"${dec}"`);
  await instance.flux(["cancel", id]);
});
