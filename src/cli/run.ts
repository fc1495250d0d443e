// flux run: submit a job and attach to it.
import { attachJob } from "./attachment.ts";
import { submitJobspec, jobspecOfOptions, RESOURCE_OPTIONS, stdinRanks, submissionTerms, SUBMISSION_OPTIONS, printJobspec } from "./submission.ts";
import { defineCommand, flag, hidden, reportError, text } from "./command.ts";
import { extendSubmission, pluginLines, preinit } from "./submission-plugins.ts";
import { isTraced } from "../os/traced.ts";
import { withFlux } from "./connect.ts";
import type { DebugRequest } from "./debugger.ts";
import { showJobId } from "./job-id.ts";
import { print, writeError } from "./output.ts";

const OPTIONS = {
  ...SUBMISSION_OPTIONS,
  ...RESOURCE_OPTIONS,
  waitEvent: text("--wait-event NAME", "stop following the job after this event"),
  debugEmulate: hidden(flag("--debug-emulate", "as if a parallel debugger were there, for tests")),
} as const;

export default defineCommand({
  name: "run",
  style: "argparse",
  summary: "run a job, with its output and exit code",
  usage: "[OPTIONS...] COMMAND [ARGS...]",
  passThrough: true,
  details: `Run a job: submit it, show its output as it comes, and exit with its exit code.

Examples:
  flux run -n4 ./my_program            four tasks, one core each
  flux run -N2 --label-io hostname     one task on each of two whole nodes, lines labelled by task
  flux run -n8 -c4 -t 30m ./my_program eight tasks of four cores each, for half an hour at most
Ctrl-C twice within two seconds cancels the job; ctrl-C and ctrl-Z leaves it running.`,
  options: OPTIONS,
  extend: () => extendSubmission("run", OPTIONS),
  async run({ options: given, args }) {
    if (given.listPlugins) {
      print(...pluginLines());
      return 0;
    }
    const options = await preinit(given);
    const debug = await debugRequest(options.debugEmulate);
    const jobspec = await jobspecOfOptions(debug === undefined ? options : { ...options, setopt: [...options.setopt, "stop-tasks-in-exec"] }, args);
    if (options.dryRun) return printJobspec(jobspec);
    const terms = submissionTerms(options);
    return withFlux(async (h) => {
      const id = await submitJobspec(h, jobspec, terms);
      const shownId = showJobId(id);
      if (options.verbose > 0) writeError(`jobid: ${shownId}\n`);
      try {
        return await attachJob(h, id, {
          shownId,
          isOurs: true,
          labelIo: options.labelIo,
          showEvents: options.verbose > 1,
          showExec: options.verbose > 2,
          waitEvent: options.waitEvent,
          debug,
          stdinRanks: options.input === undefined ? undefined : stdinRanks(options.input),
        });
      } catch (err) {
        return reportError("flux-job", "getopt", err);
      }
    });
  },
});

/** When a parallel debugger has started us, or a test says so. */
async function debugRequest(emulate: boolean): Promise<DebugRequest | undefined> {
  if (!emulate && !isTraced()) return undefined;
  const { isBeingDebugged, requestDebugging } = await import("./debugger.ts");
  return emulate || isBeingDebugged() ? requestDebugging(emulate) : undefined;
}
