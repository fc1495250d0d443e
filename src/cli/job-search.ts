// JobSearch: the jobs that `flux pgrep` and `flux pkill` mean: by a pattern of their names, or a range of ids.
import type { Flux } from "../client/flux.ts";
import { USERID_ANY } from "../client/jobs.ts";
import { parseJobId } from "../formats/fluid.ts";
import { flag, list as listOption, type OptionValues, text, UsageError, value } from "./command.ts";
import { listJobs, parseFilters, parseUser } from "./job-list.ts";
import type { JobRow } from "./job-row.ts";
import { integer } from "./options.ts";
import { writeError } from "./output.ts";

export const SEARCH_OPTIONS = {
  allStates: flag("-a", "jobs in all states"),
  allUsers: flag("-A", "jobs of all users"),
  user: text("-u, --user USERNAME|UID", "jobs of this user, or of all"),
  filter: listOption("-f, --filter STATE|RESULT", "only jobs in these states or with these results"),
  queue: listOption("-q, --queue QUEUE,...", "only jobs of these queues"),
  count: value("-c, --count N", "only the first N that match", integer(0)),
  maxEntries: value("--max-entries N", "look at no more than N jobs (default 1000)", integer(0)),
} as const;
export type SearchOptions = OptionValues<typeof SEARCH_OPTIONS>;

const ENTRIES_DEFAULT = 1000;

/** A test for jobs. Throws UsageError with exit code 2. */
export function searchTest(expressions: readonly string[], program: string): (row: JobRow) => boolean {
  if (expressions.length === 0) {
    writeError(`usage: flux ${program} [OPTIONS] EXPRESSION [EXPRESSION ...]\nflux-${program}: error: the following arguments are required: EXPRESSION\n`);
    throw new UsageError("", 2);
  }
  const tests: ((row: JobRow) => boolean)[] = [];
  let pattern: RegExp | undefined;
  for (const expression of expressions) {
    const range = expression.includes(":") ? undefined : idRange(expression);
    if (range !== undefined) {
      tests.push(({ id }) => id >= range[0] && id <= range[1]);
      continue;
    }
    if (pattern !== undefined) throw new UsageError("expression error: Only one pattern can be provided", 2);
    const regexp = (pattern = namePattern(expression.replace(/^name:/, "")));
    tests.push(({ info }) => typeof info["name"] === "string" && regexp.test(info["name"]));
  }
  return (row) => tests.every((test) => test(row));
}

function idRange(expression: string): [bigint, bigint] | undefined {
  const [first, last, ...more] = expression.split("..");
  if (first === undefined || last === undefined || more.length > 0) return undefined;
  try {
    return [parseJobId(first), parseJobId(last)];
  } catch {
    return undefined;
  }
}

function namePattern(source: string): RegExp {
  try {
    return new RegExp(source);
  } catch (err) {
    throw new UsageError(`expression error: ${err instanceof Error ? err.message : String(err)}`, 2);
  }
}

/** The jobs that pass the test, with all attributes. */
export async function searchJobs(h: Flux, options: SearchOptions, test: (row: JobRow) => boolean): Promise<JobRow[]> {
  const words = options.allStates ? ["pending,running,inactive", ...options.filter] : options.filter;
  const rows = await listJobs(h, {
    attributes: ["all"],
    max: options.maxEntries ?? ENTRIES_DEFAULT,
    userid: options.allUsers ? USERID_ANY : options.user === undefined ? (process.getuid?.() ?? 0) : await parseUser(options.user),
    ...parseFilters(words.length > 0 ? words : ["pending,running"]),
    queues: options.queue.flatMap((word) => word.split(",")),
  });
  return rows.filter(test).slice(0, options.count ?? rows.length);
}
