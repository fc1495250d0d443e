// Resource limits that a job inherits: --rlimit. "-PATTERN" leaves limits out, "PATTERN" takes the current ones,
// "NAME=VALUE" sets one; a rule may be a list of these, separated by commas.
import { isRlimitName, type RlimitName, RLIMITS, softLimits, UNLIMITED } from "../os/limits.ts";
import { UsageError } from "./command.ts";
import { namePattern } from "./patterns.ts";

/** Limits that jobs get unless told otherwise; the others concern the machine rather than the program. */
const DEFAULTS: readonly RlimitName[] = ["cpu", "fsize", "data", "stack", "core", "nofile", "as", "rss", "nproc"];

/** Throws UsageError for a name or value that is none. */
export function applyRlimitRules(rules: readonly string[]): Record<string, number> {
  let limits: Record<string, number> = softLimits(DEFAULTS);
  for (const rule of rules.flatMap((text) => text.split(","))) {
    if (rule.startsWith("-")) {
      const matches = namePattern(rule.slice(1).toLowerCase());
      limits = Object.fromEntries(Object.entries(limits).filter(([name]) => !matches(name)));
      continue;
    }
    const [name = "", value] = rule.split(/=(.*)/s);
    Object.assign(limits, value === undefined ? currentLimits(name) : { [name.toLowerCase()]: limitValue(name, value) });
  }
  return limits;
}

function currentLimits(pattern: string): Record<string, number> {
  const matches = namePattern(pattern.toLowerCase());
  const names = (Object.keys(RLIMITS) as RlimitName[]).filter((name) => matches(name));
  if (names.length === 0) throw new UsageError(`No corresponding rlimit matching "${pattern}"`);
  return softLimits(names);
}

function limitValue(name: string, value: string): number {
  if (!isRlimitName(name.toLowerCase())) throw new UsageError(`Invalid rlimit "${name}"`);
  if (["unlimited", "infinity", "inf"].includes(value)) return UNLIMITED;
  if (!/^-?\d+$/.test(value)) throw new UsageError(`Invalid value in ${name}=${value}`);
  return Number(value);
}
