// Torpid brokers: a child from which nothing has come for tbon.torpid_max gets no new jobs until it is heard again; after ten
// times as long it is given up. Neighbours ask each other for a sign of life every tbon.torpid_min (flux-config-tbon(5)).
import { formatDuration, parseDuration } from "../formats/fsd.ts";
import { isJsonObject, type JsonObject } from "../formats/json.ts";
import { errno, FluxError } from "../message/errno.ts";
import type { Attributes } from "./attributes.ts";

export interface TorpidSettings {
  /** From one sign of life to the next. */
  readonly min_ms: number;
  /** Silence that makes a broker torpid; 0: never. */
  readonly max_ms: number;
}

const MIN = "tbon.torpid_min";
const MAX = "tbon.torpid_max";

/** What the attributes say; they are written in the usual form. Throws FluxError EINVAL. */
export function torpidSettings(attrs: Attributes): TorpidSettings {
  return take(attrs, attrs.require(MIN), attrs.require(MAX));
}

/** Takes over what the configuration says of it, if anything. Throws FluxError EINVAL, and then nothing has changed. */
export function applyTorpidConfig(attrs: Attributes, config: JsonObject): TorpidSettings {
  const table = config["tbon"];
  const given = (key: string, fallback: string): string => {
    const value = isJsonObject(table) ? table[key] : undefined;
    if (value === undefined) return fallback;
    if (typeof value !== "string") throw new FluxError(errno.EINVAL, `Config file error [tbon]: ${key}: expected a duration`);
    return value;
  };
  return take(attrs, given("torpid_min", attrs.require(MIN)), given("torpid_max", attrs.require(MAX)));
}

function take(attrs: Attributes, min: string, max: string): TorpidSettings {
  const [min_s, max_s] = [seconds(MIN, min), seconds(MAX, max)];
  if (min_s <= 0) throw new FluxError(errno.EINVAL, `${MIN} must be more than 0`);
  if (max_s !== 0 && max_s <= min_s) throw new FluxError(errno.EINVAL, `${MAX} must be more than ${MIN}, or 0 for never`);
  attrs.set(MIN, formatDuration(min_s));
  attrs.set(MAX, formatDuration(max_s));
  return { min_ms: min_s * 1000, max_ms: max_s * 1000 };
}

function seconds(name: string, text: string): number {
  try {
    const value = parseDuration(text);
    if (Number.isFinite(value)) return value;
  } catch {
    // said below
  }
  throw new FluxError(errno.EINVAL, `${name}: '${text}' is not a duration`);
}
