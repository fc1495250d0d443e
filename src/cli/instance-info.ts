// What an instance that runs as a job says of itself: fields instance.* of tables of jobs.
import type { Flux } from "../client/flux.ts";
import { STATE } from "../client/jobs.ts";
import { schedResources } from "../client/resources.ts";
import type { OutputValue } from "../formats/outputformat.ts";
import { FluxError } from "../message/errno.ts";
import { UsageError } from "./command.ts";
import { openInstance } from "./instance-uri.ts";
import { jobStats } from "./job-list.ts";
import { type JobRow, jobUri } from "./job-row.ts";

/** Instances that are asked at a time. */
const ASKED_MAX = 32;

/** The rows, those of instances with what they say; one that can't be reached says nothing. */
export async function withInstanceInfo(rows: readonly JobRow[]): Promise<JobRow[]> {
  const result: JobRow[] = [...rows];
  const waiting = [...rows.entries()].filter(([, row]) => jobUri(row) !== undefined && row.info["state"] === STATE.RUN);
  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [index, row] = next;
      const instance = await askInstance(jobUri(row) ?? "");
      if (instance !== undefined) result[index] = { ...row, instance };
    }
  };
  await Promise.all(Array.from({ length: ASKED_MAX }, work));
  return result;
}

async function askInstance(uri: string): Promise<JobRow["instance"] | undefined> {
  let h: Flux | undefined;
  try {
    h = await openInstance(uri);
    const [resources, stats] = await Promise.all([schedResources(h), jobStats(h)]);
    const { pending, running, successful, failed } = stats;
    const total = pending + running + successful + failed;
    const { all, allocated } = resources;
    const values: Record<string, OutputValue> = {
      stats: `PD:${pending} R:${running} CD:${successful} F:${failed}`,
      "stats.total": total,
      utilization: all.ncores === 0 ? "" : shownRatio(allocated.ncores / all.ncores),
      gpu_utilization: all.ngpus === 0 ? "" : shownRatio(allocated.ngpus / all.ngpus),
      progress: total === 0 ? "" : shownRatio((successful + failed) / total),
    };
    for (const name of ["all", "up", "down", "allocated", "free"] as const) {
      for (const what of ["nnodes", "ncores", "ngpus"] as const) values[`resources.${name}.${what}`] = resources[name][what];
    }
    return values;
  } catch (err) {
    if (err instanceof FluxError || err instanceof UsageError) return undefined;
    throw err;
  } finally {
    h?.close();
  }
}

/** A ratio as scripts know it: "0.5", "0.0", "1.0". */
function shownRatio(ratio: number): string {
  return Number.isInteger(ratio) ? `${ratio}.0` : String(ratio);
}

/** True when a format shows what only instances know. */
export function wantsInstanceInfo(fields: Iterable<string>): boolean {
  for (const field of fields) if (field.startsWith("instance.")) return true;
  return false;
}
