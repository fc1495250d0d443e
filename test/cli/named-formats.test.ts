// Named formats: which files are read, in which order, and what is wrong with them.
import { afterAll, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chooseFormat, type FormatSource, userSettings } from "../../src/cli/named-formats.ts";

const root = mkdtempSync(join(tmpdir(), "flux-formats-"));
const saved = { ...process.env };
afterAll(() => {
  rmSync(root, { recursive: true, force: true });
  process.env = saved;
});

const SOURCE: FormatSource = { file: "flux-x", builtin: { default: { description: "usual", format: "{a}" }, long: { format: "{a} {b}" } }, variable: "FLUX_X_FORMAT_DEFAULT" };
const TABLES: FormatSource = {
  ...SOURCE, table: "list", tables: ["list", "drain"], settings: { hidden: (value) => (Array.isArray(value) ? undefined : "must be a list") },
};

function write(folder: string, name: string, text: string): void {
  mkdirSync(join(root, folder, "flux"), { recursive: true });
  writeFileSync(join(root, folder, "flux", name), text);
}

beforeEach(() => {
  rmSync(root, { recursive: true, force: true });
  process.env = { ...saved, XDG_CONFIG_HOME: join(root, "home"), XDG_CONFIG_DIRS: `${join(root, "first")}:${join(root, "second")}` };
});

test("a format, a name, the environment, the default", async () => {
  expect(await chooseFormat("{b}", SOURCE)).toBe("{b}");
  expect(await chooseFormat("long", SOURCE)).toBe("{a} {b}");
  expect(await chooseFormat(undefined, SOURCE)).toBe("{a}");
  process.env["FLUX_X_FORMAT_DEFAULT"] = "long";
  expect(await chooseFormat(undefined, SOURCE)).toBe("{a} {b}");
  expect(await chooseFormat("default", SOURCE)).toBe("{a} {b}");
  await expect(chooseFormat("a,b", SOURCE)).rejects.toThrow("--format: No such format a,b (Did you mean '{a},{b}'?)");
  await expect(chooseFormat("lng", SOURCE)).rejects.toThrow("--format: No such format lng (Did you mean 'long' or '{lng}'?)");
});

test("the user's files come last, then the first of the system's", async () => {
  const format = (value: string): string => `[formats.mine]\nformat = "${value}"\n`;
  write("second", "flux-x.toml", `${format("{second}")}[formats.other]\nformat = "{other}"`);
  expect(await chooseFormat("mine", SOURCE)).toBe("{second}");
  write("first", "flux-x.toml", format("{first}"));
  expect(await chooseFormat("mine", SOURCE)).toBe("{first}");
  write("home", "flux-x.json", '{"formats": {"mine": {"format": "{json}"}}}');
  expect(await chooseFormat("mine", SOURCE)).toBe("{json}");
  write("home", "flux-x.yaml", "formats:\n  mine:\n    format: '{yaml}'\n");
  expect(await chooseFormat("mine", SOURCE)).toBe("{yaml}");
  expect(await chooseFormat("other", SOURCE)).toBe("{other}");
});

test("a command's own table and settings", async () => {
  write("home", "flux-x.toml", '[list]\nhidden = ["a"]\n[list.formats.mine]\nformat = "{l}"\n[drain.formats.mine]\nformat = "{d}"\n');
  expect(await chooseFormat("mine", TABLES)).toBe("{l}");
  expect((await userSettings(TABLES))["hidden"]).toEqual(["a"]);
});

test.each([
  ["formats = 1", SOURCE, "the 'formats' key must be a mapping"],
  ["formats.mine = 1", SOURCE, "'formats.mine' must be a mapping"],
  ["[formats.mine]", SOURCE, "formats.mine: required key 'format' missing"],
  ["formats.mine.format = 1", SOURCE, "formats.mine: 'format' key must be a string"],
  ["formats.long.format = '{a}'", SOURCE, "override of builtin format 'long' not permitted"],
  ["x = 1", SOURCE, "invalid key x"],
  ["x = ", SOURCE, "flux-x.toml: "],
  ["x = 1", TABLES, "invalid key x"],
  ["list.x = 1", TABLES, "invalid key list.x"],
  ["list.hidden = 1", TABLES, "list.hidden must be a list"],
  ["list = 1", TABLES, "'list' must be a mapping"],
])("%s is an error that names the file", async (text, source, problem) => {
  write("home", "flux-x.toml", text);
  const thrown = await chooseFormat("mine", source).catch((err: unknown) => String(err));
  expect(thrown).toContain(join(root, "home/flux/flux-x.toml: "));
  expect(thrown).toContain(problem);
  // Formats that come with the command need no file.
  expect(await chooseFormat(undefined, source)).toBe("{a}");
});
