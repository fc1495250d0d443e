// flux config: the broker's configuration, an object of TOML tables ("config.get", "config.load", "config.reload").
import { BUILTIN_CONFIG } from "../broker/builtin-config.ts";
import { parseConfig, readConfig } from "../broker/config.ts";
import { decodeJson, isJsonObject, type Json, type JsonObject } from "../formats/json.ts";
import { parseDuration } from "../formats/fsd.ts";
import { toFluxError } from "../message/errno.ts";
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
    const config = parseRawJson(options.path === undefined ? await askBroker() : JSON.stringify(await readFiles(options.path)));
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

/** A file, or all TOML files of a directory; "system", "security" and "imp" are those of an installation. */
function readFiles(path: string): Promise<JsonObject> {
  return asConfigError(readConfig(["system", "security", "imp"].includes(path) ? `${BUILTIN_CONFIG.confdir}/${path}/conf.d` : path));
}

async function readStdin(): Promise<JsonObject> {
  const input = await Bun.stdin.text();
  return asConfigError(parseConfig(input, "stdin"));
}

/** An error of the configuration is the user's. */
async function asConfigError(config: Promise<JsonObject>): Promise<JsonObject> {
  try {
    return await config;
  } catch (err) {
    throw new UsageError(toFluxError(err).message);
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
    const config = path === undefined ? await readStdin() : await readFiles(path);
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
  usage: "[OPTIONS]",
  options: { followerNoop: flag("--follower-noop", "do nothing on another rank than 0") },
  async run({ options, args }) {
    if (args.length > 0) throw wrongUsage("flux config reload [OPTIONS]");
    return withFlux(async (h) => {
      if (options.followerNoop && (await h.attr("rank")) !== "0") return 0;
      await explain("reload", h.rpc("config.reload"), true);
      return 0;
    });
  },
});

const set = defineCommand({
  name: "set",
  style: "getopt",
  summary: "change one value of the configuration",
  usage: "[OPTIONS] NAME VALUE",
  details: "Set NAME, whose tables are joined by periods, to VALUE. Its type stays, or is that of --type.\n\nExample: flux config set --type=fsd tbon.torpid_max 30s",
  options: { type: text("-t, --type TYPE", "string, integer, real, boolean, object, array or fsd") },
  passThrough: true,
  async run({ options, args }) {
    const [name, given] = args;
    if (name === undefined || given === undefined || args.length > 2) throw wrongUsage("flux config set [OPTIONS] NAME VALUE");
    const wanted = options.type === undefined ? undefined : parseType(options.type);
    if (wanted === "fsd-integer" || wanted === "fsd-real" || wanted === "any") throw new UsageError(`Invalid type for the set subcommand: ${wanted}`);
    return change(name, (before) => {
      const type = wanted ?? (before === undefined ? undefined : typeOfJson(before));
      if (type === undefined) throw new UsageError("Type is unknown, please specify --type");
      return parseValue(given, type);
    });
  },
});

const unset = defineCommand({
  name: "unset",
  style: "getopt",
  summary: "remove one value of the configuration",
  usage: "NAME",
  async run({ args }) {
    const [name] = args;
    if (name === undefined || args.length > 1) throw wrongUsage("flux config unset NAME");
    return change(name, () => undefined);
  },
});

/** Replaces the value at `name` by what `next` makes of it; undefined removes it. */
async function change(name: string, next: (before: Json | undefined) => Json | undefined): Promise<number> {
  return withFlux(async (h) => {
    const config = await explain("Error fetching config object", h.rpc("config.get"), true);
    await explain("Error updating config object", h.rpc("config.load", changedAt(config, name.split("."), next)), true);
    return 0;
  });
}

function changedAt(table: JsonObject, [key = "", ...rest]: readonly string[], next: (before: Json | undefined) => Json | undefined): JsonObject {
  const { [key]: before, ...others } = table;
  if (rest.length === 0) {
    const value = next(before);
    return value === undefined ? others : { ...table, [key]: value };
  }
  if (before !== undefined && !isJsonObject(before)) throw new UsageError(`Error updating config object: ${key} is not a table`);
  return { ...table, [key]: changedAt(before ?? {}, rest, next) };
}

function typeOfJson(value: Json): ConfigType | undefined {
  if (value === null) return undefined;
  if (typeof value === "number" || typeof value === "bigint") return Number.isInteger(Number(value)) ? "integer" : "real";
  if (typeof value === "string" || typeof value === "boolean") return typeof value as "string" | "boolean";
  return Array.isArray(value) ? "array" : "object";
}

function parseValue(given: string, type: ConfigType): Json {
  const bad = new UsageError(`Error updating config object: '${given}' is not of type ${type}`);
  if (type === "string" && !given.startsWith('"')) return given;
  if (type === "fsd") {
    if (durationOf(given) === undefined) throw bad;
    return given;
  }
  let value: Json;
  try {
    value = decodeJson(given) as Json;
  } catch {
    throw bad;
  }
  const found = typeOfJson(value);
  if (found !== type && !(type === "real" && found === "integer")) throw bad;
  return value;
}

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
  subcommands: [load, reload, get, set, unset, builtin],
});
