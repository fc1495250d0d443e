// flux bulksubmit: a job for each input, or combination of inputs, from stdin, files or the command line.
import { readFileSync } from "node:fs";
import { systemRandom } from "../os/random.ts";
import { counter, defineCommand, flag, list, type OptionValues, UsageError, valueOr } from "./command.ts";
import { withFlux } from "./connect.ts";
import { fileErrorText } from "./file-error.ts";
import { fillTemplate, type InputScope, parseDefine, splitInputs } from "./input-template.ts";
import { print, printError } from "./output.ts";
import { stdinRanks, submissionTerms } from "./submission.ts";
import { extendSubmission, pluginLines, preinit } from "./submission-plugins.ts";
import { MANY_OPTIONS, planCopies, submitMany } from "./submit-many.ts";
import { isTerminal } from "../os/terminal.ts";

const OPTIONS = {
  ...MANY_OPTIONS,
  shuffle: flag("--shuffle", "submit in random order"),
  sep: valueOr("--sep STRING", "what parts inputs in files and stdin: default newline; none: any white space", String, "\\n"),
  define: list("--define NAME=CODE", "make {.NAME} of an input x by a JavaScript expression (repeatable)"),
  verbose: counter("-v, --verbose", "print each command; repeat for events"),
} as const;
type Options = OptionValues<typeof OPTIONS>;

export default defineCommand({
  name: "bulksubmit",
  style: "argparse",
  summary: "submit a job for each of many inputs",
  usage: "[OPTIONS...] COMMAND [ARGS...]",
  passThrough: true,
  details: `Submit a job for each input: a line of stdin, or what follows ':::' (or a line of the file after '::::').

In COMMAND and in options stand {} or {0}, {1} for inputs, {.%} {./} {.//} {./%} for parts of a path, {seq} and {seq1} for the number of the job,
{.NAME} for what --define makes. Several lists are combined; ':::+' takes one of its inputs for each of the list before.

Examples:
  flux bulksubmit --wait ./convert {} ::: *.png
  seq 1 100 | flux bulksubmit --watch -n4 ./simulate --seed={}
  flux bulksubmit --dry-run -n {0} ./app {1} ::: 1 2 4 ::: a b`,
  options: OPTIONS,
  extend: () => extendSubmission("bulksubmit", OPTIONS),
  async run({ options: given, args }) {
    if (given.listPlugins) {
      print(...pluginLines());
      return 0;
    }
    const options = await preinit(given);
    if (options.input !== undefined && stdinRanks(options.input) !== undefined) throw new UsageError("per-task input not supported for bulksubmit");
    const commands = commandsOf(options, args[0] === "--" ? args.slice(1) : args);
    if (options.shuffle) shuffle(commands);
    const submissions = commands.flatMap(({ own, command }) => planCopies(own, command));
    if (submissions.length === 0) throw new UsageError("no jobs provided for bulk submission");
    if (options.dryRun && options.progress) print(`bulksubmit: submitting a total of ${submissions.length} jobs`);
    if (options.dryRun || options.verbose > 0) print(...commands.map((each) => `bulksubmit: submit ${shownCommand(each)}`));
    if (options.dryRun) return 0;
    await submissions[0]?.jobspec();
    submissionTerms(submissions[0]?.options ?? options);
    return withFlux((h) => submitMany(h, options, submissions));
  },
});

interface BulkCommand {
  readonly own: Options;
  readonly command: readonly string[];
  /** Options that inputs have changed. */
  readonly changed: ReadonlySet<string>;
}

function commandsOf(options: Options, args: readonly string[]): BulkCommand[] {
  const separator = unescaped(options.sep);
  const methods = Object.fromEntries(options.define.map(parseDefine));
  const { command, combinations } = splitInputs(args, (path) => readInputs(path, separator));
  const words = command.length === 0 ? ["{}"] : command;
  const hasCopies = options.cc !== undefined || options.bcc !== undefined;
  return combinations.map((inputs, seq) => {
    const scope = { inputs, methods, names: { seq: String(seq), seq1: String(seq + 1), cc: hasCopies ? "{cc}" : "" } };
    const { own, changed } = fillOptions(options, scope);
    return { own, changed, command: words.flatMap((word) => fillTemplate(word, scope)) };
  });
}

/** "none" parts at any white space. */
function unescaped(separator: string): string | RegExp {
  if (separator.toLowerCase() === "none") return /\s+/;
  const known: Readonly<Record<string, string>> = { n: "\n", t: "\t", r: "\r", "0": "\0", "\\": "\\" };
  const text = separator.replace(/\\(.)/g, (match, char: string) => known[char] ?? match);
  if (text === "") throw new UsageError("--sep: empty separator");
  return text;
}

function readInputs(path: string, separator: string | RegExp): string[] {
  let content: string;
  if (path === "-" && isTerminal(0)) printError("flux-bulksubmit: reading inputs from stdin, one a line; ctrl-D ends them");
  try {
    content = readFileSync(path === "-" ? 0 : path, "utf8");
  } catch (err) {
    throw new UsageError(fileErrorText(err, path));
  }
  return content.split(separator).filter((input) => input !== "");
}

/** Options that are no templates. */
const LITERAL: ReadonlySet<string> = new Set(["sep", "define"]);

function fillOptions(options: Options, scope: InputScope): { own: Options; changed: Set<string> } {
  const changed = new Set<string>();
  const fill = (name: string, value: unknown): unknown => {
    if (typeof value === "string") {
      const filled = value.includes("{") ? fillTemplate(value, scope).join(",") : value;
      if (filled !== value) changed.add(name);
      return filled;
    }
    if (Array.isArray(value)) return value.map((item: unknown) => fill(name, item));
    if (typeof value === "object" && value !== null && "text" in value) return { ...value, text: fill(name, value.text) };
    return value;
  };
  const own = Object.fromEntries(Object.entries(options).map(([name, value]) => [name, LITERAL.has(name) ? value : fill(name, value)])) as Options;
  if (options.cc !== undefined) changed.add("cc");
  return { own, changed };
}

/** "-n4 --cc=1-2 echo a": what differs between the jobs. */
function shownCommand({ own, command, changed }: BulkCommand): string {
  const shown = (Object.keys(OPTIONS) as (keyof Options)[]).filter((name) => changed.has(name)).map((name) => optionText(OPTIONS[name].flags, own[name]));
  return [...shown, ...command].join(" ");
}

function optionText(flags: string, value: unknown): string {
  const short = /^-\w/.exec(flags)?.[0];
  const long = /--[\w-]+/.exec(flags)?.[0] ?? flags;
  const name = short === undefined ? `${long}=` : short;
  const words = (Array.isArray(value) ? (value as unknown[]) : [value]).map((item) =>
    typeof item === "object" && item !== null && "text" in item ? String(item.text) : String(item),
  );
  return words.map((word) => `${name}${word}`).join(" ");
}

function shuffle(commands: BulkCommand[]): void {
  for (let i = commands.length - 1; i > 0; i--) {
    const j = systemRandom.below(i + 1);
    [commands[i], commands[j]] = [commands[j] as BulkCommand, commands[i] as BulkCommand];
  }
}
