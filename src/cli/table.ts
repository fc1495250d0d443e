// Tables: rows of a command's output in a format that the user names or writes (see src/formats/outputformat.ts).
import { FormatError } from "../formats/error.ts";
import {
  checkFields, fitColumns, formatHeader, formatRow, type OutputFormat, type OutputValue, parseOutputFormat, sortRows,
} from "../formats/outputformat.ts";
import { UsageError } from "./command.ts";
import { write } from "./output.ts";

/** What is wrong with a text, without the name of the format and the text itself. */
export function problemOf(err: FormatError): string {
  return err.message.replace(/^invalid [a-z ]+(?: "(?:[^"\\]|\\.)*")?: /, "").replace(/ at character \d+$/, "");
}

export interface Fields<Row> {
  /** Title of a field; undefined for a field that doesn't exist. */
  heading(field: string): string | undefined;
  value(row: Row, field: string): OutputValue;
}

/** Parses and checks a format. Throws UsageError. */
export function parseTable(text: string, fields: Pick<Fields<never>, "heading">, prefix: string = ""): OutputFormat {
  try {
    const format = parseOutputFormat(text);
    checkFields(format, { has: (field) => fields.heading(field) !== undefined });
    return format;
  } catch (err) {
    if (err instanceof FormatError) throw new UsageError(prefix + problemOf(err));
    throw err;
  }
}

/** The format sorted by other keys: "name,-t_submit". Throws UsageError. */
export function withSortKeys(format: OutputFormat, keys: string, fields: Pick<Fields<never>, "heading">): OutputFormat {
  const sort = keys.split(",").map((key) => (key.startsWith("-") ? { field: key.slice(1), reverse: true } : { field: key, reverse: false }));
  for (const { field } of sort) if (fields.heading(field) === undefined) throw new UsageError(`Invalid sort key: ${field}`);
  return { ...format, sort };
}

export interface TableOptions<Row> {
  readonly header: boolean;
  /** Cut lines here; undefined: never. */
  readonly width?: number | undefined;
  /** Wraps a line, newline and all: for colours. */
  readonly decorate?: (row: Row, line: string) => string;
}

/** The format as these rows need it: for more rows below them, in the same columns. */
export function fittedFormat<Row>(format: OutputFormat, rows: readonly Row[], fields: Fields<Row>): OutputFormat {
  const fitted = fitColumns(format, rows, (row, field) => fields.value(row, field), (field) => fields.heading(field));
  return { ...fitted, columns: fitted.columns.map((column) => ({ ...column, dropEmpty: false, grow: false })) };
}

/** Lines of the table. Throws UsageError for a value that a column can't show. */
export function tableLines<Row>(format: OutputFormat, rows: readonly Row[], fields: Fields<Row>, options: TableOptions<Row>): string {
  try {
    const sorted = sortRows(rows, format.sort, (row, field) => fields.value(row, field));
    const fitted = fitColumns(format, sorted, (row, field) => fields.value(row, field), (field) => (options.header ? fields.heading(field) : undefined));
    let text = options.header ? `${cut(formatHeader(fitted, (field) => fields.heading(field) ?? ""), options.width)}\n` : "";
    for (const row of sorted) {
      const shown = formatRow(fitted, (field) => fields.value(row, field));
      // A row that has nothing to say has no line.
      if (shown.trim() === "") continue;
      const line = `${cut(shown, options.width)}\n`;
      text += options.decorate === undefined ? line : options.decorate(row, line);
    }
    return text;
  } catch (err) {
    if (err instanceof FormatError) throw new UsageError(problemOf(err));
    throw err;
  }
}

/** Prints the table in one write. */
export function printTable<Row>(format: OutputFormat, rows: readonly Row[], fields: Fields<Row>, options: TableOptions<Row>): void {
  write(tableLines(format, rows, fields, options));
}

function cut(line: string, width: number | undefined): string {
  if (width === undefined || width <= 0) return line;
  const chars = Array.from(line);
  return chars.length <= width ? line : `${chars.slice(0, Math.max(0, width - 1)).join("")}+`;
}

/** A real as scripts know it: "0.0", "3600.0", "1795227332.506027". */
export function realText(value: number): string {
  return Number.isInteger(value) ? `${value}.0` : String(value);
}
