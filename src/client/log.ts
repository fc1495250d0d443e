// Log entries as they travel to the broker's "log.append": RFC 5424 text, as stock Flux writes it.
//
//   <PRI>1 TIMESTAMP RANK APPNAME - - - TEXT
//
// PRI is severity * 8 (the other way round than RFC 5424 has it): that is what stock Flux writes and reads.
// The broker that first takes the entry fills in its rank for "-".

import { wallClock_ms } from "../os/clock.ts";

/** RFC 5424 severities: 0 emerg, 1 alert, 2 crit, 3 err, 4 warning, 5 notice, 6 info, 7 debug. */
export type LogLevel = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7;

export const LOG_LEVELS = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"] as const;

export interface LogEntry {
  readonly level: LogLevel;
  readonly timestamp: string;
  /** The rank it comes from, as text; "-" before a broker has seen it. */
  readonly hostname: string;
  readonly appname: string;
  readonly text: string;
}

/** A log line without its final NUL. */
export function formatLogEntry(level: LogLevel, appname: string, text: string, when_ms: number = wallClock_ms(), rank: string = "-"): string {
  return `<${level << 3}>1 ${formatLogTime(when_ms)} ${rank} ${appname} - - - ${text.replace(/\n+$/, "")}`;
}

/** The fields of a log line, or undefined when it is not one. */
export function parseLogEntry(line: string): LogEntry | undefined {
  const match = /^<(\d+)>1 (\S+) (\S+) (\S+) \S+ \S+ \S+ ([^]*)$/.exec(line);
  if (match === null) return undefined;
  const [, pri = "0", timestamp = "", hostname = "", appname = "", text = ""] = match;
  return { level: ((Number(pri) >> 3) & 7) as LogLevel, timestamp, hostname, appname, text };
}

/** ISO 8601 in UTC with microseconds. */
function formatLogTime(when_ms: number): string {
  const micros = Math.floor((when_ms * 1000) % 1000);
  return new Date(when_ms).toISOString().replace("Z", `${String(micros).padStart(3, "0")}Z`);
}
