// Messages of the shell to the job's user: they travel with the output (RFC 24 log events), as "flux-shell[0]: ERROR: …".
import { ioLog } from "../formats/stdio.ts";
import type { JsonObject } from "../formats/json.ts";

/** RFC 5424 severities by the names the shell uses. */
export const LOG = { fatal: 0, error: 3, warning: 4, notice: 5, debug: 6, trace: 7 } as const;
export type LogLevel = (typeof LOG)[keyof typeof LOG];

export type ShellLog = (level: LogLevel, text: string, component?: string) => void;

const PREFIX = ["FATAL", "FATAL", "FATAL", "ERROR", " WARN", undefined, "DEBUG", "TRACE"] as const;

/** Notices and worse always, debug with verbose, trace with verbose=2. */
export function isWanted(level: LogLevel, verbose: number): boolean {
  return level <= LOG.notice + verbose;
}

/** Context of a log event. */
export function logContext(rank: number, level: LogLevel, message: string, component?: string): JsonObject {
  return ioLog({ rank, level, message, ...(component !== undefined && { component }) });
}

/** The line that stands for a log event where stderr is a file. */
export function formatShellLog(context: JsonObject): string {
  const { rank, level, message, component } = context;
  const where = typeof rank === "number" ? `[${rank}]` : "";
  const prefix = typeof level === "number" ? PREFIX[level] : undefined;
  const part = typeof component === "string" ? `: ${component}` : "";
  return `flux-shell${where}${prefix === undefined ? "" : `: ${prefix}`}${part}: ${typeof message === "string" ? message : ""}\n`;
}
