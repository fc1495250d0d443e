// The broker's log: a ring of RFC 5424 lines, and where else a line goes.
//
// A line that was first taken by this broker enters the ring (log-level) and, when it is critical or this broker logs
// locally, its stderr. Followers pass lines up to rank 0 (log-forward-level), which writes those to its stderr
// (log-stderr-level) and to a file (log-filename). Every broker gives all lines that it gets to the system's log, if it is
// to (log-syslog-enable, log-syslog-level).
import { wallClock_ms } from "../os/clock.ts";
import { getuid } from "../os/credentials.ts";
import { userName } from "../os/passwd.ts";
import { appendFileSync } from "node:fs";
import { formatLogEntry, LOG_LEVELS, type LogEntry, type LogLevel, parseLogEntry } from "../client/log.ts";
import { errno, FluxError } from "../message/errno.ts";
import type { Attributes } from "./attributes.ts";

const RING_SIZE = 1024;
const LINE_MAX_LENGTH = 64 * 1024;
const WHOSE_MAX_LENGTH = 31;

export interface LogOptions {
  readonly rank: number;
  readonly attrs: Attributes;
  /** How often --verbose was given: 1 shows each broker's own lines on its stderr, but those for debugging, 2 all. */
  readonly verbose?: number;
  /** Passes a line to the broker above. False: there has never been one, so that nobody would see it. */
  readonly forward: (line: string) => boolean;
  /** Opens the system's log: only with log-syslog-enable. */
  readonly openSyslog: () => (severity: LogLevel, text: string) => void;
  /** Writes to stderr (and other descriptors never). */
  readonly writeStderr: (text: string) => void;
}

export class Log {
  readonly #options: LogOptions;
  readonly #level: number;
  readonly #forwardLevel: number;
  readonly #criticalLevel: number;
  #stderrLevel: number;
  readonly #local: boolean;
  readonly #ringSize: number;
  readonly #filename: string | undefined;
  readonly #syslogLevel: number;
  readonly #syslog: ((severity: LogLevel, text: string) => void) | undefined;
  #ring: string[] = [];
  /** The last line could not be written to the file. */
  #fileFailed = false;
  readonly #followers = new Set<(line: string) => void>();
  #count = 0;
  #received = { local: 0, remote: 0 };

  /** Registers the log-* attributes with their defaults. Throws FluxError EINVAL naming a bad one. */
  constructor(options: LogOptions) {
    const { attrs, rank, verbose = 0 } = options;
    this.#options = options;
    this.#level = level(attrs, "log-level", 7);
    this.#stderrLevel = level(attrs, "log-stderr-level", verbose > 1 ? 7 : verbose > 0 ? 6 : 3);
    this.#forwardLevel = level(attrs, "log-forward-level", 3);
    this.#criticalLevel = level(attrs, "log-critical-level", 2);
    this.#syslogLevel = level(attrs, "log-syslog-level", 3);
    if (isEnabled(attrs, "log-syslog-enable")) {
      const [syslog, who] = [options.openSyslog(), whose(attrs)];
      this.#syslog = (severity, text) => syslog(severity, `${who} ${text}`);
    }
    this.#ringSize = integer("log-ring-size", attrs.setDefault("log-ring-size", String(RING_SIZE)));
    if (this.#ringSize < 0) throw new FluxError(errno.EINVAL, "log-ring-size: Invalid argument");
    const mode = attrs.setDefault("log-stderr-mode", verbose > 0 ? "local" : "leader");
    if (mode !== "leader" && mode !== "local") throw new FluxError(errno.EINVAL, "log-stderr-mode: Invalid argument");
    this.#local = mode === "local";
    this.#filename = rank === 0 ? attrs.get("log-filename") : undefined;
    if (rank !== 0) attrs.set("log-filename", undefined);
    attrs.watch("log-stderr-level", (value) => {
      this.#stderrLevel = parseLevel("invalid level", value);
    });
    if (this.#filename !== undefined) appendFileSync(this.#filename, "", { mode: 0o600 });
  }

  /** A line of the broker's own. */
  write(severity: LogLevel, text: string, appname: string = "broker"): void {
    this.append(formatLogEntry(severity, appname, text, wallClock_ms(), String(this.#options.rank)));
  }

  /** A line from a module, a client, or a broker below. */
  append(given: string): void {
    const text = given.slice(0, LINE_MAX_LENGTH);
    const entry = parseLogEntry(text);
    const unclaimed = entry?.hostname === "-";
    const line = unclaimed ? text.replace(/^(<\d+>1 \S+) -/, `$1 ${this.#options.rank}`) : text;
    const rank = unclaimed ? this.#options.rank : Number(entry?.hostname ?? -1);
    const severity = entry?.level ?? 6;
    const isLocal = rank === this.#options.rank;
    if (isLocal) this.#received.local++;
    else this.#received.remote++;
    if (isLocal && severity <= this.#level) this.#remember(line);
    if (severity <= this.#syslogLevel) this.#syslog?.(severity, entry === undefined ? line : `${entry.appname}.${LOG_LEVELS[severity]}[${rank}]: ${entry.text}`);
    const here = isLocal && (severity <= this.#criticalLevel || (this.#local && severity <= this.#stderrLevel));
    const human = entry === undefined ? line : humanLine({ ...entry, hostname: String(rank) });
    if (here) this.#options.writeStderr(`${this.#local && entry !== undefined ? forSystemd(entry, rank) : human}\n`);
    if (this.#options.rank !== 0) {
      if (severity <= this.#forwardLevel && !this.#options.forward(line) && !here && severity <= this.#stderrLevel) this.#options.writeStderr(`${human}\n`);
      return;
    }
    this.#toFile(human);
    if (!here && !this.#local && severity <= this.#stderrLevel) this.#options.writeStderr(`${human}\n`);
  }

  /** A disk that is full costs lines of the file, not the broker. */
  #toFile(line: string): void {
    if (this.#filename === undefined) return;
    try {
      appendFileSync(this.#filename, `${line}\n`);
      this.#fileFailed = false;
    } catch (err) {
      if (!this.#fileFailed) this.#options.writeStderr(`flux-broker: log-filename: ${err instanceof Error ? err.message : String(err)}: lines are lost\n`);
      this.#fileFailed = true;
    }
  }

  entries(): readonly string[] {
    return this.#ringSize === 0 ? [] : this.#ring.slice(-this.#ringSize);
  }

  clear(): void {
    this.#ring = [];
  }

  /** Calls `fn` with each new line until the function returned is called. */
  follow(fn: (line: string) => void): () => void {
    this.#followers.add(fn);
    return () => this.#followers.delete(fn);
  }

  stats(): { "ring-used": number; count: number; local: number; remote: number } {
    return { "ring-used": Math.min(this.#ring.length, this.#ringSize), count: this.#count, ...this.#received };
  }

  #remember(line: string): void {
    if (this.#ringSize === 0) return;
    this.#count++;
    this.#ring.push(line);
    // Trimmed in large steps: shifting an array for each line is not free.
    if (this.#ring.length > this.#ringSize + Math.min(256, this.#ringSize)) this.#ring = this.#ring.slice(-this.#ringSize);
    for (const follower of this.#followers) follower(line);
  }
}

function humanLine(entry: LogEntry): string {
  return `${formatLocalTime(entry.timestamp)} ${entry.appname}.${LOG_LEVELS[entry.level]}[${entry.hostname}]: ${entry.text}`;
}

function forSystemd(entry: LogEntry, rank: number): string {
  return `<${entry.level}>${entry.appname}.${LOG_LEVELS[entry.level]}[${rank}]: ${entry.text}`;
}

/** "Nov 21 02:22:12.190120 UTC 2026" of an ISO timestamp. */
export function formatLocalTime(timestamp: string): string {
  const date = new Date(timestamp);
  if (Number.isNaN(date.getTime())) return timestamp;
  const micros = /\.(\d{1,6})/.exec(timestamp)?.[1]?.padEnd(6, "0") ?? "000000";
  const [, month, day, year, time] = date.toString().split(" ");
  const zone = date.getTimezoneOffset() === 0 ? "UTC" : zoneName(date);
  return `${month} ${day} ${time}.${micros} ${zone} ${year}`;
}

function zoneName(date: Date): string {
  return /([A-Z]{2,5}|GMT[+-][\d:]+)$/.exec(date.toLocaleTimeString("en-US", { timeZoneName: "short" }))?.[0] ?? "UTC";
}

/** Whose instance it is and which, as the system's log has lines of many: "USER@JOBID-PATH", cut to what stock Flux has room for. */
function whose(attrs: Attributes): string {
  const text = `${userName(getuid())}@${attrs.get("jobid-path") ?? "unknown"}`;
  return text.length > WHOSE_MAX_LENGTH ? `${text.slice(0, WHOSE_MAX_LENGTH - 3)}...` : text;
}

function isEnabled(attrs: Attributes, name: string): boolean {
  const text = attrs.setDefault(name, "0");
  if (text !== "0" && text !== "1") throw new FluxError(errno.EINVAL, `${name}: value must be 0 or 1`);
  return text === "1";
}

function level(attrs: Attributes, name: string, fallback: number): number {
  return parseLevel(`${name}: Invalid argument`, attrs.setDefault(name, String(fallback)));
}

/** A severity threshold; a negative one matches nothing. */
function parseLevel(complaint: string, text: string): number {
  if (!/^-?\d+$/.test(text) || Number(text) > 7) throw new FluxError(errno.EINVAL, complaint);
  return Number(text);
}

function integer(name: string, text: string): number {
  if (!/^\d+$/.test(text)) throw new FluxError(errno.EINVAL, `${name}: Invalid argument`);
  return Number(text);
}
