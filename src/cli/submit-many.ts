// What `flux submit` and `flux bulksubmit` share: copies of a job (--cc), the submission of many jobs at a time, and what is done with them
// after that: waiting, showing output and progress.
import { openSync, writeSync } from "node:fs";
import type { Flux } from "../client/flux.ts";
import type { JobId } from "../formats/fluid.ts";
import { IdSet } from "../formats/idset.ts";
import { type Jobspec, setAttribute } from "../formats/jobspec.ts";
import { FluxError } from "../message/errno.ts";
import { flag, type OptionValues, text, UsageError } from "./command.ts";
import { fileErrorText } from "./file-error.ts";
import { showJobId } from "./job-id.ts";
import { createTerminalSink, type OutputSink } from "./job-output.ts";
import type { JobWatcher } from "./job-watcher.ts";
import { barWanted, type JobsBar, startJobsBar } from "./progress.ts";
import { jobspecOfOptions, RESOURCE_OPTIONS, submissionTerms, submitJobspec, SUBMISSION_OPTIONS } from "./submission.ts";

/** Submissions that wait for an answer at any time. */
const OUTSTANDING_MAX = 256;

export const FOLLOW_OPTIONS = {
  cc: text("--cc IDSET", "one job for each id, which replaces {cc} and is in FLUX_JOB_CC"),
  bcc: text("--bcc IDSET", "like --cc without FLUX_JOB_CC"),
  waitEvent: text("--wait-event NAME", "wait for this event of every job"),
  wait: flag("--wait", "wait for every job to end; exit with the highest exit code"),
  watch: flag("--watch", "show the output of all jobs (implies --wait)"),
  log: text("--log FILE", "write job ids, output and messages to a file ({cc} is replaced)"),
  logStderr: text("--log-stderr FILE", "write stderr of jobs and messages to a file"),
  progress: flag("--progress", "show a bar of progress"),
  jps: flag("--jps", "with --progress: show jobs per second"),
} as const;

export const MANY_OPTIONS = { ...SUBMISSION_OPTIONS, ...RESOURCE_OPTIONS, ...FOLLOW_OPTIONS } as const;
export type ManyOptions = OptionValues<typeof MANY_OPTIONS>;

/** One job to be submitted: its own options, with everything replaced. */
export interface Submission {
  readonly options: ManyOptions;
  /** Before messages about it: "cc=3: ", or nothing. */
  readonly label: string;
  readonly jobspec: () => Promise<Jobspec>;
}

/** A job for each id of --cc or --bcc, or one. Throws UsageError. */
export function planCopies(options: ManyOptions, args: readonly string[]): Submission[] {
  const ids = copyIds(options);
  const substituted = [...args, ...Object.values(options).flat()].some((word) => wordOf(word).includes("{cc}"));
  let plain: Promise<Jobspec> | undefined;
  return ids.map((id) => {
    if (id === undefined) return { options, label: "", jobspec: () => jobspecOfOptions(options, args) };
    const own = substituted ? withCopy(options, id) : options;
    const jobspec = async (): Promise<Jobspec> => {
      const made = substituted
        ? await jobspecOfOptions(own, args.map((word) => replaceCopy(word, id)))
        : structuredClone(await (plain ??= jobspecOfOptions(options, args)));
      if (options.cc !== undefined) {
        setAttribute(made, "system.environment", { ...(made.attributes.system?.["environment"] as Record<string, string>), FLUX_JOB_CC: String(id) });
      }
      return made;
    };
    return { options: own, label: `cc=${id}: `, jobspec };
  });
}

/** The text of an option's value, also of one that knows its place on the command line. */
function wordOf(value: unknown): string {
  if (typeof value === "string") return value;
  return typeof value === "object" && value !== null && "text" in value && typeof value.text === "string" ? value.text : "";
}

function copyIds({ cc, bcc }: ManyOptions): readonly (number | undefined)[] {
  if (cc && bcc) throw new UsageError("specify only one of --cc or --bcc");
  const given = cc || bcc;
  if (!given) return [undefined];
  let ids: number[];
  try {
    ids = [...IdSet.parse(given)];
  } catch {
    throw new UsageError(`IDset(): Invalid argument: ${given}`);
  }
  if (ids.length === 0) throw new UsageError(`IDset(): Invalid argument: ${given}: there is no id in it`);
  return ids;
}

/** {cc} replaced, {{cc}} left for the job shell. */
function replaceCopy(word: string, id: number): string {
  return word.replace(/\{\{[^}]*\}\}|\{cc\}/g, (match) => (match === "{cc}" ? String(id) : match));
}

function withCopy(options: ManyOptions, id: number): ManyOptions {
  const replaced = Object.entries(options).map(([name, value]) => {
    if (typeof value === "string") return [name, replaceCopy(value, id)];
    if (!Array.isArray(value)) return [name, value];
    return [name, value.map((item: unknown) => (typeof item === "string" ? replaceCopy(item, id) : replaceOrdered(item, id)))];
  });
  return Object.fromEntries(replaced) as ManyOptions;
}

function replaceOrdered(item: unknown, id: number): unknown {
  if (typeof item !== "object" || item === null || !("text" in item) || typeof item.text !== "string") return item;
  return { ...item, text: replaceCopy(item.text, id) };
}

// ---- submission

/** Submits all of them, and follows them when `options` say so. Resolves to the exit code. */
export async function submitMany(h: Flux, options: ManyOptions, submissions: readonly Submission[]): Promise<number> {
  const terminal = createTerminalSink();
  const logs = createLogFiles();
  const bar = barWanted(options.progress) ? startJobsBar(submissions.length, options.jps) : undefined;
  const waitEvent = options.waitEvent ?? (options.wait ? "clean" : undefined);
  const watcher = await watcherFor(h, options, waitEvent, bar);
  const following: Promise<void>[] = [];
  const outstanding = new Set<Promise<void>>();
  let exitCode = 0;
  let submitted = 0;
  let failed = 0;
  const one = async ({ options: own, label, jobspec }: Submission): Promise<void> => {
    const sink = sinkFor(own, terminal, logs);
    try {
      const id = await submitJobspec(h, await jobspec(), submissionTerms(own));
      if (!options.quiet) sink.stdout(`${showJobId(id)}\n`);
      if (watcher !== undefined) following.push(follow(watcher, id, sink, waitEvent));
    } catch (err) {
      if (!(err instanceof FluxError)) throw err;
      sink.stderr(`${label}[Errno ${err.errno}] ${err.message}\n`);
      exitCode = 1;
      failed++;
    }
    submitted++;
    if (watcher === undefined) bar?.submitted(submitted, failed);
  };
  for (const submission of submissions) {
    const task = one(submission).finally(() => outstanding.delete(task));
    outstanding.add(task);
    if (outstanding.size >= OUTSTANDING_MAX) await Promise.race(outstanding);
  }
  await Promise.all(outstanding);
  await Promise.all(following);
  terminal.flush();
  bar?.stop();
  return Math.max(exitCode, watcher?.exitCode ?? 0);
}

/** Follows a job; that it fails is seen by who awaits the promise, later. */
function follow(watcher: JobWatcher, id: JobId, sink: OutputSink, waitEvent: string | undefined): Promise<void> {
  const end = watcher.add(id, sink, waitEvent);
  end.catch(() => {});
  return end;
}

async function watcherFor(h: Flux, options: ManyOptions, waitEvent: string | undefined, bar: JobsBar | undefined): Promise<JobWatcher | undefined> {
  if (waitEvent === undefined && !options.watch) return undefined;
  const { createJobWatcher } = await import("./job-watcher.ts");
  return createJobWatcher(h, {
    watch: options.watch,
    labelIo: options.labelIo,
    logEvents: options.verbose > 1,
    logStatus: options.verbose > 0,
    ...(bar === undefined ? {} : { onProgress: (counts) => bar.followed(counts) }),
  });
}

// ---- where it goes

interface LogFiles {
  open(path: string): (data: string | Uint8Array) => void;
}

/** Files of --log and --log-stderr, each opened once. */
function createLogFiles(): LogFiles {
  const files = new Map<string, (data: string | Uint8Array) => void>();
  return {
    open(path) {
      const known = files.get(path);
      if (known !== undefined) return known;
      let fd: number;
      try {
        fd = openSync(path, "w");
      } catch (err) {
        throw new UsageError(fileErrorText(err, path));
      }
      const put = (data: string | Uint8Array): void => {
        let rest = typeof data === "string" ? Buffer.from(data) : data;
        while (rest.length > 0) rest = rest.subarray(writeSync(fd, rest));
      };
      files.set(path, put);
      return put;
    },
  };
}

function sinkFor(options: ManyOptions, terminal: OutputSink, logs: LogFiles): OutputSink {
  if (options.log === undefined && options.logStderr === undefined) return terminal;
  const stdout = options.log === undefined ? terminal.stdout : logs.open(options.log);
  const stderr = options.logStderr !== undefined ? logs.open(options.logStderr) : options.log === undefined ? terminal.stderr : stdout;
  return { stdout, stderr };
}
