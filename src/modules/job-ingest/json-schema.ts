// JSON Schema, the part of it that schemas of jobspecs use: type, enum, const, properties, required, additionalProperties,
// items, minItems, maxItems, minimum, maximum, exclusiveMinimum, minLength, maxLength, pattern, allOf, anyOf, oneOf, not, and
// $ref into the same document. A keyword that is not known is refused: it might be the one that matters.
import { encodeJson, isJsonObject, type Json, type JsonObject } from "../../formats/json.ts";
import { errno, FluxError } from "../../message/errno.ts";

const DEPTH_MAX = 64;
/** Keywords that say nothing about a value. */
const NOTES = new Set(["$schema", "$id", "id", "$comment", "title", "description", "default", "examples", "definitions", "$defs", "format"]);

type Keyword = (argument: Json, value: Json, at: string, schema: JsonObject, check: Check) => string | undefined;
/** What is wrong with the value at `at`; undefined when nothing is. */
type Check = (schema: Json, value: Json, at: string) => string | undefined;

/** A function that says what is wrong with a value, naming the field; undefined when nothing is. */
export function compileSchema(root: Json): (value: Json) => string | undefined {
  return (value) => checker(root, 0)(root, value, "");
}

function checker(root: Json, depth: number): Check {
  return (schema, value, at) => {
    if (schema === true) return undefined;
    if (schema === false) return `${named(at)} is not allowed`;
    if (!isJsonObject(schema)) throw new FluxError(errno.EINVAL, "schema: neither an object nor true or false");
    if (depth > DEPTH_MAX) throw new FluxError(errno.EINVAL, `schema: nested deeper than ${DEPTH_MAX}`);
    const check = checker(root, depth + 1);
    for (const [keyword, argument] of Object.entries(schema)) {
      if (NOTES.has(keyword)) continue;
      if (keyword === "$ref") {
        const problem = check(resolveRef(root, argument), value, at);
        if (problem !== undefined) return problem;
        continue;
      }
      const rule = KEYWORDS[keyword];
      if (rule === undefined) throw new FluxError(errno.EINVAL, `schema: keyword '${keyword}' is not supported`);
      const problem = rule(argument, value, at, schema, check);
      if (problem !== undefined) return problem;
    }
    return undefined;
  };
}

const KEYWORDS: Readonly<Record<string, Keyword>> = {
  type: (types, value, at) => ((Array.isArray(types) ? types : [types]).some((type) => isType(type as Json, value)) ? undefined : `${named(at)} must be of type ${listed(types)}`),
  enum: (values, value, at) => (Array.isArray(values) && values.some((one) => same(one as Json, value)) ? undefined : `${named(at)} must be one of ${listed(values)}`),
  const: (wanted, value, at) => (same(wanted, value) ? undefined : `${named(at)} must be ${encodeJson(wanted)}`),
  required: (names, value, at) => {
    if (!isJsonObject(value) || !Array.isArray(names)) return undefined;
    const missing = names.find((name) => typeof name === "string" && !Object.hasOwn(value, name));
    return missing === undefined ? undefined : `${at === "" ? shown(missing) : `${at}.${shown(missing)}`} is missing`;
  },
  properties: (properties, value, at, _schema, check) => {
    if (!isJsonObject(value) || !isJsonObject(properties)) return undefined;
    return first(Object.entries(properties), ([name, schema]) => (Object.hasOwn(value, name) ? check(schema, value[name] as Json, member(at, name)) : undefined));
  },
  additionalProperties: (argument, value, at, schema, check) => {
    if (!isJsonObject(value)) return undefined;
    const known = isJsonObject(schema["properties"]) ? schema["properties"] : {};
    return first(Object.entries(value), ([name, inner]) => (Object.hasOwn(known, name) ? undefined : check(argument, inner, member(at, name))));
  },
  items: (schema, value, at, _schema, check) => (Array.isArray(value) ? first([...value.entries()], ([i, item]) => check(schema, item as Json, `${at}[${i}]`)) : undefined),
  minItems: (min, value, at) => (Array.isArray(value) && value.length < Number(min) ? `${named(at)} must have at least ${shown(min)} items` : undefined),
  maxItems: (max, value, at) => (Array.isArray(value) && value.length > Number(max) ? `${named(at)} must have at most ${shown(max)} items` : undefined),
  minimum: (min, value, at) => (typeof value === "number" && value < Number(min) ? `${named(at)} must be at least ${shown(min)}` : undefined),
  maximum: (max, value, at) => (typeof value === "number" && value > Number(max) ? `${named(at)} must be at most ${shown(max)}` : undefined),
  exclusiveMinimum: (min, value, at) => (typeof value === "number" && value <= Number(min) ? `${named(at)} must be above ${shown(min)}` : undefined),
  minLength: (min, value, at) => (typeof value === "string" && value.length < Number(min) ? `${named(at)} must have at least ${shown(min)} characters` : undefined),
  maxLength: (max, value, at) => (typeof value === "string" && value.length > Number(max) ? `${named(at)} must have at most ${shown(max)} characters` : undefined),
  pattern: (pattern, value, at) => (typeof value === "string" && !new RegExp(shown(pattern), "u").test(value) ? `${named(at)} does not match ${shown(pattern)}` : undefined),
  allOf: (schemas, value, at, _schema, check) => first(many(schemas), (schema) => check(schema, value, at)),
  anyOf: (schemas, value, at, _schema, check) => alternatives(schemas, value, at, check, (count) => count > 0),
  oneOf: (schemas, value, at, _schema, check) => alternatives(schemas, value, at, check, (count) => count === 1),
  not: (schema, value, at, _schema, check) => (check(schema, value, at) === undefined ? `${named(at)} is not allowed` : undefined),
};

function alternatives(schemas: Json, value: Json, at: string, check: Check, isEnough: (count: number) => boolean): string | undefined {
  const problems = many(schemas).map((schema) => check(schema, value, at));
  const count = problems.filter((problem) => problem === undefined).length;
  if (isEnough(count)) return undefined;
  // The alternative that came furthest names the deepest field.
  const deepest = problems.filter((problem) => problem !== undefined).sort((a, b) => depthOf(b) - depthOf(a))[0];
  return deepest ?? `${named(at)} fits more than one alternative`;
}

const depthOf = (problem: string): number => (problem.split(" ")[0] ?? "").split(/[.[]/).length;
const many = (schemas: Json): readonly Json[] => (Array.isArray(schemas) ? (schemas as readonly Json[]) : []);
const shown = (value: Json): string => (typeof value === "string" ? value : encodeJson(value));
const named = (at: string): string => (at === "" ? "the jobspec" : at);
const member = (at: string, name: string): string => (at === "" ? name : `${at}.${name}`);
const same = (a: Json, b: Json): boolean => a === b || encodeJson(a) === encodeJson(b);
const listed = (values: Json): string => many(Array.isArray(values) ? values : [values]).map((value) => (typeof value === "string" ? value : encodeJson(value))).join(", ");

function first<T>(items: readonly T[], check: (item: T) => string | undefined): string | undefined {
  for (const item of items) {
    const problem = check(item);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function isType(type: Json, value: Json): boolean {
  switch (type) {
    case "object": return isJsonObject(value);
    case "array": return Array.isArray(value);
    case "integer": return typeof value === "bigint" || (typeof value === "number" && Number.isInteger(value));
    case "number": return typeof value === "number" || typeof value === "bigint";
    case "null": return value === null;
    default: return typeof value === type;
  }
}

/** "#/definitions/x". Throws FluxError EINVAL for another document, or what isn't there. */
function resolveRef(root: Json, ref: Json): Json {
  if (ref === "#") return root;
  if (typeof ref !== "string" || !ref.startsWith("#/")) throw new FluxError(errno.EINVAL, `schema: $ref ${encodeJson(ref)} does not lead into this schema`);
  let found: Json | undefined = root;
  for (const name of ref.slice(2).split("/")) {
    const key = decodeURIComponent(name).replaceAll("~1", "/").replaceAll("~0", "~");
    found = isJsonObject(found) && Object.hasOwn(found, key) ? found[key] : undefined;
    if (found === undefined) throw new FluxError(errno.EINVAL, `schema: $ref ${ref} leads nowhere`);
  }
  return found;
}
