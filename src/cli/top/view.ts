// View: the screen of `flux top` as a function of what is known of an instance, and what keys do to it. Pure.
//
//   ƒ                                  /ƒAqVvdfD                                ∞     path, time left
//       nodes [|||||||||||||        1/2]                         0 pending
//       cores [||||||||||           2/4]                         3 running
//        gpus [                     0/0]        2 complete,     10 failed     ♡
//
//    size: 2   depth: 1            uptime: 26s                               0.88.0
//          JOBID     USER ST NTASKS NNODES RUNTIME NAME                               titles, then running jobs
import { STATE } from "../../client/jobs.ts";
import type { JobId } from "../../formats/fluid.ts";
import { shortDuration } from "../../formats/fsd.ts";
import { textOf } from "../../formats/outputformat.ts";
import type { WindowSize } from "../../os/terminal.ts";
import type { JobStats } from "../job-list.ts";
import { attributesOf, JOB_FIELDS, jobRuntime_s, type JobRow, jobUri } from "../job-row.ts";
import type { Key } from "./keys.ts";
import type { Line, Piece } from "./line.ts";

/** What doesn't change while an instance runs. */
export interface Facts {
  readonly size: number;
  readonly depth: number;
  readonly version: string;
  readonly start_s: number;
  /** Whoever looks owns the instance. */
  readonly isOwner: boolean;
}

export interface Usage {
  readonly total: number;
  readonly used: number;
  readonly down: number;
}

/** What is known at the moment; undefined: nothing yet. */
export interface Snapshot {
  readonly usage: Readonly<Record<"nodes" | "cores" | "gpus", Usage>> | undefined;
  /** Seconds since the epoch; 0: without end. */
  readonly expiration_s: number;
  readonly stats: JobStats | undefined;
  readonly queues: readonly string[];
  /** Running jobs, the newest first. */
  readonly jobs: readonly JobRow[];
  /** The heart has just beaten. */
  readonly beats: boolean;
}

/** What the user has chosen to see. */
export interface View {
  /** Ids of the jobs in one another that led here. */
  readonly path: readonly string[];
  readonly queue: string | undefined;
  /** Inactive jobs by how they ended. */
  readonly details: boolean;
  readonly cursor: { readonly id: JobId; readonly index: number } | undefined;
  /** First job that is shown. */
  readonly top: number;
  /** Said once, until the next key. */
  readonly message: string | undefined;
}

export const NEW_VIEW: View = { path: [], queue: undefined, details: true, cursor: undefined, top: 0, message: undefined };

/** Attributes of job-list that the table needs. */
export const JOB_ATTRIBUTES: readonly string[] = [...new Set([
  ...attributesOf(["queue", "username", "status_abbrev", "ntasks", "nnodes", "runtime", "name", "annotations"]), "userid", "state",
])];

/** Lines above the jobs. */
const SUMMARY_LINES = 7;
const WIDTH_MIN = 60;
const HEART = "♡";

export const jobLines = (size: WindowSize): number => Math.max(1, size.rows - SUMMARY_LINES);

// ---- keys

export type Action = "quit" | "interrupt" | "suspend" | "redraw" | "queue" | { readonly open: JobRow };

/** What a key makes of the view, and what else is to be done. */
export function press(view: View, key: Key, snapshot: Snapshot, size: WindowSize): { view: View; action?: Action } {
  const quiet = { ...view, message: undefined };
  switch (key) {
    case "up":
      return { view: moveCursor(quiet, -1, snapshot, size) };
    case "down":
      return { view: moveCursor(quiet, 1, snapshot, size) };
    case "page-up":
      return { view: moveCursor(quiet, -jobLines(size), snapshot, size) };
    case "page-down":
      return { view: moveCursor(quiet, jobLines(size), snapshot, size) };
    case "left":
      return rotateQueue(quiet, -1, snapshot);
    case "right":
      return rotateQueue(quiet, 1, snapshot);
    case "details":
      return { view: { ...quiet, details: !view.details } };
    case "enter":
      return open(quiet, snapshot);
    default:
      return { view: quiet, action: key };
  }
}

function moveCursor(view: View, step: number, { jobs }: Snapshot, size: WindowSize): View {
  if (jobs.length === 0) return { ...view, cursor: undefined, top: 0 };
  const from = view.cursor?.index ?? (step > 0 ? -1 : jobs.length);
  return withCursor(view, Math.min(jobs.length - 1, Math.max(0, from + step)), jobs, size);
}

/** The cursor at this job, and the list such that it can be seen. */
function withCursor(view: View, index: number, jobs: readonly JobRow[], size: WindowSize): View {
  const lines = jobLines(size);
  const top = Math.min(Math.max(view.top, index - lines + 1), index, Math.max(0, jobs.length - lines));
  const job = jobs[index];
  return job === undefined ? { ...view, cursor: undefined, top: 0 } : { ...view, cursor: { id: job.id, index }, top };
}

/** The cursor stays on its job when others come and go; when its own goes, it stays where it is. */
export function follow(view: View, { jobs }: Snapshot, size: WindowSize): View {
  if (view.cursor === undefined) return { ...view, top: 0 };
  const { id, index } = view.cursor;
  const found = jobs.findIndex((job) => job.id === id);
  return withCursor(view, found >= 0 ? found : Math.min(index, jobs.length - 1), jobs, size);
}

/** All queues, the first, …, the last, and all queues again. */
function rotateQueue(view: View, step: number, { queues }: Snapshot): { view: View; action?: Action } {
  if (queues.length === 0) return { view };
  const choices = [undefined, ...queues];
  const next = (choices.indexOf(view.queue) + step + choices.length) % choices.length;
  return { view: { ...view, queue: choices[next], cursor: undefined, top: 0 }, action: "queue" };
}

function open(view: View, { jobs }: Snapshot): { view: View; action?: Action } {
  const job = jobs.find(({ id }) => id === view.cursor?.id);
  if (job === undefined || jobUri(job) === undefined) return { view };
  return { view, action: { open: job } };
}

// ---- the screen

/** The lines of the screen. */
export function screen(view: View, facts: Facts, snapshot: Snapshot, now_s: number, size: WindowSize): Line[] {
  const lines = [...summary(view, facts, snapshot, now_s, size), titles(snapshot, size), ...jobTable(view, snapshot, now_s, size)];
  return lines.slice(0, Math.max(1, size.rows));
}

function summary(view: View, facts: Facts, { usage, expiration_s, stats, beats }: Snapshot, now_s: number, size: WindowSize): Line[] {
  const width = Math.max(WIDTH_MIN, size.columns);
  const left = expiration_s > 0 ? shortDuration(Math.max(0, expiration_s - now_s)) : "∞";
  const path = view.path.map((id) => `/${id}`).join("");
  const shownPath = path.length > width - 16 ? `…${path.slice(-(width - 17))}` : path;
  const inactive = facts.isOwner && view.details ? endedJobs(stats, width) : count(stats && stats.successful + stats.failed, "inactive", width);
  const uptime = `uptime: ${shortDuration(Math.max(0, now_s - facts.start_s))}`;
  return [
    [{ at: 0, text: "ƒ", color: "yellow" }, { at: middle(shownPath, width), text: shownPath, color: "blue", bold: true }, right(left, width)],
    [...bar("nodes", usage?.nodes, width), ...count(stats?.pending, "pending", width)],
    [...bar("cores", usage?.cores, width), ...count(stats?.running, "running", width)],
    [...bar("gpus", usage?.gpus, width), ...inactive, ...(beats ? [{ at: width - 3, text: HEART }] : [])],
    view.message === undefined ? [] : [{ at: 1, text: view.message, color: "red" }],
    [
      { at: 1, text: `size: ${facts.size}`, dim: true },
      ...(facts.depth > 0 ? [{ at: 11, text: `depth: ${facts.depth}`, dim: true }] : []),
      { at: middle(uptime, width), text: uptime, dim: true },
      { ...right(facts.version, width), dim: true },
    ],
  ];
}

const middle = (text: string, width: number): number => Math.floor((width - Bun.stringWidth(text)) / 2);
const right = (text: string, width: number): Piece => ({ at: width - 1 - Bun.stringWidth(text), text });

/** "nodes [||||||      ||  3/8]": used ones from the left, those that are down from the right. */
function bar(what: "nodes" | "cores" | "gpus", usage: Usage | undefined, width: number): Piece[] {
  const { total, used, down } = usage ?? { total: 0, used: 0, down: 0 };
  const label = usage === undefined ? "" : `${used}/${total}`;
  const room = Math.max(0, width - 53 - label.length);
  const share = (n: number): number => (total === 0 || n === 0 ? 0 : Math.max(1, Math.round((n / total) * room)));
  const usedMarks = Math.min(room, share(used));
  const downMarks = Math.min(room - usedMarks, share(down));
  return [
    { at: 0, text: `${what.padStart(9)} [` },
    { at: 11, text: "|".repeat(usedMarks), color: "yellow" },
    { at: 11 + room - downMarks, text: "|".repeat(downMarks), color: "red" },
    { at: 11 + room, text: `${label}]` },
  ];
}

function count(n: number | undefined, what: string, width: number): Piece[] {
  const number = n === undefined ? "" : String(n);
  return [{ at: width - 15 - number.length, text: `${number} ${what}` }];
}

function endedJobs(stats: JobStats | undefined, width: number): Piece[] {
  const { successful = 0, failed = 0 } = stats ?? {};
  return [
    { at: width - 38, text: String(successful).padStart(6), color: "green", bold: true },
    { at: width - 32, text: " complete," },
    { at: width - 22, text: String(failed).padStart(7), color: "red", bold: true },
    { at: width - 15, text: " failed" },
  ];
}

// ---- jobs

interface Column {
  readonly title: string;
  readonly width: number;
  readonly value: (job: JobRow, now_s: number) => string;
}

const shown = (name: string) => (job: JobRow): string => textOf(JOB_FIELDS.value(job, name));
const QUEUE: Column = { title: "QUEUE", width: 8, value: shown("queue") };
const COLUMNS: readonly Column[] = [
  { title: "JOBID", width: 12, value: shown("id.f58") },
  { title: "USER", width: 8, value: shown("username") },
  { title: "ST", width: 2, value: shown("status_abbrev") },
  { title: "NTASKS", width: 6, value: shown("ntasks") },
  { title: "NNODES", width: 6, value: shown("nnodes") },
  { title: "RUNTIME", width: 7, value: (job, now_s) => shortDuration(jobRuntime_s({ ...job, read_s: now_s })) },
];

/** Right-aligned cells; the name has the rest of the line. */
function tableLine({ queues }: Snapshot, cell: (column: Column) => string, name: string): string {
  const columns = queues.length === 0 ? COLUMNS : [...COLUMNS.slice(0, 1), QUEUE, ...COLUMNS.slice(1)];
  return [...columns.map((column) => fitCell(cell(column), column.width)), name].join(" ");
}

function fitCell(text: string, width: number): string {
  const chars = Array.from(text);
  return chars.length > width ? `${chars.slice(0, width - 1).join("")}+` : text.padStart(width);
}

function titles(snapshot: Snapshot, size: WindowSize): Line {
  return [{ at: 0, text: tableLine(snapshot, ({ title }) => title, "NAME").padEnd(size.columns), reverse: true }];
}

function jobTable(view: View, snapshot: Snapshot, now_s: number, size: WindowSize): Line[] {
  const { jobs, stats } = snapshot;
  if (jobs.length === 0) return stats === undefined ? [] : nothingRuns(view, size);
  return jobs.slice(view.top, view.top + jobLines(size)).map((job) => {
    const text = tableLine(snapshot, (column) => column.value(job, now_s), shown("name")(job));
    const isInstance = jobUri(job) !== undefined && job.info["state"] === STATE.RUN;
    return [{ at: 0, text, reverse: job.id === view.cursor?.id, ...(isInstance ? ({ color: "blue", bold: true } as const) : {}) }];
  });
}

function nothingRuns({ queue }: View, size: WindowSize): Line[] {
  const text = `No jobs to display${queue === undefined ? "" : ` in queue ${queue}`}`;
  const above = Math.min(5, Math.max(0, jobLines(size) - 1));
  return [...Array.from({ length: above }, (): Line => []), [{ at: Math.max(0, middle(text, size.columns)), text }]];
}
