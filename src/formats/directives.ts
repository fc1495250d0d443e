// Submission directives in scripts (RFC 36): options on lines such as "# flux: -N4 --queue=batch".
//
// The first such line fixes the sentinel, which is what stands before the options; the block ends at the first line that doesn't begin
// as these do. """…""" and '''…''' quote anything, also over several lines.
import { FormatError } from "./error.ts";
import { quoteWord, splitWords } from "./shell-words.ts";

export interface Directive {
  /** Of the script, from 1. */
  readonly line: number;
  readonly args: readonly string[];
}

const WHAT = "script";
const SENTINEL = /^([^\w]*)(flux:|FLUX:)(.*)$/;
const QUOTES = ['"""', "'''"] as const;

/** A value that began at a line which ends in a triple quote. */
interface OpenQuote {
  readonly line: number;
  readonly quotes: string;
  readonly start: string;
  readonly indent: string;
  readonly lines: string[];
}

/** The directives of a script in their order. Throws FormatError naming the line. */
export function parseDirectives(script: string): Directive[] {
  const directives: Directive[] = [];
  let sentinel: { prefix: string; text: string } | undefined;
  let ended: number | undefined;
  let open: OpenQuote | undefined;
  for (const [index, text] of script.split("\n").entries()) {
    const line = index + 1;
    const match = SENTINEL.exec(text);
    if (match === null) {
      if (open !== undefined) throw problem(line, `unterminated multi-line quote at line ${open.line}: \`${open.start}'`);
      const goesOn = sentinel === undefined || text.trim() === "" || text.startsWith(sentinel.prefix.trimEnd());
      if (!goesOn) ended ??= index;
      continue;
    }
    const [, prefix = "", tag = "", value = ""] = match;
    if (ended !== undefined) throw problem(line, `orphan '${tag}' detected: directives disabled after line ${ended}`);
    sentinel ??= { prefix, text: prefix + tag };
    if (prefix + tag !== sentinel.text) throw problem(line, sentinelChanged(sentinel.text, prefix + tag, value));
    if (open !== undefined) {
      open.lines.push(unindented(value, open.indent));
      if (!value.endsWith(open.quotes)) continue;
      const whole = closeQuote(open, line);
      directives.push(...directive(whole, open.line));
      open = undefined;
      continue;
    }
    const plain = quoteTriples(value, line);
    const quotes = QUOTES.find((three) => plain.endsWith(three));
    if (quotes === undefined) directives.push(...directive(plain, line));
    else {
      const start = plain.trimStart();
      open = { line, quotes, start, indent: plain.slice(0, plain.length - start.length), lines: [] };
    }
  }
  if (open !== undefined) throw problem(open.line, `unterminated multi-line quote: \`${open.start}'`);
  return directives;
}

function problem(line: number, text: string): FormatError {
  return new FormatError(WHAT, "", `line ${line}: ${text}`);
}

function sentinelChanged(before: string, after: string, value: string): string {
  return `sentinel changed from '${before}' to '${after}': all directives of a file begin alike. To disable one, comment out what follows the sentinel: ${before} # ${value.trim()}`;
}

function unindented(value: string, indent: string): string {
  return value.startsWith(indent) ? value.slice(indent.length) : value;
}

/** The whole value as one line, the text between the quotes quoted for splitWords(). */
function closeQuote(open: OpenQuote, line: number): string {
  const last = open.lines.pop() ?? "";
  const body = [...open.lines, last.slice(0, -open.quotes.length)].join("\n");
  if (body.includes(open.quotes)) throw problem(line, `improperly terminated triple quoted string at: \`${open.start}'`);
  return open.start.slice(0, -open.quotes.length) + quoteWord(body);
}

/** Triple quotes that open and close on this line become plain ones; one at the end of the line stays. */
function quoteTriples(value: string, line: number): string {
  const done = value.replace(/("""|''')(.+?)\1/g, (_match, _quotes: string, text: string) => quoteWord(text));
  const open = /"""|'''/.exec(done);
  if (open !== null && open.index !== done.length - 3) throw problem(line, `unclosed triple quote: ${value.trim()}`);
  return done;
}

function directive(value: string, line: number): Directive[] {
  let args: string[];
  try {
    args = splitWords(value);
  } catch (err) {
    if (!(err instanceof FormatError)) throw err;
    throw problem(line, `${value.trim()}: No closing quotation`);
  }
  if (args.length === 0) return [];
  if (args[0]?.startsWith("-") !== true) throw problem(line, `Unknown directive: ${value.trim()}`);
  return [{ line, args }];
}
