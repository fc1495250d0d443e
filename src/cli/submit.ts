// flux submit: put jobs into the queue, one or many copies, and follow them when asked to.
import { openSync, writeSync } from "node:fs";
import type { Flux } from "../client/flux.ts";
import type { JobId } from "../formats/fluid.ts";
import { IdSet } from "../formats/idset.ts";
import { type Jobspec, setAttribute } from "../formats/jobspec.ts";
import { FluxError } from "../message/errno.ts";
import { defineCommand, flag, type OptionValues, text, UsageError } from "./command.ts";
import { withFlux } from "./connect.ts";
import { systemErrorText } from "./environment-rules.ts";
import { showJobId } from "./job-id.ts";
import { createTerminalSink, type OutputSink } from "./job-output.ts";
import type { JobWatcher } from "./job-watcher.ts";
import { print } from "./output.ts";
import { barWanted, type JobsBar, startJobsBar } from "./progress.ts";
import { jobspecOfOptions, PLUGINS_TEXT, RESOURCE_OPTIONS, stdinRanks, submissionTerms, submitJobspec, SUBMISSION_OPTIONS } from "./submission.ts";

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

const OPTIONS = { ...SUBMISSION_OPTIONS, ...RESOURCE_OPTIONS, ...FOLLOW_OPTIONS } as const;
type Options = OptionValues<typeof OPTIONS>;

export default defineCommand({
  name: "submit",
  style: "argparse",
  summary: "put a job into the queue",
  usage: "[OPTIONS...] COMMAND [ARGS...]",
  passThrough: true,
  details: `Put a job into the queue and print its id.

Examples:
  flux submit -n16 ./my_program                   sixteen tasks
  flux submit --cc=1-100 ./my_program input.{cc}  a hundred jobs, each with its own input
  flux submit --wait --watch -n2 hostname         wait for the job and show what it prints
  flux submit --dependency=afterok:JOBID ./next   start when another job has succeeded`,
  options: OPTIONS,
  async run({ options, args }) {
    if (options.listPlugins) {
      print(PLUGINS_TEXT);
      return 0;
    }
    if (options.input !== undefined && stdinRanks(options.input) !== undefined) throw new UsageError("per-task input not supported for submit");
    const copies = await planCopies(options, args);
    const first = await copies.jobspec(copies.ids[0]);
    if (options.dryRun) {
      const { spacedJson } = await import("./spaced-json.ts");
      print(spacedJson(first));
      return 0;
    }
    submissionTerms(options);
    return withFlux((h) => submitCopies(h, options, copies));
  },
});

interface Copies {
  /** Ids of --cc or --bcc; one undefined without either. */
  readonly ids: readonly (number | undefined)[];
  jobspec(id: number | undefined): Promise<Jobspec>;
}

async function planCopies(options: Options, args: readonly string[]): Promise<Copies> {
  const ids = copyIds(options);
  const substituted = [...args, ...Object.values(options).flat()].some((word) => typeof word === "string" && word.includes("{cc}"));
  let plain: Jobspec | undefined;
  const jobspec = async (id: number | undefined): Promise<Jobspec> => {
    const own =
      id === undefined || !substituted
        ? structuredClone((plain ??= await jobspecOfOptions(options, args)))
        : await jobspecOfOptions(withCopy(options, id), args.map((word) => replaceCopy(word, id)));
    if (id !== undefined && options.cc !== undefined) {
      setAttribute(own, "system.environment", { ...(own.attributes.system?.["environment"] as Record<string, string>), FLUX_JOB_CC: String(id) });
    }
    return own;
  };
  return { ids, jobspec };
}

function copyIds({ cc, bcc }: Options): readonly (number | undefined)[] {
  if (cc !== undefined && bcc !== undefined) throw new UsageError("specify only one of --cc or --bcc");
  const given = cc ?? bcc;
  if (given === undefined) return [undefined];
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

function withCopy(options: Options, id: number): Options {
  const replaced = Object.entries(options).map(([name, value]) => {
    if (typeof value === "string") return [name, replaceCopy(value, id)];
    if (!Array.isArray(value)) return [name, value];
    return [name, value.map((item: unknown) => (typeof item === "string" ? replaceCopy(item, id) : replaceOrdered(item, id)))];
  });
  return Object.fromEntries(replaced) as Options;
}

function replaceOrdered(item: unknown, id: number): unknown {
  if (typeof item !== "object" || item === null || !("text" in item) || typeof item.text !== "string") return item;
  return { ...item, text: replaceCopy(item.text, id) };
}

// ---- submission of all copies

async function submitCopies(h: Flux, options: Options, copies: Copies): Promise<number> {
  const terminal = createTerminalSink();
  const logs = createLogFiles();
  const bar = barWanted(options.progress) ? startJobsBar(copies.ids.length, options.jps) : undefined;
  const waitEvent = options.waitEvent ?? (options.wait ? "clean" : undefined);
  const watcher = await watcherFor(h, options, waitEvent, bar);
  const following: Promise<void>[] = [];
  const outstanding = new Set<Promise<void>>();
  let exitCode = 0;
  let submitted = 0;
  let failed = 0;
  const one = async (copy: number | undefined): Promise<void> => {
    const own = copy === undefined ? options : withCopy(options, copy);
    const sink = sinkFor(own, terminal, logs);
    const label = copy === undefined ? "" : `cc=${copy}: `;
    try {
      const id = await submitJobspec(h, await copies.jobspec(copy), submissionTerms(own));
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
  for (const copy of copies.ids) {
    const task = one(copy).finally(() => outstanding.delete(task));
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

async function watcherFor(h: Flux, options: Options, waitEvent: string | undefined, bar: JobsBar | undefined): Promise<JobWatcher | undefined> {
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
        throw new UsageError(systemErrorText(err, path));
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

function sinkFor(options: Options, terminal: OutputSink, logs: LogFiles): OutputSink {
  if (options.log === undefined && options.logStderr === undefined) return terminal;
  const stdout = options.log === undefined ? terminal.stdout : logs.open(options.log);
  const stderr = options.logStderr !== undefined ? logs.open(options.logStderr) : options.log === undefined ? terminal.stderr : stdout;
  return { stdout, stderr };
}
