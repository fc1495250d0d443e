// flux watch: show the output of many jobs as it comes.
import { counter, defineCommand, flag, list as listOption, text, value } from "./command.ts";
import { withFlux } from "./connect.ts";
import { findJobs, listJobs, parseFilters } from "./job-list.ts";
import { createTerminalSink } from "./job-output.ts";
import { createJobWatcher } from "./job-watcher.ts";
import { parseMoment } from "./moment.ts";
import { integer } from "./options.ts";
import { argparseJobId } from "./job-id.ts";
import { writeError } from "./output.ts";
import { barWanted, startJobsBar } from "./progress.ts";

const say = (line: string): void => writeError(`flux-watch: ${line}\n`);

export default defineCommand({
  name: "watch",
  style: "argparse",
  summary: "show the output of many jobs as it comes",
  usage: "[OPTIONS] [JOBID ...]",
  details: "Show the output of jobs until all have ended; exit with the highest exit code.\n\nExamples:\n  flux watch --active --label-io\n  flux watch --since=-1h --filter=failed",
  options: {
    active: flag("-a, --active", "all your active jobs"),
    all: flag("-A, --all", "all your jobs"),
    count: value("-c, --count N", "at most N jobs", integer(0)),
    filter: listOption("-f, --filter STATE|RESULT", "only jobs in these states or with these results"),
    since: text("--since WHEN", "also jobs that ended since WHEN"),
    progress: flag("--progress", "show a bar of progress"),
    jps: flag("--jps", "with --progress: show jobs per second"),
    labelIo: flag("-l, --label-io", "label lines with job id and task rank"),
    verbose: counter("-v, --verbose", "say how jobs end; twice: show events"),
  },
  async run({ options, args }) {
    const ids = args.map((word) => argparseJobId(word, "watch", "[OPTIONS] [JOBID ...]"));
    const since_s = options.since === undefined ? undefined : parseMoment(options.since);
    const words = [...options.filter];
    if (options.active) words.push("pending,running");
    if (options.all || (since_s !== undefined && options.filter.length === 0)) words.push("pending,running,inactive");
    if (ids.length > 0 && words.length > 0) say("WARNING: Filtering options ignored with jobid list");
    if (ids.length === 0 && words.length === 0) {
      say("ERROR: At least one job selection option is required");
      writeError("Try 'flux watch --help' for more information.\n");
      return 1;
    }
    const filters = parseFilters(words);
    return withFlux(async (h) => {
      const attributes = ["state", "result", "t_submit"];
      const rows =
        ids.length > 0
          ? await findJobs(h, ids, attributes, (index) => say(`ERROR: JobID ${args[index]} unknown`))
          : await listJobs(h, { attributes, max: options.count ?? 0, userid: process.getuid?.() ?? 0, ...filters, ...(since_s === undefined ? {} : { since_s }) });
      if (rows.length === 0) {
        say("INFO: No matching jobs");
        return 0;
      }
      if (options.verbose > 0) say(`INFO: Watching ${rows.length} jobs`);
      const bar = barWanted(options.progress) ? startJobsBar(rows.length, options.jps) : undefined;
      const sink = createTerminalSink();
      const watcher = createJobWatcher(h, {
        watch: true,
        labelIo: options.labelIo,
        logEvents: options.verbose > 1,
        logStatus: options.verbose > 0,
        ...(bar === undefined ? {} : { onProgress: (counts) => bar.followed(counts) }),
      });
      await Promise.all(rows.map(({ id }) => watcher.add(id, sink, undefined)));
      sink.flush();
      bar?.stop();
      return watcher.exitCode;
    });
  },
});
