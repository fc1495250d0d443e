// flux config: the broker's configuration, an object of TOML tables ("config.get", "config.load", "config.reload").
import { BUILTIN_CONFIG } from "../broker/builtin-config.ts";
import type { JsonObject } from "../formats/json.ts";
import { parseDuration } from "../formats/fsd.ts";
import { defineCommand, flag, text, UsageError } from "./command.ts";
import { explain, withFlux } from "./connect.ts";
import { print, wrongUsage } from "./output.ts";
import { formatRawJson, memberOf, parseRawJson, type RawJson, RawNumber } from "./raw-json.ts";

const TYPES = ["object", "array", "string", "integer", "real", "boolean", "any", "fsd", "fsd-integer", "fsd-real"] as const;
type ConfigType = (typeof TYPES)[number];

const get = defineCommand({
  name: "get",
  style: "getopt",
  summary: "print the configuration, or one value of it",
  usage: "[OPTIONS] [NAME]",
  options: {
    path: text("-c, --config-path PATH", "read this file or directory and don't ask the broker"),
    type: text("-t, --type TYPE", `check the value's type: ${TYPES.join(" ")}`),
    quiet: flag("-q, --quiet", "say nothing when NAME isn't set"),
    default: text("-d, --default VAL", "print VAL when NAME isn't set"),
  },
  async run({ options, args }) {
    if (args.length > 1) throw wrongUsage("flux config get [OPTIONS] [NAME]");
    const [name] = args;
    const type = parseType(options.type ?? "any");
    const config = parseRawJson(options.path === undefined ? await askBroker() : JSON.stringify(await readConfig(options.path)));
    const value = name === undefined ? config : memberOf(config, name);
    if (value !== undefined) {
      print(typedText(value, type, name ?? "value"));
      return 0;
    }
    if (options.default !== undefined) {
      print(options.default);
      return 0;
    }
    throw new UsageError(options.quiet ? "" : `${name} is not set`);
  },
});

function parseType(word: string): ConfigType {
  const type = TYPES.find((t) => t === word.toLowerCase());
  if (type === undefined) throw new UsageError(`Unknown type: ${word}`);
  return type;
}

function askBroker(): Promise<string> {
  return withFlux(async (h) => (await explain("Error fetching config object", h.call("config.get"), true)).text ?? "{}");
}

/** Throws UsageError when the value has another type. */
export function typedText(value: RawJson, type: ConfigType, name: string): string {
  const plain = typeof value === "string" ? value : formatRawJson(value);
  if (type === "any" || type === typeOf(value)) return plain;
  if (typeof value === "string" && type.startsWith("fsd")) {
    const seconds = durationOf(value);
    if (seconds !== undefined) return type === "fsd" ? value : type === "fsd-integer" ? String(Math.trunc(seconds)) : seconds.toFixed(6);
  }
  throw new UsageError(`${name} does not have the requested type`);
}

function typeOf(value: RawJson): ConfigType | undefined {
  if (value === null) return undefined;
  if (value instanceof RawNumber) return value.isReal ? "real" : "integer";
  if (typeof value === "string" || typeof value === "boolean") return typeof value as "string" | "boolean";
  return Array.isArray(value) ? "array" : "object";
}

function durationOf(word: string): number | undefined {
  try {
    return parseDuration(word);
  } catch {
    return undefined;
  }
}

/** TOML files: one, or all of a directory in order of their names. */
async function readConfig(path: string): Promise<JsonObject> {
  const { readdirSync, statSync } = await import("node:fs");
  const { join } = await import("node:path");
  let files: string[];
  try {
    const isDirectory = statSync(path).isDirectory();
    files = isDirectory ? readdirSync(path).filter((name) => name.endsWith(".toml")).toSorted().map((name) => join(path, name)) : [path];
  } catch {
    throw new UsageError(`Error parsing config: stat: ${path}: No such file or directory`);
  }
  let config: JsonObject = {};
  for (const file of files) config = { ...config, ...(await parseToml(await Bun.file(file).text(), file)) };
  return config;
}

async function parseToml(source: string, where: string): Promise<JsonObject> {
  const { parse } = await import("smol-toml");
  try {
    return parse(source) as JsonObject;
  } catch (err) {
    const [line = ""] = (err instanceof Error ? err.message : String(err)).split("\n");
    throw new UsageError(`TOML parse error: ${where === "" ? "" : `${where}: `}${line.replace(/^Invalid TOML document: /, "")}`);
  }
}

const load = defineCommand({
  name: "load",
  style: "getopt",
  summary: "replace the configuration by that of a file, a directory, or stdin",
  usage: "[PATH]",
  async run({ args }) {
    if (args.length > 1) throw wrongUsage("flux config load [PATH]");
    const [path] = args;
    const config = path === undefined ? await parseToml(await Bun.stdin.text(), "") : await readConfig(path);
    return withFlux(async (h) => {
      await explain("load", h.rpc("config.load", config), true);
      return 0;
    });
  },
});

const reload = defineCommand({
  name: "reload",
  style: "getopt",
  summary: "let the broker read its configuration files again",
  usage: "",
  async run({ args }) {
    if (args.length > 0) throw wrongUsage("flux config reload");
    return withFlux(async (h) => {
      await explain("reload", h.rpc("config.reload"), true);
      return 0;
    });
  },
});

const builtin = defineCommand({
  name: "builtin",
  style: "getopt",
  summary: "print where sites and packages put what they add to Flux",
  usage: "[OPTIONS] NAME",
  options: {
    intree: flag("--intree", "as it is in a source tree: the same"),
    installed: flag("--installed", "as it is when Flux is installed"),
  },
  run({ args }) {
    const [name] = args;
    if (name === undefined || args.length > 1) throw wrongUsage("flux config builtin [OPTIONS] NAME");
    const values: Readonly<Record<string, string>> = BUILTIN_CONFIG;
    const value = Object.hasOwn(values, name) ? values[name] : undefined;
    if (value === undefined) throw new UsageError(`${name} is invalid`);
    print(value);
    return 0;
  },
});

export default defineCommand({
  name: "config",
  style: "getopt",
  summary: "print and change the broker's configuration",
  subcommands: [load, reload, get, builtin],
});
