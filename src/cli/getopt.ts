// Words of a command line to options and arguments, by the rules that people know from getopt_long(3): options may stand
// anywhere before `--`, short ones may be joined (-vn4), long ones mostly be shortened to a unique prefix, values joined (-n4,
// --ntasks=4) or the next word. Written here and not taken from a library because every command pays for it at its start.

export interface Getopt {
  /** As in help: "-n, --ntasks N"; optional values are written "--color [WHEN]". */
  readonly flags: string;
  readonly help: string;
  readonly kind: "flag" | "value" | "list" | "counter";
  readonly initial: unknown;
  readonly parse: (text: string) => unknown;
  readonly bare?: unknown;
  readonly hidden?: boolean;
}

export type GetoptProblem =
  | { readonly kind: "unknown"; readonly option: string }
  | { readonly kind: "ambiguous"; readonly option: string; readonly candidates: readonly string[] }
  | { readonly kind: "missing value"; readonly option: string }
  | { readonly kind: "unwanted value"; readonly option: string };

/** The words don't fit the options. */
export class GetoptError extends Error {
  constructor(readonly problem: GetoptProblem) {
    super(`${problem.kind}: ${problem.option}`);
    this.name = "GetoptError";
  }
}

export interface ParsedWords {
  readonly values: Record<string, unknown>;
  readonly args: readonly string[];
  /** The arguments follow a "--". */
  readonly isMarked: boolean;
  readonly wantsHelp: boolean;
}

/** The value of an option that its parse() refuses. */
export class GetoptValueError extends Error {
  /** The option's long name, or its only one. */
  readonly option: string;
  /** All its names. */
  readonly names: readonly string[];

  constructor(
    flags: string,
    readonly given: string,
    cause: unknown,
  ) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
    this.name = "GetoptValueError";
    this.option = longName(flags);
    this.names = flags.match(/(?<![\w-])--?[A-Za-z0-9][\w-]*/g) ?? [flags];
  }
}

const HELP = "help";

/**
 * With `passThrough`, options end at the first word that isn't one. With `argparse`, as in commands of flux-core that are written
 * in Python, an option whose value may be left out takes the next word unless that is an option, and long names must be whole.
 * Throws GetoptError and GetoptValueError.
 */
export function parseWords(
  options: Readonly<Record<string, Getopt>>,
  words: readonly string[],
  passThrough: boolean,
  argparse: boolean = false,
): ParsedWords {
  const names = namesOf(options);
  const values: Record<string, unknown> = {};
  for (const key in options) values[key] = options[key]?.initial;
  const args: string[] = [];
  const asked = { help: false };
  let isMarked = false;
  const set = (key: string, given: string | undefined): void => {
    if (key === HELP && options[HELP] === undefined) asked.help = true;
    else values[key] = nextValue(options[key] as Getopt, values[key], given);
  };
  for (let i = 0; i < words.length && !asked.help; i++) {
    const word = words[i] as string;
    if (word === "--") {
      isMarked = args.length === 0;
      args.push(...words.slice(i + 1));
      break;
    }
    if (!word.startsWith("-") || word === "-") {
      if (passThrough) {
        args.push(...words.slice(i));
        break;
      }
      args.push(word);
      continue;
    }
    const found = word.startsWith("--") ? longOption(names, options, word, argparse) : shortOptions(names, options, word, set);
    if (found === undefined) continue;
    if (found.needsValue && i + 1 >= words.length) throw new GetoptError({ kind: "missing value", option: found.name });
    const mayTakeNext = argparse && found.value === undefined && options[found.key]?.bare !== undefined;
    const takesNext = found.needsValue || (mayTakeNext && words[i + 1]?.startsWith("-") === false);
    set(found.key, takesNext ? words[++i] : found.value);
  }
  return { values, args, isMarked, wantsHelp: asked.help };
}

interface Found {
  readonly key: string;
  readonly name: string;
  readonly value: string | undefined;
  /** The next word is its value. */
  readonly needsValue: boolean;
}

type Options = Readonly<Record<string, Getopt>>;

/** "--name" and "-n" → key. */
function namesOf(options: Options): Map<string, string> {
  const names = new Map([
    ["--help", HELP],
    ["-h", HELP],
  ]);
  for (const key in options) {
    const flags = options[key]?.flags ?? "";
    for (const name of flags.match(/(?<![\w-])--?[A-Za-z0-9][\w-]*/g) ?? []) names.set(name, key);
  }
  return names;
}

function isSwitch(option: Getopt | undefined): boolean {
  return option === undefined || option.kind === "flag" || option.kind === "counter";
}

function longOption(names: Map<string, string>, options: Options, word: string, argparse: boolean): Found {
  const equals = word.indexOf("=");
  const given = equals < 0 ? word : word.slice(0, equals);
  if (argparse && !names.has(given)) throw new GetoptError({ kind: "unknown", option: word });
  const name = fullName(names, given);
  const key = names.get(name) as string;
  const option = options[key];
  const value = equals < 0 ? undefined : word.slice(equals + 1);
  if (isSwitch(option)) {
    if (value !== undefined) throw new GetoptError({ kind: "unwanted value", option: name });
    return { key, name, value: undefined, needsValue: false };
  }
  return { key, name, value, needsValue: value === undefined && option?.bare === undefined };
}

function fullName(names: Map<string, string>, given: string): string {
  if (names.has(given)) return given;
  const candidates = [...names.keys()].filter((name) => name.startsWith(given) && given.length > 2);
  const keys = new Set(candidates.map((name) => names.get(name)));
  if (keys.size > 1) throw new GetoptError({ kind: "ambiguous", option: given, candidates });
  const [name] = candidates;
  if (name === undefined) throw new GetoptError({ kind: "unknown", option: given });
  return name;
}

/** Sets all of a group but the last, which it returns when it may have a value. */
function shortOptions(
  names: Map<string, string>,
  options: Options,
  word: string,
  set: (key: string, value: string | undefined) => void,
): Found | undefined {
  for (let i = 1; i < word.length; i++) {
    const name = `-${word[i]}`;
    const key = names.get(name);
    if (key === undefined) throw new GetoptError({ kind: "unknown", option: i === 1 ? word : name });
    const option = options[key];
    if (isSwitch(option)) {
      set(key, undefined);
      continue;
    }
    const value = i + 1 < word.length ? word.slice(i + 1) : undefined;
    return { key, name, value, needsValue: value === undefined && option?.bare === undefined };
  }
  return undefined;
}

function nextValue(option: Getopt, before: unknown, given: string | undefined): unknown {
  if (option.kind === "flag") return true;
  if (option.kind === "counter") return Number(before) + 1;
  const value = given === undefined ? option.bare : parseValue(option, given);
  return option.kind === "list" ? [...(before as unknown[]), value] : value;
}

function parseValue(option: Getopt, given: string): unknown {
  try {
    return option.parse(given);
  } catch (cause) {
    throw new GetoptValueError(option.flags, given, cause);
  }
}

function longName(flags: string): string {
  return /--[A-Za-z0-9][\w-]*/.exec(flags)?.[0] ?? flags.split(/[ ,]/)[0] ?? flags;
}

/** Width of help text. */
const HELP_COLUMNS = 80;
const HELP_INDENT_MAX = 30;

/** The list of options for a help text: "-n, --ntasks=N  how many". */
export function optionHelp(options: Options): string[] {
  const shown = Object.values(options).filter((option) => option.hidden !== true);
  const rows = shown.map((option): [string, string] => [helpName(option), option.help]);
  rows.push(["-h, --help", "show this help and exit"]);
  const width = Math.min(HELP_INDENT_MAX, Math.max(...rows.map(([name]) => name.length))) + 2;
  return rows.flatMap(([name, help]) => {
    const [first = "", ...rest] = wrap(help, HELP_COLUMNS - width - 2);
    const head = name.length + 2 > width ? [`  ${name}`, `  ${"".padEnd(width)}${first}`] : [`  ${name.padEnd(width)}${first}`];
    return [...head, ...rest.map((line) => `  ${"".padEnd(width)}${line}`)];
  });
}

/** "-n, --ntasks N" → "-n, --ntasks=N"; options without a short name line up with the others. */
function helpName(option: Getopt): string {
  const name = option.flags.replace(/(--[\w-]+) \[([^\]]*)\]$/, "$1[=$2]").replace(/(--[\w-]+) (\S+)$/, "$1=$2");
  return name.startsWith("--") ? `    ${name}` : name;
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = "";
    }
    line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
