// Command lines to jobspecs: the structure that services and scripts know.
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { applyEnvironmentRules } from "../../src/cli/environment-rules.ts";
import { parseWords } from "../../src/cli/getopt.ts";
import { parseMoment } from "../../src/cli/moment.ts";
import { namePattern } from "../../src/cli/patterns.ts";
import { applyRlimitRules } from "../../src/cli/rlimit-rules.ts";
import { spacedJson } from "../../src/cli/spaced-json.ts";
import { type JobOptions, jobspecOfOptions, RESOURCE_OPTIONS, stdinRanks, submissionTerms, SUBMISSION_OPTIONS, timeLimit_s } from "../../src/cli/submission.ts";
import { parseJobspec } from "../../src/formats/jobspec.ts";

const folder = mkdtempSync(join(tmpdir(), "flux-submission-"));
afterAll(() => rmSync(folder, { recursive: true }));

async function jobspec(...words: string[]) {
  const { values, args } = parseWords({ ...SUBMISSION_OPTIONS, ...RESOURCE_OPTIONS }, words, true);
  const spec = await jobspecOfOptions(values as object as JobOptions, args);
  parseJobspec(spec);
  return spec;
}

const plain = ["--env-remove=*", "--rlimit=-*", "--cwd=/tmp"];

describe("what is wrong with an option names it", () => {
  test.each<[string[], string]>([
    [["-t", "3y"], "--time-limit=3y: invalid Flux standard duration: give minutes, or a number with s, m, h or d, such as 90s or 1.5h"],
    [["--signal=@3y"], "--signal=@3y: invalid Flux standard duration"],
    [["--signal=SIG"], "--signal=SIG: signal 'SIG' is invalid"],
    [["--signal=-1"], "--signal=-1: signal must be > 0"],
    [["-o", "foo", "-o", "foo.bar=hi"], 'failed to set attributes.system.shell.options.foo.bar to hi: "foo" is set and is no object'],
    [["--resources-shape=slot=4/node", "--resources-json=x"], "--resources-shape and --resources-json exclude each other: use only one"],
    [["--add-file=a\nb"], "--add-file: file name missing"],
    [["--add-file=x:foo=nosuch"], "--add-file=x:foo=nosuch: [Errno 2] No such file or directory: 'nosuch'"],
  ])("%j", async (words, problem) => {
    expect((await jobspec(...plain, ...words, "true").catch((err: Error) => err.message)) as string).toBe(problem);
  });
});

test("--add-file: content on the command line, permissions, names with a colon", async () => {
  const files = (await jobspec(...plain, "--add-file=a=one\\n", "--add-file=b:755=two\n", "--add-file=c:d=3\\n", "true")).attributes.system?.["files"];
  expect(files).toEqual({
    a: { mode: 0o100600, size: 4, data: "one\n", encoding: "utf-8" },
    b: { mode: 0o100755, size: 4, data: "two\n", encoding: "utf-8" },
    "c:d": { mode: 0o100600, size: 2, data: "3\n", encoding: "utf-8" },
  });
});

describe("jobspec", () => {
  test("tasks, cores, time, attributes and shell options", async () => {
    const spec = await jobspec(...plain, "-n4", "-c2", "-t", "5m", "--job-name=foo", "-Suser.x=1", "-o", "verbose=1", "-opty", "-oa.b=str", "-qq", "hostname", "-f");
    expect(spec).toEqual({
      resources: [{ type: "slot", count: 4, with: [{ type: "core", count: 2 }], label: "task" }],
      tasks: [{ command: ["hostname", "-f"], slot: "task", count: { per_slot: 1 } }],
      attributes: {
        system: { duration: 300, environment: {}, cwd: "/tmp", job: { name: "foo" }, queue: "q", shell: { options: { verbose: 1, pty: 1, a: { b: "str" } } } },
        user: { x: 1 },
      },
      version: 1,
    });
  });

  test("whole nodes; resources of nodes; shapes", async () => {
    expect((await jobspec(...plain, "-N2", "true")).resources).toEqual([
      { type: "node", count: 2, exclusive: true, with: [{ type: "slot", count: 1, with: [{ type: "core", count: 1 }], label: "task" }] },
    ]);
    const perNode = await jobspec(...plain, "--cores=4", "--tasks-per-node=2", "-N2", "true");
    expect(perNode.attributes.system?.["shell"]).toEqual({ options: { "per-resource": { type: "node", count: 2 } } });
    const shape = await jobspec(...plain, "--resources-shape=slot=2/core=1", "-n99", "true");
    expect(shape.resources).toEqual([{ type: "slot", count: 2, label: "task", with: [{ type: "core", count: 1 }] }]);
  });

  test("dependencies, constraints, signals, task maps, files", async () => {
    const path = join(folder, "file");
    writeFileSync(path, "hi\n", { mode: 0o644 });
    const spec = await jobspec(
      ...plain, "--dependency=afterany:123", "--begin-time=+1h", "--dependency=afterok:ƒ1?x=2", "--requires=rank:0-1 and not foo", "--signal=USR1@30s",
      "--taskmap=cyclic", `--add-file=in:755=${path}`, "true",
    );
    const system = spec.attributes.system ?? {};
    const dependencies = system["dependencies"] as { scheme: string; value: string }[];
    expect(dependencies.map(({ scheme }) => scheme)).toEqual(["afterany", "begin-time", "afterok"]);
    expect(Number(dependencies[1]?.value)).toBeGreaterThan(Date.now() / 1000 + 3500);
    expect(dependencies[2]).toEqual({ scheme: "afterok", value: "ƒ1", x: 2 } as never);
    expect(system["constraints"]).toEqual({ and: [{ ranks: ["0-1"] }, { not: [{ properties: ["foo"] }] }] });
    expect(system["shell"]).toEqual({ options: { signal: { signum: 10, timeleft: 30 }, taskmap: { scheme: "cyclic", value: "" } } });
    expect(system["files"]).toEqual({ in: { mode: 0o100755, size: 3, data: "hi\n", encoding: "utf-8" } });
  });

  for (const [problem, ...words] of [
    ["job command and arguments are missing"],
    ["node count must be an integer >= 1 (if set)", "-N0", "true"],
    ["--ntasks: invalid int value 'foo'", "-nfoo", "true"],
    ["node count must not be greater than task count", "-N4", "-n2", "true"],
    ["invalid Flux standard duration", "-tfoo", "true"],
    ["duration must not be negative", "-t", "-1", "true"],
    ["Per-resource options can't be used with per-task options. (See --help for details)", "--cores=2", "-n2", "true"],
    ["Do not specify both the number of tasks per node and per core", "--tasks-per-core=2", "--tasks-per-node=1", "true"],
    ['No corresponding rlimit matching "foo"', "--rlimit=foo", "true"],
    ["--signal=NOPE: signal 'NOPE' is invalid", "--signal=NOPE", "true"],
    ['Invalid datetime: "foo"', "--begin-time=foo", "true"],
    ["--env: [Errno 2] No such file or directory: '/nowhere'", "--env-file=/nowhere", "true"],
    ["--add-file=/nowhere/x: [Errno 2] No such file or directory: '/nowhere/x'", "--add-file=/nowhere/x", "true"],
    ["--requires='nosuch:(': Missing argument to token 'nosuch:'", "--requires=nosuch:(", "true"],
  ] as const) {
    test(`wrong: ${words.join(" ")}`, async () => {
      await expect(jobspec(...words)).rejects.toThrow(problem);
    });
  }
});

test("terms of submission", () => {
  expect(submissionTerms({ urgency: "hold", flags: ["debug,waitable"] })).toEqual({ urgency: 0, flags: 6 });
  expect(submissionTerms({ urgency: undefined, flags: [] })).toEqual({ urgency: 16, flags: 0 });
  expect(() => submissionTerms({ urgency: "soon", flags: [] })).toThrow("invalid literal for int() with base 10: 'soon'");
  expect(() => submissionTerms({ urgency: undefined, flags: ["nope"] })).toThrow("--flags: Unknown flag nope");
});

test("a time limit is in minutes unless it has a unit", () => {
  expect(["2", "0.5", "90s", "1.5h"].map(timeLimit_s)).toEqual([120, 30, 90, 5400]);
});

test("--input takes ranks or a file", () => {
  expect(["0", "0-3,7", "[1-2]", "file", "./3"].map(stdinRanks)).toEqual(["0", "0-3,7", "[1-2]", undefined, undefined]);
});

describe("environment", () => {
  const own = { HOME: "/home/x", FLUX_URI: "local://x", PATH: "/bin" };

  test("rules apply in their order", () => {
    expect(applyEnvironmentRules([], own).environment).toEqual(own);
    expect(applyEnvironmentRules(["-*", "A=1", "B=x${A}$$", "FLUX_*"], own).environment).toEqual({ A: "1", B: "x1$", FLUX_URI: "local://x" });
    expect(applyEnvironmentRules(["-/^(HOME|FLUX_.*)$/", "PATH=$PATH:/new"], own).environment).toEqual({ PATH: "/bin:/new" });
    expect(applyEnvironmentRules(["-*", "X={{id}}"], own)).toEqual({ environment: {}, expand: { X: "{{id}}" } });
  });

  test("rules from files", () => {
    const path = join(folder, "rules");
    writeFileSync(path, "-*\nA=1\n\nB=$A\n");
    expect(applyEnvironmentRules([`^${path}`, "C=3"], own).environment).toEqual({ A: "1", B: "1", C: "3" });
    writeFileSync(path, `^${path}\n`);
    expect(() => applyEnvironmentRules([`^${path}`], own)).toThrow("more than 16 files");
  });

  test("what can't be expanded is named", () => {
    expect(() => applyEnvironmentRules(["A=$NOPE"], own)).toThrow("--env: Variable 'NOPE' not found in A=$NOPE");
    expect(() => applyEnvironmentRules(["A=$("], own)).toThrow("--env: Unable to substitute A=$(");
  });
});

test("patterns of names", () => {
  const matches = (pattern: string, ...names: string[]): string[] => names.filter(namePattern(pattern));
  expect(matches("A*", "A", "AB", "BA", "A.B")).toEqual(["A", "AB", "A.B"]);
  expect(matches("?[!x-z]", "ab", "ax", "a")).toEqual(["ab"]);
  expect(matches("/A|B/", "AX", "XA", "B")).toEqual(["AX", "B"]);
  expect(() => namePattern("/(")).toThrow("invalid pattern '/('");
});

test("resource limits", () => {
  expect(Object.keys(applyRlimitRules([]))).toEqual(["cpu", "fsize", "data", "stack", "core", "nofile", "as", "rss", "nproc"]);
  expect(applyRlimitRules(["-*,core=16", "stack=unlimited"])).toEqual({ core: 16, stack: -1 });
  expect(Object.keys(applyRlimitRules(["-*", "no*"]))).toEqual(["nofile"]);
  expect(() => applyRlimitRules(["core=x"])).toThrow("Invalid value in core=x");
});

test("moments", () => {
  const now = new Date(2026, 10, 21, 14, 30).getTime() / 1000; // a Saturday
  const local = (...parts: [number, number, number, number?, number?]): number => new Date(...parts).getTime() / 1000;
  expect(parseMoment("now", now)).toBe(now);
  expect(parseMoment("2 hours ago", now)).toBe(now - 7200);
  expect(parseMoment("8pm tomorrow", now)).toBe(local(2026, 10, 22, 20, 0));
  expect(parseMoment("8:00:21 on monday", now)).toBe(local(2026, 10, 23, 8, 0) + 21);
  expect(parseMoment("an hour from now", now)).toBe(now + 3600);
  expect(parseMoment("in 30s", now)).toBe(now + 30);
  expect(parseMoment("1h ago", now)).toBe(now - 3600);
  expect(parseMoment("a year ago", now)).toBe(now - 365 * 86_400);
  expect(parseMoment("last week", now)).toBe(local(2026, 10, 14, 0, 0));
  expect(parseMoment("last monday", now)).toBe(local(2026, 10, 16, 0, 0));
  expect(parseMoment("last saturday", now)).toBe(local(2026, 10, 14, 0, 0));
  expect(parseMoment("next monday", now)).toBe(local(2026, 10, 23, 0, 0));
  expect(() => parseMoment("many hours ago", now)).toThrow("Invalid datetime");
  expect(parseMoment("+1.5h", now)).toBe(now + 5400);
  expect(parseMoment("-2m", now)).toBe(now - 120);
  expect(parseMoment("3pm", now)).toBe(local(2026, 10, 21, 15, 0));
  expect(parseMoment("12:15 am", now)).toBe(local(2026, 10, 21, 0, 15));
  expect(parseMoment("tomorrow noon", now)).toBe(local(2026, 10, 22, 12, 0));
  expect(parseMoment("sunday", now)).toBe(local(2026, 10, 22));
  expect(parseMoment("2026-01-02", now)).toBe(local(2026, 0, 2));
  expect(parseMoment("2026-01-02 03:04", now)).toBe(local(2026, 0, 2, 3, 4));
  for (const word of ["foo", "", "25:00", "+x"]) expect(() => parseMoment(word, now)).toThrow();
});

test("JSON with spaces and without other characters than ASCII", () => {
  expect(spacedJson({ id: 9007199254740993n, duration: 5, a: ["x,y:z", "ƒ\"é"], b: {} })).toBe(
    '{"id": 9007199254740993, "duration": 5.0, "a": ["x,y:z", "\\u0192\\"\\u00e9"], "b": {}}',
  );
});
