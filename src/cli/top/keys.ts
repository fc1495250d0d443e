// Keys: what a terminal sends when one is pressed, as `flux top` names it.

export type Key = "up" | "down" | "left" | "right" | "page-up" | "page-down" | "enter" | "details" | "quit" | "interrupt" | "suspend" | "redraw";

/** Cursor keys come in two forms, by the mode that the terminal is in. */
const SEQUENCES: Readonly<Record<string, Key>> = {
  "\x1b[A": "up", "\x1bOA": "up", k: "up",
  "\x1b[B": "down", "\x1bOB": "down", j: "down",
  "\x1b[C": "right", "\x1bOC": "right", l: "right",
  "\x1b[D": "left", "\x1bOD": "left", h: "left",
  "\x1b[5~": "page-up", "\x1b[6~": "page-down",
  "\r": "enter", "\n": "enter", "\x1bOM": "enter",
  d: "details", q: "quit", "\x03": "interrupt", "\x1a": "suspend", "\x0c": "redraw",
};
const ESC = "\x1b";
/** An escape sequence of a key that we don't know: CSI, parameters, one letter; or SS3 and one letter. */
const UNKNOWN = new RegExp(String.raw`^${ESC}(?:\[[0-9;?]*[@-~]|O.)`);
/** The beginning of an escape sequence. */
const UNFINISHED = new RegExp(String.raw`^${ESC}(?:\[[0-9;?]{0,16}|O)?$`);

/** A function from what was read to the keys in it. A sequence that is split between two reads is put together again. */
export function keyReader(): (text: string) => Key[] {
  let rest = "";
  return (text) => {
    const keys: Key[] = [];
    rest += text;
    while (rest !== "" && !UNFINISHED.test(rest)) {
      const known = Object.keys(SEQUENCES).find((sequence) => rest.startsWith(sequence));
      if (known !== undefined) keys.push(SEQUENCES[known] as Key);
      rest = rest.slice(known?.length ?? UNKNOWN.exec(rest)?.[0].length ?? 1);
    }
    return keys;
  };
}
