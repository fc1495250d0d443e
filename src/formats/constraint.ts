// Job constraints (RFC 31): which execution targets a job accepts, as JSON: {"and":[{"properties":["ssd"]},{"ranks":["0-3"]}]}.

import { FormatError } from "./error.ts";
import { Hostlist } from "./hostlist.ts";
import { IdSet } from "./idset.ts";
import { isJsonObject, type JsonObject } from "./json.ts";

/** At most one operator with a list of values; {} matches everything. */
export type Constraint = JsonObject;

/** An execution target as constraints see it. */
export interface ConstraintTarget {
  readonly hostname: string;
  readonly rank: number;
  readonly properties: { has(name: string): boolean };
}

type Match = (target: ConstraintTarget) => boolean;

/** Bound on operators inside operators. */
const MAX_DEPTH = 64;
const WHAT = "constraint";
const compiled = new WeakMap<object, Match>();

function values(operator: string, value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw new FormatError(WHAT, "", `${operator} operator value must be an array`);
  return value as unknown[];
}

function strings(operator: string, value: unknown): string[] {
  return values(operator, value).map((item) => {
    if (typeof item !== "string")
      throw new FormatError(WHAT, "", `non-string ${operator} value specified: ${JSON.stringify(item)}`);
    return item;
  });
}

function matchProperties(value: unknown): Match {
  const wanted = strings("properties", value).map((name) => {
    const illegal = /[!&'"`|()]/.exec(name);
    if (illegal) throw new FormatError(WHAT, "", `invalid character '${illegal[0]}' in property "${name}"`);
    return name.startsWith("^") ? { name: name.slice(1), there: false } : { name, there: true };
  });
  // A host name counts as a property of its target, as in stock Flux.
  return (target) => wanted.every(({ name, there }) => (target.properties.has(name) || target.hostname === name) === there);
}

function matchHostlist(value: unknown): Match {
  const hosts = new Hostlist();
  for (const text of strings("hostlist", value)) {
    try {
      hosts.append(text);
    } catch (cause) {
      if (!(cause instanceof FormatError)) throw cause;
      throw new FormatError(WHAT, "", `invalid hostlist '${text}' in ${JSON.stringify(value)}`);
    }
  }
  return (target) => hosts.has(target.hostname);
}

function matchRanks(value: unknown): Match {
  let ranks = new IdSet();
  for (const text of strings("ranks", value)) {
    try {
      ranks = ranks.union(IdSet.parse(text));
    } catch (cause) {
      if (!(cause instanceof FormatError)) throw cause;
      throw new FormatError(WHAT, "", `invalid idset '${text}' in ${JSON.stringify(value)}`);
    }
  }
  return (target) => ranks.has(target.rank);
}

function compile(constraint: unknown, depth: number): Match {
  if (!isJsonObject(constraint)) throw new FormatError(WHAT, "", "constraint must be JSON object");
  if (depth > MAX_DEPTH) throw new FormatError(WHAT, "", `more than ${MAX_DEPTH} operators inside each other`);
  const operators = Object.keys(constraint);
  if (operators.length > 1) throw new FormatError(WHAT, "", "constraint must only contain 1 element");
  const operator = operators[0];
  if (operator === undefined) return () => true;
  const value = constraint[operator];
  const parts = () => values(operator, value).map((part) => compile(part, depth + 1));
  switch (operator) {
    case "properties":
      return matchProperties(value);
    case "hostlist":
      return matchHostlist(value);
    case "ranks":
      return matchRanks(value);
    case "and": {
      const all = parts();
      return (target) => all.every((match) => match(target));
    }
    case "or": {
      const any = parts();
      return (target) => any.length === 0 || any.some((match) => match(target));
    }
    case "not": {
      const all = parts();
      return (target) => !all.every((match) => match(target));
    }
    default:
      throw new FormatError(WHAT, "", `unknown constraint operator: ${operator}`);
  }
}

/** A test for many targets, made once. Throws FormatError for what is no constraint. */
export function compileConstraint(constraint: unknown): Match {
  return compile(constraint, 0);
}

/** Checks a decoded value. Throws FormatError that names the operator. */
export function parseConstraint(value: unknown): Constraint {
  compile(value, 0);
  return value as Constraint;
}

/** Whether a target satisfies the constraint. Throws FormatError. */
export function matchConstraint(constraint: Constraint, target: ConstraintTarget): boolean {
  let match = compiled.get(constraint);
  if (!match) {
    match = compile(constraint, 0);
    compiled.set(constraint, match);
  }
  return match(target);
}
