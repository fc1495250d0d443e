// flux post-job-event: adds an event to the eventlog of a job.
import { errno, isErrno } from "../message/errno.ts";
import { defineCommand, requireArguments, UsageError } from "./command.ts";
import { withFlux } from "./connect.ts";
import { jobIdArgument } from "./job-id.ts";
import { objectOfWords } from "./object-words.ts";

const USAGE = "JOBID NAME [KEY=VALUE ...]";

export default defineCommand({
  name: "post-job-event",
  style: "argparse",
  summary: "add an event to the eventlog of a job",
  usage: USAGE,
  details: `Add an event to the eventlog of a job that isn't over, with KEY=VALUE ... as its context. For the instance owner.

Example:
  flux post-job-event ƒ2d4mS3y note text="moved to disk 2"`,
  passThrough: true,
  run({ args: [word = "", name = "", ...words] }) {
    requireArguments([...(word === "" ? ["id"] : []), ...(name === "" ? ["name"] : [])], "flux post-job-event", USAGE);
    const id = jobIdArgument(word);
    for (const pair of words) if (!pair.includes("=")) throw new UsageError(`Missing required value for key ${pair}`);
    return withFlux(async (h) => {
      try {
        await h.rpc("job-manager.post-event.post", { id, name, ...(words.length === 0 ? {} : { context: objectOfWords(words) }) }, { nodeid: 0 });
      } catch (err) {
        throw isErrno(err, errno.ENOENT) ? new UsageError(`No such job ${word}`) : err;
      }
      return 0;
    });
  },
});
