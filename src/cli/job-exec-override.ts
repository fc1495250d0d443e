// flux job-exec-override: starts and ends jobs that are simulated with system.exec.test.override.
import { defineCommand, requireArguments } from "./command.ts";
import { explain, withFlux } from "./connect.ts";
import { jobIdArgument } from "./job-id.ts";
import { integer } from "./options.ts";

const start = defineCommand({
  name: "start",
  style: "argparse",
  summary: "let a simulated job start",
  usage: "JOBID",
  run({ args }) {
    requireArguments(["JOBID"].slice(args.length), "flux job-exec-override start", "JOBID");
    return override({ event: "start", jobid: jobIdArgument(args[0] ?? "") });
  },
});

const finish = defineCommand({
  name: "finish",
  style: "argparse",
  summary: "let a simulated job end",
  usage: "JOBID STATUS",
  run({ args }) {
    requireArguments(["JOBID", "STATUS"].slice(args.length), "flux job-exec-override finish", "JOBID STATUS");
    return override({ event: "finish", jobid: jobIdArgument(args[0] ?? ""), status: integer(0)(args[1] ?? "") });
  },
});

function override(payload: { event: string; jobid: bigint; status?: number }): Promise<number> {
  return withFlux(async (h) => {
    await explain(payload.event, h.rpc("job-exec.override", payload), true);
    return 0;
  });
}

export default defineCommand({
  name: "job-exec-override",
  style: "argparse",
  summary: "start and end simulated jobs",
  details: `Starts and ends jobs that are simulated and wait for it.

Example:
  id=$(flux submit --setattr=system.exec.test.override=1 true)
  flux job-exec-override start $id
  flux job-exec-override finish $id 0`,
  subcommands: [start, finish],
});
