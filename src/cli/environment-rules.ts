// The environment of a job: what --env, --env-remove and --env-file make of the environment of the command.
//
// A rule is "-PATTERN" (remove), "^FILE" (more rules, one a line), "PATTERN" (take matching variables from the command's own
// environment) or "NAME=VALUE", where $NAME and ${NAME} stand for what was set before. A value with {{…}} is for the shell.
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { UsageError } from "./command.ts";
import { systemErrorText } from "./file-error.ts";
import { namePattern } from "./patterns.ts";

export interface JobEnvironment {
  readonly environment: Record<string, string>;
  /** Values with templates, which the job shell expands. */
  readonly expand: Record<string, string>;
}

/** Rule files may name rule files. */
const NESTED_FILES_MAX = 16;

type Variables = Readonly<Record<string, string>>;

/** Applies rules in their order. Throws UsageError naming the rule that can't be applied. */
export function applyEnvironmentRules(rules: readonly string[], own: Variables): JobEnvironment {
  const result: JobEnvironment = { environment: { ...own }, expand: {} };
  for (const rule of rules) applyRule(rule, result, own, 0);
  return result;
}

function applyRule(rule: string, result: JobEnvironment, own: Variables, depth: number): void {
  const { environment, expand } = result;
  if (rule.startsWith("-")) {
    const matches = namePattern(rule.slice(1));
    for (const name of Object.keys(environment)) if (matches(name)) delete environment[name];
    return;
  }
  if (rule.startsWith("^")) {
    if (depth >= NESTED_FILES_MAX) throw new UsageError(`--env: more than ${NESTED_FILES_MAX} files of rules inside each other`);
    for (const line of rulesOfFile(rule.slice(1))) applyRule(line, result, own, depth + 1);
    return;
  }
  const equals = rule.indexOf("=");
  if (equals < 0) {
    const matches = namePattern(rule);
    for (const [name, value] of Object.entries(own)) if (matches(name)) environment[name] ??= value;
    return;
  }
  const name = rule.slice(0, equals);
  const value = rule.slice(equals + 1);
  if (value.includes("{{")) expand[name] = value;
  else environment[name] = substitute(value, rule, environment, own);
}

function rulesOfFile(path: string): string[] {
  const full = path.replace(/^~(?=\/|$)/, homedir());
  try {
    return readFileSync(full, "utf8").split("\n").map((line) => line.trim()).filter((line) => line !== "");
  } catch (err) {
    throw new UsageError(`--env: ${systemErrorText(err, full)}`);
  }
}

/** $NAME, ${NAME} and $$ in a value. */
function substitute(value: string, rule: string, environment: Variables, own: Variables): string {
  return value.replace(/\$(?:(\$)|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\}|)/g, (_match, dollar?: string, plain?: string, braced?: string) => {
    if (dollar !== undefined) return "$";
    const name = plain ?? braced;
    if (name === undefined) throw new UsageError(`--env: Unable to substitute ${rule}`);
    const found = environment[name] ?? own[name];
    if (found === undefined) throw new UsageError(`--env: Variable '${name}' not found in ${rule}`);
    return found;
  });
}
