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
import { Command, CommanderError, Option } from "commander";
import { FluxError } from "../message/errno.ts";

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
  /** "flux-kvs" or "flux-job": for messages. */
  readonly program: string;
}

/**
 * How errors look, as people (and scripts) know them from stock Flux:
 *   getopt    "flux-kvs: MESSAGE"            wrong options exit 1
 *   argparse  "flux-run: ERROR: MESSAGE"     wrong options "flux run: error: MESSAGE", exit 2
 */
export type ErrorStyle = "getopt" | "argparse";

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
  /** Resolves to the exit code. Throw UsageError, FluxError or FormatError for a one-line error and exit code 1. */
  run?(invocation: Invocation<S>): Promise<number> | number;
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
  run?(invocation: Invocation<OptionSpecs>): Promise<number> | number;
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
  if (err instanceof OptionError) return reportOptionError(program, err);
  const prefix = style === "argparse" ? `${program}: ERROR` : program;
  if (err instanceof UsageError) {
    if (err.message !== "") console.error(`${prefix}: ${err.message}`);
    return err.exitCode;
  }
  if (err instanceof FluxError || (err instanceof Error && err.name === "FormatError")) {
    console.error(`${prefix}: ${err.message}`);
    return 1;
  }
  console.error(`${prefix}: internal error: ${err instanceof Error ? (err.stack ?? err.message) : String(err)}`);
  return 1;
}

function reportOptionError(program: string, err: OptionError): number {
  if (err.spec.style === "argparse") {
    console.error(`usage: ${err.path} ${err.spec.usage ?? "[OPTIONS]"}\n${err.path}: error: ${err.message}`);
    return 2;
  }
  console.error(`${program}: ${err.message}\nTry \`${program} --help' for more information.`);
  return 1;
}

async function dispatch(spec: CommandSpecAny, words: readonly string[], program: string, path: string): Promise<number> {
  const [first, ...rest] = words;
  const sub = spec.subcommands?.find((s) => s.name === first);
  if (sub !== undefined) return dispatch(sub, rest, program, `${path} ${sub.name}`);
  if (spec.run === undefined) return missingSubcommand(spec, first, path);
  const parsed = parseWords(spec, words, path);
  if (typeof parsed === "number") return parsed;
  return spec.run({ ...parsed, program });
}

function missingSubcommand(spec: CommandSpecAny, first: string | undefined, path: string): number {
  const lines = (spec.subcommands ?? []).map((s) => `   ${s.name.padEnd(18)} ${s.summary}`);
  const help = `Usage: ${path} SUBCOMMAND [OPTIONS]\n\n${spec.details ?? spec.summary}\n\nSubcommands:\n${lines.join("\n")}`;
  if (first === "-h" || first === "--help") {
    console.log(help);
    return 0;
  }
  if (first === undefined) {
    console.error(help);
    return 1;
  }
  throw new OptionError(first.startsWith("-") ? `unrecognized option '${first}'` : `Unknown subcommand '${first}'`, spec, path);
}

interface Parsed {
  options: Record<string, unknown>;
  args: string[];
}

/** Options and arguments, or the exit code when help was asked for. */
function parseWords(spec: CommandSpecAny, words: readonly string[], path: string): Parsed | number {
  const specs = spec.options ?? {};
  const command = new Command(path);
  command
    .usage(spec.usage ?? "[OPTIONS]")
    .description(spec.details ?? spec.summary)
    .helpOption("-h, --help", "show this help and exit")
    .argument("[args...]")
    .enablePositionalOptions()
    .passThroughOptions(spec.passThrough === true)
    .allowExcessArguments()
    .showSuggestionAfterError(false)
    .configureHelp({ visibleArguments: () => [] })
    .configureOutput({ writeOut: (s) => process.stdout.write(s), writeErr: () => {} })
    .exitOverride();
  const values: Record<string, unknown> = {};
  for (const [key, option] of Object.entries(specs)) {
    values[key] = option.initial;
    command.addOption(
      toCommander(
        option,
        (v) => (values[key] = v),
        () => values[key],
      ),
    );
  }
  try {
    command.parse(expandPrefixes(spec, words, path), { from: "user" });
  } catch (err) {
    if (!(err instanceof CommanderError)) throw err;
    if (err.exitCode === 0) return 0;
    throw new OptionError(tidy(err.message, spec.style), spec, path);
  }
  return { options: values, args: command.args };
}

function toCommander(spec: OptionSpec<unknown>, set: (v: unknown) => void, get: () => unknown): Option {
  const option = new Option(commanderFlags(spec), spec.help);
  if (spec.hidden === true) option.hideHelp();
  return option.argParser((given: string) => {
    if (spec.kind === "flag") set(true);
    else if (spec.kind === "counter") set(Number(get()) + 1);
    else if (spec.kind === "list") set([...(get() as unknown[]), parseValue(spec, given)]);
    else set(parseValue(spec, given));
    return given;
  });
}

function parseValue(spec: OptionSpec<unknown>, given: string): unknown {
  try {
    return spec.parse(given);
  } catch (err) {
    throw new UsageError(`invalid value '${given}' for ${longName(spec)}: ${err instanceof Error ? err.message : String(err)}`);
  }
}

function longName(spec: OptionSpec<unknown>): string {
  return /--[A-Za-z0-9-]+/.exec(spec.flags)?.[0] ?? spec.flags;
}

function shortName(spec: OptionSpec<unknown>): string | undefined {
  return /^-[A-Za-z0-9](?![\w-])/.exec(spec.flags)?.[0];
}

/** "-n, --ntasks N" → "-n, --ntasks <N>". */
function commanderFlags(spec: OptionSpec<unknown>): string {
  if (spec.kind === "flag" || spec.kind === "counter") return spec.flags;
  return spec.flags.replace(/ \[?([^\s[\]]+)\]?$/, " <$1>");
}

/** Makes explicit what getopt_long(3) lets people leave out: unique prefixes of long options, and optional values. */
function expandPrefixes(spec: CommandSpecAny, words: readonly string[], path: string): string[] {
  const options = Object.values(spec.options ?? {});
  const longs = ["--help", ...options.map(longName)];
  const out: string[] = [];
  for (let i = 0; i < words.length; i++) {
    const word = words[i] as string;
    if (word === "--") return [...out, ...words.slice(i)];
    if (spec.passThrough === true && (!word.startsWith("-") || word === "-")) return [...out, ...words.slice(i)];
    const name = /^--[^=]+/.exec(word)?.[0];
    const full = name === undefined || longs.includes(name) ? name : (uniquePrefix(name, longs, spec, path) ?? name);
    const expanded = full === undefined || name === undefined ? word : full + word.slice(name.length);
    out.push(withBareValue(options, expanded));
    if (takesNextWord(options, expanded) && i + 1 < words.length) out.push(words[++i] as string);
  }
  return out;
}

function uniquePrefix(name: string, longs: readonly string[], spec: CommandSpecAny, path: string): string | undefined {
  const matching = longs.filter((long) => long.startsWith(name));
  if (matching.length > 1) throw new OptionError(`option '${name}' is ambiguous: ${matching.join(", ")}`, spec, path);
  return matching[0];
}

/** "--color" → "--color=always" for an option whose value may be left out. */
function withBareValue(options: readonly OptionSpec<unknown>[], word: string): string {
  const option = options.find((o) => o.bare !== undefined && (word === longName(o) || word === shortName(o)));
  if (option === undefined) return word;
  return word.startsWith("--") ? `${word}=${String(option.bare)}` : `${word}${String(option.bare)}`;
}

/** True when `word` is an option, or a group of short ones, whose value is the next word. */
function takesNextWord(options: readonly OptionSpec<unknown>[], word: string): boolean {
  if (!word.startsWith("-") || word === "-" || word.includes("=")) return false;
  const isSwitch = (o: OptionSpec<unknown>): boolean => o.kind === "flag" || o.kind === "counter";
  if (word.startsWith("--")) return options.some((o) => !isSwitch(o) && o.bare === undefined && longName(o) === word);
  for (let i = 1; i < word.length; i++) {
    const option = options.find((o) => shortName(o) === `-${word[i]}`);
    if (option === undefined) return false;
    if (!isSwitch(option)) return i === word.length - 1 && option.bare === undefined;
  }
  return false;
}

function tidy(message: string, style: ErrorStyle): string {
  const line = message.replace(/^error: /, "").split("\n")[0] as string;
  const unknown = /^unknown option '(.*)'$/.exec(line);
  if (unknown === null) return line;
  return style === "argparse" ? `unrecognized arguments: ${unknown[1]}` : `unrecognized option '${unknown[1]}'`;
}
