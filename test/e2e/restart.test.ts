// An instance with a state directory comes back: after an orderly end, after a SIGKILL of its broker, twice in a row, and
// with a database that is no longer whole.
import { describe, expect, test } from "bun:test";
import { cpSync, mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Database } from "bun:sqlite";
import { type Finished, type Sandbox, sandbox } from "./sandbox.ts";

/** Ids begin above 2^53. */
const FLUID_START = "--conf=ingest.fluid-start=536883257";
const CRASH = "kill -9 $(flux getattr broker.pid)";

function stateDirectory(box: Sandbox): string {
  const path = join(box.dir, "state");
  mkdirSync(path);
  return path;
}

function runOn(box: Sandbox, statedir: string, script: string, ...args: string[]): Promise<Finished> {
  return box.flux("start", FLUID_START, `-Sstatedir=${statedir}`, ...args, "sh", "-c", script);
}

/** Runs a script that ends with the death of its broker. */
async function crash(box: Sandbox, statedir: string, script: string): Promise<Finished> {
  const finished = await runOn(box, statedir, `${script}\n${CRASH}`);
  expect(finished.code).toBe(137);
  return finished;
}

const lines = (text: string): string[] => text.split("\n").filter((line) => line !== "");

describe("after an orderly end", () => {
  test("jobs, their output, the queue, drained nodes, the KVS and ids are there", async () => {
    await using box = sandbox();
    const state = stateDirectory(box);
    const first = await runOn(box, state, "flux run echo hello; flux submit --urgency=hold true; flux resource drain 0 broken; flux kvs put a.b=42; flux queue stop --quiet; flux submit --quiet sleep 60");
    expect(first.stderr).toBe("");
    const [, held = ""] = lines(first.stdout);
    const second = await runOn(box, state, "flux jobs -a -no '{id} {name} {status_abbrev} {urgency}'; flux kvs get a.b; flux resource drain -no '{reason}'; flux queue status | tail -1; flux job last; flux job attach $(flux jobs -no '{id}' --filter=completed); flux submit --urgency=hold true");
    expect(second.stderr).toBe("");
    const [sleep = "", waiting, done, value, reason, queue, last, output, next = ""] = lines(second.stdout);
    expect(waiting).toBe(`${held} true S 0`);
    expect(sleep).toMatch(/^ƒ\S+ sleep S 16$/);
    expect(done).toMatch(/^ƒ\S+ echo CD 16$/);
    expect([value, reason, last, output]).toEqual(["42", "broken", sleep.split(" ")[0] ?? "", "hello"]);
    expect(queue).toMatch(/^Scheduling is stopped/);
    const third = await runOn(box, state, "flux jobs -a -no '{id.dec}'; flux startlog | wc -l");
    const ids = lines(third.stdout).slice(0, -1).map(BigInt);
    expect(new Set(ids).size).toBe(4);
    for (const id of ids) expect(id).toBeGreaterThan(2n ** 53n);
    expect(third.stdout).toMatch(/\n3\n$/);
    expect(next).not.toBe("");
  }, 20_000);

  test("a database that another one replaced is believed, not the index of the one before", async () => {
    await using box = sandbox();
    const state = stateDirectory(box);
    await runOn(box, state, "flux run true");
    cpSync(join(state, "content.sqlite"), join(box.dir, "old.sqlite"));
    await runOn(box, state, "flux run true; flux run true");
    cpSync(join(box.dir, "old.sqlite"), join(state, "content.sqlite"));
    const { stdout, stderr } = await runOn(box, state, "flux jobs -a -no '{name} {status_abbrev}'; flux run echo fine; flux jobs -a -no '{name}' | wc -l");
    expect([stdout, stderr]).toEqual(["true CD\nfine\n2\n", ""]);
  });
});

describe("after SIGKILL of the broker", () => {
  test("it starts in safe mode; running jobs have failed, pending ones wait, nothing else is lost", async () => {
    await using box = sandbox();
    const state = stateDirectory(box);
    const script = "flux run echo hello; id=$(flux submit sleep 600); echo $id; flux job wait-event --quiet $id start; flux resource drain 0 broken; flux submit --urgency=hold true; flux submit true; flux kvs put --sync a=1";
    const before = await crash(box, state, script);
    const [, running = "", held = "", large = ""] = lines(before.stdout);
    const { stdout, stderr } = await runOn(
      box,
      state,
      `flux job wait-event --quiet ${running} clean; flux jobs -a -no '{id} {status_abbrev}'; flux job eventlog ${running} | grep exception; flux queue status; flux resource drain -no '{reason}'; flux startlog | head -1; flux run true; echo $?; flux kvs get a`,
    );
    expect(lines(stderr)).toEqual([
      expect.stringMatching(/broker\.err\[0\]: Flux was not shut down properly: safe mode, .*flux queue enable --all and flux queue start --all/),
      "flux-run: ERROR: job submission is disabled: Flux is in safe mode due to an incomplete shutdown.",
    ]);
    const [first, second, third, fourth, exception, ...rest] = lines(stdout);
    expect(new Set([first, second])).toEqual(new Set([`${held} S`, `${large} S`]));
    expect(third).toBe(`${running} F`);
    expect(fourth).toMatch(/ CD$/);
    expect(exception).toMatch(/exception type="exec" severity=0/);
    expect(rest).toEqual([
      "Job submission is disabled: Flux is in safe mode due to an incomplete shutdown.",
      "Scheduling is stopped: Flux is in safe mode due to an incomplete shutdown.",
      "broken",
      expect.stringMatching(/ - crashed$/),
      "1",
      "1",
    ]);
    // Until somebody has looked, also over an orderly restart.
    const after = await runOn(box, state, "flux queue status | grep -c safe; flux queue enable --quiet; flux queue start --quiet; flux resource undrain 0; flux run echo again");
    expect([after.stdout, after.stderr]).toEqual(["2\nagain\n", ""]);
  }, 20_000);

  test("twice in a row, with submissions under way: every job that was acknowledged is there, no id comes twice", async () => {
    await using box = sandbox();
    const state = stateDirectory(box);
    const acknowledged: string[] = [];
    for (const round of [1, 2, 3]) {
      const enable = round === 1 ? "" : "flux queue enable --quiet;";
      // What is acknowledged is printed; the broker goes in the middle of it, after another number each time.
      const ids = join(box.dir, `ids${round}`);
      await runOn(box, state, `${enable} flux submit --cc=1-2000 --urgency=hold true > ${ids} 2>/dev/null & until [ $(wc -l < ${ids}) -ge ${round * 150} ]; do :; done; kill -9 $(flux getattr broker.pid); wait`);
      const text = readFileSync(ids, "utf8");
      acknowledged.push(...lines(text.slice(0, text.lastIndexOf("\n") + 1)));
    }
    expect(acknowledged.length).toBeGreaterThan(800);
    expect(new Set(acknowledged).size).toBe(acknowledged.length);
    const { stdout } = await runOn(box, state, "flux jobs -no '{id} {status_abbrev} {urgency}' -c0");
    const present = new Set(lines(stdout));
    expect(acknowledged.filter((id) => !present.has(`${id} S 0`))).toEqual([]);
  }, 60_000);

  test("of jobs that run and end all the time, none is lost, and each has one end", async () => {
    await using box = sandbox();
    const state = stateDirectory(box);
    const submit = "flux submit --cc=1-1000 --setattr=system.exec.test.run_duration=1ms true > ids";
    const run = box.start("start", FLUID_START, `-Sstatedir=${state}`, "sh", "-c", `cd ${box.dir}; (${submit}) & until [ $(flux jobs -c0 -no '{id}' --filter=inactive | wc -l) -gt 200 ]; do sleep 0.05; done; ${CRASH}`);
    expect((await run.finished).code).toBe(137);
    const { stdout } = await runOn(box, state, "flux queue start --quiet; flux queue drain; flux jobs -a -c0 -no '{id} {state}'");
    const after = new Map(lines(stdout).map((line) => line.split(" ") as [string, string]));
    const acknowledged = lines(readFileSync(join(box.dir, "ids"), "utf8"));
    expect(acknowledged.filter((id) => after.get(id) !== "INACTIVE")).toEqual([]);
    // The lists that are kept of them say the same once more.
    const again = await runOn(box, state, "flux jobs -a -c0 -no '{id} {state}'; for id in $(flux jobs -a -c0 -no '{id}' | tail -5); do flux job eventlog $id | grep -c ' clean$'; done");
    expect(lines(again.stdout).slice(0, -5).sort()).toEqual(lines(stdout).sort());
    expect(lines(again.stdout).slice(-5)).toEqual(["1", "1", "1", "1", "1"]);
  }, 60_000);
});

test("when the machine itself went down, every eventlog is read: the index may lack what the KVS has", async () => {
  await using box = sandbox();
  const state = stateDirectory(box);
  const before = await crash(box, state, "flux run true; flux submit --urgency=hold true; sleep 0.5");
  const index = new Database(join(state, "job-index.sqlite"));
  index.run("UPDATE meta SET value = 'another boot' WHERE name = 'boot'");
  index.run("DELETE FROM jobs");
  index.close();
  const { stdout } = await runOn(box, state, "flux jobs -a -no '{id} {status_abbrev}'");
  expect(lines(stdout)).toEqual([`${lines(before.stdout)[0]} S`, expect.stringMatching(/ CD$/)]);
}, 20_000);

describe("a database that is not whole", () => {
  const damage: Readonly<Record<string, (path: string) => void>> = {
    truncated: (path) => truncateSync(path, 20_000),
    overwritten: (path) => {
      const bytes = readFileSync(path);
      bytes.fill(0xa5, 4096 * 4, 4096 * 5);
      writeFileSync(path, bytes);
    },
    "no database at all": (path) => writeFileSync(path, "garbage\n"),
    "without the blobs": (path) => {
      const db = new Database(path);
      db.run("DELETE FROM objects");
      db.close();
    },
  };
  for (const [name, harm] of Object.entries(damage)) {
    test(`${name}: one line says so, and what to do`, async () => {
      await using box = sandbox();
      const state = stateDirectory(box);
      expect((await runOn(box, state, "flux run echo hi")).code).toBe(0);
      harm(join(state, "content.sqlite"));
      const { code, stdout, stderr } = await runOn(box, state, "echo started");
      expect([code, stdout]).toEqual([1, ""]);
      expect(lines(stderr)).toEqual([expect.stringMatching(/content.*Put a copy .*in its place, or move it away to start with nothing\.$/)]);
    });
  }

  test("the files that only save time may be damaged or gone", async () => {
    await using box = sandbox();
    const state = stateDirectory(box);
    await runOn(box, state, "flux run echo hi");
    for (const file of ["job-index.sqlite", "job-list.sqlite"]) writeFileSync(join(state, file), "garbage\n");
    const list = "flux jobs -a -no '{name} {status_abbrev}'";
    expect(await runOn(box, state, list)).toMatchObject({ code: 0, stdout: "echo CD\n", stderr: "" });
    for (const file of ["job-index.sqlite", "job-list.sqlite"]) rmSync(join(state, file));
    expect(await runOn(box, state, list)).toMatchObject({ code: 0, stdout: "echo CD\n", stderr: "" });
  });

  test("two instances on one state directory: the second says why it can't", async () => {
    await using box = sandbox();
    const state = stateDirectory(box);
    const inner = `flux start -Sstatedir=${state} true`;
    const { stdout } = await runOn(box, state, `FLUX_URI= ${inner} 2>&1; echo $?`);
    expect(stdout).toMatch(/content\.sqlite: database is locked: another instance uses this state directory\n1\n$/);
  });
});

test("FLUX_DISABLE_JOB_CLEANUP: simulated jobs that run are reattached to after an orderly end, others fail and keep their output", async () => {
  await using box = sandbox();
  box.env["FLUX_DISABLE_JOB_CLEANUP"] = "t";
  const state = stateDirectory(box);
  const before = await runOn(box, state, "flux submit --wait-event=start --flags=debug --setattr=system.exec.test.run_duration=100s true; id=$(flux submit sh -c 'echo hello; sleep 600'); echo $id; flux job wait-event -q -p output $id data");
  expect(before.stderr).toBe("");
  const [simulated = "", real = ""] = lines(before.stdout);
  const after = await runOn(box, state, `flux jobs -no '{id} {state}' ${simulated}; flux job eventlog ${simulated} | grep -o 'debug.exec-reattach.*'; flux job wait-event -q ${real} clean; flux job eventlog ${real} | grep -o 'reattach to running job is not implemented'; flux job attach ${real} 2>/dev/null; flux cancel ${simulated}`);
  expect(after.stderr).toBe("");
  expect(lines(after.stdout)).toEqual([`${simulated} RUN`, "debug.exec-reattach-start", "debug.exec-reattach-finish", "reattach to running job is not implemented", "hello"]);
}, 30_000);
