// Words of a line with the quoting of a POSIX shell: 'literal', "with \" and \\", \x outside of quotes; a # that begins a word begins a
// comment. No variables, no operators: for directives (RFC 36) and multi-prog files.
import { FormatError } from "./error.ts";

const WHAT = "line";
const SPACE = /\s/;

/** Throws FormatError where a quote has no end. */
export function splitWords(line: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  for (let i = 0; i < line.length; i++) {
    const char = line[i] as string;
    if (SPACE.test(char)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else if (char === "#" && word === undefined) break;
    else if (char === "'" || char === '"') {
      const { text, end } = quoted(line, i, char);
      word = (word ?? "") + text;
      i = end;
    } else if (char === "\\") {
      i++;
      if (i >= line.length) throw new FormatError(WHAT, line, "it ends in a backslash");
      word = (word ?? "") + (line[i] as string);
    } else word = (word ?? "") + char;
  }
  if (word !== undefined) words.push(word);
  return words;
}

function quoted(line: string, start: number, quote: string): { text: string; end: number } {
  let text = "";
  for (let i = start + 1; i < line.length; i++) {
    const char = line[i] as string;
    if (char === quote) return { text, end: i };
    const next = line[i + 1];
    if (quote === '"' && char === "\\" && (next === '"' || next === "\\")) {
      text += next;
      i++;
    } else text += char;
  }
  throw new FormatError(WHAT, line, "No closing quotation", start);
}

/** A word as it must be written for a shell to read it back. */
export function quoteWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`;
}
