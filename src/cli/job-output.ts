// What a job printed, on its way from the job's output eventlog (RFC 24) to our stdout and stderr.
//
// Writes are joined: everything that arrives together goes out in one write for each stream, in its order.
import { encodeJson, isJsonObject, type Json, type JsonObject } from "../formats/json.ts";
import { decodeIo } from "../formats/stdio.ts";
import { UsageError } from "./command.ts";
import { write, writeError } from "./output.ts";

/** An event of any eventlog as it is read for show: what stock services send is trusted to be an event. */
export interface ShownEvent {
  readonly timestamp: number;
  readonly name: string;
  readonly context?: JsonObject;
}

/** The event of one response of job-info.eventlog-watch; undefined for the mark between old events and new ones. */
export function eventOfResponse(response: JsonObject): ShownEvent | undefined {
  const text = response["event"];
  if (typeof text !== "string") return undefined;
  let value: unknown;
  try {
    // Not decodeJson: no member that is shown here is a 64-bit integer, and output may be large.
    value = JSON.parse(text);
  } catch {
    throw new UsageError("malformed event in eventlog");
  }
  if (!isJsonObject(value) || typeof value["name"] !== "string" || typeof value["timestamp"] !== "number") {
    throw new UsageError("malformed event in eventlog");
  }
  return value as object as ShownEvent;
}

export interface OutputSink {
  readonly stdout: (data: string | Uint8Array) => void;
  readonly stderr: (data: string | Uint8Array) => void;
}

/** Joined up to here, then written at once. */
const BATCH_CHARS = 1 << 16;

/** Our own stdout and stderr. Text is joined until the turn of the event loop is over. */
export function createTerminalSink(): OutputSink & { flush(): void } {
  let stream: "stdout" | "stderr" = "stdout";
  let pending = "";
  let scheduled = false;
  const flush = (): void => {
    const text = pending;
    pending = "";
    if (text !== "") (stream === "stdout" ? write : writeError)(text);
  };
  const put = (to: "stdout" | "stderr", data: string | Uint8Array): void => {
    if (to !== stream) flush();
    stream = to;
    if (typeof data !== "string") {
      flush();
      (to === "stdout" ? write : writeError)(data);
      return;
    }
    pending += data;
    if (pending.length >= BATCH_CHARS) return flush();
    if (scheduled) return;
    scheduled = true;
    setImmediate(() => {
      scheduled = false;
      flush();
    });
  };
  return { stdout: (data) => put("stdout", data), stderr: (data) => put("stderr", data), flush };
}

/** Data of one output event; `label` makes the text before each line from the rank. */
export function putData(sink: OutputSink, context: JsonObject, label?: (rank: string) => string): void {
  const { stream, rank, data, encoding, repeat = 1 } = context;
  const put = stream === "stderr" ? sink.stderr : sink.stdout;
  const bytes = typeof data === "string" && encoding === undefined ? data : decodeIo(context).data;
  if (bytes === undefined || bytes.length === 0) return;
  const shown = label === undefined ? bytes : labelled(bytes, label(rankText(rank)));
  for (let i = 0; i < Number(repeat); i++) put(shown);
}

const rankText = (rank: Json | undefined): string => (typeof rank === "string" || typeof rank === "number" ? String(rank) : "?");

/** The label before each line, also before one that isn't complete. */
function labelled(data: string | Uint8Array, label: string): string | Uint8Array {
  if (typeof data === "string") return data.replace(/[^\n]*(?:\n|$)/g, (line) => (line === "" ? "" : label + line));
  const prefix = Buffer.from(label);
  const parts: Uint8Array[] = [];
  for (let start = 0; start < data.length; ) {
    const newline = data.indexOf(10, start);
    const end = newline < 0 ? data.length : newline + 1;
    parts.push(prefix, data.subarray(start, end));
    start = end;
  }
  return Buffer.concat(parts);
}

/** Words for the severities of the shell's log messages (RFC 5424); 6 has none. */
const LEVELS = ["FATAL", "FATAL", "FATAL", "ERROR", " WARN", "", "DEBUG", "TRACE"];

/** "flux-shell[0]: ERROR: output.task: open: …" for a log event; with `file`, where in the shell it was said. */
export function shellLogText(context: JsonObject, file: boolean = false): string {
  const { rank, level, component, message, line } = context;
  const word = LEVELS[Number(level)] ?? "";
  const parts = [`flux-shell${typeof rank === "number" && rank >= 0 ? `[${rank}]` : ""}`];
  if (word !== "") parts.push(word);
  if (typeof component === "string") parts.push(component);
  if (file && typeof context["file"] === "string") parts.push(typeof line === "number" && line > 0 ? `${context["file"]}:${line}` : context["file"]);
  return `${parts.join(": ")}: ${typeof message === "string" ? message : ""}`;
}

/** A member of an event as text: "" when there is none. */
export function memberText(value: Json | undefined): string {
  if (value === undefined || value === null) return "";
  return typeof value === "object" ? encodeJson(value) : String(value);
}

/** "0: stdout redirected to out.txt". */
export function redirectText({ rank, stream, path }: JsonObject): string {
  return `${rankText(rank)}: ${memberText(stream)} redirected${typeof path === "string" ? ` to ${path}` : ""}`;
}
