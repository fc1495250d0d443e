// Job ids on command lines and in output.
import { formatJobId, type JobId, parseJobId } from "../formats/fluid.ts";
import { UsageError } from "./command.ts";
import { writeError } from "./output.ts";

/** "ƒ2d4mS3y", or "f2d4mS3y" where ƒ can't be shown (main.ts). */
export function showJobId(id: JobId): string {
  return formatJobId(id, "f58");
}

/** Throws UsageError for what is no job id. */
export function jobIdArgument(text: string): JobId {
  try {
    return parseJobId(text);
  } catch {
    throw new UsageError(`error parsing jobid: "${text}"`);
  }
}

/** The same for commands whose errors are told as argparse tells them: exit code 2, after the usage. `argument` is the word's name in it. */
export function argparseJobId(word: string, command: string, usage: string, argument = "JOBID"): JobId {
  try {
    return parseJobId(word);
  } catch {
    writeError(`usage: flux ${command} ${usage}\nflux-${command}: error: argument ${argument}: invalid JobID value: '${word}'\n`);
    throw new UsageError("", 2);
  }
}
