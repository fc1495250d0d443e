// flux multi-prog: each task of a job becomes the program that a file names for its rank.
import { readFileSync } from "node:fs";
import { FormatError } from "../formats/error.ts";
import { IdSet } from "../formats/idset.ts";
import { quoteWord, splitWords } from "../formats/shell-words.ts";
import { errno, FluxError } from "../message/errno.ts";
import { defineCommand, exactArguments, UsageError, value } from "./command.ts";
import { fileErrorText } from "./file-error.ts";
import { idset } from "./options.ts";
import { print } from "./output.ts";

interface Program {
  /** undefined: ranks that no other line names. */
  readonly ranks: IdSet | undefined;
  readonly argv: readonly string[];
}

export default defineCommand({
  name: "multi-prog",
  style: "argparse",
  summary: "run another program in each task of a job",
  usage: "[OPTIONS] CONFIG",
  details: `Run the program that CONFIG has for the rank of this task. Its lines are 'RANKS PROGRAM ARGS...'; '*' stands for all other
ranks, %t for the rank, %o for its place among RANKS.

Example:
  flux run -n4 flux multi-prog ./programs`,
  options: { dryRun: value("-n, --dry-run IDS", "print what would run for these ranks", idset) },
  async run({ options, args }) {
    const [path] = exactArguments(args, ["CONFIG"], "flux multi-prog", "[OPTIONS] CONFIG");
    const programs = readPrograms(path);
    if (options.dryRun !== undefined) {
      for (const rank of options.dryRun) {
        print(`${rank}: ${programOf(programs, rank, path).map(quoteWord).join(" ")}`);
      }
      return 0;
    }
    const rank = process.env["FLUX_TASK_RANK"];
    if (rank === undefined || !/^\d+$/.test(rank)) throw new UsageError("FLUX_TASK_RANK not found or invalid");
    return runInstead(programOf(programs, Number(rank), path));
  },
});

function readPrograms(path: string): Program[] {
  let content: string;
  try {
    content = readFileSync(path, "utf8");
  } catch (err) {
    throw new UsageError(fileErrorText(err, path));
  }
  return parsePrograms(content, path);
}

/** The lines of a file. Throws UsageError naming the line. */
export function parsePrograms(content: string, path: string): Program[] {
  return content.split("\n").flatMap((line, index): Program[] => {
    let words: string[];
    try {
      words = splitWords(line);
    } catch (err) {
      if (!(err instanceof FormatError)) throw err;
      throw new UsageError(`${path}: line ${index + 1}: '${line.trimEnd()}': No closing quotation`);
    }
    const [ranks, ...argv] = words;
    if (ranks === undefined) return [];
    const set = ranks === "*" ? undefined : parseRanks(ranks, `${path}: line ${index + 1}: invalid idset: ${ranks}`);
    return argv.length === 0 ? [] : [{ ranks: set, argv }];
  });
}

function parseRanks(word: string, problem: string): IdSet {
  try {
    return IdSet.parse(word);
  } catch {
    throw new UsageError(problem);
  }
}

/** The command line of a rank: that of the first line that names it, else that of the last '*'. Throws UsageError. */
export function programOf(programs: readonly Program[], rank: number, path: string): string[] {
  const found = programs.find(({ ranks }) => ranks?.has(rank) === true) ?? programs.findLast(({ ranks }) => ranks === undefined);
  if (found === undefined) throw new UsageError(`${path}: No matching line for rank ${rank}`);
  const place = found.ranks === undefined ? 0 : found.ranks.toArray().indexOf(rank);
  return found.argv.map((arg) => arg.replace(/%[to]/g, (tag) => String(tag === "%t" ? rank : place)));
}

/** The program in our place: with our input, output, descriptors (that of PMI, too) and signals. Throws UsageError. */
async function runInstead(argv: readonly string[]): Promise<never> {
  const { becomeProgram } = await import("../os/exec.ts");
  try {
    return becomeProgram(argv);
  } catch (err) {
    if (!(err instanceof FluxError)) throw err;
    throw new UsageError(err.message, err.errno === errno.ENOENT ? 127 : 126);
  }
}
