// Files of the site and the user that a shell runs: what they can change, when their hooks are called, and what their failures cost.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Json } from "../../src/formats/json.ts";
import { type JobLab, jobspec, type JobRecord, type SpecOptions, startLab } from "./support.ts";

let lab: JobLab;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "flux-initrc-"));
  // Shells that hang are killed soon.
  lab = await startLab(2, { config: { exec: { "kill-timeout": "0.2s" } } });
});

afterAll(async () => {
  await lab.stop();
  rmSync(folder, { recursive: true, force: true });
});

let files = 0;

/** Writes an initrc and returns its path. */
function rc(body: string, extension = "js"): string {
  const path = join(folder, `rc${++files}.${extension}`);
  writeFileSync(path, `export default async (shell) => {\n${body}\n};\n`);
  return path;
}

async function runWith(path: string, argv: readonly string[], options: SpecOptions & { nodes?: readonly number[] } = {}): Promise<JobRecord> {
  return lab.run(argv, { ...options, shell: { userrc: path, ...options.shell } });
}

/** Of the exception that ended a job. */
function note(job: JobRecord): string {
  const text = job.raised[0]?.["note"];
  return typeof text === "string" ? text : "";
}

/** Messages of the shells. */
function messages(id: bigint): unknown[] {
  return lab.output(id).entries.filter((entry) => entry.name === "log").map((entry) => entry.context?.["message"]);
}

test("environment, options and arguments are what the file makes of them", async () => {
  const path = rc(`
    shell.env.GREETING = "hello";
    shell.prependPath("PATH", "/first");
    delete shell.env.SECRET;
    shell.stripEnv(/^DROP_/);
    shell.options.rlimit = { core: 0 };
    shell.register({ "task.init": ({ task }) => { task.env.WHO = "task " + task.rank; task.argv = [...task.argv, "more"]; } });
  `);
  const job = await runWith(path, ["sh", "-c", 'echo $GREETING,$WHO,$PATH,$SECRET,$DROP_A,$0,$(ulimit -S -c)'], { env: { SECRET: "x", DROP_A: "y" } });
  expect(lab.output(job.id).stdout).toBe("hello,task 0,/first:/usr/bin:/bin,,,more,0\n");
});

test("hooks are called in the order of a job's life, on each of its nodes", async () => {
  const path = rc(`
    const topics = ["shell.init", "shell.post-init", "task.init", "task.exec", "task.fork", "shell.start", "task.exit", "shell.tasks-complete", "shell.finish", "shell.exit"];
    shell.register(Object.fromEntries(topics.map((topic) => [topic, async () => shell.log(topic)])));
  `);
  const job = await runWith(path, ["true"], { nodes: [0, 1], ntasks: 2 });
  expect(job.status()).toBe(0);
  const byShell = (rank: number): unknown[] => lab.output(job.id).entries.filter((e) => e.name === "log" && e.context?.["rank"] === rank).map((e) => e.context?.["message"]);
  const before = ["shell.init", "shell.post-init", "task.init", "task.exec", "task.fork", "shell.start", "task.exit"];
  expect(byShell(0).filter((topic) => topic !== "shell.tasks-complete")).toEqual([...before, "shell.finish", "shell.exit"]);
  expect(byShell(0)).toContain("shell.tasks-complete");
  expect(byShell(1)).toEqual([...before, "shell.finish", "shell.exit"]);
});

test("TypeScript, other files, topics with wildcards, event contexts, and what a task is told", async () => {
  const other = rc('shell.log("other from " + shell.rcpath);');
  const path = rc(
    `
    await shell.source(${JSON.stringify(other)});
    await shell.source("nothing-matches-*.js");
    const seen: string[] = [];
    shell.addEventContext("shell.start", { seen: 42 });
    shell.register({
      "task.*": ({ topic, task }: { topic: string; task: { state: string; exitcode?: number } }) => { seen.push(topic + "=" + task.state + "/" + task.exitcode); },
      "shell.exit": () => shell.log(seen.join(" ")),
    });
  `,
    "ts",
  );
  const job = await runWith(path, ["sh", "-c", "exit 3"]);
  expect(messages(job.id)).toEqual([`other from ${folder}`, "task.init=Init/undefined task.exec=Init/undefined task.fork=Running/undefined task.exit=Exited/3"]);
  expect(lab.execlog(job.id).find((e) => e.name === "shell.start")?.context).toMatchObject({ seen: 42, taskmap: { version: 1 } });
});

test("schemes of task maps, and tags of templates", async () => {
  const path = rc(`
    shell.register({
      "taskmap.reverse": ({ taskmap, value }) => (shell.debug(taskmap + value), "[[1,1,1,1],[0,1,1,1]]"),
      "mustache.render.colour": ({ task }) => (task === undefined ? undefined : "blue" + task.rank),
    });
  `);
  const job = await runWith(path, ["echo", "{{colour}}", "{{node.id}}", "{{shape}}"], { nodes: [0, 1], ntasks: 2, shell: { taskmap: { scheme: "reverse" } } });
  expect(lab.output(job.id).stdout.trim().split("\n").sort()).toEqual(["blue0 1 {{shape}}", "blue1 0 {{shape}}"]);
  const wrong = await runWith(rc('shell.register({ "taskmap.reverse": () => "[[0,1,1,1]" });'), ["true"], { shell: { taskmap: { scheme: "reverse" } } });
  expect(wrong.raised[0]?.["note"]).toStartWith("taskmap.reverse: [[0,1,1,1]");
});

test("a service of the job, and a plugin in the place of a built-in one", async () => {
  const path = rc(`
    shell.serve("echo", (request) => ({ said: request.payload.text, rank: shell.info.rank }));
    shell.register({
      name: "rlimit",
      "shell.start": async () => {
        if (shell.info.rank === 0) shell.log(JSON.stringify(await shell.call(1, "echo", { text: "hi" })));
      },
    });
  `);
  // The built-in plugin would refuse this limit.
  const job = await runWith(path, ["true"], { nodes: [0, 1], ntasks: 2, shell: { rlimit: { nosuch: 1 } } });
  expect(job.status()).toBe(0);
  expect(messages(job.id)).toEqual(['{"said":"hi","rank":1}']);
  const essential = await runWith(rc('shell.register({ name: "output" });'), ["true"]);
  expect(note(essential)).toContain("nothing can take the place of output");
});

test("what is printed is a message of the shell", async () => {
  const job = await runWith(rc('console.log("printed %d", 7); console.error("bad");'), ["true"]);
  expect(messages(job.id)).toEqual(["printed 7", "bad"]);
});

test.each([
  ["a throw while it runs", 'throw new Error("no luck");', /^loading rc file .*rc\d+\.js: no luck \(rc\d+\.js:2\)$/],
  ["a wrong name", "shell.nosuch();", /^loading rc file .*: TypeError: .*nosuch.* \(rc\d+\.js:2\)$/],
  ["die()", 'shell.die("no licence");', /^no licence$/],
  ["shell.init", 'shell.register({ name: "mine", "shell.init": () => { throw new Error("x y"); } });', /^mine: shell\.init: x y \(rc/],
  ["task.init", 'shell.register({ name: "mine", "task.init": async () => { throw new Error("x y"); } });', /^mine: task\.init: x y \(rc/],
  ["task.fork", 'shell.register({ name: "mine", "task.fork": () => { throw new Error("x y"); } });', /^mine: task\.fork: x y \(rc/],
  ["task.exit", 'shell.register({ name: "mine", "task.exit": () => { throw new Error("x y"); } });', /^mine: task\.exit: x y \(rc/],
  ["shell.exit", 'shell.register({ name: "mine", "shell.exit": () => { throw new Error("x y"); } });', /^mine: shell\.exit: x y \(rc/],
  ["shell.log", 'shell.register({ name: "mine", "shell.log": () => { throw new Error("x y"); } }); shell.extra = 1; shell.register({ "task.fork": () => shell.log("hi") });', /^mine: shell\.log: x y \(rc/],
  ["a timer", 'setTimeout(() => { throw new Error("late"); }, 20); shell.register({ "shell.finish": () => Bun.sleep(5000) });', /^initrc: late \(rc/],
  ["a lost promise", 'Promise.reject(new Error("lost")); shell.register({ "shell.finish": () => Bun.sleep(5000) });', /^initrc: lost \(rc/],
])("%s that fails ends its job with one line, and no other", async (_, body, wanted) => {
  const job = await runWith(rc(body), ["true"]);
  expect(job.raised).toHaveLength(1);
  expect(job.raised[0]?.["severity"]).toBe(0);
  expect(note(job)).toMatch(wanted);
  expect((await lab.run(["true"])).status()).toBe(0);
});

test.each([
  ["/nowhere/rc.js", "loading rc file /nowhere/rc.js: No such file or directory"],
  [5, "shell option userrc must be the path of a file"],
] as [Json, string][])("userrc=%j: %s", async (userrc, wanted) => {
  const job = await lab.run(["true"], { shell: { userrc } });
  expect(job.status()).toBe(1 << 8);
  expect(note(job)).toBe(wanted);
});

test("files that cannot run say why", async () => {
  const lua = join(folder, "rc.lua");
  writeFileSync(lua, "shell.log('x')\n");
  expect(note(await runWith(lua, ["true"]))).toContain("Lua cannot be run here");
  const object = join(folder, "object.js");
  writeFileSync(object, "export default { a: 1 };\n");
  expect(note(await runWith(object, ["true"]))).toContain("default export is not a function");
});

test("the site's files run for all jobs, before the user's; -o initrc takes their place", async () => {
  const site = mkdtempSync(join(folder, "site-"));
  writeFileSync(join(site, "b.js"), 'export default (shell) => shell.log("b");\n');
  writeFileSync(join(site, "a.js"), 'export default (shell) => shell.log("a");\n');
  writeFileSync(join(site, "README"), "no code\n");
  const initrc = rc('shell.log("initrc");');
  const user = rc('shell.log("user");');
  const set = async (name: string, value: string): Promise<unknown> => lab.h.rpc("attr.set", { name, value }, { nodeid: 0 });
  await set("conf.shell_pluginpath", site);
  await set("conf.shell_initrc", initrc);
  try {
    expect(messages((await lab.run(["true"])).id)).toEqual(["a", "b", "initrc"]);
    expect(messages((await runWith(user, ["true"])).id)).toEqual(["a", "b", "initrc", "user"]);
    expect(messages((await runWith(user, ["true"], { shell: { initrc: rc('shell.log("other");') } })).id)).toEqual(["other", "user"]);
  } finally {
    await set("conf.shell_pluginpath", "");
    await set("conf.shell_initrc", "");
  }
});

test("a process that ran such a file serves no other job", async () => {
  const pidOf = async (path: string | undefined): Promise<string> => {
    const job = path === undefined ? await lab.run(["sh", "-c", "echo $PPID"]) : await runWith(path, ["sh", "-c", "echo $PPID"]);
    return lab.output(job.id).stdout.trim();
  };
  const path = rc("globalThis.leftover = 1; setInterval(() => undefined, 1000);");
  const plain = await pidOf(undefined);
  expect(await pidOf(undefined)).toBe(plain);
  const used = await pidOf(path);
  expect(await pidOf(undefined)).not.toBe(used);
});

test("a hook that never returns is ended with its job", async () => {
  const job = lab.submit(jobspec(["true"], { shell: { userrc: rc('shell.register({ "shell.finish": () => new Promise(() => undefined) });') } }), [0]);
  await job.started;
  lab.raise(job.id);
  await job.done;
  expect(job.status()).not.toBe(0);
});

test("a file that never returns is ended by the time limit", async () => {
  const spec = jobspec(["true"], { shell: { userrc: rc("await new Promise(() => undefined);") } });
  const job = lab.submit(spec, [0], { expiration: Date.now() / 1000 + 0.3 });
  await job.done;
  expect(job.responses.find((r) => r.type === "exception")?.data).toEqual({ severity: 0, type: "timeout", note: "resource allocation expired" });
  expect(job.status()).not.toBe(0);
});

test.each([0, 3])("a file that ends the shell's process (%i) fails its job, and the job says why", async (code) => {
  const job = await runWith(rc(`process.exit(${code});`), ["true"]);
  expect(job.responses.find((r) => r.type === "exception")?.data["note"]).toBe(`shell rank 0 (on test0): its process ended with exit code ${code} before the job was over: a file that runs in it (userrc, initrc) must not call process.exit()`);
  expect(job.status()).toBe((code || 1) << 8);
});

test("a file may spoil Object.prototype", async () => {
  const job = await runWith(rc('Object.prototype.more = 1; Object.prototype.call_me = () => { throw new Error("called"); };'), ["echo", "ran"]);
  expect(lab.output(job.id).stdout).toBe("ran\n");
  expect((await lab.run(["true"])).status()).toBe(0);
});

test("a file that breaks the shell ends its job with what broke", async () => {
  const path = rc('Number.isSafeInteger = () => { throw new TypeError("spoiled"); };');
  const job = lab.submit(jobspec(["sleep", "54399"], { shell: { userrc: path } }), [0]);
  await job.started;
  lab.h.publish(`shell-${job.id}.kill`, { signum: 10 });
  await job.done;
  expect(note(job)).toMatch(/^internal error in the job shell: .*spoiled$/);
  expect(job.status()).not.toBe(0);
});
