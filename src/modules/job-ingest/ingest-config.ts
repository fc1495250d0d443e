// The table [ingest] (flux-config-ingest(5)) and the arguments of the module, which override it:
//
//   fluid-start=MS  max-fluid-generator-id=RANK  allow-root-jobs  batch-count=N  buffer-size=SIZE
//   disable-validator  validator-plugins=LIST  validator-args=LIST  frobnicator-plugins=LIST  frobnicator-args=LIST
import { encodeJson, isJsonObject, type Json, type JsonObject } from "../../formats/json.ts";
import { errno, FluxError } from "../../message/errno.ts";

export interface StageConfig {
  readonly enabled: boolean;
  /** Names, or paths of files and programs. */
  readonly plugins: readonly string[];
  readonly args: readonly string[];
}

export interface IngestConfig {
  /** Ids begin at so many milliseconds (an id is about MS * 2^24). */
  readonly fluidStart_ms: number;
  /** Brokers of higher rank make no ids: an argument only. */
  readonly generatorMax: number;
  readonly allowRoot: boolean;
  /** Jobs in one batch, however long it takes; 0: those that come together. */
  readonly batchCount: number;
  readonly buffer_bytes: number;
  readonly validator: StageConfig;
  readonly frobnicator: StageConfig;
}

export const VALIDATORS_DEFAULT: readonly string[] = ["jobspec"];
export const FROBNICATORS_DEFAULT: readonly string[] = ["defaults", "constraints"];
const BUFFER_DEFAULT = "10M";
/** There are 2^14 generators (RFC 19); stock Flux keeps the last 16 for later use. */
const GENERATORS = 1 << 14;
const GENERATOR_MAX = GENERATORS - 16 - 1;

/** Throws FluxError EINVAL naming what is wrong. */
export function parseIngestConfig(config: JsonObject, args: readonly string[]): IngestConfig {
  const ingest = config["ingest"] ?? {};
  if (!isJsonObject(ingest)) throw wrong("[ingest] must be a table");
  const over = argumentsOf(args);
  const get = (name: string): Json | undefined => over.get(name) ?? ingest[name];
  return {
    fluidStart_ms: milliseconds(get("fluid-start")),
    generatorMax: generatorMax(over.get("max-fluid-generator-id")),
    allowRoot: over.has("allow-root-jobs"),
    batchCount: batchCount(get("batch-count")),
    buffer_bytes: bufferSize(get("buffer-size") ?? BUFFER_DEFAULT),
    validator: stage("validator", ingest["validator"], over, VALIDATORS_DEFAULT),
    frobnicator: stage("frobnicator", ingest["frobnicator"], over, FROBNICATORS_DEFAULT),
  };
}

const ARGUMENTS = ["fluid-start", "max-fluid-generator-id", "batch-count", "buffer-size", "validator-plugins", "validator-args", "frobnicator-plugins", "frobnicator-args"];

function argumentsOf(args: readonly string[]): Map<string, string> {
  const found = new Map<string, string>();
  for (const arg of args) {
    const equals = arg.indexOf("=");
    const name = equals < 0 ? arg : arg.slice(0, equals);
    const isKnown = equals < 0 ? name === "allow-root-jobs" || name === "disable-validator" : ARGUMENTS.includes(name);
    if (!isKnown) throw wrong(`Invalid option: ${arg}`);
    found.set(name, equals < 0 ? "" : arg.slice(equals + 1));
  }
  return found;
}

function stage(name: string, table: Json | undefined, over: ReadonlyMap<string, string>, plugins: readonly string[]): StageConfig {
  const given = table ?? {};
  if (!isJsonObject(given)) throw wrong(`error parsing [ingest.${name}] config table: it must be a table`);
  const { disable = false } = given;
  if (typeof disable !== "boolean") throw wrong(`error parsing [ingest.${name}] config table: disable must be true or false`);
  const list = (key: string): readonly string[] | undefined => {
    const text = over.get(`${name}-${key}`);
    if (text !== undefined) return text.split(",").filter((word) => word !== "");
    const value = given[key];
    if (value === undefined) return undefined;
    if (!Array.isArray(value) || !value.every((word) => typeof word === "string")) throw wrong(`error in [ingest.${name}] ${key} array`);
    return value;
  };
  return { enabled: !disable && !over.has(`disable-${name}`), plugins: list("plugins") ?? plugins, args: list("args") ?? [] };
}

function milliseconds(value: Json | undefined): number {
  if (value === undefined) return 0;
  const start_ms = typeof value === "string" && /^\d{1,13}$/.test(value) ? Number(value) : value;
  if (typeof start_ms !== "number" || !Number.isSafeInteger(start_ms) || start_ms < 0 || start_ms >= 2 ** 40) {
    throw wrong("ingest.fluid-start must be a number of milliseconds below 2^40");
  }
  return start_ms;
}

function generatorMax(text: string | undefined): number {
  if (text === undefined) return GENERATOR_MAX;
  const max = /^\d{1,5}$/.test(text) ? Number(text) : GENERATORS;
  if (max >= GENERATORS) throw wrong(`Invalid max-fluid-generator-id: '${text}'`);
  return max;
}

function batchCount(value: Json | undefined): number {
  const count = value === undefined ? 0 : Number(value);
  if (!Number.isInteger(count) || count < 0) throw wrong(`Invalid batch-count: ${shown(value ?? null)}`);
  return count;
}

const UNITS: Readonly<Record<string, number>> = { "": 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 };

/** "102400", "4.5M", "1024K". */
function bufferSize(value: Json): number {
  const match = /^(\d+(?:\.\d+)?)([kmg]?)$/i.exec(shown(value));
  const bytes = match === null ? 0 : Math.floor(Number(match[1]) * (UNITS[(match[2] ?? "").toLowerCase()] ?? 1));
  if (bytes <= 0) throw wrong(`Invalid buffer-size: '${shown(value)}'`);
  return bytes;
}

function shown(value: Json): string {
  return typeof value === "string" ? value : encodeJson(value);
}

function wrong(text: string): FluxError {
  return new FluxError(errno.EINVAL, text);
}
