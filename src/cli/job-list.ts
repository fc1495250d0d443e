// Lists of jobs from job-list (RFC 43), chosen as the options of `flux jobs`, `flux pgrep` and others say.
import type { Flux } from "../client/flux.ts";
import { resultByName, statesByName, USERID_ANY } from "../client/jobs.ts";
import type { JobId } from "../formats/fluid.ts";
import { isJsonObject, type Json, type JsonObject } from "../formats/json.ts";
import { errno, isErrno } from "../message/errno.ts";
import { UsageError } from "./command.ts";
import { type JobRow, toJobRow } from "./job-row.ts";

export interface JobQuery {
  readonly attributes: readonly string[];
  /** At most so many; 0: all. */
  readonly max: number;
  /** USERID_ANY: everybody's. */
  readonly userid: number;
  readonly states: number;
  readonly results: number;
  /** Inactive since then, in seconds since the epoch. */
  readonly since_s?: number;
  readonly name?: string | undefined;
  readonly queues?: readonly string[];
  /** Constraint of RFC 43 that must hold as well. */
  readonly constraint?: JsonObject | undefined;
}

/** Active jobs first (pending by priority, then running), then inactive ones, the last first. */
export async function listJobs(h: Flux, query: JobQuery): Promise<JobRow[]> {
  const request = { max_entries: query.max, attrs: query.attributes, since: query.since_s ?? 0, constraint: constraintOf(query) };
  const read_s = Date.now() / 1000;
  const rows: JobRow[] = [];
  let streaming: boolean | undefined;
  for await (const response of h.stream("job-list.list", request)) {
    const jobs = response["jobs"];
    if (Array.isArray(jobs)) for (const job of jobs as readonly Json[]) if (isJsonObject(job)) rows.push(toJobRow(job, read_s));
    // Services before version 1 of this protocol answer once.
    streaming ??= Number(response["version"] ?? 0) > 0;
    if (!streaming) break;
  }
  return rows;
}

function constraintOf({ userid, states, results, name, queues = [], constraint }: JobQuery): JsonObject {
  const and: JsonObject[] = constraint === undefined ? [] : [constraint];
  if (userid !== USERID_ANY) and.push({ userid: [userid] });
  if (name !== undefined) and.push({ name: [name] });
  if (queues.length > 0) and.push({ queue: queues });
  if (states !== 0 && results !== 0) and.push({ or: [{ states: [states] }, { results: [results] }] });
  else if (states !== 0) and.push({ states: [states] });
  else if (results !== 0) and.push({ results: [results] });
  return { and };
}

/** Jobs by id, once they are or have been in `state`; `unknown` is called with the index of each that doesn't exist. */
export async function findJobs(
  h: Flux,
  ids: readonly JobId[],
  attributes: readonly string[],
  unknown: (index: number) => void,
  state?: number,
): Promise<JobRow[]> {
  const read_s = Date.now() / 1000;
  const answers = await Promise.all(
    ids.map(async (id, index) => {
      try {
        return await h.rpc("job-list.list-id", { id, attrs: attributes, ...(state === undefined ? {} : { state }) });
      } catch (err) {
        if (!isErrno(err, errno.ENOENT)) throw err;
        unknown(index);
        return undefined;
      }
    }),
  );
  const rows: JobRow[] = [];
  for (const answer of answers) if (isJsonObject(answer?.["job"])) rows.push(toJobRow(answer["job"], read_s));
  return rows;
}

/** States and results of --filter's words. Throws UsageError. */
export function parseFilters(words: readonly string[]): { states: number; results: number } {
  let states = 0;
  let results = 0;
  for (const word of words.flatMap((list) => list.split(","))) {
    const name = word.toLowerCase();
    const state = name.length > 2 ? statesByName(name) : undefined;
    const result = name.length > 2 ? resultByName(name) : undefined;
    if (state === undefined && result === undefined) throw new UsageError(`Invalid filter specified: ${word} (states such as pending, running, inactive, results such as completed, failed; see flux help jobs)`);
    states |= state ?? 0;
    results |= result ?? 0;
  }
  return { states, results };
}

/** The user of --user: a name, an id, or "all". Throws UsageError. */
export async function parseUser(word: string): Promise<number> {
  if (word === "all") return USERID_ANY;
  if (/^\+?\d+$/.test(word)) return Number(word);
  const { userByName } = await import("../os/passwd.ts");
  const user = userByName(word);
  if (user === undefined) throw new UsageError(`Invalid user ${word} specified`);
  return user.uid;
}

/** The constraint of --include: jobs on these hosts or broker ranks. Throws UsageError. */
export async function includeConstraint(targets: string): Promise<JsonObject> {
  const [{ IdSet }, { Hostlist }] = await Promise.all([import("../formats/idset.ts"), import("../formats/hostlist.ts")]);
  try {
    return { ranks: [IdSet.parse(targets).toString()] };
  } catch {
    // Not ranks: then hosts.
  }
  try {
    return { hostlist: [Hostlist.parse(targets).toString()] };
  } catch {
    throw new UsageError(`-i/--include: invalid targets: ${targets}`);
  }
}

export interface JobStats {
  readonly pending: number;
  readonly running: number;
  readonly successful: number;
  /** Failed, timed out or canceled. */
  readonly failed: number;
  readonly inactivePurged: number;
  readonly active: number;
}

/** Counts of jobs, of some queues or of all. Throws UsageError for a queue without any. */
export async function jobStats(h: Flux, queues: readonly string[] = []): Promise<JobStats> {
  return statsOf(await h.rpc("job-list.job-stats", {}), queues);
}

/** The counts in a response of job-list.job-stats. Throws UsageError for a queue without any. */
export function statsOf(answer: JsonObject, queues: readonly string[] = []): JobStats {
  const byQueue = Array.isArray(answer["queues"]) ? (answer["queues"] as readonly Json[]).filter(isJsonObject) : [];
  const chosen = queues.map((name) => {
    const found = byQueue.find((queue) => queue["name"] === name);
    if (found === undefined) throw new UsageError(`error retrieving job stats: no stats available for queue ${name}`);
    return found;
  });
  const all = queues.length === 0 ? [answer] : chosen;
  const sum = (...names: readonly string[]): number =>
    all.reduce((total, stats) => total + names.reduce((n, name) => n + countOf(stats, name), 0), 0);
  return {
    pending: sum("depend", "priority", "sched"),
    running: sum("run", "cleanup"),
    successful: sum("successful"),
    failed: sum("failed", "timeout", "canceled"),
    inactivePurged: sum("inactive_purged"),
    active: sum("total") - sum("inactive"),
  };
}

function countOf(stats: JsonObject, name: string): number {
  const states = stats["job_states"];
  const value = stats[name] ?? (isJsonObject(states) ? states[name] : undefined);
  return typeof value === "number" ? value : 0;
}
