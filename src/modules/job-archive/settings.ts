// Settings of the job archive: the table [archive] of the configuration.
//
//   dbpath = "/var/lib/flux/job-archive.sqlite"   default: job-archive.sqlite in the state directory
//   period = "60s"                                how often jobs that have ended are written
//   busytimeout = "50ms"                          how long to wait for another program that writes to the file
import { parseDuration } from "../../formats/fsd.ts";
import { isJsonObject, type Json, type JsonObject } from "../../formats/json.ts";
import { errno, FluxError } from "../../message/errno.ts";

export interface ArchiveSettings {
  readonly dbpath: string | undefined;
  readonly period_s: number;
  readonly busytimeout_s: number;
}

const DEFAULTS: ArchiveSettings = { dbpath: undefined, period_s: 60, busytimeout_s: 0.05 };
const NAMES = ["dbpath", "period", "busytimeout"];

/** Settings of a configuration; undefined without a table [archive]. Throws FluxError EINVAL. */
export function archiveSettings(config: JsonObject): ArchiveSettings | undefined {
  const table = config["archive"];
  if (table === undefined) return undefined;
  if (!isJsonObject(table)) throw new FluxError(errno.EINVAL, "archive: must be a table");
  const unknown = Object.keys(table).find((name) => !NAMES.includes(name));
  if (unknown !== undefined) throw new FluxError(errno.EINVAL, `archive.${unknown}: there is no such setting: ${NAMES.join(", ")}`);
  const { dbpath } = table;
  if (dbpath !== undefined && (typeof dbpath !== "string" || !dbpath.startsWith("/"))) {
    throw new FluxError(errno.EINVAL, "archive.dbpath: must be the path of a file, beginning with /");
  }
  return {
    dbpath,
    period_s: duration("period", table["period"], DEFAULTS.period_s),
    busytimeout_s: duration("busytimeout", table["busytimeout"], DEFAULTS.busytimeout_s),
  };
}

function duration(name: string, value: Json | undefined, fallback_s: number): number {
  if (value === undefined) return fallback_s;
  try {
    const seconds = typeof value === "string" ? parseDuration(value) : 0;
    if (seconds > 0 && Number.isFinite(seconds)) return seconds;
  } catch {
    // Said below.
  }
  throw new FluxError(errno.EINVAL, `archive.${name}: must be a duration such as "60s"`);
}
