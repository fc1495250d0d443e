// The text for an error that nobody expected: what a user can report.
import { FluxError } from "../message/errno.ts";
import { FormatError } from "../formats/error.ts";

/** The message of an error; other exceptions with their kind. */
export function formatError(reason: unknown): string {
  if (reason instanceof FluxError || reason instanceof FormatError) return reason.message;
  if (reason instanceof Error) return `${reason.name}: ${reason.message}`;
  return String(reason);
}
