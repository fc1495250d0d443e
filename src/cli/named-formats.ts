// Named formats: those that a command has, and those of files that sites and users write: flux-jobs.toml, .yaml or .json
//
//   [formats.mine]                  of commands with one table: flux jobs, flux pgrep, …
//   description = "ids and names"
//   format = "{id} {name}"
//
//   [list.formats.mine]             of commands with several: flux resource list, …
//
// in the folder "flux" of each of $XDG_CONFIG_DIRS (default /etc/xdg), and of $XDG_CONFIG_HOME (default ~/.config). The user's
// come last and win, and so do first ones of $XDG_CONFIG_DIRS.
import { readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { isJsonObject, type Json, type JsonObject } from "../formats/json.ts";
import { UsageError } from "./command.ts";
import { print } from "./output.ts";
import { similarNames } from "./similar.ts";

/** name → what it is for, and the format. */
export type NamedFormats = Readonly<Record<string, { readonly description?: string; readonly format: string }>>;

export interface FormatSource {
  /** Name of the files, without their ending. */
  readonly file: string;
  /** The command's table in files that hold those of several, and the names of all of them. */
  readonly table?: string;
  readonly tables?: readonly string[];
  /** Settings in the command's table besides formats; each checks a value and says what is wrong with it. */
  readonly settings?: Readonly<Record<string, (value: Json) => string | undefined>>;
  readonly builtin: NamedFormats;
  /** Environment variable with the format to use instead of "default". */
  readonly variable: string;
}

/**
 * The format for --format: a name or a format; without one, that of the environment variable, then "default". undefined when
 * the word asks for something to be printed, and that is done: "help", or "get-config=NAME". Throws UsageError.
 */
export async function chooseFormat(wanted: string | undefined, source: FormatSource): Promise<string | undefined> {
  const word = wanted === undefined || wanted === "default" ? (process.env[source.variable] ?? "default") : wanted;
  if (word.includes("{")) return word;
  if (Object.hasOwn(source.builtin, word)) return source.builtin[word]?.format;
  const formats: NamedFormats = { ...source.builtin, ...((await userSettings(source))["formats"] as NamedFormats | undefined) };
  if (word === "help") return printFormats(source.file, formats);
  if (word.startsWith("get-config=")) return printConfig(word.slice("get-config=".length), formats, source.table);
  if (Object.hasOwn(formats, word)) return formats[word]?.format;
  const similar = similarNames(word, Object.keys(formats)).map((name) => `'${name}'`);
  const meant = [...similar, `'${word.replaceAll(/\w+/g, "{$&}")}'`].join(" or ");
  throw new UsageError(`--format: No such format ${word} (Did you mean ${meant}?)`);
}

function printFormats(program: string, formats: NamedFormats): undefined {
  const lines = Object.entries(formats).map(([name, { description }]) => `  ${name.padEnd(12)}${description === undefined ? "" : ` ${description}`}`);
  print("", `Configured ${program} output formats:`, "", ...lines);
}

/** What a user may begin with, in TOML. */
function printConfig(name: string, formats: NamedFormats, table: string | undefined): undefined {
  const entry = Object.hasOwn(formats, name) ? formats[name] : undefined;
  if (entry === undefined) throw new UsageError(`--format: No such format ${name}`);
  const { description, format } = entry;
  print(
    `[${table === undefined ? "" : `${table}.`}formats.${name}]`,
    ...(description === undefined ? [] : [`description = ${JSON.stringify(description)}`]),
    `format = ${JSON.stringify(format)}`,
  );
}

/** What the files say in the command's table, the last word winning. Throws UsageError that names the file. */
export async function userSettings(source: FormatSource): Promise<JsonObject> {
  let settings: JsonObject = {};
  for (const path of filesOf(source.file)) {
    const content = await readFile(path);
    const table = checkedTable(content, path, source);
    settings = { ...settings, ...table, formats: { ...(settings["formats"] as JsonObject | undefined), ...(table["formats"] as JsonObject | undefined) } };
  }
  return settings;
}

const ENDINGS = [".json", ".toml", ".yaml"];

/** In the order in which they are read. */
function filesOf(name: string): string[] {
  const { XDG_CONFIG_DIRS: dirs, XDG_CONFIG_HOME: home } = process.env;
  const folders = [...(dirs || "/etc/xdg").split(":").toReversed(), home || `${homedir()}/.config`].map((folder) => `${folder}/flux`);
  return folders.flatMap((folder) => {
    const names = readFolder(folder);
    return ENDINGS.filter((ending) => names.includes(name + ending)).map((ending) => `${folder}/${name}${ending}`);
  });
}

function readFolder(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return []; // most users have none
  }
}

async function readFile(path: string): Promise<unknown> {
  try {
    const text = readFileSync(path, "utf8");
    if (path.endsWith(".json")) return JSON.parse(text);
    if (path.endsWith(".yaml")) return Bun.YAML.parse(text);
    const { parse } = await import("smol-toml");
    return parse(text);
  } catch (err) {
    throw new UsageError(`${path}: ${(err instanceof Error ? err.message : String(err)).split("\n")[0]}`);
  }
}

/** The command's table of a file, checked. */
function checkedTable(content: unknown, path: string, source: FormatSource): JsonObject {
  if (!isJsonObject(content)) throw new UsageError(`${path}: must be a mapping`);
  if (source.table === undefined) return checkedSettings(content, path, "", source);
  const unknown = Object.keys(content).find((name) => !source.tables?.includes(name));
  if (unknown !== undefined) throw new UsageError(`${path}: invalid key ${unknown}`);
  const table = content[source.table] ?? {};
  if (!isJsonObject(table)) throw new UsageError(`${path}: '${source.table}' must be a mapping`);
  return checkedSettings(table, path, `${source.table}.`, source);
}

function checkedSettings(table: JsonObject, path: string, prefix: string, { settings = {}, builtin }: FormatSource): JsonObject {
  for (const [name, value] of Object.entries(table)) {
    if (name === "formats") checkFormats(value, path, builtin);
    else if (!Object.hasOwn(settings, name)) throw new UsageError(`${path}: invalid key ${prefix}${name}`);
    const problem = settings[name]?.(value);
    if (problem !== undefined) throw new UsageError(`${path}: ${prefix}${name} ${problem}`);
  }
  return table;
}

function checkFormats(formats: Json, path: string, builtin: NamedFormats): void {
  const fail = (problem: string): UsageError => new UsageError(`${path}: ${problem}`);
  if (!isJsonObject(formats)) throw fail("the 'formats' key must be a mapping");
  for (const [name, entry] of Object.entries(formats)) {
    if (Object.hasOwn(builtin, name)) throw fail(`override of builtin format '${name}' not permitted`);
    if (!isJsonObject(entry)) throw fail(`'formats.${name}' must be a mapping`);
    if (entry["format"] === undefined) throw fail(`formats.${name}: required key 'format' missing`);
    if (typeof entry["format"] !== "string") throw fail(`formats.${name}: 'format' key must be a string`);
    if (entry["description"] !== undefined && typeof entry["description"] !== "string") throw fail(`formats.${name}: 'description' key must be a string`);
  }
}
