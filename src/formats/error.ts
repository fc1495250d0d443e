// The one error that every parser and formatter of this folder throws: which format, which text, what is wrong, and where.

const SHOWN_CHARS = 80;

/** Text of an input as it appears in a message: one line, quoted, and never longer than a line of a terminal. */
function shown(text: string): string {
  return JSON.stringify(text.length > SHOWN_CHARS ? `${text.slice(0, SHOWN_CHARS)}…` : text);
}

/**
 * An input that is not in the format it should be in.
 * `what` names the format ("idset"), `text` is the whole input, `position` the offset in characters (UTF-16 units) where known.
 * The message is one sentence: `invalid idset "1,,2": expected a number at character 2`.
 */
export class FormatError extends Error {
  override readonly name = "FormatError";
  readonly what: string;
  readonly text: string;
  readonly position: number | undefined;

  constructor(what: string, text: string, problem: string, position?: number) {
    const where = position === undefined ? "" : ` at character ${position}`;
    super(
      text === "" && position === undefined
        ? `invalid ${what}: ${problem}`
        : `invalid ${what} ${shown(text)}: ${problem}${where}`,
    );
    this.what = what;
    this.text = text;
    this.position = position;
  }
}

/** A value that came as an object and not as text: the error names the field, e.g. `tasks[0].command: must be a list`. */
export function fieldError(what: string, field: string, problem: string): FormatError {
  return new FormatError(what, "", field === "" ? problem : `${field}: ${problem}`);
}
