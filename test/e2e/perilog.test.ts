// Queues with limits, updates, prolog, epilog and housekeeping, and users' plugins, on a real instance of four brokers.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Instance, startInstance } from "./flux.ts";

let folder: string;
let instance: Instance;

const file = (name: string): string => join(folder, name);
const lines = (text: string): string[] => text.trim().split("\n").filter((line) => line !== "");

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "flux-perilog-"));
  // Each program waits for, or fails by, a file that the test makes.
  writeFileSync(file("flux.toml"), `
[job-manager.prolog]
command = ["sh", "-c", "echo $FLUX_JOB_RANKS $FLUX_JOB_USERID >>${file("prologs")}; test ! -e ${file("fail-prolog")}"]
per-rank = true
[job-manager.epilog]
command = ["sh", "-c", "echo done >>${file("epilogs")}; test ! -e ${file("fail-epilog")}"]
exit-on-first-error = true
[job-manager.housekeeping]
command = ["sh", "-c", "test $(flux getattr rank) != 1 || test ! -e ${file("hold")} || exec sleep 100"]
release-after = "0"
use-systemd-unit = true
[queues.batch]
[queues.debug.policy.limits]
duration = "30m"
[policy.jobspec.defaults.system]
queue = "batch"
duration = "1h"
[policy.limits]
job-size.max.nnodes = 4
`);
  instance = await startInstance(4, [`--config-path=${file("flux.toml")}`]);
  await instance.flux(["queue", "start", "--all", "--quiet"]);
});
afterAll(async () => {
  await instance.stop();
  rmSync(folder, { recursive: true, force: true });
});

const eventNames = async (id: string): Promise<string[]> => lines((await instance.flux(["job", "eventlog", id])).stdout).map((line) => line.split(" ")[1] ?? "");
const lastJob = async (): Promise<string> => (await instance.flux(["job", "last"])).stdout.trim();

test("prolog and epilog run around a job, on all its ranks or on rank 0", async () => {
  const { code, stderr } = await instance.flux(["run", "-N4", "true"]);
  expect([code, stderr]).toEqual([0, ""]);
  const uid = process.getuid?.() ?? 0;
  expect(lines(readFileSync(file("prologs"), "utf8"))).toEqual(Array.from({ length: 4 }, () => `0-3 ${uid}`));
  expect(lines(readFileSync(file("epilogs"), "utf8"))).toEqual(["done"]);
  const names = (await eventNames(await lastJob())).slice(4);
  // The shells' end and the epilog's are told by different programs: either may come first.
  expect(names.filter((name) => name !== "release")).toEqual([
    "alloc",
    "prolog-start",
    "prolog-finish",
    "start",
    "finish",
    "epilog-start",
    "epilog-finish",
    "free",
    "clean",
  ]);
  expect(names.indexOf("release")).toBeGreaterThan(names.indexOf("finish"));
  expect(names.indexOf("release")).toBeLessThan(names.indexOf("free"));
  expect((await instance.flux(["jobtap", "list"])).stdout).toBe("perilog.so\n");
});

test("nodes are free when housekeeping is done with them, one by one", async () => {
  // That of the job before must not find the file.
  await instance.sh('while test -n "$(flux housekeeping list -n)"; do :; done');
  writeFileSync(file("hold"), "");
  await instance.flux(["run", "-N4", "true"]);
  const id = await lastJob();
  const { stdout } = await instance.sh("while test $(flux resource list -s free -no '{nnodes}') -lt 3; do :; done; flux housekeeping list -no '{id} {nnodes} {pending.ranks}'");
  expect(stdout).toBe(`${id} 1 1\n`);
  expect((await instance.flux(["resource", "list", "-s", "allocated", "-no", "{nnodes}"])).stdout.trim().split("\n")[0]).toBe("1");
  rmSync(file("hold"));
  expect((await instance.flux(["housekeeping", "kill", "--jobid", id])).code).toBe(0);
  expect((await instance.sh("while test -n \"$(flux housekeeping list -n)\"; do :; done; flux run -N4 true")).code).toBe(0);
});

test("a prolog that fails ends the job and drains the nodes; an epilog only says so", async () => {
  writeFileSync(file("fail-prolog"), "");
  const { stderr, code } = await instance.flux(["run", "-N2", "true"]);
  rmSync(file("fail-prolog"));
  const id = await lastJob();
  expect(stderr).toContain("type=prolog severity=0 prolog exited with code=1 on ");
  expect(code).toBe(1);
  expect((await eventNames(id)).slice(4)).toEqual(["alloc", "prolog-start", "exception", "epilog-start", "prolog-finish", "epilog-finish", "free", "clean"]);
  const drained = (await instance.flux(["resource", "drain", "-no", "{reason}"])).stdout;
  expect(new Set(lines(drained))).toEqual(new Set([`prolog failed for job ${id}`]));
  await instance.flux(["resource", "undrain", "0-1"]);
  writeFileSync(file("fail-epilog"), "");
  const second = await instance.flux(["run", "true"]);
  rmSync(file("fail-epilog"));
  expect(second.code).toBe(0);
  expect((await instance.flux(["jobs", "-no", "{status}", await lastJob()])).stdout.trim()).toBe("COMPLETED");
});

test("queues have limits and defaults; updates obey them", async () => {
  const refused = await instance.flux(["run", "-q", "debug", "true"]);
  expect([refused.code, refused.stderr]).toEqual([1, "flux-run: ERROR: requested duration (1h) exceeds policy limit of 30m for queue debug\n"]);
  expect((await instance.flux(["run", "-N5", "true"])).stderr).toContain("requested nnodes (5) exceeds policy limit of 4 for queue batch");
  const id = (await instance.flux(["submit", "--urgency=0", "-t", "10m", "true"])).stdout.trim();
  expect(await instance.flux(["update", id, "queue=debug", "duration=+5m"])).toMatchObject({ code: 0, stderr: "" });
  expect((await instance.flux(["jobs", "-no", "{queue} {duration}", id])).stdout).toBe("debug 900.0\n");
  expect((await instance.flux(["update", "-n", id, "duration=2h", "name=x"])).stdout).toBe('{"attributes.system.duration": 7200.0, "attributes.system.job.name": "x"}\n');
  expect((await instance.flux(["update", id, "name=x"])).stderr).toBe("flux-update: ERROR: update of attributes.system.job.name not supported\n");
  await instance.flux(["cancel", id]);
  const running = (await instance.flux(["submit", "-t", "10m", "sleep", "100"])).stdout.trim();
  await instance.flux(["job", "wait-event", "-q", running, "start"]);
  expect((await instance.flux(["update", "--wait", running, "duration=1h"])).code).toBe(0);
  expect(Number((await instance.flux(["job", "timeleft", running])).stdout)).toBeGreaterThan(3000);
  await instance.flux(["cancel", running]);
  expect((await instance.flux(["job", "wait-event", running, "clean"])).code).toBe(0);
});

test("a running job ends when its new duration is over", async () => {
  const id = (await instance.flux(["submit", "-t", "1h", "sleep", "100"])).stdout.trim();
  await instance.flux(["job", "wait-event", "-q", id, "start"]);
  expect((await instance.sh(`flux update ${id} duration=$(( $(date +%s) - $(flux jobs -no '{t_run!d:%s}' ${id} | cut -d. -f1) + 1 ))`)).code).toBe(0);
  const { stdout } = await instance.flux(["job", "wait-event", "-t", "20", id, "exception"]);
  expect(stdout).toContain('type="timeout"');
});

test("a user's TypeScript plugin refuses jobs and gives priorities", async () => {
  writeFileSync(file("mine.ts"), `
    type Args = { jobspec: { attributes: { system: { job?: { name?: string } } } }; urgency: number };
    export default {
      start(tap: { conf: { base: number } }) {
        return {
          "job.validate": ({ jobspec }: Args) => { if (jobspec.attributes.system.job?.name === "bad") throw new Error("bad name"); },
          "job.state.priority": ({ urgency }: Args) => ({ priority: tap.conf.base + urgency }),
          "job.priority.get": ({ urgency }: Args) => ({ priority: tap.conf.base + urgency }),
          "plugin.query": () => ({ conf: tap.conf }),
        };
      },
    };`);
  expect(await instance.flux(["jobtap", "load", file("mine.ts"), "base=100"])).toMatchObject({ code: 0, stderr: "" });
  expect(JSON.parse((await instance.flux(["jobtap", "query", "mine.ts"])).stdout)).toEqual({ name: "mine.ts", path: file("mine.ts"), conf: { base: 100 } });
  expect((await instance.flux(["submit", "--job-name=bad", "true"])).stderr).toContain("bad name");
  const { stdout: id } = await instance.flux(["submit", "true"]);
  expect((await instance.flux(["job", "wait-event", id.trim(), "priority"])).stdout).toContain("priority=116");
  expect((await instance.flux(["jobtap", "remove", "mine.ts"])).code).toBe(0);
  expect((await instance.flux(["jobtap", "remove", "mine.ts"])).stderr).toBe("flux-jobtap: ERROR: mine.ts not found\n");
});

test("perilog-run runs the scripts of a folder in order", async () => {
  const { code, stdout } = await instance.sh(`
    mkdir ${file("d")}
    for n in 2 1 3; do printf '#!/bin/sh\\necho %s; exit %s\\n' $n $(( $n % 2 * 4 )) >${file("d")}/$n; done
    chmod +x ${file("d")}/1 ${file("d")}/2
    flux perilog-run prolog -d ${file("d")}`);
  expect([code, stdout]).toEqual([4, "1\n2\n"]);
  const stopping = await instance.sh(`flux perilog-run epilog -d ${file("d")}; echo $?; flux perilog-run prolog -x -d ${file("d")}`);
  expect([stopping.code, stopping.stdout]).toEqual([4, "1\n4\n1\n"]);
  const alone = await instance.sh(`FLUX_URI= ; unset FLUX_URI; flux perilog-run epilog -d ${file("d")}`);
  expect(alone.stdout).toBe("1\n2\n");
});

test("a setting of old releases is accepted, and said to have no effect", async () => {
  expect((await instance.flux(["dmesg"])).stdout).toContain("job-manager.housekeeping.use-systemd-unit is deprecated - ignoring");
  writeFileSync(file("wrong.toml"), '[job-manager.housekeeping]\ncommand = ["true"]\nexit-on-first-error = 1\n');
  expect((await instance.flux(["config", "load", file("wrong.toml")])).stderr).toContain("job-manager.housekeeping.exit-on-first-error: must be true or false");
});
