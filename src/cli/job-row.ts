// JobRow: one job as job-list (RFC 43) describes it, and every field that a table of jobs can show of it.
import { resultAbbreviation, resultName, stateAbbreviation, stateName, STATE } from "../client/jobs.ts";
import { formatJobId, type JobId, toJobId } from "../formats/fluid.ts";
import { displayDuration } from "../formats/fsd.ts";
import { isJsonObject, type Json, type JsonObject } from "../formats/json.ts";
import type { OutputValue } from "../formats/outputformat.ts";
import { describeSignal } from "../formats/signal.ts";
import { exitCode, termSignal } from "../formats/waitstatus.ts";
import { userName } from "../os/passwd.ts";
import { showJobId } from "./job-id.ts";
import { spacedJson } from "./spaced-json.ts";
import { realText } from "./table.ts";

/** A job of a job-list response. Members that were not asked for, or that it has not (yet), are absent. */
export interface JobRow {
  readonly id: JobId;
  readonly info: JsonObject;
  /** When it was read, seconds since the epoch: running times count from here. */
  readonly read_s: number;
  /** What the instance that this job is says of itself, by the names of fields after "instance." */
  readonly instance?: Readonly<Record<string, OutputValue>>;
}

/** Throws FormatError when there is no id. */
export function toJobRow(info: JsonObject, read_s: number): JobRow {
  return { id: toJobId(info["id"]), info, read_s };
}

// ---- reading a row

const text = (row: JobRow, name: string): string => (typeof row.info[name] === "string" ? row.info[name] : "");
const number = (row: JobRow, name: string): number => (typeof row.info[name] === "number" ? row.info[name] : 0);
/** A number, or nothing. */
const given = (row: JobRow, name: string): OutputValue => {
  const value = row.info[name];
  return typeof value === "number" || typeof value === "bigint" || typeof value === "boolean" || typeof value === "string" ? value : "";
};
const real = (name: string) => (row: JobRow): string => realText(number(row, name));

export const isInactive = (row: JobRow): boolean => number(row, "state") === STATE.INACTIVE;
const result = (row: JobRow): number => number(row, "result");

export function jobStatus(row: JobRow): string {
  return isInactive(row) ? resultText(row, resultName) : stateName(number(row, "state"));
}

function resultText(row: JobRow, show: (result: number) => string): string {
  return result(row) === 0 ? "" : show(result(row));
}

export function jobRuntime_s(row: JobRow): number {
  const run = number(row, "t_run");
  const cleanup = number(row, "t_cleanup");
  if (run <= 0) return 0;
  return (cleanup > 0 ? cleanup : row.read_s) - run;
}

function remaining_s(row: JobRow): number {
  return isInactive(row) ? 0 : Math.max(0, number(row, "expiration") - row.read_s);
}

/** Exit code, minus a signal's number for a shell that died of it, -128 for a job canceled before it ran. */
export function returnCode(row: JobRow): OutputValue {
  const status = row.info["waitstatus"];
  if (typeof status !== "number") {
    const name = resultText(row, resultName);
    return name === "CANCELED" ? -128 : name === "FAILED" ? 1 : "";
  }
  const signal = termSignal(status);
  return signal === undefined ? (exitCode(status) ?? "") : -signal;
}

function dependencies(row: JobRow): string[] {
  const list = row.info["dependencies"];
  return Array.isArray(list) ? (list as readonly Json[]).map((item) => dependencyText(typeof item === "string" ? item : "", row.read_s)) : [];
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** "begin-time=1795231205.6" as "begin@14:20". */
function dependencyText(dependency: string, now_s: number): string {
  if (!dependency.startsWith("begin-time=")) return dependency;
  const date = new Date(Number(dependency.slice("begin-time=".length)) * 1000);
  const two = (n: number): string => String(n).padStart(2, "0");
  const day = date.toDateString() === new Date(now_s * 1000).toDateString() ? "" : `${MONTHS[date.getMonth()] ?? ""}${two(date.getDate())}-`;
  const seconds = date.getSeconds() > 0 ? `:${two(date.getSeconds())}` : "";
  return `begin@${day}${two(date.getHours())}:${two(date.getMinutes())}${seconds}`;
}

/** What there is to say about a job in its state: why it waits, or where it runs. */
function contextualInfo(row: JobRow): string {
  switch (stateName(number(row, "state"))) {
    case "PRIORITY":
      return "priority-wait";
    case "DEPEND":
      return `depends:${dependencies(row).join(",")}`;
    case "SCHED":
      return pendingInfo(row);
    default:
      return text(row, "nodelist");
  }
}

function pendingInfo(row: JobRow): string {
  const estimate = annotation(row, ["sched", "t_estimate"]);
  if (typeof estimate === "number") {
    const wait_s = estimate - row.read_s;
    return `eta:${wait_s < 0 ? "now" : displayDuration(wait_s)}`;
  }
  if (row.info["urgency"] === 0) return "held";
  return row.info["priority"] === 0 ? "priority-hold" : "";
}

function contextualTime_s(row: JobRow): number {
  return ["PRIORITY", "DEPEND", "SCHED"].includes(stateName(number(row, "state"))) ? number(row, "duration") : jobRuntime_s(row);
}

function inactiveReason(row: JobRow): string {
  if (!isInactive(row)) return "";
  const note = text(row, "exception_note");
  const type = text(row, "exception_type");
  const code = Number(returnCode(row));
  switch (resultText(row, resultName)) {
    case "CANCELED":
      return type === "cancel" && note !== "" ? `Canceled: ${note}` : "Canceled";
    case "TIMEOUT":
      return "Timeout";
    case "FAILED":
      if (row.info["exception_occurred"] === true && type !== "exec" && row.info["exception_severity"] === 0) {
        return `Exception: type=${type}${note === "" ? "" : ` note=${note}`}`;
      }
      return failureText(code);
    default:
      return `Exit ${code}`;
  }
}

function failureText(code: number): string {
  if (code > 128) return describeSignal(code - 128);
  if (code === 126) return "Command invoked cannot execute";
  if (code === 127) return "command not found";
  if (code === 128) return "Invalid argument to exit";
  return `Exit ${code}`;
}

const STATE_EMOJI: Readonly<Record<string, string>> = { N: "🎁", D: "🛑", P: "🚦", S: "📅", R: "🏃", C: "🗑", I: "💀" };
const RESULT_EMOJI: Readonly<Record<string, string>> = { CD: "😀", F: "💩", CA: "💥", TO: "⌛" };
/** As wide as an emoji. */
const NO_EMOJI = "\u3000";

function stateEmoji(row: JobRow): string {
  const short = stateAbbreviation(number(row, "state"));
  return STATE_EMOJI[short] ?? short;
}

function resultEmoji(row: JobRow): string {
  return RESULT_EMOJI[resultText(row, resultAbbreviation)] ?? NO_EMOJI;
}

// ---- annotations

function annotations(row: JobRow): JsonObject {
  const value = row.info["annotations"];
  return isJsonObject(value) ? value : {};
}

function annotation(row: JobRow, path: readonly string[]): Json | undefined {
  let value: Json | undefined = annotations(row);
  for (const name of path) value = isJsonObject(value) ? value[name] : undefined;
  return value;
}

/** URI of the Flux instance that this job is. With FLUX_URI_RESOLVE_LOCAL set, as it is on its own host. */
export function jobUri(row: JobRow): string | undefined {
  const uri = annotation(row, ["user", "uri"]);
  if (typeof uri !== "string") return undefined;
  return process.env["FLUX_URI_RESOLVE_LOCAL"] === undefined ? uri : localPart(uri);
}

function shownAnnotation(value: Json | undefined): OutputValue {
  if (value === undefined || value === null) return "";
  if (typeof value !== "object") return value;
  return Object.keys(value).length === 0 ? "" : spacedJson(value);
}

function localPart(uri: string | undefined): string {
  return uri === undefined ? "" : uri.replace(/^ssh:\/\/[^/]*/, "local://");
}

// ---- fields

interface Field {
  readonly heading: string;
  /** Attributes of job-list that it is made of. */
  readonly attributes: readonly string[];
  readonly value: (row: JobRow) => OutputValue;
}

const field = (heading: string, attributes: readonly string[], value: (row: JobRow) => OutputValue): Field => ({ heading, attributes, value });
const plain = (heading: string, name: string): Field => field(heading, [name], (row) => given(row, name));
const time = (heading: string, name: string): Field => field(heading, [name], real(name));

const FIELDS: Readonly<Record<string, Field>> = {
  id: field("JOBID", [], (row) => ({ name: showJobId(row.id), number: row.id })),
  "id.f58": field("JOBID", [], (row) => showJobId(row.id)),
  "id.f58plain": field("JOBID", [], (row) => formatJobId(row.id, "f58plain")),
  "id.dec": field("JOBID", [], (row) => row.id),
  "id.hex": field("JOBID", [], (row) => formatJobId(row.id, "hex")),
  "id.dothex": field("JOBID", [], (row) => formatJobId(row.id, "dothex")),
  "id.kvs": field("JOBID", [], (row) => formatJobId(row.id, "kvs")),
  "id.words": field("JOBID", [], (row) => formatJobId(row.id, "words")),
  "id.emoji": field("JOBID", [], (row) => formatJobId(row.id, "emoji")),
  userid: plain("UID", "userid"),
  username: field("USER", ["userid"], (row) => (typeof row.info["userid"] === "number" ? userName(row.info["userid"]) : "")),
  urgency: plain("URG", "urgency"),
  priority: plain("PRI", "priority"),
  state: field("STATE", ["state"], (row) => stateName(number(row, "state"))),
  state_single: field("S", ["state"], (row) => stateAbbreviation(number(row, "state"))),
  state_emoji: field("STATE", ["state"], stateEmoji),
  name: plain("NAME", "name"),
  cwd: plain("CWD", "cwd"),
  queue: plain("QUEUE", "queue"),
  project: plain("PROJECT", "project"),
  bank: plain("BANK", "bank"),
  ntasks: plain("NTASKS", "ntasks"),
  ncores: plain("NCORES", "ncores"),
  nnodes: plain("NNODES", "nnodes"),
  duration: time("DURATION", "duration"),
  ranks: plain("RANKS", "ranks"),
  nodelist: plain("NODELIST", "nodelist"),
  success: plain("SUCCESS", "success"),
  waitstatus: plain("WSTATUS", "waitstatus"),
  returncode: field("RC", ["waitstatus", "result"], returnCode),
  "exception.occurred": plain("EXCEPTION-OCCURRED", "exception_occurred"),
  "exception.severity": plain("EXCEPTION-SEVERITY", "exception_severity"),
  "exception.type": plain("EXCEPTION-TYPE", "exception_type"),
  "exception.note": plain("EXCEPTION-NOTE", "exception_note"),
  result: field("RESULT", ["result"], (row) => resultText(row, resultName)),
  result_abbrev: field("RS", ["result"], (row) => resultText(row, resultAbbreviation)),
  result_emoji: field("RESULT", ["result"], resultEmoji),
  t_submit: time("T_SUBMIT", "t_submit"),
  t_depend: time("T_DEPEND", "t_depend"),
  t_priority: time("T_PRIORITY", "t_priority"),
  t_sched: time("T_SCHED", "t_sched"),
  t_run: time("T_RUN", "t_run"),
  t_cleanup: time("T_CLEANUP", "t_cleanup"),
  t_inactive: time("T_INACTIVE", "t_inactive"),
  runtime: field("RUNTIME", ["t_run", "t_cleanup"], (row) => realText(jobRuntime_s(row))),
  status: field("STATUS", ["state", "result"], jobStatus),
  status_abbrev: field("ST", ["state", "result"], (row) =>
    isInactive(row) ? resultText(row, resultAbbreviation) : stateAbbreviation(number(row, "state")),
  ),
  status_emoji: field("STATUS", ["state", "result"], (row) => (isInactive(row) ? resultEmoji(row) : stateEmoji(row))),
  expiration: field("EXPIRATION", ["expiration", "state", "result"], real("expiration")),
  t_remaining: field("T_REMAINING", ["expiration", "state", "result"], (row) => realText(remaining_s(row))),
  annotations: field("ANNOTATIONS", ["annotations"], (row) => shownAnnotation(annotations(row))),
  dependencies: field("DEPENDENCIES", ["dependencies"], (row) => dependencies(row).join(",")),
  contextual_info: field("INFO", ["state", "dependencies", "annotations", "nodelist", "priority", "urgency"], contextualInfo),
  contextual_time: field("TIME", ["state", "t_run", "t_cleanup", "duration"], (row) => realText(contextualTime_s(row))),
  inactive_reason: field(
    "INACTIVE-REASON",
    ["state", "result", "waitstatus", "exception_occurred", "exception_severity", "exception_type", "exception_note"],
    inactiveReason,
  ),
  // Scripts, completions among them, tell jobs that are no instances by this word.
  uri: field("URI", ["annotations"], (row) => jobUri(row) ?? "None"),
  "uri.local": field("URI", ["annotations"], (row) => localPart(jobUri(row))),
};

const ANNOTATION_HEADINGS: Readonly<Record<string, string>> = {
  "annotations.sched.t_estimate": "T_ESTIMATE",
  "annotations.sched.reason_pending": "REASON",
  "annotations.sched.resource_summary": "RESOURCES",
  "sched.t_estimate": "T_ESTIMATE",
  "sched.reason_pending": "REASON",
  "sched.resource_summary": "RESOURCES",
};

/** "annotations.user.x", "user.x", "sched": any path of an annotation is a field. */
function annotationField(name: string): Field | undefined {
  const [root, ...rest] = name.split(".");
  if (root !== "annotations" && root !== "sched" && root !== "user") return undefined;
  const path = root === "annotations" ? rest : [root, ...rest];
  const heading = ANNOTATION_HEADINGS[name] ?? path.join(".").toUpperCase();
  return field(heading, ["annotations"], (row) => shownAnnotation(annotation(row, path)));
}

const INSTANCE_HEADINGS: Readonly<Record<string, string>> = {
  stats: "STATS",
  "stats.total": "NJOBS",
  utilization: "CORE%",
  gpu_utilization: "GPU%",
  progress: "PROG",
};
const SET_HEADINGS: Readonly<Record<string, string>> = { up: "UP", down: "DOWN", allocated: "USED", free: "FREE" };
const KIND_HEADINGS: Readonly<Record<string, string>> = { nnodes: "NODES", ncores: "CORES", ngpus: "GPUS" };

/** "instance.utilization", "instance.resources.free.ncores" … */
function instanceField(name: string): Field | undefined {
  const rest = name.slice("instance.".length);
  const [, set = "", kind = ""] = /^resources\.(all|up|down|allocated|free)\.(nnodes|ncores|ngpus)$/.exec(rest) ?? [];
  const heading = Object.hasOwn(INSTANCE_HEADINGS, rest) ? INSTANCE_HEADINGS[rest] : set === "all" ? KIND_HEADINGS[kind] : SET_HEADINGS[set];
  return heading === undefined ? undefined : field(heading, ["annotations", "state", "result"], (row) => row.instance?.[rest] ?? "");
}

function fieldOf(name: string): Field | undefined {
  if (name.startsWith("instance.")) return instanceField(name);
  return Object.hasOwn(FIELDS, name) ? FIELDS[name] : annotationField(name);
}

/** The fields of a table of jobs. */
export const JOB_FIELDS = {
  heading: (name: string): string | undefined => fieldOf(name)?.heading,
  value: (row: JobRow, name: string): OutputValue => fieldOf(name)?.value(row) ?? "",
};

/** The attributes to ask job-list for, to show these fields. */
export function attributesOf(names: Iterable<string>): string[] {
  const attributes = new Set<string>();
  for (const name of names) for (const attribute of fieldOf(name)?.attributes ?? []) attributes.add(attribute);
  return [...attributes];
}

// ---- JSON

const JSON_PLAIN = [
  "t_depend", "t_priority", "t_sched", "t_run", "t_cleanup", "t_inactive", "duration", "expiration", "name", "cwd", "queue", "project", "bank",
  "ntasks", "ncores", "nnodes", "priority", "ranks", "nodelist", "success",
] as const;

/** A job as `flux jobs --json` shows it: without what is empty or has not happened. */
export function jobJson(row: JobRow): Record<string, Json> {
  const out: Record<string, Json> = {};
  for (const name of JSON_PLAIN) {
    const value = name === "duration" ? number(row, name) : row.info[name];
    if (value !== undefined && value !== "" && !(value === 0 && (name.startsWith("t_") || name === "expiration"))) out[name] = value;
  }
  if (result(row) !== 0) out["result"] = resultText(row, resultName);
  if (row.info["waitstatus"] !== undefined) out["waitstatus"] = row.info["waitstatus"];
  out["id"] = row.id;
  out["t_submit"] = number(row, "t_submit");
  if (remaining_s(row) > 0) out["t_remaining"] = remaining_s(row);
  out["state"] = stateName(number(row, "state"));
  out["username"] = userName(number(row, "userid"));
  out["userid"] = number(row, "userid");
  if (row.info["urgency"] !== undefined) out["urgency"] = row.info["urgency"];
  if (jobRuntime_s(row) > 0) out["runtime"] = jobRuntime_s(row);
  out["status"] = jobStatus(row);
  const code = returnCode(row);
  if (typeof code === "number") out["returncode"] = code;
  out["dependencies"] = dependencies(row);
  out["jobid"] = formatJobId(row.id, "f58");
  out["annotations"] = annotations(row);
  out["exception"] = exceptionJson(row);
  const uri = jobUri(row);
  return uri === undefined ? out : { ...out, annotations: withoutUri(annotations(row)), uri };
}

function exceptionJson(row: JobRow): JsonObject {
  if (row.info["exception_occurred"] !== true) return { occurred: false };
  const { exception_severity: severity = "", exception_type: type = "", exception_note: note = "" } = row.info;
  return { occurred: true, severity, type, note };
}

/** The URI is a member of its own. */
function withoutUri(all: JsonObject): JsonObject {
  const { user, ...others } = all;
  if (!isJsonObject(user)) return all;
  const { uri: _uri, ...rest } = user;
  return Object.keys(rest).length === 0 ? others : { ...others, user: rest };
}
