// Command: how a `flux` command describes itself, and how its words become typed options.
//
//   export default defineCommand({
//     name: "ping",
//     style: "getopt",
//     summary: "measure round-trip latency to a Flux service",
//     usage: "[OPTIONS] TARGET",
//     options: {
//       rank: text("-r, --rank RANK", "send to this rank"),
//       count: value("-c, --count N", "stop after N round trips", parseCount),
//       userid: flag("-u, --userid", "include the user id in the answer"),
//     },
//     async run({ options, args }) { …; return 0; },
//   });
//
// Long options may be shortened to a unique prefix, as getopt_long allows. With `passThrough`, options end at the
// first word that isn't one: the rest is somebody else's command line.
import { writeStderr } from "../os/stderr.ts";
import { FluxError } from "../message/errno.ts";
import { KindError } from "./options.ts";
import { GetoptError, type GetoptProblem, GetoptValueError, optionHelp, parseWords } from "./getopt.ts";

/** How one option is written and read; make them with flag(), text(), value(), … below. */
export interface OptionSpec<T> {
  /** As in help: "-n, --ntasks N"; optional values as "--color[=WHEN]" are written "--color [WHEN]". */
  readonly flags: string;
  readonly help: string;
  readonly kind: "flag" | "value" | "list" | "counter";
  readonly initial: T;
  readonly parse: (text: string) => unknown;
  /** Value of an option with an optional value that was given none. */
  readonly bare?: unknown;
  readonly hidden?: boolean;
}

export type OptionSpecs = Readonly<Record<string, OptionSpec<unknown>>>;
export type OptionValues<S> = { readonly [K in keyof S]: S[K] extends OptionSpec<infer T> ? T : never };

export interface Invocation<S> {
  readonly options: OptionValues<S>;
  /** Words that are not options. */
  readonly args: readonly string[];
  /** They follow a "--". */
  readonly isMarked: boolean;
  /** "flux-kvs" or "flux-job": for messages. */
  readonly program: string;
}

/**
 * How errors look, as people (and scripts) know them from stock Flux:
 *   getopt    "flux-kvs: MESSAGE"            wrong options exit 1
 *   argparse  "flux-run: ERROR: MESSAGE"     wrong options "flux run: error: MESSAGE", exit 2
 */
export type ErrorStyle = "getopt" | "argparse";

/** Options that are known only when a command is called. */
export interface Extension {
  readonly options: OptionSpecs;
  /** Words that stand before those of the command line. */
  readonly words: readonly string[];
  /** More about one of the options, for --help=OPTION. Throws UsageError. */
  readonly help: (name: string) => string;
}

export interface CommandSpec<S extends OptionSpecs> {
  readonly name: string;
  readonly style: ErrorStyle;
  /** One line, lower case, for lists of commands. */
  readonly summary: string;
  /** What follows the command's name in a usage line. */
  readonly usage?: string;
  /** More help: what it does, one or two examples. */
  readonly details?: string;
  readonly options?: S;
  /** Options end at the first positional argument. */
  readonly passThrough?: boolean;
  /** All words are somebody else's, --help too. */
  readonly verbatim?: boolean;
  /** What files of the site and the user add. Throws UsageError. */
  readonly extend?: () => Promise<Extension>;
  /** Resolves to the exit code. Throw UsageError, FluxError or FormatError for a one-line error and exit code 1. */
  run?(invocation: Invocation<S>): Promise<number> | number;
  /** For programs only: not in the list of subcommands. */
  readonly hidden?: boolean;
  readonly subcommands?: readonly CommandSpecAny[];
}

/** A command whatever its options. */
export interface CommandSpecAny {
  readonly name: string;
  readonly style: ErrorStyle;
  readonly summary: string;
  readonly usage?: string;
  readonly details?: string;
  readonly options?: OptionSpecs;
  readonly passThrough?: boolean;
  readonly verbatim?: boolean;
  readonly extend?: () => Promise<Extension>;
  run?(invocation: Invocation<OptionSpecs>): Promise<number> | number;
  readonly hidden?: boolean;
  readonly subcommands?: readonly CommandSpecAny[];
}

export function defineCommand<const S extends OptionSpecs>(spec: CommandSpec<S>): CommandSpecAny {
  return spec;
}

/** Something the user can mend: one line on stderr, exit code 1 unless given. An empty message prints nothing. */
export class UsageError extends Error {
  constructor(
    message: string,
    readonly exitCode: number = 1,
  ) {
    super(message);
    this.name = "UsageError";
  }
}

/** The words don't fit the command's options. */
class OptionError extends Error {
  constructor(
    message: string,
    readonly spec: CommandSpecAny,
    readonly path: string,
  ) {
    super(message);
    this.name = "OptionError";
  }
}

/** For words that are missing, as argparse says it. Throws UsageError with exit code 2. */
export function requireArguments(missing: readonly string[], path: string, usage: string): void {
  if (missing.length === 0) return;
  writeStderr(`usage: ${path} ${usage}\n${path}: error: the following arguments are required: ${missing.join(", ")}\n`);
  throw new UsageError("", 2);
}

/** The words that these names stand for, no fewer and no more. Throws as requireArguments does. */
export function exactArguments<const N extends readonly string[]>(args: readonly string[], names: N, path: string, usage: string): { [K in keyof N]: string } {
  requireArguments(names.slice(args.length), path, usage);
  const extra = args.slice(names.length);
  if (extra.length > 0) {
    writeStderr(`usage: ${path} ${usage}\n${path}: error: unrecognized arguments: ${extra.join(" ")}\n`);
    throw new UsageError("", 2);
  }
  return args as unknown as { [K in keyof N]: string };
}

export function flag(flags: string, help: string): OptionSpec<boolean> {
  return { flags, help, kind: "flag", initial: false, parse: String };
}

/** Counts how often it is given: -vv is 2. */
export function counter(flags: string, help: string): OptionSpec<number> {
  return { flags, help, kind: "counter", initial: 0, parse: String };
}

export function text(flags: string, help: string): OptionSpec<string | undefined> {
  return { flags, help, kind: "value", initial: undefined, parse: String };
}

/** An option whose text is checked and converted; `parse` throws with a message that says what is expected. */
export function value<T>(flags: string, help: string, parse: (text: string) => T): OptionSpec<T | undefined> {
  return { flags, help, kind: "value", initial: undefined, parse };
}

/** The same with a default. */
export function valueOr<T>(flags: string, help: string, parse: (text: string) => T, initial: T): OptionSpec<T> {
  return { flags, help, kind: "value", initial, parse };
}

/** An option that may be given many times. */
export function list(flags: string, help: string): OptionSpec<readonly string[]> {
  return { flags, help, kind: "list", initial: [], parse: String };
}

/** An option whose value may be left out: "--color [WHEN]". */
export function optional(flags: string, help: string, bare: string): OptionSpec<string | undefined> {
  return { flags, help, kind: "value", initial: undefined, parse: String, bare };
}

export function hidden<T>(spec: OptionSpec<T>): OptionSpec<T> {
  return { ...spec, hidden: true };
}

/** Runs a command with its words; resolves to the exit code. Prints errors and help itself; throws nothing. */
export async function runCommand(spec: CommandSpecAny, words: readonly string[]): Promise<number> {
  const program = `flux-${spec.name}`;
  try {
    return await dispatch(spec, words, program, `flux ${spec.name}`);
  } catch (err) {
    return reportError(program, spec.style, err);
  }
}

/** Prints the one line that says why a command failed; returns its exit code. */
export function reportError(program: string, style: ErrorStyle, err: unknown): number {
  if (err instanceof OptionError) return reportOptionError(err);
  const prefix = style === "argparse" ? `${program}: ERROR` : program;
  if (err instanceof UsageError) {
    if (err.message !== "") writeStderr(`${prefix}: ${err.message}\n`);
    return err.exitCode;
  }
  if (err instanceof FluxError || (err instanceof Error && err.name === "FormatError")) {
    writeStderr(`${prefix}: ${err.message}\n`);
    return 1;
  }
  writeStderr(`${prefix}: internal error: ${err instanceof Error ? (err.stack ?? err.message) : String(err)}\n`);
  return 1;
}

function reportOptionError(err: OptionError): number {
  if (err.spec.style === "argparse") {
    writeStderr(`usage: ${err.path} ${err.spec.usage ?? "[OPTIONS]"}\n${err.path}: error: ${err.message}\n`);
    return 2;
  }
  const name = err.path.replace(/^flux /, "flux-");
  writeStderr(`${name}: ${err.message}\nTry \`${name} --help' for more information.\n`);
  return 1;
}

async function dispatch(spec: CommandSpecAny, words: readonly string[], program: string, path: string): Promise<number> {
  const [first, ...rest] = words;
  const sub = spec.subcommands?.find((s) => s.name === first);
  if (sub !== undefined) return dispatch(sub, rest, program, `${path} ${sub.name}`);
  if (spec.run === undefined) return missingSubcommand(spec, first, path);
  if (spec.verbatim) return spec.run({ options: {}, args: words, isMarked: false, program });
  const extension = await spec.extend?.();
  const helpName = extension === undefined ? undefined : /^--help=(.+)$/.exec(first ?? "")?.[1];
  if (helpName !== undefined) {
    console.log(extension?.help(helpName));
    return 0;
  }
  const parsed = extension === undefined ? parseOptions(spec, words, path) : parseOptions(extendedBy(spec, extension), [...extension.words, ...words], path);
  if (parsed === undefined) return 0;
  return spec.run({ ...parsed, program });
}

function extendedBy(spec: CommandSpecAny, { options }: Extension): CommandSpecAny {
  return { ...spec, options: { ...spec.options, ...options } };
}

function missingSubcommand(spec: CommandSpecAny, first: string | undefined, path: string): number {
  const shown = (spec.subcommands ?? []).filter((s) => s.hidden !== true);
  const lines = shown.map((s) => `   ${s.name.padEnd(18)} ${s.summary}`);
  const help = `Usage: ${path} SUBCOMMAND [OPTIONS]\n\n${detailsOf(spec)}\n\nSubcommands:\n${lines.join("\n")}`;
  if (first === "-h" || first === "--help") {
    console.log(help);
    return 0;
  }
  if (first === undefined) {
    writeStderr(`${path.replace(/^flux /, "flux-")}: missing subcommand\n${help}\n`);
    return spec.style === "argparse" ? 2 : 1;
  }
  throw new OptionError(first.startsWith("-") ? `unrecognized option '${first}'` : `Unknown subcommand '${first}'`, spec, path);
}

/** Options and arguments; undefined when help was asked for, and shown. */
function parseOptions(spec: CommandSpecAny, words: readonly string[], path: string): Omit<Invocation<OptionSpecs>, "program"> | undefined {
  try {
    const { values, args, isMarked, wantsHelp } = parseWords(spec.options ?? {}, words, spec.passThrough === true, spec.style === "argparse");
    if (!wantsHelp) {
      if (args.length > 0 && !takesArguments(spec)) throw new OptionError(`unrecognized arguments: ${args.join(" ")}`, spec, path);
      return { options: values, args, isMarked };
    }
  } catch (err) {
    const problem = optionProblem(err, spec.style);
    if (problem !== undefined) throw new OptionError(problem, spec, path);
    if (err instanceof GetoptValueError) throw new UsageError(`invalid value '${err.given}' for ${err.option}: ${err.message}`);
    throw err;
  }
  const usage = `Usage: ${path} ${spec.usage ?? "[OPTIONS]"}`.trimEnd();
  console.log([usage, "", detailsOf(spec), "", "Options:", ...optionHelp(spec.options ?? {})].join("\n"));
  return undefined;
}

/** What is wrong with an option that parseWords() refuses; undefined for other errors, and for values that only the option's own check knows. */
export function optionProblem(err: unknown, style: ErrorStyle): string | undefined {
  if (err instanceof GetoptError) return problemText(err.problem, style);
  if (!(err instanceof GetoptValueError) || !(err.cause instanceof KindError) || style !== "argparse") return undefined;
  return `argument ${err.names.join("/")}: invalid ${err.cause.kind} value: '${err.given}'`;
}

/** A usage line that names nothing but options is meant so. */
function takesArguments({ usage = "[OPTIONS]" }: CommandSpecAny): boolean {
  return usage.replace(/\[(-[^\]]*|OPTIONS)\]/g, "").trim() !== "";
}

/** What a command does: a text of its own, or the line of the list as a sentence. */
function detailsOf(spec: CommandSpecAny): string {
  return spec.details ?? `${spec.summary.slice(0, 1).toUpperCase()}${spec.summary.slice(1)}.`;
}

function problemText(problem: GetoptProblem, style: ErrorStyle): string {
  const { option } = problem;
  const isArgparse = style === "argparse";
  switch (problem.kind) {
    case "unknown":
      return isArgparse ? `unrecognized arguments: ${option}` : `unrecognized option '${option}'`;
    case "ambiguous":
      return `option '${option}' is ambiguous; possibilities: ${problem.candidates.map((name) => `'${name}'`).join(" ")}`;
    case "missing value":
      return isArgparse ? `argument ${option}: expected one argument` : `option '${option}' requires an argument`;
    default:
      return isArgparse ? `argument ${option}: takes no value` : `option '${option}' doesn't allow an argument`;
  }
}
