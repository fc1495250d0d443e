// Output formats of flux-jobs(1), flux-resource(1) and others: Python's format strings with Flux's additions:
// `sort:-t_submit {id.f58:>12} ?:{queue:<8.8} +:{name:<10.10+} {nnodes:>6h} {runtime!F:>8h}`.
//
// A field may have before it: `?:` leave the column out when it is empty in every row, `+:` make it as wide as its widest entry,
// `?+:` both. After the specification: `h` a hyphen for an empty value, `+` mark what was cut with a plus sign.

import { FormatError } from "./error.ts";
import { displayDuration, formatSignificant } from "./fsd.ts";

export const CONVERSIONS = ["", "d", "D", "F", "H", "P", "r", "s", "a"] as const;
export type Conversion = (typeof CONVERSIONS)[number];

export interface FormatSpec {
  readonly fill: string;
  readonly align: "" | "<" | ">" | "^" | "=";
  readonly sign: "" | "-" | "+" | " ";
  readonly alternate: boolean;
  readonly zeroPad: boolean;
  readonly width: number;
  readonly grouping: "" | "," | "_";
  /** undefined where none is given. */
  readonly precision: number | undefined;
  readonly type: string;
  readonly hyphen: boolean;
  readonly markCut: boolean;
  /** strftime format of `!d`; empty for ISO 8601. */
  readonly time: string;
}

export interface OutputColumn {
  /** Literal text between this field and the one before. */
  readonly before: string;
  readonly field: string;
  readonly conversion: Conversion;
  readonly spec: FormatSpec;
  /** `?:` */
  readonly dropEmpty: boolean;
  /** `+:` */
  readonly grow: boolean;
}

export interface SortKey {
  readonly field: string;
  readonly reverse: boolean;
}

export interface OutputFormat {
  readonly sort: readonly SortKey[];
  readonly columns: readonly OutputColumn[];
  /** Literal text after the last field. */
  readonly tail: string;
}

/** A number that is shown as text unless a specification asks for more: a job id. */
export interface NamedNumber {
  readonly name: string;
  readonly number: bigint;
}

/** What a field holds. A real whose text matters ("0.0") is given as text; numeric types accept numbers in text. */
export type OutputValue = string | number | bigint | boolean | NamedNumber | null | undefined;
/** A moment, made by `!d`. */
interface Moment {
  readonly seconds: number;
}

const WHAT = "output format";
const MAX_WIDTH = 10_000;
const SPEC = /^(?:([\s\S])?([<>=^]))?([- +])?z?(#)?(0)?(\d+)?([_,])?(?:\.(\d+))?([bcdeEfFgGnosxX%])?(h)?(\+)?$/u;
const EMPTY_OUTPUTS: ReadonlySet<string> = new Set(["", "0s", "0.0", "0:00:00", "1970-01-01T00:00:00"]);

const charsOf = (text: string): string[] => Array.from(text);

/** Characters, as charsOf() counts them; cheap for text without surrogate pairs, which is nearly all. */
const lengthOf = (text: string): number => (/[\ud800-\udfff]/.test(text) ? charsOf(text).length : text.length);

/** Throws FormatError. With conversion `d` the strftime format comes first, then `::` and the rest. */
export function parseFormatSpec(text: string, conversion: Conversion = ""): FormatSpec {
  const split = text.indexOf("::");
  const time = conversion !== "d" ? "" : split < 0 ? text.replace(/h$/, "") : text.slice(0, split);
  const rest = conversion !== "d" ? text : split < 0 ? (text.endsWith("h") ? "h" : "") : text.slice(split + 2);
  const match = SPEC.exec(rest);
  if (!match)
    throw new FormatError("format specification", text, "expected [[FILL]ALIGN][SIGN][0][WIDTH][,][.PRECISION][TYPE][h][+]");
  const [, fill, align, sign, alternate, zero, width, grouping, precision, type, hyphen, plus] = match;
  if (Number(width ?? 0) > MAX_WIDTH || Number(precision ?? 0) > MAX_WIDTH)
    throw new FormatError("format specification", text, `wider than ${MAX_WIDTH}`);
  return {
    fill: fill ?? " ",
    align: (align ?? "") as FormatSpec["align"],
    sign: (sign ?? "") as FormatSpec["sign"],
    alternate: alternate !== undefined,
    zeroPad: zero !== undefined,
    width: Number(width ?? 0),
    grouping: (grouping ?? "") as FormatSpec["grouping"],
    precision: precision === undefined ? undefined : Number(precision),
    type: type ?? "",
    hyphen: hyphen !== undefined,
    markCut: plus !== undefined,
    time,
  };
}

function parseSort(text: string): { sort: SortKey[]; rest: string } {
  const match = /^sort:([^{\s]+)\s?/.exec(text);
  const keys = match?.[1];
  if (!match || keys === undefined) return { sort: [], rest: text };
  const sort = keys
    .split(",")
    .map((key) => (key.startsWith("-") ? { field: key.slice(1), reverse: true } : { field: key, reverse: false }));
  if (sort.some((key) => key.field === "")) throw new FormatError(WHAT, text, "a sort key is empty", match.index);
  return { sort, rest: text.slice(match[0].length) };
}

function parseReplacement(body: string, before: string, format: string, at: number): OutputColumn {
  const match = /^([^!:]*)(?:!([^:]*))?(?::([\s\S]*))?$/.exec(body);
  const field = match?.[1] ?? "";
  const conversion = (match?.[2] ?? "") as Conversion;
  if (field === "") throw new FormatError(WHAT, format, "a field has no name", at);
  if (!CONVERSIONS.includes(conversion) || (conversion === "" && body.includes("!") && match?.[2] !== undefined)) {
    throw new FormatError(WHAT, format, `Unknown conversion specifier ${conversion}`, at);
  }
  let spec: FormatSpec;
  try {
    spec = parseFormatSpec(match?.[3] ?? "", conversion);
  } catch (cause) {
    throw cause instanceof FormatError
      ? new FormatError(WHAT, format, `Invalid format specifier '${match?.[3] ?? ""}' of field ${field}`, at)
      : cause;
  }
  const prefix = /\?\+:$|\?:$|\+:$/.exec(before)?.[0] ?? "";
  return {
    before: before.slice(0, before.length - prefix.length),
    field: field.replace(/^0\./, ""),
    conversion,
    spec,
    dropEmpty: prefix.startsWith("?"),
    grow: prefix.includes("+"),
  };
}

/** Throws FormatError with the position. Field names are not checked: see checkFields. */
export function parseOutputFormat(format: string): OutputFormat {
  const { sort, rest } = parseSort(format);
  const offset = format.length - rest.length;
  const columns: OutputColumn[] = [];
  let literal = "";
  for (let at = 0; at < rest.length;) {
    const char = rest[at] ?? "";
    if ((char === "{" || char === "}") && rest[at + 1] === char) {
      literal += char;
      at += 2;
    } else if (char === "}") {
      throw new FormatError(WHAT, format, "Single '}' encountered in format string", offset + at);
    } else if (char === "{") {
      const end = rest.indexOf("}", at);
      const body = end < 0 ? undefined : rest.slice(at + 1, end);
      if (body === undefined) throw new FormatError(WHAT, format, "expected '}' before end of string", offset + at);
      if (body.includes("{")) throw new FormatError(WHAT, format, "a field within a field is not supported", offset + at);
      columns.push(parseReplacement(body, literal, format, offset + at));
      literal = "";
      at = end + 1;
    } else {
      literal += char;
      at++;
    }
  }
  return { sort, columns, tail: literal };
}

/** Throws FormatError for the first field or sort key that `known` does not have. */
export function checkFields(format: OutputFormat, known: { has(field: string): boolean }): void {
  for (const { field } of [...format.columns, ...format.sort]) {
    if (!known.has(field)) throw new FormatError(WHAT, "", `Unknown format field: ${field}`);
  }
}

/** The format without some columns; white space before each goes with it. */
export function withoutColumns(format: OutputFormat, dropped: (column: OutputColumn) => boolean): OutputFormat {
  const columns: OutputColumn[] = [];
  let kept = "";
  for (const column of format.columns) {
    if (!dropped(column)) {
      columns.push(kept === "" ? column : { ...column, before: kept + column.before });
      kept = "";
    } else if (column.before.trim() !== "") kept += column.before;
  }
  return { ...format, columns, tail: kept + format.tail };
}

/** A value as it is shown where nothing else is asked for. */
export function textOf(value: OutputValue): string {
  if (value === null || value === undefined) return "";
  if (typeof value === "boolean") return value ? "True" : "False";
  return typeof value === "object" ? value.name : String(value);
}

function numberOf(value: OutputValue): number | undefined {
  if (typeof value === "number") return value;
  if (typeof value === "bigint" || typeof value === "boolean") return Number(value);
  if (typeof value === "object" && value !== null) return Number(value.number);
  return typeof value === "string" && /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i.test(value) ? Number(value) : undefined;
}

const two = (n: number) => String(n).padStart(2, "0");

/** `H:MM:SS`, with days before it where there are any; anything above zero is at least a second. */
export function formatClock(seconds: number): string {
  const total = seconds > 0 && seconds < 1 ? 1 : Math.round(seconds);
  const days = Math.floor(total / 86400);
  const rest = total - days * 86400;
  const clock = `${Math.floor(rest / 3600)}:${two(Math.floor(rest / 60) % 60)}:${two(rest % 60)}`;
  return days === 0 ? clock : `${days} day${Math.abs(days) === 1 ? "" : "s"}, ${clock}`;
}

function formatPercent(value: number): string {
  const percent = value * 100;
  return percent > 0 && percent < 1 ? `${percent.toFixed(2)}%` : `${formatSignificant(percent, 3)}%`;
}

function isMoment(value: OutputValue | Moment): value is Moment {
  return typeof value === "object" && value !== null && "seconds" in value;
}

/** Applies the conversion of a column, without width and alignment. Throws FormatError for a value it is not for. */
export function convertValue(value: OutputValue, conversion: Conversion): OutputValue | Moment {
  if (conversion === "") return value;
  if (conversion === "r" || conversion === "s" || conversion === "a")
    return conversion === "s" ? textOf(value) : `'${textOf(value)}'`;
  const number = numberOf(value);
  if (number === undefined) {
    if (textOf(value) !== "") throw new FormatError("output value", textOf(value), `conversion !${conversion} needs a number`);
    return conversion === "d" ? { seconds: 0 } : "";
  }
  switch (conversion) {
    case "d":
      return { seconds: number };
    case "D":
      return number === 0 ? "" : strftime("%FT%T", number);
    case "F":
      return displayDuration(number);
    case "H":
      return formatClock(number);
    default:
      return formatPercent(number);
  }
}

const MONTHS = [
  "January",
  "February",
  "March",
  "April",
  "May",
  "June",
  "July",
  "August",
  "September",
  "October",
  "November",
  "December",
];
const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

function dayOfYear(date: Date): number {
  return (
    Math.round(
      (Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) - Date.UTC(date.getFullYear(), 0, 1)) / 86_400_000,
    ) + 1
  );
}

function zone(date: Date): string {
  const minutes = -date.getTimezoneOffset();
  return `${minutes < 0 ? "-" : "+"}${two(Math.floor(Math.abs(minutes) / 60))}${two(Math.abs(minutes) % 60)}`;
}

const twelve = (date: Date) => date.getHours() % 12 || 12;
const STRFTIME: Readonly<Record<string, (date: Date, seconds: number) => string>> = {
  Y: (date) => String(date.getFullYear()),
  y: (date) => two(date.getFullYear() % 100),
  m: (date) => two(date.getMonth() + 1),
  d: (date) => two(date.getDate()),
  e: (date) => String(date.getDate()).padStart(2),
  H: (date) => two(date.getHours()),
  I: (date) => two(twelve(date)),
  l: (date) => String(twelve(date)).padStart(2),
  k: (date) => String(date.getHours()).padStart(2),
  M: (date) => two(date.getMinutes()),
  S: (date) => two(date.getSeconds()),
  f: (_date, seconds) => String(Math.floor((seconds - Math.floor(seconds)) * 1e6)).padStart(6, "0"),
  b: (date) => (MONTHS[date.getMonth()] ?? "").slice(0, 3),
  h: (date) => (MONTHS[date.getMonth()] ?? "").slice(0, 3),
  B: (date) => MONTHS[date.getMonth()] ?? "",
  a: (date) => (DAYS[date.getDay()] ?? "").slice(0, 3),
  A: (date) => DAYS[date.getDay()] ?? "",
  p: (date) => (date.getHours() < 12 ? "AM" : "PM"),
  j: (date) => String(dayOfYear(date)).padStart(3, "0"),
  u: (date) => String(date.getDay() || 7),
  w: (date) => String(date.getDay()),
  z: zone,
  s: (_date, seconds) => String(Math.floor(seconds)),
  n: () => "\n",
  t: () => "\t",
  "%": () => "%",
};
const COMPOSED: Readonly<Record<string, string>> = {
  F: "%Y-%m-%d",
  T: "%H:%M:%S",
  R: "%H:%M",
  D: "%m/%d/%y",
  c: "%a %b %e %H:%M:%S %Y",
  x: "%m/%d/%y",
  X: "%H:%M:%S",
  r: "%I:%M:%S %p",
};

/** strftime(3) in local time and the C locale; unknown directives stay as they are. */
export function strftime(format: string, seconds: number): string {
  const date = new Date(seconds * 1000);
  return format
    .replace(/%([FTRDcxXr])/g, (whole, directive: string) => COMPOSED[directive] ?? whole)
    .replace(/%(.)/g, (whole, directive: string) => STRFTIME[directive]?.(date, seconds) ?? whole);
}

function grouped(digits: string, separator: string): string {
  const [whole = "", fraction] = digits.split(".");
  const parts = whole.replace(/\B(?=(\d{3})+(?!\d))/g, separator);
  return fraction === undefined ? parts : `${parts}.${fraction}`;
}

function exponential(value: number, precision: number): string {
  return value.toExponential(precision).replace(/e([+-])(\d)$/, "e$10$2");
}

/** Digits of a number without its sign, for a numeric type. */
function magnitude(value: number | bigint, { type, precision, alternate }: FormatSpec): string {
  const size = typeof value === "bigint" ? (value < 0n ? -value : value) : Math.abs(value);
  const real = Number(size);
  if (real === Number.POSITIVE_INFINITY) return "inf";
  switch (type) {
    case "f":
    case "F":
      return real.toFixed(precision ?? 6);
    case "e":
      return exponential(real, precision ?? 6);
    case "E":
      return exponential(real, precision ?? 6).toUpperCase();
    case "g":
    case "n":
      return formatSignificant(real, Math.max(precision ?? 6, 1));
    case "G":
      return formatSignificant(real, Math.max(precision ?? 6, 1)).toUpperCase();
    case "%":
      return `${(real * 100).toFixed(precision ?? 6)}%`;
    case "x":
      return `${alternate ? "0x" : ""}${size.toString(16)}`;
    case "X":
      return `${alternate ? "0X" : ""}${size.toString(16).toUpperCase()}`;
    case "o":
      return `${alternate ? "0o" : ""}${size.toString(8)}`;
    case "b":
      return `${alternate ? "0b" : ""}${size.toString(2)}`;
    case "c":
      return String.fromCodePoint(real);
    default:
      return precision === undefined ? String(size) : formatSignificant(real, Math.max(precision, 1));
  }
}

function pad(body: string, spec: FormatSpec, align: string, fill = spec.fill): string {
  const missing = spec.width - lengthOf(body);
  if (missing <= 0) return body;
  if (align === ">") return fill.repeat(missing) + body;
  if (align !== "^") return body + fill.repeat(missing);
  const left = Math.floor(missing / 2);
  return fill.repeat(left) + body + fill.repeat(missing - left);
}

function formatNumber(value: number | bigint, spec: FormatSpec): string {
  const sign = value < 0 ? "-" : spec.sign === "+" || spec.sign === " " ? spec.sign : "";
  const digits = spec.grouping === "" ? magnitude(value, spec) : grouped(magnitude(value, spec), spec.grouping);
  const inside = spec.align === "=" || (spec.zeroPad && spec.align === "");
  if (!inside) return pad(sign + digits, spec, spec.align || ">");
  const missing = spec.width - sign.length - digits.length;
  return sign + (missing > 0 ? (spec.zeroPad ? "0" : spec.fill).repeat(missing) : "") + digits;
}

function formatText(value: string, spec: FormatSpec): string {
  const fits = spec.precision === undefined || lengthOf(value) <= spec.precision;
  const body = fits ? value : charsOf(value).slice(0, spec.precision).join("");
  return pad(body, spec, spec.align === "=" ? "<" : spec.align || "<", spec.zeroPad && spec.align === "" ? "0" : spec.fill);
}

/** Nothing is asked for: values show as they are. */
function isBare({ align, sign, alternate, zeroPad, width, grouping, precision, type }: FormatSpec): boolean {
  return align === "" && sign === "" && !alternate && !zeroPad && width === 0 && grouping === "" && precision === undefined && type === "";
}

/** Booleans and named numbers are numbers to any specification, as in Python. */
function plainValue(value: OutputValue, spec: FormatSpec): Exclude<OutputValue, boolean | NamedNumber> {
  const isNamed = typeof value === "object" && value !== null;
  if (!isNamed && typeof value !== "boolean") return value;
  if (isBare(spec) || spec.type === "s") return textOf(value);
  return isNamed ? value.number : Number(value);
}

/**
 * A value that has been converted, in its width. `spec` may be text. Throws FormatError for a specification that is none, and for
 * text where a number is wanted.
 */
export function formatField(given: OutputValue | Moment, specification: FormatSpec | string): string {
  const spec = typeof specification === "string" ? parseFormatSpec(specification) : specification;
  if (isMoment(given)) {
    const value = given;
    const moment = value.seconds === 0 ? "" : strftime(spec.time === "" ? "%FT%T" : spec.time, value.seconds);
    return formatText(moment === "" && spec.hyphen ? "-" : moment, spec);
  }
  const value = plainValue(given, spec);
  const numeric = spec.type !== "" && spec.type !== "s";
  const plain = textOf(value);
  if (spec.hyphen) {
    const shown = EMPTY_OUTPUTS.has(plain) || plain === strftime("%FT%T", 0) ? "-" : plain;
    return marked(formatText(shown, spec), shown, spec);
  }
  const number = typeof value === "bigint" ? value : numberOf(value);
  if ((numeric && number !== undefined) || typeof value === "number" || typeof value === "bigint") {
    if (spec.type !== "s" && number !== undefined) return marked(formatNumber(number, spec), plain, spec);
  }
  if (numeric && plain !== "") throw new FormatError("output value", plain, `Unknown format code '${spec.type}' for object of type 'str'`);
  return marked(formatText(plain, spec), plain, spec);
}

/** With `+`, a plus sign in place of the last character of what was cut. */
function marked(shown: string, whole: string, spec: FormatSpec): string {
  if (!spec.markCut) return shown;
  const chars = charsOf(shown);
  return chars.length < charsOf(whole).length ? `${chars.slice(0, -1).join("")}+` : shown;
}

/** Conversion, then format: what a column shows of a value. */
export function formatColumn(column: OutputColumn, value: OutputValue): string {
  return formatField(convertValue(value, column.conversion), column.spec);
}

/** Whether `?:` may drop a column with this value in every row: it shows as nothing, as no time at all, or as a hyphen. */
export function isEmptyOutput(column: OutputColumn, value: OutputValue): boolean {
  const bare: FormatSpec = { ...column.spec, width: 0, fill: " ", align: "", zeroPad: false, hyphen: false };
  const shown = formatField(convertValue(value, column.conversion), bare).trim();
  return EMPTY_OUTPUTS.has(shown) || shown === "-";
}

/** The column made wide enough for `width` characters; a precision grows with it. */
export function widened(column: OutputColumn, width: number): OutputColumn {
  const { spec } = column;
  if (width <= spec.width && (spec.precision ?? width) >= width) return column;
  const precision =
    spec.precision === undefined || spec.type.replace("s", "") !== "" ? spec.precision : Math.max(spec.precision, width);
  return { ...column, spec: { ...spec, width: Math.max(spec.width, width), precision } };
}

/** Width a value needs to be shown whole in this column. */
export function neededWidth(column: OutputColumn, value: OutputValue): number {
  const { spec } = column;
  const precision = spec.type === "" || spec.type === "s" ? undefined : spec.precision;
  return lengthOf(formatField(convertValue(value, column.conversion), { ...spec, width: 0, precision }));
}

/** Applies `?:` and `+:` for these rows; `valueOf` reads a field, `heading` its title (undefined when there is no header). */
export function fitColumns<Row>(
  format: OutputFormat,
  rows: readonly Row[],
  valueOf: (row: Row, field: string) => OutputValue,
  heading: (field: string) => string | undefined,
): OutputFormat {
  const kept = withoutColumns(
    format,
    (column) => column.dropEmpty && rows.every((row) => isEmptyOutput(column, valueOf(row, column.field))),
  );
  const columns = kept.columns.map((column) => {
    if (!column.grow) return column;
    let width = lengthOf(heading(column.field) ?? "");
    for (const row of rows) width = Math.max(width, neededWidth(column, valueOf(row, column.field)));
    return widened(column, width);
  });
  return { ...kept, columns };
}

export function formatRow(format: OutputFormat, valueOf: (field: string) => OutputValue): string {
  return format.columns.map((column) => column.before + formatColumn(column, valueOf(column.field))).join("") + format.tail;
}

/** The line of titles: each in the width and alignment of its column. */
export function formatHeader(format: OutputFormat, heading: (field: string) => string): string {
  return (
    format.columns
      .map((column) => {
        const { align, width } = column.spec;
        const spec: FormatSpec = { ...parseFormatSpec(""), align: align === "=" ? "" : align, width };
        return column.before + formatField(heading(column.field), spec);
      })
      .join("") + format.tail
  );
}

/** Order of two values of a sort key: nothing, then numbers (also in text), then text. */
export function compareValues(a: OutputValue, b: OutputValue): number {
  const rank = (value: OutputValue) => (["", "-"].includes(textOf(value)) ? 0 : numberOf(value) === undefined ? 2 : 1);
  const order = rank(a) - rank(b);
  if (order !== 0 || rank(a) === 0) return order;
  const x = numberOf(a) ?? textOf(a);
  const y = numberOf(b) ?? textOf(b);
  return x < y ? -1 : x > y ? 1 : 0;
}

/** Rows in the order of the keys; rows that compare equal stay as they were. */
export function sortRows<Row>(
  rows: readonly Row[],
  keys: readonly SortKey[],
  valueOf: (row: Row, field: string) => OutputValue,
): Row[] {
  return rows.toSorted((a, b) => {
    for (const { field, reverse } of keys) {
      const order = compareValues(valueOf(a, field), valueOf(b, field));
      if (order !== 0) return reverse ? -order : order;
    }
    return 0;
  });
}
