// Shell options output.*: where stdout and stderr go and how.
//
//   output.mode "truncate" | "append"; output.limit SIZE; output.batch-timeout SECONDS
//   output.{stdout,stderr}.{type "kvs" | "file", path TEMPLATE, label, buffer.type "line" | "none"}
import type { Json } from "../formats/json.ts";
import { objectOf } from "./job.ts";
import { LOG } from "./log.ts";
import { type Shell, ShellExit } from "./shell.ts";
import { isPerTask } from "./template.ts";

export interface StreamOptions {
  /** Path template of a file; undefined: the KVS. */
  readonly path: string | undefined;
  /** Each task (or shell) has a file of its own. */
  readonly perTask: boolean;
  readonly label: boolean;
  readonly lineBuffered: boolean;
}

export interface OutputOptions {
  readonly append: boolean;
  readonly stdout: StreamOptions;
  readonly stderr: StreamOptions;
  readonly limit_bytes: number;
  /** As the user wrote it, for messages. */
  readonly limitText: string;
  readonly batch_ms: number;
}

const LIMIT_MAX_BYTES = 1 << 30;
const BATCH_MS = 20;

export function outputOptions(shell: Shell): OutputOptions {
  const option = objectOf(shell.option("output"));
  const stdout = streamOptions(shell, option["stdout"], { path: undefined, perTask: false, label: false, lineBuffered: true });
  const stderr = streamOptions(shell, option["stderr"], { ...stdout, lineBuffered: false });
  const timeout = option["batch-timeout"];
  if (timeout !== undefined && typeof timeout !== "number") throw new ShellExit(1, "invalid output.batch-timeout option");
  return { append: option["mode"] === "append", stdout, stderr, ...limitOf(shell, option["limit"]), batch_ms: timeout === undefined ? BATCH_MS : timeout * 1000 };
}

function streamOptions(shell: Shell, value: Json | undefined, inherited: StreamOptions): StreamOptions {
  const option = objectOf(value);
  const type = option["type"];
  const path = type === "kvs" ? undefined : typeof option["path"] === "string" ? option["path"] : inherited.path;
  return {
    path,
    perTask: path !== undefined && isPerTask(path),
    label: typeof option["label"] === "boolean" ? option["label"] : inherited.label,
    lineBuffered: lineBuffered(shell, option["buffer"], inherited.lineBuffered),
  };
}

function lineBuffered(shell: Shell, buffer: Json | undefined, fallback: boolean): boolean {
  const type = objectOf(buffer)["type"];
  if (typeof type !== "string") return fallback;
  if (type.toLowerCase() === "none") return false;
  if (type.toLowerCase() !== "line") shell.log(LOG.error, `invalid buffer type specified: ${type}`, "output.config");
  return true;
}

function limitOf(shell: Shell, value: Json | undefined): { limit_bytes: number; limitText: string } {
  const text = typeof value === "string" || typeof value === "number" ? String(value) : shell.job.userid === shell.host.instanceOwner ? "1G" : "10M";
  const limit_bytes = parseSize(text);
  if (limit_bytes === undefined || limit_bytes <= 0 || limit_bytes > LIMIT_MAX_BYTES) throw new ShellExit(1, `Invalid KVS output.limit=${text}`);
  return { limit_bytes, limitText: text };
}

const UNITS: Readonly<Record<string, number>> = { "": 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/** "10", "1.5K", "10M", "1G". */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)([KMGT]?)$/i.exec(text.trim());
  return match === null ? undefined : Math.floor(Number(match[1]) * (UNITS[(match[2] ?? "").toUpperCase()] ?? 1));
}
