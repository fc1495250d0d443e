// Patterns of names, as --env and --rlimit take them: a shell glob, or a regular expression that starts with "/".
import { UsageError } from "./command.ts";

/** What glob(7) means, for the whole name. `*` matches everything, dots and slashes too. */
export function globToRegExp(glob: string): RegExp {
  let source = "";
  for (let i = 0; i < glob.length; i++) {
    const char = glob[i] as string;
    if (char === "*") source += "[\\s\\S]*";
    else if (char === "?") source += "[\\s\\S]";
    else if (char === "[") {
      const end = glob.indexOf("]", glob[i + 1] === "!" || glob[i + 1] === "]" ? i + 3 : i + 2);
      if (end < 0) {
        source += "\\[";
        continue;
      }
      source += `[${glob.slice(i + 1, end).replace(/\\/g, "\\\\").replace(/^!/, "^")}]`;
      i = end;
    } else source += char.replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&");
  }
  return new RegExp(`^(?:${source})$`);
}

/** A test for names. "/REGEX" matches from the start of a name. Throws UsageError for a malformed one. */
export function namePattern(pattern: string): (name: string) => boolean {
  try {
    const regexp = pattern.startsWith("/") ? new RegExp(`^(?:${pattern.slice(1).replace(/\/+$/, "")})`) : globToRegExp(pattern);
    return (name) => regexp.test(name);
  } catch (err) {
    throw new UsageError(`invalid pattern '${pattern}': ${err instanceof Error ? err.message : String(err)}`);
  }
}
