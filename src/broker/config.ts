// The configuration of an instance (flux-config(5)): one object, from a TOML or JSON file, from all *.toml of a
// directory, or from --conf values, merged in that order.
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { decodeJsonObject, isJsonObject, type Json, type JsonObject } from "../formats/json.ts";
import { errno, FluxError, strerror, toFluxError } from "../message/errno.ts";

/** Reads the configuration at `path`. Throws FluxError that names the file. */
export async function readConfig(path: string): Promise<JsonObject> {
  let config: JsonObject = {};
  for (const file of configFiles(path)) config = merge(config, await readConfigFile(file));
  return config;
}

/** Applies one --conf value: KEY=VAL, inline JSON, inline TOML, or a file. */
export async function applyConfValue(config: JsonObject, value: string): Promise<JsonObject> {
  if (isFileName(value)) return merge(config, await readConfigFile(value));
  if (value.startsWith("{")) return merge(config, inline(value, () => decodeJsonObject(value)));
  if (value.includes("\n")) return merge(config, await parseToml(value, "--conf"));
  const equals = value.indexOf("=");
  return merge(config, nested(value.slice(0, equals).split("."), scalar(value.slice(equals + 1))));
}

/** A value of --conf is the name of a file, and neither text nor KEY=VALUE. */
export function isFileName(value: string): boolean {
  return !value.startsWith("{") && !value.includes("\n") && !value.includes("=");
}

/** Text in TOML, or an object in JSON. Throws FluxError that begins with `name`. */
export async function parseConfig(text: string, name: string): Promise<JsonObject> {
  return text.trimStart().startsWith("{") ? inline(name, () => decodeJsonObject(text)) : parseToml(text, name);
}

function configFiles(path: string): string[] {
  let isDirectory: boolean;
  try {
    isDirectory = statSync(path).isDirectory();
  } catch (err) {
    throw new FluxError(toFluxError(err).errno, `stat: ${path}: ${strerror(toFluxError(err).errno)}`);
  }
  if (!isDirectory) return [path];
  return readdirSync(path)
    .filter((name) => name.endsWith(".toml"))
    .sort()
    .map((name) => join(path, name));
}

/** Reads one file, TOML or (.json) JSON. Throws FluxError that names it. */
export async function readConfigFile(file: string): Promise<JsonObject> {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (err) {
    const { errno: number } = toFluxError(err);
    throw new FluxError(number, `${file}: ${strerror(number)}`, { cause: err });
  }
  return file.endsWith(".json") ? inline(file, () => decodeJsonObject(text)) : parseToml(text, file);
}

/** The TOML parser is loaded only when there is something to parse: it costs as much as half a broker's start. */
async function parseToml(text: string, name: string): Promise<JsonObject> {
  const { parse } = await import("smol-toml");
  return inline(name, () => JSON.parse(JSON.stringify(parse(text))) as JsonObject);
}

function inline(name: string, parse: () => JsonObject): JsonObject {
  try {
    return parse();
  } catch (err) {
    throw new FluxError(errno.EINVAL, `${name}: ${(err instanceof Error ? err.message : String(err)).split("\n")[0]}`, { cause: err });
  }
}

function scalar(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return text; // what is not JSON is a string
  }
}

function nested(keys: readonly string[], value: Json): JsonObject {
  const [first = "", ...rest] = keys;
  return { [first]: rest.length === 0 ? value : nested(rest, value) };
}

function merge(base: JsonObject, over: JsonObject): JsonObject {
  const out: Record<string, Json> = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const before = out[key];
    out[key] = isJsonObject(before) && isJsonObject(value) ? merge(before, value) : value;
  }
  return out;
}
