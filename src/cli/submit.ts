// flux submit: put jobs into the queue, one or many copies, and follow them when asked to.
import { defineCommand, UsageError } from "./command.ts";
import { withFlux } from "./connect.ts";
import { print } from "./output.ts";
import { MANY_OPTIONS, planCopies, submitMany } from "./submit-many.ts";
import { stdinRanks, submissionTerms } from "./submission.ts";
import { extendSubmission, pluginLines, preinit } from "./submission-plugins.ts";

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
  options: MANY_OPTIONS,
  extend: () => extendSubmission("submit", MANY_OPTIONS),
  async run({ options: given, args }) {
    if (given.listPlugins) {
      print(...pluginLines());
      return 0;
    }
    const options = await preinit(given);
    if (options.input !== undefined && stdinRanks(options.input) !== undefined) throw new UsageError("per-task input not supported for submit");
    const copies = planCopies(options, args);
    // What is wrong with the options is said before anything is submitted.
    const first = await copies[0]?.jobspec();
    if (options.dryRun) {
      const { spacedJson } = await import("./spaced-json.ts");
      print(spacedJson(first));
      return 0;
    }
    submissionTerms(options);
    return withFlux((h) => submitMany(h, options, copies));
  },
});
