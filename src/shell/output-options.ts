// Shell options output.*: where stdout and stderr go and how.
//
//   output.mode "truncate" | "append"; output.limit SIZE; output.batch-timeout FSD
//   output.client.{lwm, hwm} entries that wait for the leader: tasks pause from hwm on, and go on at lwm
//   output.{stdout,stderr}.{type "kvs" | "file", path TEMPLATE, label, buffer.type "line" | "none"}
import { parseDuration } from "../formats/fsd.ts";
import type { Json } from "../formats/json.ts";
import { parseSize } from "../formats/size.ts";
import { LOG } from "./log.ts";
import { partsOf } from "./parts.ts";
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
  /** Entries on their way to the leader. */
  readonly lwm: number;
  readonly hwm: number;
}

const LIMIT_MAX_BYTES = 1 << 30;
const BATCH_MS = 20;
const CLIENT_LWM = 100;
const CLIENT_HWM = 1000;

export function outputOptions(shell: Shell): OutputOptions {
  const option = partsOf(shell.option("output"), "output", "output.mode=append");
  const stdout = streamOptions(shell, "stdout", option["stdout"], { path: undefined, perTask: false, label: false, lineBuffered: true });
  const stderr = streamOptions(shell, "stderr", option["stderr"], { ...stdout, lineBuffered: false });
  const batch_ms = batchTimeout_ms(option["batch-timeout"], "output", BATCH_MS);
  return { append: isAppend(shell, option["mode"]), stdout, stderr, ...limitOf(shell, option["limit"]), batch_ms, ...watermarks(option["client"]) };
}

/** A duration of RFC 23, or seconds. */
export function batchTimeout_ms(value: Json | undefined, whose: "input" | "output", fallback_ms: number): number {
  if (value === undefined) return fallback_ms;
  try {
    const seconds = typeof value === "number" ? value : typeof value === "string" ? parseDuration(value) : -1;
    if (seconds >= 0 && Number.isFinite(seconds)) return seconds * 1000;
  } catch {
    // said below
  }
  throw new ShellExit(1, `invalid ${whose}.batch-timeout option`);
}

function isAppend(shell: Shell, mode: Json | undefined): boolean {
  if (mode !== undefined && mode !== "append" && mode !== "truncate") shell.log(LOG.warning, `ignoring invalid output.mode=${typeof mode === "string" ? mode : JSON.stringify(mode)}`, "output");
  return mode === "append";
}

function watermarks(client: Json | undefined): { lwm: number; hwm: number } {
  const { lwm = CLIENT_LWM, hwm = CLIENT_HWM } = partsOf(client, "output.client", "output.client.hwm=1000");
  if (!Number.isInteger(lwm) || !Number.isInteger(hwm) || Number(lwm) < 0 || Number(lwm) >= Number(hwm)) throw new ShellExit(1, "invalid client.lwm and/or client.hwm specified");
  return { lwm: Number(lwm), hwm: Number(hwm) };
}

function streamOptions(shell: Shell, stream: "stdout" | "stderr", value: Json | undefined, inherited: StreamOptions): StreamOptions {
  const option = partsOf(value, `output.${stream}`, `output.${stream}.path=FILE`);
  const type = option["type"];
  const path = type === "kvs" ? undefined : typeof option["path"] === "string" ? option["path"] : inherited.path;
  return {
    path,
    perTask: path !== undefined && isPerTask(path),
    label: typeof option["label"] === "boolean" ? option["label"] : inherited.label,
    lineBuffered: lineBuffered(shell, stream, option["buffer"], inherited.lineBuffered),
  };
}

function lineBuffered(shell: Shell, stream: "stdout" | "stderr", buffer: Json | undefined, fallback: boolean): boolean {
  const type = partsOf(buffer, `output.${stream}.buffer`, `output.${stream}.buffer.type=none`)["type"];
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
