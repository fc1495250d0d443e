// Checking payloads at the border: a record of readers says which fields a payload must have and of what type.
//
//   const { key, flags, namespace } = unpack(req.payload, { key: str, flags: int, namespace: opt(str) });
//
// Fields that are not named are ignored, as stock services do. A wrong or missing field throws FluxError EPROTO
// naming it.
import type { Json, JsonObject } from "../formats/json.ts";
import { toJobId, type JobId } from "../formats/fluid.ts";
import { errno, FluxError, toFluxError } from "./errno.ts";

/** Reads one value; throws FluxError EPROTO naming `path` when it has the wrong type. */
export type Reader<T> = (value: unknown, path: string) => T;

type Unpacked<S> = { [K in keyof S]: S[K] extends Reader<infer T> ? T : never };

/** The fields named in `spec`, checked. */
export function unpack<S extends Record<string, Reader<unknown>>>(payload: JsonObject, spec: S): Unpacked<S> {
  return record(payload, spec, "");
}

function record<S extends Record<string, Reader<unknown>>>(payload: JsonObject, spec: S, prefix: string): Unpacked<S> {
  const out: Record<string, unknown> = {};
  // Own names: a user's file in a job shell may have given Object.prototype more.
  for (const name of Object.keys(spec) as (keyof S & string)[]) {
    const reader = spec[name];
    if (reader !== undefined) out[name] = reader(payload[name], prefix + name);
  }
  return out as Unpacked<S>;
}

export const str: Reader<string> = (value, path) => {
  if (typeof value !== "string") throw wrong(value, path, "a string");
  return value;
};

/** A safe integer, negative ones too. */
export const int: Reader<number> = (value, path) => {
  if (typeof value !== "number" || !Number.isSafeInteger(value)) throw wrong(value, path, "an integer");
  return value;
};

/** A non-negative safe integer. */
export const uint: Reader<number> = (value, path) => {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) {
    throw wrong(value, path, "a non-negative integer");
  }
  return value;
};

export const num: Reader<number> = (value, path) => {
  if (typeof value !== "number" || !Number.isFinite(value)) throw wrong(value, path, "a number");
  return value;
};

export const bool: Reader<boolean> = (value, path) => {
  if (typeof value !== "boolean") throw wrong(value, path, "true or false");
  return value;
};

export const obj: Reader<JsonObject> = (value, path) => {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw wrong(value, path, "an object");
  return value as JsonObject;
};

/** Any JSON value that is present. */
export const json: Reader<Json> = (value, path) => {
  if (value === undefined) throw wrong(value, path, "a value");
  return value as Json;
};

/** A job id: any integer from 0 to 2^64-1, a bigint in memory. */
export const jobid: Reader<JobId> = (value, path) => {
  try {
    return toJobId(value);
  } catch {
    throw wrong(value, path, "a job id");
  }
};

export function arr<T>(item: Reader<T>): Reader<T[]> {
  return (value, path) => {
    if (!Array.isArray(value)) throw wrong(value, path, "an array");
    return value.map((v: unknown, i) => item(v, `${path}[${i}]`));
  };
}

/** An object whose values all have one type. */
export function dict<T>(item: Reader<T>): Reader<Record<string, T>> {
  return (value, path) => {
    const out: Record<string, T> = {};
    for (const [key, v] of Object.entries(obj(value, path))) out[key] = item(v, `${path}.${key}`);
    return out;
  };
}

/** A nested object with fields of its own. */
export function fields<S extends Record<string, Reader<unknown>>>(spec: S): Reader<Unpacked<S>> {
  return (value, path) => record(obj(value, path), spec, `${path}.`);
}

/** A field that may be absent or null. */
export function opt<T>(reader: Reader<T>): Reader<T | undefined> {
  return (value, path) => (value === undefined || value === null ? undefined : reader(value, path));
}

/** A field with a default. */
export function def<T>(reader: Reader<T>, fallback: T): Reader<T> {
  return (value, path) => (value === undefined || value === null ? fallback : reader(value, path));
}

function wrong(value: unknown, path: string, wanted: string): FluxError {
  const found = value === undefined ? "missing" : `${typeof value}, not ${wanted}`;
  return new WrongField(`'${path}' is ${found}`);
}

class WrongField extends FluxError {
  constructor(readonly problem: string) {
    super(errno.EPROTO, `Protocol error: ${problem}`);
  }
}

/** What is wrong, in words for somebody who wrote a table of the configuration or a part of a jobspec, and no message. */
export function problemOf(err: unknown): string {
  return err instanceof WrongField ? err.problem : toFluxError(err).message;
}
