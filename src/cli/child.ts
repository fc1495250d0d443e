// A program that takes our place: `flux env COMMAND`, `flux python`, commands that are not ours, … It has our process id, terminal,
// streams and signals.
import { FluxError, strerror } from "../message/errno.ts";
import { becomeProgram } from "../os/exec.ts";
import { UsageError } from "./command.ts";

/** Returns only by throwing UsageError, when the program can't be run. */
export function runInOurPlace(argv: readonly string[], env: Readonly<Record<string, string | undefined>>): never {
  try {
    becomeProgram(argv, env);
  } catch (err) {
    if (!(err instanceof FluxError)) throw err;
    throw new UsageError(`execvp (${argv[0]}): ${strerror(err.errno)}`);
  }
}
