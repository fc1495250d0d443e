// flux job attach: show a job's output, send it our input and signals, end with its exit code.
import type { Flux } from "../../client/flux.ts";
import type { JobId } from "../../formats/fluid.ts";
import { defineCommand, flag, hidden, optional, text, UsageError, value } from "../command.ts";
import { withFlux } from "../connect.ts";
import type { DebugRequest } from "../debugger.ts";
import { jobIdArgument } from "../job-id.ts";
import { integer } from "../options.ts";
import { wrongUsage } from "../output.ts";

const TAIL_DEFAULT = "10";

export const attach = defineCommand({
  name: "attach",
  style: "getopt",
  summary: "show a job's output and end with its exit code",
  usage: "[OPTIONS] id",
  details: `Attach to a job: show its output, send it our input and signals, and exit with its exit code.

Examples:
  flux job attach -vEX $(flux job last)   with all events
  flux job attach --tail=20 ƒ2d4mS3y      the last lines, then what comes`,
  options: {
    showEvents: flag("-E, --show-events", "show the job's events on stderr"),
    showExec: flag("-X, --show-exec", "show events of its execution on stderr"),
    showStatus: flag("--show-status", "show what it waits for until it starts"),
    waitEvent: text("-w, --wait-event NAME", "stop following its events after this one"),
    labelIo: flag("-l, --label-io", "label lines with the task's rank"),
    verbose: flag("-v, --verbose", "say more"),
    quiet: flag("-q, --quiet", "leave out warnings"),
    readOnly: flag("-r, --read-only", "leave stdin and signals alone"),
    unbuffered: flag("-u, --unbuffered", "don't buffer stdin"),
    stdinRanks: text("-i, --stdin-ranks RANKS", "send stdin only to these task ranks (default: all)"),
    debug: flag("--debug", "let a parallel debugger attach to the tasks (MPIR)"),
    debugEmulate: hidden(flag("--debug-emulate", "as if a debugger were there, for tests")),
    queueCheck_s: hidden(value("--queue-check-interval SECONDS", "with --show-status: how often to ask whether the queue is stopped", integer(0))),
    tail: optional("--tail [NUM]", `of the output so far show only the last NUM lines (default ${TAIL_DEFAULT})`, TAIL_DEFAULT),
  },
  async run({ options, args }) {
    const [word] = args;
    if (word === undefined || args.length !== 1) throw wrongUsage("flux job attach [OPTIONS] id");
    const id = jobIdArgument(word);
    if (options.readOnly && options.stdinRanks !== undefined) throw new UsageError("Do not use --stdin-ranks with --read-only");
    if (options.tail !== undefined && !/^\d+$/.test(options.tail)) throw new UsageError("invalid tail argument");
    const stdinRanks = options.stdinRanks === "all" ? undefined : options.stdinRanks;
    if (stdinRanks !== undefined) await checkRanks(stdinRanks);
    const { attachJob } = await import("../attachment.ts");
    return withFlux(async (h) => {
      const debug = options.debug || options.debugEmulate ? await debugRequest(h, id, word, options.debugEmulate) : undefined;
      return attachJob(h, id, { ...options, shownId: word, stdinRanks, tail: options.tail === undefined ? undefined : Number(options.tail), debug });
    });
  },
});

async function debugRequest(h: Flux, id: JobId, word: string, emulate: boolean): Promise<DebugRequest> {
  const { requestDebugging, requireDebuggable } = await import("../debugger.ts");
  await requireDebuggable(h, id, word);
  return requestDebugging(emulate);
}

async function checkRanks(ranks: string): Promise<void> {
  const { IdSet } = await import("../../formats/idset.ts");
  try {
    IdSet.parse(ranks);
  } catch {
    throw new UsageError(`Invalid value '${ranks}' for --stdin-ranks: Invalid argument`);
  }
}
