// Times as Slurm prints them: D-HH:MM:SS, HH:MM:SS or MM:SS; UNLIMITED and such for none.
import { FormatError } from "./error.ts";

const UNLIMITED = ["UNLIMITED", "INFINITE", "NOT_SET"];

/** Seconds; undefined for no limit. Throws FormatError, also for Slurm's own INVALID. */
export function parseSlurmTime(text: string): number | undefined {
  if (UNLIMITED.includes(text)) return undefined;
  const [, days = 0, hours = 0, minutes, seconds] = /^(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)$/.exec(text) ?? [];
  if (minutes === undefined) throw new FormatError("Slurm time", text, "it must be [[D-]HH:]MM:SS");
  return ((Number(days) * 24 + Number(hours)) * 60 + Number(minutes)) * 60 + Number(seconds);
}
