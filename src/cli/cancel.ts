// flux cancel: cancel pending and running jobs.
import type { Flux } from "../client/flux.ts";
import { ACTIVE, cancelJob, STATE } from "../client/jobs.ts";
import type { JobId } from "../formats/fluid.ts";
import { FluxError } from "../message/errno.ts";
import { int, unpack } from "../message/unpack.ts";
import { defineCommand, flag, type OptionValues, text, UsageError } from "./command.ts";
import { withFlux } from "./connect.ts";
import { argparseJobId, showJobId } from "./job-id.ts";
import { parseUser } from "./job-list.ts";
import { parseStates } from "./job/info.ts";
import { writeError } from "./output.ts";

const OPTIONS = {
  all: flag("--all", "all your jobs"),
  dryRun: flag("-n, --dry-run", "say how many, cancel none"),
  quiet: flag("-q, --quiet", "say nothing when no job matches"),
  user: text("-u, --user USER", "jobs of this user, or of all (instance owner only)"),
  states: text("-S, --states STATES", "only jobs in these states (default: active)"),
  message: text("-m, --message NOTE", "why"),
} as const;

export default defineCommand({
  name: "cancel",
  style: "argparse",
  summary: "cancel pending and running jobs",
  usage: "[OPTIONS] [JOBID...]",
  details: `Cancel pending or running jobs.

Examples:
  flux cancel ƒ2d4mS3y
  flux cancel --all --states=pending`,
  options: OPTIONS,
  async run({ options, args }) {
    const ids = args.map((word) => argparseJobId(word, "cancel", "[OPTIONS] [JOBID...]", "JOBID..."));
    const selected = options.all || options.user !== undefined || options.states !== undefined;
    if (ids.length > 0 && selected) throw new UsageError("Do not specify a list of jobids with --all,--user,--states options");
    if (ids.length === 0 && !selected) throw new UsageError("No target jobs were provided");
    if (ids.length > 0) return options.dryRun ? announce(ids.length) : withFlux((h) => cancelThese(h, ids, options.message));
    const request = await matchingJobs(options);
    return withFlux(async (h) => {
      const { count, errors } = unpack(await h.rpc("job-manager.raiseall", request), { count: int, errors: int });
      if (count === 0) {
        if (!options.quiet) say("Matched 0 jobs");
      } else if (options.dryRun) announce(count);
      else say(`Canceled ${jobs(count)} (${errors} error${errors === 1 ? "" : "s"})`);
      return errors > 0 ? 1 : 0;
    });
  },
});

const say = (line: string): void => writeError(`flux-cancel: ${line}\n`);
const jobs = (count: number): string => `${count} job${count === 1 ? "" : "s"}`;

function announce(count: number): number {
  say(`Would cancel ${jobs(count)}`);
  return 0;
}

async function matchingJobs({ dryRun, user, states, message }: OptionValues<typeof OPTIONS>) {
  const userid = user === undefined ? (process.getuid?.() ?? 0) : user === "all" ? -1 : await parseUser(user);
  const mask = states === undefined ? ACTIVE : parseStates(states);
  if ((mask & STATE.INACTIVE) !== 0) throw new UsageError("Exceptions cannot be raised on inactive jobs");
  return { dry_run: dryRun, userid, states: mask, severity: 0, type: "cancel", ...(message === undefined ? {} : { note: message }) };
}

async function cancelThese(h: Flux, ids: readonly JobId[], note: string | undefined): Promise<number> {
  const failures = await Promise.all(
    ids.map((id) =>
      cancelJob(h, id, note).then(
        () => undefined,
        (err: unknown) => {
          if (err instanceof FluxError) return `ERROR: ${showJobId(id)}: ${err.message}`;
          throw err;
        },
      ),
    ),
  );
  for (const failure of failures) if (failure !== undefined) say(failure);
  return failures.some((failure) => failure !== undefined) ? 1 : 0;
}
