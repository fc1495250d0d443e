import { expect, test } from "bun:test";
import { parseCommand } from "../../src/client/subprocess-command.ts";
import { recordSubprocess } from "../../src/client/subprocess-record.ts";

function record(cmd: object, keepOutput = false): { log: unknown[]; record: ReturnType<typeof recordSubprocess> } {
  const log: unknown[] = [];
  const command = parseCommand({ cmdline: ["/usr/bin/prog", "-x"], ...cmd });
  return { log, record: recordSubprocess({ log: (...entry) => log.push(entry), command, pid: 7, rank: 2, keepOutput }) };
}

test("whole lines go to the log, those of stderr as errors, and how it ended", () => {
  const { log, record: it } = record({});
  it.output("stdout", Buffer.from("one\ntw"));
  it.output("stderr", Buffer.from("bad\n"));
  it.output("stdout", Buffer.from("o"));
  it.endOf("stdout");
  it.finished(3 << 8);
  expect(log).toEqual([[6, "prog[7]: one"], [3, "prog[7]: bad"], [6, "prog[7]: two"], [6, "prog[7]: Exit 3"]]);
  expect(it.kept).toEqual([]);
});

test("a label stands for the program", () => {
  const { log, record: it } = record({ label: "nap" });
  it.output("stdout", Buffer.from("zz\n"));
  it.finished(9);
  expect(log).toEqual([[6, "nap[7]: zz"], [6, "nap: prog[7]: Killed by signal 9"]]);
});

test("the last lines of 8 KB are kept, and always the very last", () => {
  const { record: it } = record({}, true);
  const line = (i: number): string => `${String(i).padStart(99, "0")}\n`;
  for (let i = 0; i < 100; i++) it.output("stdout", Buffer.from(line(i)));
  expect(it.kept).toHaveLength(81);
  expect(it.kept.at(-1)).toEqual({ stream: "stdout", rank: "2", data: line(99) });
  const long = `${"x".repeat(10_000)}\n`;
  it.output("stderr", Buffer.from(long));
  expect(it.kept).toEqual([{ stream: "stderr", rank: "2", data: long }]);
});
