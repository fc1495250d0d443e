// Job ids on command lines and in output.
import { formatJobId, type JobId, parseJobId } from "../formats/fluid.ts";
import { UsageError } from "./command.ts";

/** True when this locale prints ƒ. */
export function localeIsUtf8(env: Readonly<Record<string, string | undefined>> = process.env): boolean {
  const locale = env["LC_ALL"] || env["LC_CTYPE"] || env["LANG"] || "";
  return /utf-?8/i.test(locale);
}

let f58Form: "f58" | "f58plain" | undefined;

/** "ƒ2d4mS3y", or "f2d4mS3y" where ƒ can't be shown or FLUX_F58_FORCE_ASCII is set. */
export function showJobId(id: JobId): string {
  f58Form ??= process.env["FLUX_F58_FORCE_ASCII"] !== undefined || !localeIsUtf8() ? "f58plain" : "f58";
  return formatJobId(id, f58Form);
}

/** Throws UsageError for what is no job id. */
export function jobIdArgument(text: string): JobId {
  try {
    return parseJobId(text);
  } catch {
    throw new UsageError(`error parsing jobid: "${text}"`);
  }
}
