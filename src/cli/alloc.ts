// flux alloc: a nested instance with an interactive shell, or a command, as its initial program.
import type { Flux } from "../client/flux.ts";
import { cancelJob } from "../client/jobs.ts";
import type { JobId } from "../formats/fluid.ts";
import { jobspecForInstance, setShellOption } from "../formats/jobspec.ts";
import { errno, FluxError } from "../message/errno.ts";
import { defineCommand, flag, reportError, UsageError } from "./command.ts";
import { withFlux } from "./connect.ts";
import { ALLOC_OPTIONS, instanceJobspec } from "./instance-options.ts";
import { showJobId } from "./job-id.ts";
import { eventOfResponse } from "./job-output.ts";
import { print, printError, writeError } from "./output.ts";
import { submissionTerms, submitJobspec, printJobspec } from "./submission.ts";
import { extendSubmission, pluginLines, preinit } from "./submission-plugins.ts";
import { isTerminal } from "../os/terminal.ts";

const OPTIONS = { ...ALLOC_OPTIONS, bg: flag("--bg", "print the job id when the instance is ready, and stay out of it") } as const;

export default defineCommand({
  name: "alloc",
  style: "argparse",
  summary: "allocate resources and start an instance on them",
  usage: "[OPTIONS...] [COMMAND...]",
  passThrough: true,
  details: `Start an instance on resources of its own, with an interactive shell or COMMAND as its initial program.

Examples:
  flux alloc -N2                       a shell in an instance on two whole nodes; exit gives them back
  flux alloc -n4 -c2 flux run -n4 app  one command in an instance of four slots of two cores
  flux alloc -N2 --bg                  in the background: flux proxy JOBID enters it, flux cancel JOBID ends it`,
  options: OPTIONS,
  extend: () => extendSubmission("alloc", OPTIONS),
  async run({ options: given, args: command, isMarked }) {
    if (given.listPlugins) {
      print(...pluginLines());
      return 0;
    }
    const options = await preinit(given);
    const idle = options.bg && command.length === 0;
    const withIdle = idle ? { ...options, brokerOpts: [...options.brokerOpts, "-Sbroker.rc2_none=1"] } : options;
    const jobspec = await instanceJobspec(withIdle, {}, (common) => jobspecForInstance({ ...common, command, isMarked }));
    // One in the background must not wait for somebody to look.
    if (options.bg) setShellOption(jobspec, "pty.capture", 1);
    else if (isTerminal(0)) setShellOption(jobspec, "pty.interactive", 1);
    if (options.dryRun) return printJobspec(jobspec);
    const terms = submissionTerms(options);
    return withFlux(async (h) => {
      const id = await submitJobspec(h, jobspec, terms);
      if (options.bg) return startInBackground(h, id, options.verbose > 0);
      const shownId = showJobId(id);
      if (options.verbose > 0) writeError(`jobid: ${shownId}\n`);
      const { attachJob } = await import("./attachment.ts");
      try {
        return await attachJob(h, id, { shownId, isOurs: true, showEvents: options.verbose > 1, showExec: options.verbose > 2 });
      } catch (err) {
        return reportError("flux-job", "getopt", err);
      }
    });
  },
});

/** Waits until the instance takes jobs. Ctrl-C cancels it. */
async function startInBackground(h: Flux, id: JobId, verbose: boolean): Promise<number> {
  const shownId = showJobId(id);
  let start_s: number | undefined;
  const say = (now_s: number, text: string): void => {
    start_s ??= now_s;
    if (verbose) printError(`${shownId}: ${(now_s - start_s).toFixed(3).padStart(6)}s: ${text}`);
  };
  const interrupt = (): void => {
    printError(`\r${shownId}: Interrupt: canceling job`);
    cancelJob(h, id, "interrupted by ctrl-C").then(
      () => process.exit(1),
      (err: unknown) => process.exit(reportError("flux-alloc", "argparse", err)),
    );
  };
  process.on("SIGINT", interrupt);
  const events = h.stream("job-info.eventlog-watch", { id, path: "eventlog", flags: 0 }, { cancelTopic: "job-info.eventlog-watch-cancel" });
  try {
    for await (const response of events) {
      const event = eventOfResponse(response);
      if (event === undefined) continue;
      if (event.name === "submit") say(event.timestamp, "waiting for resources");
      if (event.name === "alloc") say(event.timestamp, "resources allocated");
      const uri = event.name === "memo" ? event.context?.["uri"] : undefined;
      if (typeof uri !== "string") continue;
      say(event.timestamp, "waiting for instance");
      const ready = await instanceIsReady(shownId, uri);
      if (!ready) throw await failedStart(h, id, "instance startup failed");
      say(Date.now() / 1000, "ready");
      print(shownId);
      return 0;
    }
    throw await failedStart(h, id, "unexpectedly exited");
  } finally {
    process.off("SIGINT", interrupt);
  }
}

/** What the job has to say for itself, until its end; then the error to throw. */
async function failedStart(h: Flux, id: JobId, text: string): Promise<UsageError> {
  const shownId = showJobId(id);
  const { attachJob } = await import("./attachment.ts");
  await attachJob(h, id, { shownId, readOnly: true, sink: { stdout: writeError, stderr: writeError, flush: () => {} } });
  return new UsageError(`${shownId}: ${text}`);
}

/** False when it ended before it was ready. */
async function instanceIsReady(shownId: string, uri: string): Promise<boolean> {
  const { openInstance } = await import("./instance-uri.ts");
  let child: Flux;
  try {
    child = await openInstance(uri);
  } catch (err) {
    if (!(err instanceof FluxError)) throw err;
    // Its socket has gone again already.
    if (GONE.has(err.errno)) return false;
    throw new UsageError(`Unable to connect to ${shownId}: ${err.message}`);
  }
  try {
    await child.rpc("state-machine.wait");
    return true;
  } catch (err) {
    if (!(err instanceof FluxError)) throw err;
    return false;
  } finally {
    child.close();
  }
}

const GONE: ReadonlySet<number> = new Set([errno.ENOENT, errno.ECONNREFUSED, errno.ECONNRESET]);
