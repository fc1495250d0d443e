// Plugins of the commands that submit jobs (src/client/submission-plugin.ts): finding and loading them, their options, and calling them.
// Also a user's and a site's default options: file flux-submission.toml in the folder "flux" of $XDG_CONFIG_HOME (~/.config) and of each
// of $XDG_CONFIG_DIRS (/etc/xdg):
//
//   options = "--setopt=cpu-affinity=per-task"      for all commands
//   [run]
//   options = "--label-io"                          for flux run, after those for all
//
// They count as if they stood before the command line's. The site's come before the user's.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { basename, join } from "node:path";
import type { DraftJobspec, SubmissionContext, SubmissionPlugin, SubmissionPluginOption } from "../client/submission-plugin.ts";
import { isJsonObject } from "../formats/json.ts";
import type { Jobspec } from "../formats/jobspec.ts";
import { splitWords } from "../formats/shell-words.ts";
import { FluxError } from "../message/errno.ts";
import { type Extension, type OptionSpecs, UsageError } from "./command.ts";

interface Loaded {
  readonly plugin: SubmissionPlugin;
  readonly path: string;
  readonly name: string;
  /** Its options: name of its own → key among all options, and flags. */
  readonly options: readonly { readonly name: string; readonly key: string; readonly flags: string; readonly help: string }[];
}

interface Registry {
  readonly command: string;
  readonly plugins: readonly Loaded[];
  readonly specs: OptionSpecs;
}

const SYSTEM_PATH = ["/etc/flux/cli/plugins", "/usr/libexec/flux/cli/plugins"];
const SCRIPT = /\.[cm]?[jt]s$/;
const DEFAULTS_FILE = "flux-submission.toml";

/** The one command of this process. */
let registry: Registry | undefined;

/** What the files of site and user add to a command. Throws UsageError naming the file that is wrong. */
export async function extendSubmission(command: string, builtin: OptionSpecs): Promise<Extension> {
  registry = await load(command, builtin);
  const { specs, plugins } = registry;
  return { options: specs, words: await defaultWords(command), help: (name) => helpFor(plugins, name) };
}

/** Options of the plugins that are loaded. */
export function pluginOptions(): OptionSpecs {
  return registry?.specs ?? {};
}

/** Words that count as if they stood before those of the command line. Throws UsageError. */
export async function defaultWords(command: string): Promise<string[]> {
  const { XDG_CONFIG_DIRS: dirs } = process.env;
  const folders = [...(dirs === undefined || dirs === "" ? "/etc/xdg" : dirs).split(":").toReversed(), configHome()];
  const files = folders.map((folder) => join(folder, "flux", DEFAULTS_FILE)).filter((path) => existsSync(path));
  return (await Promise.all(files.map(async (path) => wordsOfFile(path, command)))).flat();
}

function configHome(): string {
  const { XDG_CONFIG_HOME: home } = process.env;
  return home === undefined || home === "" ? join(homedir(), ".config") : home;
}

async function wordsOfFile(path: string, command: string): Promise<string[]> {
  const { parse } = await import("smol-toml");
  try {
    const table: unknown = parse(readFileSync(path, "utf8"));
    const own = isJsonObject(table) ? table[command] : undefined;
    return [table, own].flatMap((each) => {
      const options = isJsonObject(each) ? (each["options"] ?? "") : "";
      if (typeof options !== "string") throw new Error("options must be a string");
      return splitWords(options);
    });
  } catch (err) {
    throw new UsageError(`${path}: ${err instanceof Error ? err.message.split("\n", 1)[0] : String(err)}`);
  }
}

// ---- loading

/** Directories that are searched, in order. */
function searchPath(): string[] {
  const split = (path: string): string[] => path.split(":").filter((directory) => directory.trim() !== "");
  const { FLUX_CLI_PLUGINPATH: more = "", FLUX_CLI_PLUGINPATH_OVERRIDE: override } = process.env;
  return override === undefined ? [...split(more), join(configHome(), "flux/cli/plugins"), ...SYSTEM_PATH] : split(override);
}

function filesIn(directory: string): string[] {
  try {
    return readdirSync(directory).sort().map((name) => join(directory, name));
  } catch {
    return []; // not there
  }
}

async function load(command: string, builtin: OptionSpecs): Promise<Registry> {
  const plugins: Loaded[] = [];
  const specs: Record<string, OptionSpecs[string]> = {};
  const taken = new Set(Object.values(builtin).flatMap(({ flags }) => flags.match(/--[\w-]+/g) ?? []));
  for (const path of searchPath().flatMap(filesIn).filter((file) => SCRIPT.test(file) && !file.endsWith(".d.ts"))) {
    const plugin = await importPlugin(path);
    if (plugin.commands?.includes(command) === false) continue;
    const options = Object.entries(plugin.options ?? {}).map(([name, option]) => describe(plugin, name, option));
    if (options.some(({ flags }) => taken.has(flags))) continue;
    for (const option of options) {
      taken.add(option.flags);
      specs[option.key] = option.spec;
    }
    plugins.push({ plugin, path, name: plugin.name ?? basename(path).replace(SCRIPT, ""), options });
  }
  return { command, plugins, specs };
}

async function importPlugin(path: string): Promise<SubmissionPlugin> {
  let exported: unknown;
  try {
    exported = ((await import(path)) as { default?: unknown }).default;
  } catch (err) {
    throw new UsageError(`${path}: ${err instanceof Error ? err.message : String(err)}`);
  }
  if (typeof exported !== "object" || exported === null) throw new UsageError(`${path}: the default export is not a submission plugin (see defineSubmissionPlugin)`);
  return exported;
}

function describe({ prefix = "ex" }: SubmissionPlugin, name: string, option: SubmissionPluginOption) {
  const flags = prefix === "" ? `--${name}` : `--${prefix}-${name}`;
  const parse = (text: string): string => {
    // What {} of flux bulksubmit stands for is seen later: checkChoices().
    if (!text.includes("{")) checkChoice(option, text);
    return text;
  };
  const isSwitch = option.argument === undefined;
  const spec: OptionSpecs[string] = {
    flags: isSwitch ? flags : `${flags} ${option.argument}`,
    help: option.help,
    kind: isSwitch ? "flag" : option.list === true ? "list" : "value",
    initial: isSwitch ? false : option.list === true ? [] : undefined,
    parse,
  };
  return { name, key: `plugin:${flags}`, flags, help: option.help, spec };
}

function checkChoice({ choices }: SubmissionPluginOption, text: string): void {
  if (choices?.includes(text) === false) throw new Error(`choose from ${choices.join(", ")}`);
}

/** Throws UsageError. */
function checkChoices(values: Readonly<Record<string, unknown>>): void {
  for (const { plugin, options } of registry?.plugins ?? []) {
    for (const { name, key, flags } of options) {
      const option = plugin.options?.[name];
      for (const text of [values[key]].flat()) {
        try {
          if (option !== undefined && typeof text === "string") checkChoice(option, text);
        } catch (err) {
          throw new UsageError(`invalid value '${String(text)}' for ${flags}: ${err instanceof Error ? err.message : ""}`);
        }
      }
    }
  }
}

function helpFor(plugins: readonly Loaded[], name: string): string {
  const flags = name.startsWith("-") ? name : `--${name}`;
  const found = plugins.find(({ options }) => options.some((option) => option.flags === flags));
  if (found === undefined) throw new UsageError(`--help: no such option ${name}`);
  if (found.plugin.documentation === undefined) return `No extra documentation for option \`${flags}\` found.`;
  return `\nDocumentation for plugin providing option \`${flags}\`:\n\n${found.plugin.documentation.trim()}`;
}

/** Lines for --list-plugins. */
export function pluginLines(): string[] {
  const path = searchPath();
  const plugins = registry?.plugins ?? [];
  const python = path.flatMap(filesIn).filter((file) => file.endsWith(".py"));
  return [
    "Options provided by plugins:",
    ...(path.length > 0 ? [`  Search path: ${path.join(":")}`, "  (plus what is built in)", ""] : ["  Searched only what is built in", ""]),
    ...plugins.flatMap(({ name, path: file, options }) => [`${name} loaded from ${file}`, ...options.map((option) => optionLine(option.flags, option.help)), ""]),
    "shape, built in",
    optionLine("--resources-shape", "resources as an RFC 46 shape on the command line"),
    optionLine("--resources-json", "resources section of a jobspec from a JSON file"),
    ...python.map((file) => `\n${file}: plugins of flux-core in Python are not run`),
  ];
}

function optionLine(flags: string, help: string): string {
  return `  ${flags.padEnd(20)}  ${help}`;
}

// ---- calling

type Hook = "preinit" | "modifyJobspec" | "validate";

async function call(hook: Hook, options: Readonly<Record<string, unknown>>, more: { jobspec?: DraftJobspec } = {}): Promise<void> {
  for (const { plugin, path, options: own } of registry?.plugins ?? []) {
    const values = Object.fromEntries(own.map(({ name, key }) => [name, options[key]])) as SubmissionContext["own"];
    const context = { command: registry?.command ?? "", own: values, builtin: options as Record<string, unknown>, ...more };
    try {
      await plugin[hook]?.(context as SubmissionContext & { jobspec: DraftJobspec });
    } catch (err) {
      if (err instanceof UsageError) throw err;
      const isExpected = err instanceof Error && (err.constructor === Error || err instanceof FluxError);
      throw new UsageError(isExpected ? err.message : `${path}: ${hook}: ${String(err)}`);
    }
  }
}

/** Options as plugins want them: a copy that they have changed. */
export async function preinit<T extends object>(options: T): Promise<T> {
  if ((registry?.plugins.length ?? 0) === 0) return options;
  const changed = { ...options };
  await call("preinit", changed as Record<string, unknown>);
  return changed;
}

/** The last words about a jobspec. Throws UsageError. */
export async function finishJobspec(options: object, jobspec: Jobspec): Promise<void> {
  if ((registry?.plugins.length ?? 0) === 0) return;
  const values = options as Record<string, unknown>;
  const draft = jobspec as unknown as DraftJobspec;
  checkChoices(values);
  await call("modifyJobspec", values, { jobspec: draft });
  await call("validate", values, { jobspec: draft });
}
