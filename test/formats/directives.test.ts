// Submission directives (RFC 36): the examples of the RFC, and what is an error; words as a shell splits them.
import { describe, expect, test } from "bun:test";
import { array, assert, property, string } from "fast-check";
import { parseDirectives } from "../../src/formats/directives.ts";
import { quoteWord, splitWords } from "../../src/formats/shell-words.ts";

const args = (script: string): string[][] => parseDirectives(script).map((directive) => [...directive.args]);

describe("directives", () => {
  test("options on lines of their own, with comments", () => {
    const script = "#!/bin/sh\n#FLUX: -N4                  # Request four nodes\n#FLUX: --queue=batch\n#FLUX: --job-name=app001    # name\nflux run -N4 app\n";
    expect(args(script)).toEqual([["-N4"], ["--queue=batch"], ["--job-name=app001"]]);
    expect(parseDirectives(script).map(({ line }) => line)).toEqual([2, 3, 4]);
  });

  test("in a docstring, with a value over several lines", () => {
    const script = `#!/usr/bin/env python3
def main():
    """
    flux: -N4
    flux: --queue=batch
    flux: --job-name="my python job"

    # Set some arbitrary user data:
    flux: --setattr=user.data='''
    flux: x, y, z
    flux:   a, b, c
    flux: '''
    """
    run()
`;
    expect(args(script)).toEqual([["-N4"], ["--queue=batch"], ["--job-name=my python job"], ["--setattr=user.data=x, y, z\n  a, b, c\n"]]);
  });

  test("several options in one line, any prefix, other comments between", () => {
    expect(args("--\n-- flux: -N1 --exclusive\n-- flux: --output=job.out\nlocal app = require 'app'\n")).toEqual([["-N1", "--exclusive"], ["--output=job.out"]]);
    expect(args("#!/bin/sh\n# Set flux directives\n#FLUX: -N1\n# Set job name:\n\n#FLUX: --job-name=test\nhostname\n")).toEqual([["-N1"], ["--job-name=test"]]);
  });

  test("quotes of all kinds", () => {
    expect(args(`# flux: --setattr=user.data='{"option": "arg"}'`)).toEqual([['--setattr=user.data={"option": "arg"}']]);
    expect(args(`# flux: --job-name='''It's a "job"'''`)).toEqual([[`--job-name=It's a "job"`]]);
    expect(args(`# flux: --setattr=user.foo="""{"key": 42}"""`)).toEqual([['--setattr=user.foo={"key": 42}']]);
  });

  test("a directive of nothing but a comment is none", () => {
    expect(args("# flux: # -N4\n# flux:\n")).toEqual([]);
  });

  test.each([
    ["# flux: -N4\necho hello\n# flux: --queue=batch\n", "line 3: orphan 'flux:' detected: directives disabled after line 1"],
    ["# flux: -N4\n# FLUX: -n3\n", "line 2: sentinel changed from '# flux:' to '# FLUX:'"],
    ["# flux: -N4\n## flux: -n3\n", "line 2: sentinel changed"],
    ["# flux: hello\n", "line 1: Unknown directive: hello"],
    ["# flux: --job-name='a\n", "line 1: --job-name='a: No closing quotation"],
    ["# flux: --x='''\n# flux: a\nrun\n", "line 3: unterminated multi-line quote at line 1"],
    ["# flux: --x='''\n# flux: a", "line 1: unterminated multi-line quote"],
    ["# flux: --x='''a b\n", "line 1: unclosed triple quote"],
  ])("%j is refused", (script, problem) => {
    expect(() => parseDirectives(script)).toThrow(problem);
  });
});

describe("words", () => {
  test("are split at white space outside of quotes", () => {
    expect(splitWords(` a "b c"d 'e "f' \\# g\\ h  # i`)).toEqual(["a", "b cd", 'e "f', "#", "g h"]);
    expect(splitWords(`"" '' "a\\"b\\\\" x#y`)).toEqual(["", "", 'a"b\\', "x#y"]);
    expect(() => splitWords("a 'b")).toThrow("No closing quotation");
    expect(() => splitWords("a\\")).toThrow("backslash");
  });

  test("are read back as they were quoted", () => {
    assert(property(array(string()), (words) => expect(splitWords(words.map(quoteWord).join(" "))).toEqual(words)));
  });
});
