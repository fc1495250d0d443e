// flux job status, flux job wait: how jobs ended.
import type { Flux } from "../../client/flux.ts";
import { JOBID_ANY, resultOf, waitJob, type WaitResult } from "../../client/jobs.ts";
import type { JobId } from "../../formats/fluid.ts";
import { encodeJson } from "../../formats/json.ts";
import { shellExitCode, termSignal } from "../../formats/waitstatus.ts";
import { errno, FluxError, isErrno } from "../../message/errno.ts";
import { counter, defineCommand, flag, UsageError, valueOr } from "../command.ts";
import { withFlux } from "../connect.ts";
import { jobIdArgument, showJobId } from "../job-id.ts";
import { eventOfResponse } from "../job-output.ts";
import { integer } from "../options.ts";
import { print, writeError, wrongUsage } from "../output.ts";

const say = (line: string): void => writeError(`flux-job: ${line}\n`);

/** What a job's eventlog says of its end; a member is absent when the event never came. */
interface JobEnd {
  id: JobId;
  exception_occurred: boolean;
  t_submit?: number;
  t_run?: number;
  exception_type?: string;
  exception_note?: string;
  exception_severity?: number;
  t_cleanup?: number;
  waitstatus?: number;
  result?: number;
}

async function endOf(h: Flux, id: JobId): Promise<JobEnd> {
  const end: JobEnd = { id, exception_occurred: false };
  const request = { id, path: "eventlog", flags: 0 };
  for await (const response of h.stream("job-info.eventlog-watch", request, { cancelTopic: "job-info.eventlog-watch-cancel" })) {
    const event = eventOfResponse(response);
    if (event === undefined) continue;
    const { type, severity, note, status: waitstatus } = event.context ?? {};
    if (event.name === "submit") end.t_submit = event.timestamp;
    else if (event.name === "alloc") end.t_run = event.timestamp;
    else if (event.name === "exception" && Number(severity) < (end.exception_severity ?? 8)) {
      Object.assign(end, { exception_occurred: true, exception_type: type, exception_note: note, exception_severity: severity });
      if (severity === 0 && end.t_run === undefined) end.t_cleanup = event.timestamp;
    } else if (event.name === "finish") Object.assign(end, { t_cleanup: event.timestamp, waitstatus });
  }
  return { ...end, result: resultOf(end.waitstatus, end.exception_severity === 0 ? end.exception_type : undefined) };
}

export const status = defineCommand({
  name: "status",
  style: "getopt",
  summary: "wait for jobs and exit with the highest exit code",
  usage: "id [id...]",
  details: "Wait for jobs to end and exit with the highest of their exit codes.\n\nExample:\n  flux job status -v ƒ2d4mS3y",
  options: {
    verbose: counter("-v, --verbose", "say how each job ended (-vv: successful ones, too)"),
    json: flag("-j, --json", "print what is known as JSON"),
    exceptionExitCode: valueOr("-e, --exception-exit-code N", "exit code of jobs that never ran or were canceled (default 1)", integer(0), 1),
  },
  run({ options, args }) {
    if (args.length === 0) throw wrongUsage("flux job status id [id...]");
    const ids = args.map(jobIdArgument);
    return withFlux(async (h) => {
      if (options.verbose > 0 && ids.length > 1) say(`fetching status for ${ids.length} jobs`);
      const ends = await Promise.all(ids.map((id, index) => endOf(h, id).catch((err: unknown) => Promise.reject(unknownJob(err, args[index])))));
      if (options.verbose > 0 && ids.length > 1) say("all done.");
      let code = 0;
      ends.forEach((end, index) => {
        if (options.json) print(encodeJson(end));
        const own = end.waitstatus === undefined ? 0 : shellExitCode(end.waitstatus);
        const exception = end.exception_severity === 0;
        code = Math.max(code, own, exception ? options.exceptionExitCode : 0);
        if (options.verbose > 0) describe(args[index] ?? "", end, own, options.verbose);
      });
      return code;
    });
  },
});

function unknownJob(err: unknown, word: string | undefined): unknown {
  return isErrno(err, errno.ENOENT) ? new UsageError(`${word}: No such job`) : err;
}

function describe(word: string, end: JobEnd, code: number, verbose: number): void {
  const signal = end.waitstatus === undefined ? undefined : termSignal(end.waitstatus);
  if (signal !== undefined) say(`${word}: job shell died by signal ${signal}`);
  else if (verbose <= 1 && code === 0) return;
  else if (end.exception_severity === 0) say(`${word}: exception type=${end.exception_type}`);
  else say(`${word}: exited with exit code ${code}`);
}

export const wait = defineCommand({
  name: "wait",
  style: "getopt",
  summary: "wait for jobs that were submitted with --flags=waitable",
  usage: "[--all] [id]",
  details: "Wait for a job that was submitted with --flags=waitable, or for any such job.\n\nExample:\n  flux job wait --all",
  options: {
    all: flag("-a, --all", "wait for all of them"),
    verbose: flag("-v, --verbose", "a line for successful jobs, too"),
  },
  run({ options, args }) {
    const [word] = args;
    if (args.length > 1) throw wrongUsage("flux job wait [--all] [id]");
    if (options.all && word !== undefined) throw new UsageError("jobid not supported with --all");
    const id = word === undefined ? JOBID_ANY : jobIdArgument(word);
    return withFlux((h) => (options.all ? waitAll(h, options.verbose) : waitOne(h, id)));
  },
});

async function waitOne(h: Flux, id: JobId): Promise<number> {
  let result: WaitResult;
  try {
    result = await waitJob(h, id);
  } catch (err) {
    if (!(err instanceof FluxError)) throw err;
    throw new UsageError(err.message, err.errno === errno.ECHILD ? 2 : 1);
  }
  if (id === JOBID_ANY) print(showJobId(result.id));
  if (!result.success) throw new UsageError(result.errstr);
  return 0;
}

async function waitAll(h: Flux, verbose: boolean): Promise<number> {
  let code = 0;
  for (;;) {
    let result: WaitResult;
    try {
      result = await waitJob(h);
    } catch (err) {
      if (isErrno(err, errno.ECHILD)) return code;
      throw err;
    }
    if (!result.success) {
      writeError(`${showJobId(result.id)}: ${result.errstr}\n`);
      code = 1;
    } else if (verbose) writeError(`${showJobId(result.id)}: job completed successfully\n`);
  }
}
