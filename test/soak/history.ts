// History: what the eventlogs of a whole instance say happened, checked against the rules, by code that shares nothing with the
// broker's: RFC 21 (each job has one way through its states), RFC 20 (what R gives), and that no core is given to two jobs at a time.
import type { EventlogEntry } from "../../src/formats/eventlog.ts";
import { IdSet } from "../../src/formats/idset.ts";
import { checkEventlog } from "../modules/job-manager/rfc21.ts";

export interface JobHistory {
  /** As people write it. */
  readonly id: string;
  readonly events: readonly EventlogEntry[];
  /** R (RFC 20) as it was stored; undefined when the job never had resources. */
  readonly R: unknown;
}

/** One core of one node, held by one job. */
interface Holding {
  readonly job: string;
  readonly from_s: number;
  readonly to_s: number;
}

/** What is wrong, a line each: [] when the history obeys the rules. All jobs must be over. `crashes_s`: when the instance was killed. */
export function checkHistory(jobs: readonly JobHistory[], crashes_s: readonly number[] = []): string[] {
  const wrong: string[] = [];
  const held = new Map<string, Holding[]>();
  for (const job of jobs) {
    const problem = checkEventlog(job.events, true, crashes_s);
    if (problem !== "") wrong.push(`${job.id}: ${problem}`);
    const ends = job.events.filter(({ name }) => name === "clean").length;
    if (ends !== 1) wrong.push(`${job.id}: has ${ends} ends`);
    for (const [core, holding] of holdings(job, wrong)) {
      const list = held.get(core);
      if (list === undefined) held.set(core, [holding]);
      else list.push(holding);
    }
  }
  for (const [core, list] of held) wrong.push(...overlaps(core, list));
  return wrong;
}

function holdings(job: JobHistory, wrong: string[]): [string, Holding][] {
  const at = (name: string): number | undefined => job.events.find((event) => event.name === name)?.timestamp;
  const from_s = at("alloc");
  if (from_s === undefined) return [];
  const to_s = at("free");
  if (to_s === undefined) {
    wrong.push(`${job.id}: its resources were never freed`);
    return [];
  }
  try {
    return coresOf(job.R).map((core) => [core, { job: job.id, from_s, to_s }]);
  } catch (err) {
    wrong.push(`${job.id}: R cannot be read: ${err instanceof Error ? err.message : String(err)}`);
    return [];
  }
}

/** "RANK/CORE" of each core in an R of version 1. */
function coresOf(R: unknown): string[] {
  const { execution } = R as { execution: { R_lite: { rank: string; children: { core: string } }[] } };
  return execution.R_lite.flatMap(({ rank, children }) =>
    IdSet.parse(rank)
      .toArray()
      .flatMap((node) =>
        IdSet.parse(children.core)
          .toArray()
          .map((core) => `${node}/${core}`),
      ),
  );
}

function overlaps(core: string, list: Holding[]): string[] {
  const wrong: string[] = [];
  list.sort((a, b) => a.from_s - b.from_s || a.to_s - b.to_s);
  for (let i = 1; i < list.length; i++) {
    const [before, next] = [list[i - 1], list[i]];
    if (before !== undefined && next !== undefined && next.from_s < before.to_s) {
      wrong.push(`core ${core} was given to ${next.job} at ${next.from_s} while ${before.job} had it until ${before.to_s}`);
    }
  }
  return wrong;
}
