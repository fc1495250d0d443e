// The rules of getopt_long(3) that people's command lines and scripts rely on.
import { describe, expect, test } from "bun:test";
import { array, assert, constantFrom, oneof, property, string } from "fast-check";
import { counter, flag, list, optional, text, valueOr } from "../../src/cli/command.ts";
import { GetoptError, GetoptValueError, optionHelp, parseWords } from "../../src/cli/getopt.ts";
import { integer } from "../../src/cli/options.ts";

const options = {
  ntasks: valueOr("-n, --ntasks N", "how many tasks", integer(0), 1),
  nodes: text("-N, --nodes N", "how many nodes"),
  setopt: list("-o, --setopt OPT", "an option of the shell"),
  verbose: counter("-v, --verbose", "say more"),
  quiet: flag("-q, --quiet", "say nothing"),
  color: optional("-L, --color [WHEN]", "colours", "always"),
};

function parse(...words: string[]): { values: Record<string, unknown>; args: readonly string[]; wantsHelp: boolean } {
  return parseWords(options, words, false);
}

function problem(...words: string[]): unknown {
  try {
    parse(...words);
  } catch (err) {
    if (err instanceof GetoptError) return err.problem;
    throw err;
  }
  return undefined;
}

describe("options", () => {
  test("stand anywhere, joined or not", () => {
    for (const words of [["-n4", "a", "-q"], ["-qn4", "a"], ["a", "--ntasks=4", "--quiet"], ["--nt", "4", "a", "--qu"]]) {
      const { values, args } = parse(...words);
      expect(values).toMatchObject({ ntasks: 4, quiet: true });
      expect(args).toEqual(["a"]);
    }
  });

  test("of argparse have whole names", () => {
    const refused = (word: string): unknown => {
      try {
        return parseWords(options, [word], false, true);
      } catch (err) {
        return (err as GetoptError).problem;
      }
    };
    for (const word of ["--qu", "--nt=4", "--nosuch=1"]) expect(refused(word)).toEqual({ kind: "unknown", option: word });
    expect(refused("--ntasks=4")).toMatchObject({ values: { ntasks: 4 } });
  });

  test("have defaults, count and collect", () => {
    expect(parse().values).toEqual({ ntasks: 1, nodes: undefined, setopt: [], verbose: 0, quiet: false, color: undefined });
    expect(parse("-vvv", "-o", "a=1", "-ob").values).toMatchObject({ verbose: 3, setopt: ["a=1", "b"] });
  });

  test("an optional value is never the next word", () => {
    expect(parse("--color", "never")).toMatchObject({ values: { color: "always" }, args: ["never"] });
    expect(parse("-L", "x")).toMatchObject({ values: { color: "always" }, args: ["x"] });
    expect(parse("--color=never").values["color"]).toBe("never");
    expect(parse("-Lnever").values["color"]).toBe("never");
  });

  test("a value may look like an option", () => {
    expect(parse("-N", "-1").values["nodes"]).toBe("-1");
    expect(parse("--nodes", "--quiet").values["nodes"]).toBe("--quiet");
    expect(parse("--nodes=").values["nodes"]).toBe("");
  });

  test("-- and - are not options", () => {
    expect(parse("a", "--", "-q", "--")).toMatchObject({ values: { quiet: false }, args: ["a", "-q", "--"] });
    expect(parse("-").args).toEqual(["-"]);
  });

  test("end at the first argument of a command that passes its words on", () => {
    const { values, args } = parseWords(options, ["-q", "prog", "-n", "7", "--", "--help"], true);
    expect(values).toMatchObject({ quiet: true, ntasks: 1 });
    expect(args).toEqual(["prog", "-n", "7", "--", "--help"]);
    expect(parseWords(options, ["-q", "--", "-prog"], true)).toMatchObject({ args: ["-prog"], isMarked: true });
    expect(parseWords(options, ["-q", "prog", "--", "-prog"], true).isMarked).toBe(false);
  });

  test("--help wins over what follows it", () => {
    expect(parse("--he", "--nonsense").wantsHelp).toBe(true);
    expect(parse("-qh").wantsHelp).toBe(true);
  });
});

describe("problems", () => {
  test("are named", () => {
    expect(problem("--nosuch")).toEqual({ kind: "unknown", option: "--nosuch" });
    expect(problem("--nosuch=3")).toEqual({ kind: "unknown", option: "--nosuch" });
    expect(problem("-z")).toEqual({ kind: "unknown", option: "-z" });
    expect(problem("--n", "4")).toEqual({ kind: "ambiguous", option: "--n", candidates: ["--ntasks", "--nodes"] });
    expect(problem("-N")).toEqual({ kind: "missing value", option: "-N" });
    expect(problem("a", "--nodes")).toEqual({ kind: "missing value", option: "--nodes" });
    expect(problem("--quiet=1")).toEqual({ kind: "unwanted value", option: "--quiet" });
    expect(() => parse("-nx")).toThrow(GetoptValueError);
  });

  test("no words make it fail otherwise, and no argument is lost", () => {
    const word = oneof(string(), constantFrom("-q", "-vv", "--quiet", "-n", "3", "--ntasks=3", "--", "-", "--color"));
    assert(
      property(array(word), (words) => {
        try {
          const { args } = parse(...words);
          expect(args.every((arg) => words.includes(arg))).toBe(true);
        } catch (err) {
          expect(err instanceof GetoptError || err instanceof GetoptValueError).toBe(true);
        }
      }),
    );
  });
});

test("help lines up names and wraps text", () => {
  const lines = optionHelp({ long: text("--long NAME", "word ".repeat(30).trim()), color: options.color });
  expect(lines[0]).toStartWith("      --long=NAME     word word");
  expect(lines).toContain("  -L, --color[=WHEN]  colours");
  expect(lines.at(-1)).toBe("  -h, --help          show this help and exit");
  expect(lines.every((line) => line.length <= 80)).toBe(true);
});
