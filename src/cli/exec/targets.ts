// Which brokers `flux exec` addresses: all, the ranks of --rank without those of --exclude, or a job's.
import type { Flux } from "../../client/flux.ts";
import { EVENTLOG_WATCH } from "../../client/job-info.ts";
import { STATE } from "../../client/jobs.ts";
import { parseJobId } from "../../formats/fluid.ts";
import { IdSet } from "../../formats/idset.ts";
import { errno, isErrno } from "../../message/errno.ts";
import { fields, int, str, unpack } from "../../message/unpack.ts";
import { UsageError } from "../command.ts";
import { explained } from "../connect.ts";

export interface Targets {
  readonly ranks: IdSet;
  readonly service: string;
}

export interface TargetOptions {
  readonly rank: string | undefined;
  readonly exclude: string | undefined;
  readonly jobid: string | undefined;
}

/** Ranks of --rank and --exclude count within the job's with --jobid. Throws UsageError. */
export async function findTargets(h: Flux, options: TargetOptions): Promise<Targets> {
  const job = options.jobid === undefined ? undefined : await jobTargets(h, options.jobid);
  const all = job?.ranks ?? IdSet.range(0, Number(await h.attr("size")) - 1);
  const include = parseRanks(options.rank);
  const exclude = options.exclude === undefined ? new IdSet() : decode(options.exclude);
  if (include !== undefined && (include.isEmpty || (include.last ?? 0) >= all.count)) {
    throw new UsageError(`One or more invalid --ranks specified: ${options.rank}`);
  }
  const ranks = new IdSet();
  let index = 0;
  for (const rank of all) {
    const excluded = exclude.has(job === undefined ? rank : index);
    if (!excluded && (include === undefined || include.has(index))) ranks.add(rank);
    index++;
  }
  if (ranks.isEmpty) throw new UsageError("No targets specified");
  return { ranks, service: job?.service ?? "rexec" };
}

function parseRanks(words: string | undefined): IdSet | undefined {
  return words === undefined || words === "all" ? undefined : decode(words);
}

function decode(words: string): IdSet {
  try {
    return IdSet.parse(words);
  } catch {
    throw new UsageError(`failed to decode idset '${words}': Invalid argument`);
  }
}

/** The brokers of a running job, and the service that its shell offers there. */
async function jobTargets(h: Flux, jobid: string): Promise<Targets> {
  const id = parseJob(jobid);
  let ranks: IdSet;
  try {
    const answer = await h.rpc("job-list.list-id", { id, attrs: ["ranks", "state"] });
    const { job } = unpack(answer, { job: fields({ state: int, ranks: str }) });
    if (job.state !== STATE.RUN) throw new UsageError(`job ${jobid} is not currently running`);
    ranks = IdSet.parse(job.ranks);
  } catch (err) {
    if (isErrno(err, errno.ENOENT)) throw new UsageError(`job ${jobid} not found`);
    throw explained(`unable to get info for job ${jobid}`, err);
  }
  return { ranks, service: `${await shellService(h, id, jobid)}.rexec` };
}

function parseJob(jobid: string): bigint {
  try {
    return parseJobId(jobid);
  } catch {
    throw new UsageError(`error parsing jobid: "${jobid}"`);
  }
}

async function shellService(h: Flux, id: bigint, jobid: string): Promise<string> {
  const { parseEventlogEntry } = await import("../../formats/eventlog.ts");
  const request = { id, path: "guest.exec.eventlog", flags: EVENTLOG_WATCH.WAITCREATE };
  try {
    for await (const answer of h.stream("job-info.eventlog-watch", request)) {
      const { name, context } = parseEventlogEntry(unpack(answer, { event: str }).event);
      if (name === "shell.init") return unpack(context ?? {}, { service: str }).service;
    }
  } catch (err) {
    throw explained(`failed to get shell.init event for ${jobid}`, err);
  }
  throw new UsageError(`failed to get shell.init event for ${jobid}`);
}
