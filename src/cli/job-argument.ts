// Job ids among the words of a command line, for commands whose errors are told as argparse tells them.
import { type JobId, parseJobId } from "../formats/fluid.ts";
import { UsageError } from "./command.ts";
import { writeError } from "./output.ts";

/** Throws UsageError with exit code 2, after saying what is wrong, for a word that is no job id. `argument` is its name in the usage. */
export function jobIdArgument(word: string, command: string, usage: string, argument = "JOBID"): JobId {
  try {
    return parseJobId(word);
  } catch {
    writeError(`usage: flux ${command} ${usage}\nflux-${command}: error: argument ${argument}: invalid JobID value: '${word}'\n`);
    throw new UsageError("", 2);
  }
}
