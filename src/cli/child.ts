// A program that takes our place: `flux env COMMAND`, `flux python`, and commands that are not ours. It has our terminal,
// streams and signals, and its end is ours.
import { toFluxError } from "../message/errno.ts";
import { shellExitCode } from "../os/signals.ts";
import { spawnProcess } from "../os/spawn.ts";
import { UsageError } from "./command.ts";

/** What a terminal sends to the whole process group: the program gets it too, and we wait for what it makes of it. */
const TERMINAL_SIGNALS = ["SIGINT", "SIGQUIT"] as const;
const FORWARDED_SIGNALS = ["SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"] as const;

/** Resolves to the exit code, as a shell has it. Throws UsageError when the program can't be run. */
export async function runInOurPlace(argv: readonly string[], env: Readonly<Record<string, string | undefined>>): Promise<number> {
  const ignore = (): void => {};
  for (const signal of TERMINAL_SIGNALS) process.on(signal, ignore);
  let child: ReturnType<typeof spawnProcess>;
  try {
    child = spawnProcess({ argv, env, stdin: "inherit" });
  } catch (err) {
    throw new UsageError(`execvp (${argv[0]}): ${toFluxError(err).message}`, 1);
  }
  for (const signal of FORWARDED_SIGNALS) process.on(signal, () => child.kill(signal));
  const { status } = await child.exited;
  for (const signal of [...TERMINAL_SIGNALS, ...FORWARDED_SIGNALS]) process.removeAllListeners(signal);
  return shellExitCode(status);
}
