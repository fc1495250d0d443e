// Patterns of names, as --env and --rlimit take them: a shell glob, or a regular expression that starts with "/".
import { globToRegExp } from "../formats/glob.ts";
import { UsageError } from "./command.ts";

/** A test for names. "/REGEX" matches from the start of a name. Throws UsageError for a malformed one. */
export function namePattern(pattern: string): (name: string) => boolean {
  try {
    const regexp = pattern.startsWith("/") ? new RegExp(`^(?:${pattern.slice(1).replace(/\/+$/, "")})`) : globToRegExp(pattern);
    return (name) => regexp.test(name);
  } catch (err) {
    throw new UsageError(`invalid pattern '${pattern}': ${err instanceof Error ? err.message : String(err)}`);
  }
}
