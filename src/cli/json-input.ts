// JSON on stdin: objects, one after another.
import { UsageError } from "./command.ts";

/** Objects of one input. */
const INPUT_MAX_BYTES = 256 << 20;

/** The texts of the objects on stdin; `what` they are, for errors. Throws UsageError. */
export async function readObjects(what: string): Promise<string[]> {
  const input = await Bun.stdin.text();
  if (input.length > INPUT_MAX_BYTES) throw new UsageError(`stdin is larger than ${INPUT_MAX_BYTES} bytes`);
  return splitObjects(input, what);
}

/** The texts of the JSON objects that stand one after another. Throws UsageError where something else stands. */
export function splitObjects(input: string, what: string): string[] {
  const objects: string[] = [];
  let depth = 0;
  let start = -1;
  for (let i = 0; i < input.length; i++) {
    const char = input[i] as string;
    if (char === '"' && depth > 0) {
      for (i++; i < input.length && input[i] !== '"'; i++) if (input[i] === "\\") i++;
    } else if (char === "{" || char === "[") {
      if (depth++ === 0) start = i;
    } else if (char === "}" || char === "]") {
      if (--depth === 0) objects.push(input.slice(start, i + 1));
    } else if (depth === 0 && !/\s/.test(char)) {
      const word = /^\S{1,20}/.exec(input.slice(i))?.[0] ?? "";
      throw new UsageError(`Failed to read an ${what}: '[' or '{' expected near '${word}'`);
    }
    if (depth < 0) throw new UsageError(`Failed to read an ${what}: '[' or '{' expected near '${char}'`);
  }
  if (depth > 0) throw new UsageError(`Failed to read an ${what}: it ends before its last bracket`);
  return objects;
}
