// flux batch and flux alloc: the configuration of their instance, and resources by a shape.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { parseWords } from "../../src/cli/getopt.ts";
import { ALLOC_OPTIONS, type AllocOptions, instanceJobspec } from "../../src/cli/instance-options.ts";
import { jobspecForInstance } from "../../src/formats/jobspec.ts";

const folder = mkdtempSync(join(tmpdir(), "flux-instance-options-"));
const saved = process.env;

beforeAll(() => {
  for (const [name, text] of [
    ["home/flux/config/mine.toml", "[resource]\nnoverify = true\n"],
    ["site/flux/config/mine.json", '{"resource": {"exclude": "1"}}'],
    ["site/flux/config/theirs.json", '{"resource": {"exclude": "0"}}'],
    ["site/flux/config/broken.toml", "[resource\n"],
    ["bad.toml", "[resource]\nnoverify = foo\n"],
    ["bad.json", '{"resource": foo}'],
  ] as const) {
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
  process.env = { ...saved, XDG_CONFIG_HOME: join(folder, "home"), XDG_CONFIG_DIRS: `${join(folder, "none")}:${join(folder, "site")}` };
});

afterAll(() => {
  process.env = saved;
  rmSync(folder, { recursive: true });
});

async function jobspec(...words: string[]): ReturnType<typeof instanceJobspec> {
  const { values } = parseWords(ALLOC_OPTIONS, words, true);
  return instanceJobspec(values as object as AllocOptions, {}, (common) => jobspecForInstance({ ...common, command: ["true"] }));
}

async function config(...values: string[]): Promise<unknown> {
  const files = (await jobspec("-n1", ...values.map((value) => `--conf=${value}`))).attributes.system?.["files"];
  return (files as Record<string, { data: unknown }>)["conf.json"]?.data;
}

test("--conf takes names of files of the user and the site", async () => {
  expect(await config("mine")).toEqual({ resource: { noverify: true } });
  expect(await config("theirs", "resource.noverify=true")).toEqual({ resource: { exclude: "0", noverify: true } });
});

test.each<[string, string]>([
  ["noexist", "--conf: named config 'noexist' not found"],
  ["broken", "--conf=broken: parse error: FOLDER/site/flux/config/broken.toml: Invalid TOML document"],
  ["FOLDER/bad.toml", "--conf: parse error: FOLDER/bad.toml: Invalid TOML document"],
  ["FOLDER/bad.json", "--conf: parse error: FOLDER/bad.json: "],
  ["FOLDER/none.toml", "--conf: FOLDER/none.toml: No such file or directory"],
  ["[resource]\nx = foo\n", "--conf: failed to parse multiline as TOML or JSON: "],
])("--conf=%j: %s", async (value, problem) => {
  const text = await config(value.replace("FOLDER", folder)).catch((err: Error) => err.message);
  expect(text).toStartWith(problem.replace("FOLDER", folder));
});

test("a shape says it all", async () => {
  expect((await jobspec("--resources-shape=node/slot{db}/core=6")).resources).toEqual([
    { type: "node", count: 1, with: [{ type: "slot", count: 1, label: "db", with: [{ type: "core", count: 6 }] }] },
  ]);
  expect(jobspec()).rejects.toThrow("Number of slots to allocate must be specified");
});

test("a command that looks like an option is none of the broker's", () => {
  const command = (...words: string[]): readonly string[] | undefined => jobspecForInstance({ nslots: 1, command: words }).tasks[0]?.command;
  expect(command("-x", "-y")).toEqual(["flux", "broker", "--", "-x", "-y"]);
  expect(command("true", "-y")).toEqual(["flux", "broker", "true", "-y"]);
  expect(jobspecForInstance({ nslots: 1, command: ["true"], isMarked: true }).tasks[0]?.command).toEqual(["flux", "broker", "--", "true"]);
});

test("--add-brokers puts brokers beside that of the first node, which have no resources", async () => {
  const { tasks, attributes } = await jobspec("-N3", "--add-brokers=2", '--conf=resource.exclude="4"');
  expect(tasks[0]?.count).toEqual({ total: 5 });
  const { shell, files } = attributes.system as { shell?: { options?: object }; files?: Record<string, { data: unknown }> };
  expect(shell?.options).not.toHaveProperty("per-resource");
  expect(shell?.options).toMatchObject({ taskmap: { scheme: "manual", value: "[[0,1,3,1],[1,2,1,1]]" } });
  expect(files?.["conf.json"]?.data).toEqual({ resource: { exclude: "1-2,4" } });
  expect((await jobspec("-N1", "--add-brokers=1")).attributes.system?.["shell"]).toMatchObject({ options: { taskmap: { value: "[[0,1,2,1]]" } } });
  await expect(jobspec("-n4", "--add-brokers=1")).rejects.toThrow("--add-brokers may only be specified with -N, --nodes");
  await expect(jobspec("-N4", "--add-brokers=1", '--conf=resource.exclude="host1"')).rejects.toThrow("--add-brokers: resource.exclude names ranks");
});
