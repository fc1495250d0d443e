// Resource ranges (RFC 45): the counts a job accepts: "2-8:2:+" is 2,4,6,8; "3+" is 3 or more; "2-16:2:*" doubles.

import { FormatError, fieldError } from "./error.ts";
import { IdSet } from "./idset.ts";
import { isJsonObject } from "./json.ts";

export type RangeOperator = "+" | "*" | "^";

/** The dictionary of RFC 14. Without max there is no upper bound; without operator every count from min on. */
export interface ResourceRange {
  readonly min: number;
  readonly max?: number;
  readonly operator?: RangeOperator;
  readonly operand?: number;
}

const WHAT = "resource range";
const RANGE = /^(\d{1,15})(?:-(\d{1,15})|\+)(?::(\d{1,15})(?::([+*^]))?)?$/;

const natural = (n: unknown): n is number => typeof n === "number" && Number.isSafeInteger(n) && n >= 1;

/** Checks a range given as an object. `field` goes before what an error says. Throws FormatError. */
export function checkResourceRange(value: unknown, field: string): ResourceRange {
  if (!isJsonObject(value)) throw fieldError(WHAT, field, "must be an object with min");
  for (const name of Object.keys(value)) {
    if (!["min", "max", "operator", "operand"].includes(name)) throw fieldError(WHAT, `${field}.${name}`, "unknown member");
  }
  const { min, max, operator, operand } = value;
  if (!natural(min)) throw fieldError(WHAT, `${field}.min`, "must be a positive integer");
  if (max !== undefined && (!natural(max) || max < min))
    throw fieldError(WHAT, `${field}.max`, "must be an integer that is not below min");
  if ((operator === undefined) !== (operand === undefined)) throw fieldError(WHAT, field, "operator and operand go together");
  if (operator !== undefined) {
    if (operator !== "+" && operator !== "*" && operator !== "^")
      throw fieldError(WHAT, `${field}.operator`, "must be +, * or ^");
    if (!natural(operand)) throw fieldError(WHAT, `${field}.operand`, "must be a positive integer");
    if (operator !== "+" && operand < 2) throw fieldError(WHAT, `${field}.operand`, `must be at least 2 with ${operator}`);
    if (operator === "^" && min < 2) throw fieldError(WHAT, `${field}.min`, "must be at least 2 with ^");
  }
  return {
    min,
    ...(max === undefined ? {} : { max }),
    ...(operator === undefined || operand === undefined ? {} : { operator, operand }),
  } as ResourceRange;
}

/** "min-max:operand:operator" or "min+:operand:operator", in brackets or not. Throws FormatError. */
export function parseResourceRange(text: string): ResourceRange {
  const body = text.startsWith("[") && text.endsWith("]") ? text.slice(1, -1) : text;
  const match = RANGE.exec(body);
  if (!match || match.slice(1, 4).some((part) => part !== undefined && part.length > 1 && part.startsWith("0"))) {
    throw new FormatError(WHAT, text, "expected MIN-MAX or MIN+, then :OPERAND and :OPERATOR where wanted");
  }
  const [, min, max, operand, operator] = match;
  const bounded = max !== undefined;
  const stepped = bounded || operand !== undefined;
  const range = {
    min: Number(min),
    ...(bounded ? { max: Number(max) } : {}),
    ...(stepped ? { operator: operator ?? "+", operand: Number(operand ?? 1) } : {}),
  };
  try {
    return checkResourceRange(range, "");
  } catch (cause) {
    throw cause instanceof FormatError
      ? new FormatError(WHAT, text, cause.message.replace(/^invalid resource range: \.?/, ""))
      : cause;
  }
}

/** Shortest text: "1-5", "1-5:2", "2+", "2-16:2:*". */
export function formatResourceRange({ min, max, operator = "+", operand = 1 }: ResourceRange): string {
  const head = max === undefined ? `${min}+` : `${min}-${max}`;
  if (operator !== "+") return `${head}:${operand}:${operator}`;
  return operand === 1 ? head : `${head}:${operand}`;
}

/** The count after `count`, which may be beyond max. */
function following(count: number, operator: RangeOperator, operand: number): number {
  if (operator === "+") return count + operand;
  return operator === "*" ? count * operand : count ** operand;
}

/** The counts of a range from the smallest on, up to `limit` (and max). */
export function* rangeCounts({ min, max, operator = "+", operand = 1 }: ResourceRange, limit: number): IterableIterator<number> {
  const end = Math.min(max ?? limit, limit);
  for (let count = min; count <= end; count = following(count, operator, operand)) yield count;
}

/** A count of RFC 14 as text: an integer, an idset ("4,9,16"), or a range. The value is what jobspec holds. Throws FormatError. */
export function parseResourceCount(text: string): number | string | ResourceRange {
  const body = text.startsWith("[") && text.endsWith("]") ? text.slice(1, -1) : text;
  if (/^[1-9]\d{0,14}$/.test(body)) return Number(body);
  if (RANGE.test(body)) return parseResourceRange(text);
  const ids = IdSet.parse(text);
  if (ids.isEmpty || ids.has(0)) throw new FormatError("resource count", text, "a count is at least 1");
  return body;
}
