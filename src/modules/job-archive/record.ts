// JobRecord: a job that is over, as the archive keeps it: its eventlog, jobspec and R, and what queries look for.
import { type EventlogEntry, parseEventlog } from "../../formats/eventlog.ts";
import type { JobId } from "../../formats/fluid.ts";
import { decodeJsonObject } from "../../formats/json.ts";
import { Rset } from "../../formats/rset.ts";

export interface JobRecord {
  readonly id: JobId;
  readonly userid: number;
  /** Broker ranks, as "[0-3]"; null for a job that had no resources. */
  readonly ranks: string | null;
  /** Seconds since the epoch; 0 for what never happened. */
  readonly t_submit: number;
  readonly t_run: number;
  readonly t_cleanup: number;
  readonly t_inactive: number;
  readonly eventlog: string;
  readonly jobspec: string;
  readonly R: string | null;
}

/** Throws FormatError for texts that aren't those of a job. */
export function jobRecord(id: JobId, eventlog: string, jobspec: string, R: string | null): JobRecord {
  const events = parseEventlog(eventlog);
  const time = (matches: (event: EventlogEntry) => boolean): number => events.find(matches)?.timestamp ?? 0;
  const submit = events.find(({ name }) => name === "submit");
  const userid = submit?.context?.["userid"];
  return {
    id,
    userid: typeof userid === "number" ? userid : 0,
    ranks: R === null ? null : Rset.parse(decodeJsonObject(R)).ranks.toString({ brackets: true }),
    t_submit: submit?.timestamp ?? 0,
    t_run: time(({ name }) => name === "alloc"),
    // Whatever comes first ends the run (RFC 21).
    t_cleanup: time(({ name, context }) => name === "finish" || (name === "exception" && context?.["severity"] === 0)),
    t_inactive: events.findLast(({ name }) => name === "clean")?.timestamp ?? 0,
    eventlog,
    jobspec,
    R,
  };
}
