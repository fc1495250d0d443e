// Job ids on command lines and in output.
import { formatJobId, type JobId, parseJobId } from "../formats/fluid.ts";
import { UsageError } from "./command.ts";

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
