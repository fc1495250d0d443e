// Templates and inputs of flux bulksubmit; programs of flux multi-prog.
import { describe, expect, test } from "bun:test";
import { fillTemplate, type InputScope, parseDefine, splitInputs } from "../../src/cli/input-template.ts";
import { parsePrograms, programOf } from "../../src/cli/multi-prog.ts";

const scope = (inputs: string[], ...defines: string[]): InputScope => ({
  inputs,
  methods: Object.fromEntries(defines.map(parseDefine)),
  names: { seq: "4", seq1: "5", cc: "{cc}" },
});

describe("templates", () => {
  test.each([
    ["{}", ["a"], ["a"]],
    ["{1}-{0}-{1}", ["a", "b"], ["b-a-b"]],
    ["{} {}", ["a", "b"], ["a b"]],
    ["{.%} {./} {.//} {./%}", ["x/y.tar.gz", "x/y.tar.gz", "x/y.tar.gz", "x/y.tar.gz"], ["x/y.tar y.tar.gz x y.tar"]],
    ["{0./%}{0.//}", ["name"], ["name"]],
    ["{seq} {seq1} {cc} {seq:03} {0:>3}", ["a"], ["4 5 {cc} 004   a"]],
    ["{{id}}-{}.{{taskid}}", ["a"], ["{{id}}-a.{{taskid}}"]],
    ["no fields", [], ["no fields"]],
  ])("%j with %j", (template, inputs, wanted) => {
    expect(fillTemplate(template, scope(inputs))).toEqual(wanted);
  });

  test("methods of --define: a value, or a list that becomes several words", () => {
    expect(fillTemplate("-n{.p2}", scope(["5"], "p2=2**int(x)"))).toEqual(["-n32"]);
    expect(fillTemplate("<{0.words}>", scope(["a b c"], "words=x.split(' ')"))).toEqual(["<a", "b", "c>"]);
    expect(() => fillTemplate("{.bad}", scope(["a"], "bad=x.nothing.there"))).toThrow("--define=bad");
    expect(() => parseDefine("x=(")).toThrow("--define=x=(");
    expect(() => parseDefine("novalue")).toThrow("expected NAME=CODE");
  });

  test.each([["{1}", "Invalid replacement"], ["{nothing}", "Invalid replacement"], ["{.up}", "Unknown input string method"], ["{0:x}", "Invalid format"]])(
    "%s is refused",
    (template, problem) => expect(() => fillTemplate(template, scope(["a"]))).toThrow(problem),
  );
});

describe("inputs", () => {
  const files: Readonly<Record<string, string[]>> = { "-": ["s1", "s2"], file: ["f1", "f2"] };
  const combinations = (...words: string[]) => splitInputs(words, (path) => files[path] ?? []).combinations;

  test("lists are combined, linked ones are cycled", () => {
    expect(combinations("echo", ":::", "a", "b", ":::", "1", "2")).toEqual([["a", "1"], ["a", "2"], ["b", "1"], ["b", "2"]]);
    expect(combinations("echo", ":::", "a", "b", "c", ":::+", "1", "2")).toEqual([["a", "1"], ["b", "2"], ["c", "1"]]);
    expect(combinations("echo", ":::+", "1", "2", ":::", "a", "b")).toEqual([["1", "a"], ["2", "b"]]);
  });

  test("come from files and stdin", () => {
    expect(combinations("echo")).toEqual([["s1"], ["s2"]]);
    expect(combinations("::::", "file", ":::", "x")).toEqual([["f1", "x"], ["f2", "x"]]);
    expect(combinations("::::", "-", "::::+", "file")).toEqual([["s1", "f1"], ["s2", "f2"]]);
    expect(splitInputs(["cmd", "-v", ":::", "x"], () => []).command).toEqual(["cmd", "-v"]);
    expect(combinations("echo", "::::", "none")).toEqual([]);
  });

  test("wrong ones are refused", () => {
    expect(() => combinations("::::", "a", "b")).toThrow("Multiple args");
    expect(() => combinations("::::")).toThrow("a file is missing");
    expect(() => combinations("x", ":::?", "a")).toThrow("unknown input delimiter");
  });
});

describe("multi-prog", () => {
  const programs = parsePrograms("# comment\n0 echo a %t %o\n1-3 echo b%t '%o x' # c\n\n* other %o\n", "conf");

  test("the line that names a rank, else the one for all others", () => {
    expect(programOf(programs, 0, "conf")).toEqual(["echo", "a", "0", "0"]);
    expect(programOf(programs, 3, "conf")).toEqual(["echo", "b3", "2 x"]);
    expect(programOf(programs, 9, "conf")).toEqual(["other", "0"]);
  });

  test("errors name the file and the line", () => {
    expect(() => programOf(parsePrograms("0 true\n", "conf"), 1, "conf")).toThrow("conf: No matching line for rank 1");
    expect(() => parsePrograms("0 true\nfoo true\n", "conf")).toThrow("conf: line 2: invalid idset: foo");
    expect(() => parsePrograms("0 'true\n", "conf")).toThrow("conf: line 1: '0 'true': No closing quotation");
  });
});
