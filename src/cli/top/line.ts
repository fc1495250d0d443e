// Line: a line of the screen, of pieces with a place and a look each, and what a terminal is sent for it.
import { COLOR } from "../output.ts";

export interface Look {
  readonly color?: "yellow" | "red" | "green" | "blue" | undefined;
  readonly bold?: boolean;
  readonly dim?: boolean;
  readonly reverse?: boolean;
}

export interface Piece extends Look {
  /** Column of the first character, from 0. */
  readonly at: number;
  readonly text: string;
}

/** Pieces from left to right; one that would cover the piece before it begins after that. */
export type Line = readonly Piece[];

const ATTRIBUTE = { bold: COLOR.bold, dim: "\x1b[2m", reverse: COLOR.reverse } as const;

/** The line for a terminal of this width: cut there, and without anything that would move the cursor. */
export function renderLine(line: Line, width: number, colors: boolean): string {
  let column = 0;
  let out = "";
  for (const piece of line) {
    if (piece.at > column) {
      const gap = Math.min(piece.at, width) - column;
      out += " ".repeat(Math.max(0, gap));
      column += Math.max(0, gap);
    }
    const text = fit(printable(piece.text), width - column);
    column += Bun.stringWidth(text);
    out += dressed(text, piece, colors);
  }
  return out;
}

function dressed(text: string, look: Look, colors: boolean): string {
  let codes = look.color !== undefined && colors ? COLOR[look.color] : "";
  for (const name of ["bold", "dim", "reverse"] as const) if (look[name] === true) codes += ATTRIBUTE[name];
  return codes === "" || text === "" ? text : `${codes}${text}${COLOR.reset}`;
}

/** Names of jobs are whatever users chose: what controls terminals is shown as "?". */
function printable(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/gu, "?");
}

/** As much of the text as has room. */
function fit(text: string, columns: number): string {
  if (Bun.stringWidth(text) <= columns) return text;
  let fitting = "";
  let width = 0;
  for (const char of text) {
    width += Bun.stringWidth(char);
    if (width > columns) break;
    fitting += char;
  }
  return fitting;
}
