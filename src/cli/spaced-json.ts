// JSON text as the scripting world prints it: a space after each comma and colon, and nothing but ASCII. Tools that read
// the output of `flux jobs --json` or `flux submit --dry-run` line by line have been written against this form.
import { encodeJson } from "../formats/json.ts";

const STRING_OR_SEPARATOR = /"(?:[^"\\]|\\.)*"|[,:]/g;
const NOT_ASCII = /[\u007f-\uffff]/g;

const escaped = (char: string): string => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`;

/** `{"a": 1, "b": [1, 2]}`. Job ids that are bigints are written as integers, and real members as reals. */
export function spacedJson(value: unknown, ascii: boolean = true): string {
  return encodeJson(value).replace(STRING_OR_SEPARATOR, (match) => {
    if (match.length === 1) return `${match} `;
    return ascii ? match.replace(NOT_ASCII, escaped) : match;
  });
}
