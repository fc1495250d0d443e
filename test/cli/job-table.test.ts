// Tables of jobs: columns, fields and JSON as scripts know them.
import { describe, expect, test } from "bun:test";
import { attributesOf, jobJson, JOB_FIELDS, toJobRow } from "../../src/cli/job-row.ts";
import { parseFilters } from "../../src/cli/job-list.ts";
import { progressLine } from "../../src/cli/progress.ts";
import { parseTable, tableLines, withSortKeys } from "../../src/cli/table.ts";
import { parseJobId } from "../../src/formats/fluid.ts";
import type { JsonObject } from "../../src/formats/json.ts";

const ID = 9_007_199_254_740_993n;
const READ_S = 1_700_000_100;

function row(info: JsonObject) {
  return toJobRow({ id: ID, userid: 4_000_000, name: "prog", ntasks: 4, urgency: 16, priority: 16, t_submit: 1_700_000_000.5, ...info }, READ_S);
}

const pending = row({ state: 8, annotations: { sched: { t_estimate: READ_S + 90 } } });
const running = row({ state: 16, nnodes: 2, nodelist: "node[0-1]", ranks: "[0-1]", t_run: 1_700_000_050, expiration: 1_700_003_650.0 });
const ended = (result: number, more: JsonObject = {}) =>
  row({ state: 64, result, nnodes: 1, nodelist: "node0", t_run: 1_700_000_001, t_cleanup: 1_700_000_002.5, t_inactive: 1_700_000_003, ...more });

const show = (format: string, ...rows: ReturnType<typeof row>[]): string =>
  tableLines(parseTable(format, JOB_FIELDS), rows, JOB_FIELDS, { header: true });

describe("table of jobs", () => {
  test("a column without a value in any row is left out; one grows to fit", () => {
    expect(show("{name:>6} ?:{queue:<8.8} +:{username:<3} {nnodes:>6h} {contextual_time!F:>8h} {contextual_info}", pending, running)).toBe(
      "  NAME USER    NNODES     TIME INFO\n" +
        "  prog 4000000      -        - eta:1.5m\n" +
        "  prog 4000000      2      50s node[0-1]\n",
    );
  });

  test("status, result and reason", () => {
    const rows = [
      pending, running, ended(1, { waitstatus: 0 }), ended(2, { waitstatus: 127 << 8, exception_occurred: true, exception_type: "exec", exception_severity: 0 }),
      ended(2, { waitstatus: 137 << 8 }), ended(4, { exception_occurred: true, exception_type: "cancel", exception_note: "enough", exception_severity: 0 }), ended(8),
    ];
    expect(show("{status_abbrev} {status} {returncode} {inactive_reason}", ...rows).split("\n")).toEqual([
      "ST STATUS RC INACTIVE-REASON", "S SCHED  ", "R RUN  ", "CD COMPLETED 0 Exit 0", "F FAILED 127 command not found", "F FAILED 137 Killed",
      "CA CANCELED -128 Canceled: enough", "TO TIMEOUT  Timeout", "",
    ]);
  });

  test("a job that is no instance has the URI None, as scripts expect", () => {
    expect(show("{name} {uri}|{uri.local}", running, row({ state: 16, annotations: { user: { uri: "ssh://h/x" } } }))).toBe("NAME URI|URI\nprog None|\nprog ssh://h/x|local:///x\n");
  });

  test("ids in all forms, times, reals", () => {
    expect(show("{id.dec} {id.hex} {id.dothex} {duration} {t_remaining!F} {runtime:.2f} {t_depend!D}", running)).toBe(
      "JOBID JOBID JOBID DURATION T_REMAINING RUNTIME T_DEPEND\n9007199254740993 0x20000000000001 0020.0000.0000.0001 0.0 59.17m 50.00 \n",
    );
    expect(parseJobId(show("{id.f58plain}", running).split("\n")[1] ?? "")).toBe(ID);
  });

  test("an id is text by itself, and a number in a specification; booleans too", () => {
    const one = ended(1, { success: true });
    expect(show("{id!s:>20}|{id:>20}|{success}|{success:>3}", one).split("\n")[1]).toMatch(/^ +ƒ\w+\| {4}9007199254740993\|True\| {2}1$/);
  });

  test("a row of nothing has no line, and text where a number is wanted is an error", () => {
    expect(show("{bank} {queue}", row({ state: 16 }), row({ state: 16, bank: "b" }))).toBe("BANK QUEUE\nb \n");
    expect(() => show("{name:d}", running)).toThrow("Unknown format code 'd' for object of type 'str'");
    expect(show("{nnodes:3d}|", pending)).toBe("NNODES|\n   |\n");
  });

  test("annotations at any depth", () => {
    const annotated = row({ state: 16, annotations: { user: { a: { b: 1 } }, sched: { resource_summary: "rank0/core0" } } });
    expect(show("{user.a.b} {annotations.user} {sched.resource_summary} {user.nope.x}|", annotated)).toBe(
      'USER.A.B USER RESOURCES USER.NOPE.X|\n1 {"a": {"b": 1}} rank0/core0 |\n',
    );
  });

  test("sorting, cutting, and what is wrong with a format", () => {
    const format = withSortKeys(parseTable("{ntasks} {name}", JOB_FIELDS), "-ntasks", JOB_FIELDS);
    const rows = [row({ ntasks: 2, state: 8 }), row({ ntasks: 10, state: 8 })];
    expect(tableLines(format, rows, JOB_FIELDS, { header: false, width: 5 })).toBe("10 p+\n2 pr+\n");
    expect(() => parseTable("{nope}", JOB_FIELDS, "Error in user format: ")).toThrow("Error in user format: Unknown format field: nope");
    expect(() => parseTable("{id", JOB_FIELDS)).toThrow("expected '}' before end of string");
    expect(() => withSortKeys(format, "nope", JOB_FIELDS)).toThrow("Invalid sort key: nope");
  });

  test("only the attributes that the fields need are asked for", () => {
    expect(attributesOf(["id.f58", "runtime", "user.x", "status"]).toSorted()).toEqual(["annotations", "result", "state", "t_cleanup", "t_run"]);
  });
});

test("JSON of a job has what is known and nothing else", () => {
  expect(jobJson(pending)).toEqual({
    duration: 0, name: "prog", ntasks: 4, priority: 16, id: ID, t_submit: 1_700_000_000.5, state: "SCHED", username: "4000000", userid: 4_000_000, urgency: 16,
    status: "SCHED", dependencies: [], jobid: expect.stringMatching(/^ƒ/), annotations: { sched: { t_estimate: READ_S + 90 } }, exception: { occurred: false },
  });
  const failed = jobJson(ended(2, { waitstatus: 256, success: false, annotations: { user: { uri: "local:///x" } } }));
  expect(failed).toMatchObject({ result: "FAILED", returncode: 1, runtime: 1.5, success: false, uri: "local:///x", annotations: {} });
});

test("filters are states and results", () => {
  expect(parseFilters(["pending", "failed,timeout"])).toEqual({ states: 14, results: 10 });
  expect(() => parseFilters(["badstate"])).toThrow("Invalid filter specified: badstate");
});

test("a bar of progress fills its line", () => {
  const line = progressLine({ done: 1, total: 4, before: "PD:3 ", after: "0:00:01" }, 40);
  expect(line).toBe(`PD:3 |${"█".repeat(4)}${" ".repeat(13)}|  25.0% 0:00:01`);
  expect(progressLine({ done: 1, total: 1, before: "a very long text before", after: "0:00:01" }, 30)).toHaveLength(29);
});
