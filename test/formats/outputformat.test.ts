import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import {
  checkFields,
  compareValues,
  convertValue,
  fitColumns,
  formatField,
  formatHeader,
  formatRow,
  parseOutputFormat,
  sortRows,
  strftime,
  type OutputValue,
} from "../../src/formats/outputformat.ts";

const row = (format: string, values: Record<string, OutputValue>) =>
  formatRow(parseOutputFormat(format), (field) => values[field]);

const valueOf = (item: Record<string, OutputValue>, field: string) => item[field];

describe("output format", () => {
  test("widths, alignment, precision and numbers as Python has them", () => {
    const cases: [OutputValue, string, string][] = [
      ["ab", "", "ab"],
      ["ab", "5", "ab   "],
      ["ab", ">5", "   ab"],
      ["ab", "^5", " ab  "],
      ["ab", "*<4", "ab**"],
      ["abcdef", ".3", "abc"],
      ["abcdef", "<5.3", "abc  "],
      ["abcdef", ".4+", "abc+"],
      ["abcd", ".4+", "abcd"],
      [5, "3", "  5"],
      [5, "<3", "5  "],
      [5, "03", "005"],
      [-5, "04", "-005"],
      [5, "+", "+5"],
      [1234567, ",", "1,234,567"],
      [2.5, ".2f", "2.50"],
      [2.5, ">8.1f", "     2.5"],
      [255, "x", "ff"],
      [255, "#x", "0xff"],
      [0.25, ".0%", "25%"],
      [12345.678, ".4g", "1.235e+04"],
      [1500, ".1e", "1.5e+03"],
      ["", "h", "-"],
      ["", ">3h", "  -"],
      ["0s", "h", "-"],
      ["0.0", "h", "-"],
      ["x", ">3h", "  x"],
      [4, ">3h", "  4"],
      ["abcdef", ".3h+", "ab+"],
      [true, "", "True"],
      [null, ">2", "  "],
      [2n ** 60n, "", "1152921504606846976"],
      ["", "5.2f", "     "],
      ["2.5", ".2f", "2.50"],
      ["é".repeat(3), "4", "ééé "],
    ];
    for (const [value, spec, expected] of cases) expect(formatField(value, spec), `${JSON.stringify(value)}:${spec}`).toBe(expected);
    for (const bad of ["q", "5h5", "<<<", "99999", "+++"])
      expect(() => formatField("x", bad), bad).toThrow("invalid format specification");
  });
  test("conversions", () => {
    expect(convertValue(90, "F")).toBe("1.5m");
    expect(convertValue(0, "F")).toBe("0s");
    expect(["", undefined].map((value) => convertValue(value, "F"))).toEqual(["", ""]);
    expect([0.2, 59.6, 3661, 90061, 200000].map((value) => convertValue(value, "H"))).toEqual([
      "0:00:01",
      "0:01:00",
      "1:01:01",
      "1 day, 1:01:01",
      "2 days, 7:33:20",
    ]);
    expect([0.5, 0.015, 0.0005, 1].map((value) => convertValue(value, "P"))).toEqual(["50%", "1.5%", "0.05%", "100%"]);
    expect(convertValue(0, "D")).toBe("");
    const noon = new Date(2020, 0, 7, 13, 31, 5).getTime() / 1000;
    expect(convertValue(noon, "D")).toBe("2020-01-07T13:31:05");
    expect(row("[{t!d:%b%d %R::>13}] [{t!d}] [{u!d:%R::>3h}]", { t: noon, u: 0 })).toBe(
      "[  Jan07 13:31] [2020-01-07T13:31:05] [  -]",
    );
    expect(strftime("%j %p %y %% %q", noon)).toBe("007 PM 20 % %q");
    expect(() => convertValue("x", "F")).toThrow("needs a number");
  });
  test("the default format of flux-jobs", () => {
    const format = parseOutputFormat(
      "{id.f58:>12} ?:{queue:<8.8} +:{username:<8} {name:<10.10+} {nnodes:>6h} {contextual_time!F:>8h} {contextual_info}",
    );
    const rows = [
      {
        "id.f58": "ƒ2",
        queue: "",
        username: "averyloguser",
        name: "a-very-long-name",
        nnodes: 2,
        contextual_time: 4.5,
        contextual_info: "n[0-1]",
      },
      { "id.f58": "ƒ3", queue: "", username: "bob", name: "x", nnodes: "", contextual_time: 0, contextual_info: "" },
    ];
    const fitted = fitColumns<Record<string, OutputValue>>(format, rows, valueOf, (field) => field.toUpperCase());
    expect(formatHeader(fitted, (field) => field.toUpperCase())).toBe(
      "      ID.F58 USERNAME     NAME       NNODES CONTEXTUAL_TIME CONTEXTUAL_INFO",
    );
    expect(rows.map((item) => formatRow(fitted, (field) => valueOf(item, field)))).toEqual([
      "          ƒ2 averyloguser a-very-lo+      2   4.500s n[0-1]",
      "          ƒ3 bob          x               -        - ",
    ]);
    const queued = fitColumns<Record<string, OutputValue>>(format, [{ ...rows[0], queue: "batch" }], valueOf, () => undefined);
    expect(queued.columns.map((column) => column.field)).toContain("queue");
  });
  test("prefixes, literals and sort keys", () => {
    const format = parseOutputFormat("sort:-t_run,id a{{b}} ?+:{x:>3} end");
    expect(format.sort).toEqual([
      { field: "t_run", reverse: true },
      { field: "id", reverse: false },
    ]);
    expect(format.columns[0]).toMatchObject({ before: "a{b} ", field: "x", dropEmpty: true, grow: true });
    expect(format.tail).toBe(" end");
    expect(
      formatRow(
        fitColumns(
          format,
          [{ x: "wide one" }],
          (item, field) => (field === "x" ? item.x : ""),
          () => undefined,
        ),
        () => "wide one",
      ),
    ).toBe("a{b} wide one end");
    expect(() => checkFields(format, new Set(["x", "id"]))).toThrow("Unknown format field: t_run");
  });
  test("literal text without braces comes back", () => {
    fc.assert(
      fc.property(fc.string(), (literal) => {
        fc.pre(!literal.startsWith("sort:"));
        expect(row(literal.replace(/[{}]/g, "$&$&"), {})).toBe(literal);
      }),
    );
  });
  test("errors", () => {
    const cases: [string, string][] = [
      ["{", "expected '}'"],
      ["}", "Single '}'"],
      ["{}", "a field has no name"],
      ["{a!x}", "Unknown conversion specifier x"],
      ["{a:zz}", "Invalid format specifier 'zz' of field a"],
      ["ok {a:{b}}", "not supported at character 3"],
      ["{a!}", "Unknown conversion specifier"],
    ];
    for (const [format, message] of cases) expect(() => parseOutputFormat(format), format).toThrow(message);
  });
  test("sorting puts nothing before numbers before text", () => {
    const values: OutputValue[] = ["b", 10, "", "9", "a", null, true, "-"];
    expect([...values].sort(compareValues)).toEqual(["", null, "-", true, "9", 10, "a", "b"]);
    const rows = [
      { a: 1, b: 1 },
      { a: 2, b: 2 },
      { a: 1, b: 3 },
    ];
    expect(
      sortRows(
        rows,
        [
          { field: "a", reverse: true },
          { field: "b", reverse: false },
        ],
        (item, field) => (field === "a" ? item.a : item.b),
      ).map((item) => item.b),
    ).toEqual([2, 1, 3]);
  });
});
