// Scheduling as a user meets it: policies, estimates, queues, reloads while jobs run and wait, and a scheduler of one's own.
import { afterEach, expect, test } from "bun:test";
import { copyFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Instance, type Result, startInstance } from "./flux.ts";

let instance: Instance | undefined;
afterEach(async () => {
  await instance?.stop();
  instance = undefined;
});

async function start(size: number, ...args: string[]): Promise<Instance> {
  return (instance = await startInstance(size, args));
}

async function submit(on: Instance, ...args: string[]): Promise<string> {
  const { stdout, stderr, code } = await on.flux(["submit", ...args]);
  if (code !== 0) throw new Error(`submit: ${stderr}`);
  return stdout.trim();
}

const waitEvent = (on: Instance, id: string, ...event: string[]): Promise<Result> => on.flux(["job", "wait-event", "-t", "20", id, ...event]);

/** The end of a job's allocation must be there for all to see. */
async function free(on: Instance): Promise<string> {
  return (await on.flux(["resource", "list", "-s", "free", "-no", "{nnodes}"])).stdout.trim();
}

test("easy: a short job passes one that waits, which has an estimate; a long one does not pass", async () => {
  const on = await start(4, "--conf=sched-simple.queue-policy=easy");
  const long = await submit(on, "-N3", "-x", "-t", "1h", "sleep", "300");
  const head = await submit(on, "-N4", "-x", "-t", "1h", "true");
  const longer = await submit(on, "-N1", "-x", "-t", "2h", "true");
  const short = await submit(on, "-N1", "-x", "-t", "10m", "true");
  expect((await waitEvent(on, short, "clean")).code).toBe(0);
  expect((await on.flux(["job", "wait-event", "-f", "json", short, "alloc"])).stdout).toContain(`"backfill":"${head}"`);
  expect((await on.flux(["jobs", "-no", "{state}", longer])).stdout).toBe("SCHED\n");
  // The estimate comes a moment after the scheduler has done what is urgent.
  const wait = `until flux jobs -no '{annotations.sched.t_estimate}' ${head} | grep -q '[0-9]'; do sleep 0.05; done; flux jobs -no '{contextual_info}' ${head}`;
  expect((await on.sh(wait)).stdout).toMatch(/^eta:(59\.\d+|60)m$/m);
  expect(JSON.parse((await on.flux(["module", "stats", "sched-simple"])).stdout)).toMatchObject({ queue_policy: "easy", reserved_jobs: 1, pending_jobs: 2 });
  // A new duration of the running job is a new estimate.
  expect((await on.flux(["update", long, "duration=2h"])).code).toBe(0);
  expect((await on.sh(`until flux jobs -no '{contextual_info}' ${head} | grep -q '^eta:1\\.[0-9]*h'; do sleep 0.05; done`)).code).toBe(0);
  await on.flux(["cancel", long]);
  for (const id of [head, longer]) expect((await waitEvent(on, id, "clean")).code).toBe(0);
}, 60_000);

test("the scheduler is reloaded with another policy while jobs run and wait", async () => {
  const on = await start(3);
  const running = [await submit(on, "-n1", "-t", "1h", "sleep", "300"), await submit(on, "-N2", "-x", "-t", "1h", "sleep", "300")];
  for (const id of running) await waitEvent(on, id, "start");
  const waiting = [await submit(on, "-N3", "-x", "-t", "1h", "true"), await submit(on, "-n1", "-t", "1m", "true")];
  const before = (await on.flux(["resource", "list", "-s", "allocated", "-no", "{rlist}"])).stdout;
  expect((await on.flux(["module", "reload", "sched-simple", "queue-policy=conservative"])).code).toBe(0);
  expect((await waitEvent(on, waiting[1] ?? "", "clean")).code).toBe(0); // passes now
  expect((await on.flux(["resource", "list", "-s", "allocated", "-no", "{rlist}"])).stdout).toBe(before);
  expect((await on.flux(["module", "remove", "sched-simple"])).code).toBe(0);
  // A job that ends, and one that comes, while there is no scheduler.
  await on.flux(["cancel", running[0] ?? ""]);
  await waitEvent(on, running[0] ?? "", "clean");
  const late = await submit(on, "-n1", "true");
  expect((await on.flux(["module", "load", "sched-simple"])).code).toBe(0);
  await on.flux(["cancel", running[1] ?? ""]);
  for (const id of [waiting[0] ?? "", late]) expect((await waitEvent(on, id, "clean")).code).toBe(0);
  expect(await free(on)).toBe("3");
  expect((await on.flux(["dmesg"])).stdout).not.toContain("sched-simple.err");
}, 60_000);

test("queues with nodes of their own don't wait for each other; policies change with the configuration", async () => {
  const on = await start(4);
  const config = join(on.folder, "queues.toml");
  const cores = JSON.parse((await on.flux(["kvs", "get", "resource.R"])).stdout) as { execution: { R_lite: { children: { core: string } }[]; nodelist: string[] } };
  const R = { ...cores, execution: { ...cores.execution, properties: { batch: "0-1", debug: "2-3" } } };
  writeFileSync(join(on.folder, "R.json"), JSON.stringify(R));
  writeFileSync(config, `
    [queues]
    batch.requires = ["batch"]
    debug.requires = ["debug"]
    [sched-fluxion-qmanager]
    queue-policy-per-queue = "batch:easy debug:fcfs"`);
  const script = `set -e; flux module remove sched-simple; flux resource reload ${join(on.folder, "R.json")}; flux config load ${config}; flux module load sched-simple; flux queue start --all --quiet`;
  expect(await on.sh(script)).toMatchObject({ code: 0, stderr: "" });
  const constraint = (queue: string): string[] => ["-q", queue, `--requires=${queue}`, "-x"];
  const first = await submit(on, ...constraint("batch"), "-N1", "-t", "1h", "sleep", "300");
  const big = await submit(on, ...constraint("batch"), "-N2", "-t", "1h", "true");
  const other = await submit(on, ...constraint("debug"), "-N2", "true");
  expect((await waitEvent(on, other, "clean")).code).toBe(0);
  const small = await submit(on, ...constraint("batch"), "-N1", "-t", "1m", "true");
  expect((await waitEvent(on, small, "clean")).code).toBe(0);
  expect((await on.flux(["run", ...constraint("debug"), "-N3", "true"])).stderr).toContain("unsatisfiable request");
  await on.flux(["cancel", first]);
  expect((await waitEvent(on, big, "clean")).code).toBe(0);
}, 60_000);

test("a user's scheduler in TypeScript takes over, is reloaded while jobs run, and hands back", async () => {
  const on = await start(4);
  const mine = join(on.folder, "mysched.ts");
  copyFileSync(join(import.meta.dir, "../../etc/examples/mysched.ts"), mine);
  const early = await submit(on, "-N1", "-x", "sleep", "300");
  await waitEvent(on, early, "start");
  expect((await on.flux(["module", "remove", "sched-simple"])).code).toBe(0);
  expect(await on.flux(["module", "load", "./mysched.ts", "max-nodes=3"], { cwd: on.folder })).toMatchObject({ code: 0, stderr: "" });
  const holder = await submit(on, "-N3", "-t", "1h", "sleep", "300");
  await waitEvent(on, holder, "start");
  const slow = await submit(on, "-N1", "-t", "30m", "flux", "getattr", "rank");
  const quick = await submit(on, "-N1", "-t", "1m", "true");
  const tooBig = await submit(on, "-N4", "true");
  expect((await waitEvent(on, tooBig, "exception")).stdout).toContain("there will never be 4 nodes for a job");
  expect((await on.flux(["jobs", "-no", "{nodelist} {state}", slow, quick])).stdout).toBe(" SCHED\n SCHED\n");
  expect((await on.flux(["module", "reload", mine, "max-nodes=3"])).code).toBe(0);
  await on.sh("until flux module stats mysched | grep -q '\"waiting\": 2'; do sleep 0.05; done");
  await on.flux(["resource", "drain", "3"]); // of the holder's nodes only
  await on.flux(["cancel", early]);
  for (const id of [quick, slow]) expect((await waitEvent(on, id, "clean")).code).toBe(0);
  const time = async (id: string): Promise<number> => {
    const { stdout } = await on.flux(["job", "wait-event", "-f", "json", id, "alloc"]);
    return (JSON.parse(stdout) as { timestamp: number }).timestamp;
  };
  expect(await time(quick)).toBeLessThan(await time(slow));
  expect((await on.flux(["job", "wait-event", "-f", "json", quick, "alloc"])).stdout).toContain("shortest first");
  expect(await on.sh("flux module remove mysched && flux module load sched-simple")).toMatchObject({ code: 0, stderr: "" });
  await on.flux(["resource", "undrain", "3"]);
  await on.flux(["cancel", holder]);
  expect((await on.flux(["run", "-N4", "true"])).code).toBe(0);
  expect(await free(on)).toBe("4");
}, 60_000);

test("log-level=debug tells what jobs are given and give back", async () => {
  const on = await start(2);
  await on.flux(["module", "reload", "sched-simple", "log-level=debug"]);
  const id = await submit(on, "-N2", "-x", "true");
  await waitEvent(on, id, "clean");
  const log = await on.sh("until flux dmesg | grep -q '(final)'; do sleep 0.05; done; flux dmesg | grep -o 'sched-simple.debug.*'");
  const words = log.stdout.split("\n").filter((line) => line.includes(id));
  expect(words).toEqual([expect.stringMatching(/: alloc: ƒ\w+: rank\[0-1\]\/core/), expect.stringMatching(/: free: ƒ\w+: rank\[0-1\]\/core\S+ \(final\)$/)]);
});
