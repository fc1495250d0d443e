// flux batch: a script as the initial program of a nested instance. The script travels in the jobspec; its directives (RFC 36) are options.
import { readFileSync } from "node:fs";
import { isUtf8 } from "node:buffer";
import { type Directive, parseDirectives } from "../formats/directives.ts";
import { FormatError } from "../formats/error.ts";
import { jobspecForScript } from "../formats/jobspec.ts";
import { defineCommand, flag, type OptionSpecs, optionProblem, type OptionValues, UsageError } from "./command.ts";
import { withFlux } from "./connect.ts";
import { fileErrorText } from "./file-error.ts";
import { parseWords } from "./getopt.ts";
import { BATCH_OPTIONS, instanceJobspec } from "./instance-options.ts";
import { showJobId } from "./job-id.ts";
import { isTerminal } from "../os/terminal.ts";
import { print, printError } from "./output.ts";
import { stdinRanks, submissionTerms, submitJobspec, printJobspec } from "./submission.ts";
import { defaultWords, extendSubmission, pluginLines, pluginOptions, preinit } from "./submission-plugins.ts";

const OPTIONS = { ...BATCH_OPTIONS, wrap: flag("--wrap", "make a /bin/sh script of the arguments, or of stdin") } as const;
type Options = OptionValues<typeof OPTIONS>;

const OUTPUT_DEFAULT = "flux-{{id}}.out";

export default defineCommand({
  name: "batch",
  style: "argparse",
  summary: "submit a batch script",
  usage: "[OPTIONS...] SCRIPT ...",
  passThrough: true,
  details: `Submit a script, which runs in an instance of its own. Its output goes to ${OUTPUT_DEFAULT}.

Lines such as '# flux: -N4 --queue=batch' at the beginning of SCRIPT are options; those on the command line come after them.

Examples:
  flux batch -N2 ./script.sh input
  flux batch -n1 --wrap flux run -n4 ./my_program`,
  options: OPTIONS,
  // Default options come before directives: see withDirectives().
  extend: async () => ({ ...(await extendSubmission("batch", OPTIONS)), words: [] }),
  async run({ options: given, args: words }) {
    if (given.listPlugins) {
      print(...pluginLines());
      return 0;
    }
    const args = words[0] === "--" ? words.slice(1) : words;
    const { script, directives } = given.wrap ? wrapped(args) : readScript(args[0]);
    const options = await preinit(withDirectives(given, directives, await defaultWords("batch"), args[0] ?? "stdin"));
    if (options.input !== undefined && stdinRanks(options.input) !== undefined) throw new UsageError("per-task input not supported for batch");
    const files = { input: options.input, output: options.output ?? OUTPUT_DEFAULT, error: options.error, labelIo: options.labelIo };
    const name = options.jobName ?? args[0] ?? "batch";
    const jobspec = await instanceJobspec(options, files, (common) => jobspecForScript(script, { ...common, name, args: args.slice(1) }));
    if (options.dryRun) return printJobspec(jobspec);
    const terms = submissionTerms(options);
    return withFlux(async (h) => {
      const id = await submitJobspec(h, jobspec, terms);
      if (!options.quiet) print(showJobId(id));
      return 0;
    });
  },
});

interface Script {
  readonly script: string;
  readonly directives: readonly Directive[];
}

function wrapped(args: readonly string[]): Script {
  if (args.length > 0) return { script: `#!/bin/sh\n${args.join(" ")}\n`, directives: [] };
  const { script, directives } = readScript(undefined);
  return { script: `#!/bin/sh\n${script}`, directives };
}

function readScript(path: string | undefined): Script {
  const name = path ?? "stdin";
  if (path === undefined && isTerminal(0)) printError("flux-batch: reading the script from stdin; ctrl-D ends it");
  let bytes: Buffer;
  try {
    bytes = readFileSync(path ?? 0);
  } catch (err) {
    throw new UsageError(fileErrorText(err, name));
  }
  if (!isUtf8(bytes)) throw new UsageError(`${name} does not appear to be a script, or failed to encode as utf-8`);
  const script = bytes.toString();
  try {
    return { script, directives: parseDirectives(script) };
  } catch (err) {
    if (!(err instanceof FormatError)) throw err;
    throw new UsageError(`${name}: ${err.message.replace(/^invalid script: /, "")}`);
  }
}

/** Default options, those of the script's directives, and on top of them those of the command line. Throws UsageError naming the line. */
function withDirectives(given: Options, directives: readonly Directive[], defaults: readonly string[], name: string): Options {
  const specs = { ...OPTIONS, ...pluginOptions() };
  let merged: Readonly<Record<string, unknown>> = parseWords(specs, defaults, true, true).values;
  for (const { line, args } of directives) {
    let values: Record<string, unknown>;
    try {
      const parsed = parseWords(specs, args, true, true);
      const [stray] = parsed.args;
      if (stray !== undefined) throw new UsageError(`unrecognized arguments: ${stray}`);
      ({ values } = parsed);
    } catch (err) {
      throw new UsageError(`argument parsing failed at ${name} line ${line}: ${optionProblem(err, "argparse") ?? (err instanceof Error ? err.message : String(err))}`, 2);
    }
    merged = mergeOptions(specs, merged, values);
  }
  return mergeOptions(specs, merged, afterDirectives(given)) as Options;
}

/** Each option as if both command lines had been one: what was given later counts, lists grow. */
function mergeOptions(specs: OptionSpecs, before: Readonly<Record<string, unknown>>, after: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const merged: Record<string, unknown> = {};
  for (const [key, { kind, initial }] of Object.entries(specs)) {
    const [first, second] = [before[key], after[key]];
    if (kind === "list") merged[key] = [...(first as unknown[]), ...(second as unknown[])];
    else if (kind === "counter") merged[key] = Number(first) + Number(second);
    else merged[key] = second === initial ? first : second;
  }
  return merged;
}

const LATE = 1e9;

/** The command line was read before the script, and its rules for the environment come after the script's. */
function afterDirectives(given: Options): Readonly<Record<string, unknown>> {
  const late = (rules: Options["env"]): Options["env"] => rules.map((rule) => ({ ...rule, order: rule.order + LATE }));
  return { ...given, env: late(given.env), envRemove: late(given.envRemove), envFile: late(given.envFile) };
}
