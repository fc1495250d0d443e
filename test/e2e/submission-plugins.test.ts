// Default options and plugins of the commands that submit jobs.
import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { flux, type Result, run, startInstance } from "./flux.ts";

let folder: string;
let plugins: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "flux-plugins-"));
});
beforeEach(() => {
  plugins = mkdtempSync(join(folder, "plugins-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

interface Env {
  readonly [name: string]: string;
}

/** A command with the test's plugins and nobody else's. */
async function call(args: readonly string[], env: Env = {}): Promise<Result> {
  return flux(args, { cwd: folder, env: { HOME: folder, XDG_CONFIG_HOME: join(folder, "none"), XDG_CONFIG_DIRS: join(folder, "none"), FLUX_CLI_PLUGINPATH_OVERRIDE: plugins, ...env } });
}

async function jobspecOf(args: readonly string[], env: Env = {}): Promise<{ attributes: { system: Record<string, unknown> } }> {
  const { stdout, stderr, code } = await call(args, env);
  expect([stderr, code]).toEqual(["", 0]);
  return JSON.parse(stdout) as { attributes: { system: Record<string, unknown> } };
}

function plugin(body: string, name = "gears.js", directory = plugins): void {
  writeFileSync(join(directory, name), body);
}

const GEARS = `export default {
  documentation: "Gears are for hills.",
  options: { gear: { argument: "N", help: "which gear to run in", choices: ["1", "2", "3"] }, fast: { help: "hurry" }, tag: { argument: "T", help: "tags", list: true } },
  preinit({ builtin }) { builtin.queue ??= "debug"; },
  async modifyJobspec({ own, command, jobspec }) { jobspec.attributes.system.gears = [own.gear ?? null, own.fast, own.tag, command]; },
  validate({ jobspec }) { if (jobspec.attributes.system.gears[0] === "3") throw new Error("not that fast"); },
};
`;

test.each([
  ["run", ["true"]],
  ["submit", ["true"]],
  ["alloc", ["true"]],
  ["batch", ["--wrap", "true"]],
])("flux %s has the options of a plugin, which changes jobspec and defaults", async (command, words) => {
  plugin(GEARS);
  const { attributes } = await jobspecOf([command, "-n1", "--ex-gear=2", "--ex-fast", "--ex-tag=a", "--ex-tag=b", "--dry-run", ...words]);
  expect(attributes.system["gears"]).toEqual(["2", true, ["a", "b"], command]);
  expect(attributes.system["queue"]).toBe("debug");
  const plain = await jobspecOf([command, "-n1", "-q", "other", "--dry-run", ...words]);
  expect(plain.attributes.system["gears"]).toEqual([null, false, [], command]);
  expect(plain.attributes.system["queue"]).toBe("other");
  const refused = await call([command, "-n1", "--ex-gear=3", "--dry-run", ...words]);
  expect([refused.code, refused.stderr]).toEqual([1, `flux-${command}: ERROR: not that fast\n`]);
  const wrong = await call([command, "-n1", "--ex-gear=9", "--dry-run", ...words]);
  expect(wrong.stderr).toContain("invalid value '9' for --ex-gear: choose from 1, 2, 3");
});

test("directives of a batch script may have a plugin's options", async () => {
  plugin(GEARS);
  const script = join(folder, "script.sh");
  writeFileSync(script, "#!/bin/sh\n# flux: -n1 --ex-gear=2 --ex-tag=a\ntrue\n");
  const { attributes } = await jobspecOf(["batch", "--ex-tag=b", "--dry-run", script]);
  expect(attributes.system["gears"]).toEqual(["2", false, ["a", "b"], "batch"]);
});

test("help and lists", async () => {
  plugin(GEARS);
  writeFileSync(join(plugins, "old.py"), "");
  expect((await call(["submit", "--help"])).stdout).toMatch(/--ex-gear=N\s+which gear to run in/);
  expect((await call(["submit", "--help=--ex-gear"])).stdout).toContain("Gears are for hills.");
  expect((await call(["submit", "--help=ex-fast"])).stdout).toContain("Gears are for hills.");
  const none = await call(["submit", "--help=--ex-nosuch"]);
  expect([none.code, none.stderr]).toEqual([1, "flux-submit: ERROR: --help: no such option --ex-nosuch\n"]);
  const { stdout } = await call(["submit", "--list-plugins"]);
  expect(stdout).toContain(`Search path: ${plugins}\n`);
  expect(stdout).toContain(`gears loaded from ${plugins}/gears.js\n`);
  expect(stdout).toMatch(/ {2}--ex-fast +hurry\n/);
  expect(stdout).toContain(`${plugins}/old.py: plugins of flux-core in Python are not run\n`);
});

test("prefixes, commands, names; who comes first wins", async () => {
  plugin('export default { prefix: "site", commands: ["run"], options: { gear: { help: "x" } } };', "a.ts");
  plugin('export default { prefix: "", options: { plain: { help: "x" } }, modifyJobspec: ({ own, jobspec }) => { jobspec.attributes.system.plain = own.plain; } };', "b.mjs");
  plugin('export default { prefix: "", options: { plain: { help: "x" } }, modifyJobspec: () => { throw new Error("never"); } };', "c.mjs");
  plugin('export default { prefix: "", options: { queue: { help: "x" } }, modifyJobspec: () => { throw new Error("never"); } };', "d.mjs");
  expect((await jobspecOf(["run", "--site-gear", "--plain", "--dry-run", "true"])).attributes.system["plain"]).toBe(true);
  const other = await call(["submit", "--site-gear", "--dry-run", "true"]);
  expect([other.code, other.stderr]).toEqual([2, expect.stringContaining("unrecognized arguments: --site-gear")]);
});

test.each([
  ["throw new Error('boom');", "gears.js: boom"],
  ["export default 7;", "gears.js: the default export is not a submission plugin"],
  ["export default { preinit() { nosuch(); } };", "gears.js: preinit: ReferenceError: nosuch is not defined"],
])("a file that cannot be used: %s", async (body, problem) => {
  plugin(body);
  const { code, stderr } = await call(["submit", "--dry-run", "true"]);
  expect([code, stderr]).toEqual([1, expect.stringContaining(problem)]);
  expect(stderr.trim().split("\n")).toHaveLength(1);
});

test("the path: FLUX_CLI_PLUGINPATH, the user's folder; an empty override means none", async () => {
  const home = mkdtempSync(join(folder, "home-"));
  mkdirSync(join(home, "flux/cli/plugins"), { recursive: true });
  plugin('export default { options: { user: { help: "x" } } };', "user.js", join(home, "flux/cli/plugins"));
  plugin(GEARS);
  const environment = (more: string): string[] => ["sh", "-c", `unset FLUX_CLI_PLUGINPATH_OVERRIDE; ${more} exec flux submit --list-plugins`];
  const script = environment(`export XDG_CONFIG_HOME=${home} FLUX_CLI_PLUGINPATH=${plugins};`);
  const { stdout } = await run(script);
  expect(stdout).toContain(`Search path: ${plugins}:${home}/flux/cli/plugins:/etc/flux/cli/plugins:/usr/libexec/flux/cli/plugins\n`);
  expect(stdout.indexOf("--ex-gear")).toBeLessThan(stdout.indexOf("--ex-user"));
  const none = await call(["submit", "--list-plugins"], { FLUX_CLI_PLUGINPATH_OVERRIDE: "", XDG_CONFIG_HOME: home });
  expect(none.stdout).toContain("Searched only what is built in");
  expect(none.stdout).not.toContain("--ex-user");
});

test("default options of the site and of the user come before those of scripts and command lines", async () => {
  const [site, home] = [mkdtempSync(join(folder, "site-")), mkdtempSync(join(folder, "home-"))];
  for (const directory of [site, home]) mkdirSync(join(directory, "flux"));
  const env = { XDG_CONFIG_DIRS: site, XDG_CONFIG_HOME: home };
  writeFileSync(join(site, "flux/flux-submission.toml"), 'options = "-q site -o a=site"\n');
  writeFileSync(join(home, "flux/flux-submission.toml"), 'options = "-o b=user"\n[submit]\noptions = "-q user --job-name=\'a b\'"\n');
  const submit = (await jobspecOf(["submit", "--dry-run", "true"], env)).attributes.system;
  expect(submit).toMatchObject({ queue: "user", job: { name: "a b" }, shell: { options: { a: "site", b: "user" } } });
  const run = (await jobspecOf(["run", "-q", "mine", "-o", "a=mine", "--dry-run", "true"], env)).attributes.system;
  expect(run).toMatchObject({ queue: "mine", shell: { options: { a: "mine", b: "user" } } });
  const script = join(folder, "defaults.sh");
  writeFileSync(script, "#!/bin/sh\n# flux: -n1 -q script\ntrue\n");
  expect((await jobspecOf(["batch", "--dry-run", script], env)).attributes.system["queue"]).toBe("script");
  expect((await jobspecOf(["batch", "-q", "mine", "--dry-run", script], env)).attributes.system["queue"]).toBe("mine");
  writeFileSync(join(home, "flux/flux-submission.toml"), "options = [1]\n");
  const wrong = await call(["submit", "--dry-run", "true"], env);
  expect([wrong.code, wrong.stderr]).toEqual([1, `flux-submit: ERROR: ${home}/flux/flux-submission.toml: options must be a string\n`]);
});

test("the example of the sources", async () => {
  const env = { FLUX_CLI_PLUGINPATH_OVERRIDE: join(import.meta.dir, "../../etc/examples/submission-plugins") };
  const ran = await call(["run", "-N1", "--ex-site-power=low", "--dry-run", "true"], env);
  expect([ran.stderr, ran.code]).toEqual(["", 0]);
  expect((JSON.parse(ran.stdout) as { attributes: { system: unknown } }).attributes.system).toMatchObject({ duration: 1800, site: { power_limit_w: 200 } });
  expect((await call(["run", "--ex-site-power=low", "--dry-run", "true"], env)).stderr).toContain("needs whole nodes");
});

test("each job of flux bulksubmit is for the plugin to change", async () => {
  plugin(GEARS.replace("builtin.queue ??=", "builtin.nosuch ??="));
  const instance = await startInstance(1);
  try {
    const { stdout } = await instance.flux(["bulksubmit", "--ex-gear={}", "true", ":::", "1", "2"], { env: { FLUX_CLI_PLUGINPATH_OVERRIDE: plugins } });
    const ids = stdout.trim().split("\n");
    const gears = await Promise.all(ids.map(async (id) => (await instance.flux(["job", "info", id, "jobspec"])).stdout));
    expect(gears.map((text) => (JSON.parse(text) as { attributes: { system: { gears: unknown[] } } }).attributes.system.gears[0])).toEqual(["1", "2"]);
  } finally {
    await instance.stop();
  }
});
