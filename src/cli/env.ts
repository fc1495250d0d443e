// flux env: the environment in which commands find this instance: as lines for a shell, or for one command.
import { delimiter } from "node:path";
import { binDirectory } from "../os/self.ts";
import { defineCommand, UsageError } from "./command.ts";
import { print } from "./output.ts";

/** Passed on when they are set. */
const VARIABLES = ["FLUX_URI", "FLUX_KVS_NAMESPACE", "FLUX_MODULE_PATH", "FLUX_EXEC_PATH", "FLUX_CONNECTOR_PATH"] as const;
/** What a terminal sends to the whole process group: the command gets it too, and we wait for what it makes of it. */
const TERMINAL_SIGNALS = ["SIGINT", "SIGQUIT"] as const;
const FORWARDED_SIGNALS = ["SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"] as const;

export default defineCommand({
  name: "env",
  style: "getopt",
  summary: "print the environment of this instance, or run a command in it",
  usage: "[COMMAND...]",
  passThrough: true,
  async run({ args }) {
    const changes = environmentChanges();
    if (args.length > 0) return runCommandIn(args, { ...process.env, ...changes });
    print(...Object.entries(changes).map(([name, value]) => `export ${name}="${value.replace(/(["\\$`])/g, "\\$1")}"`));
    return 0;
  },
});

function environmentChanges(): Record<string, string> {
  const out: Record<string, string> = {};
  for (const name of VARIABLES) {
    const value = process.env[name];
    if (value !== undefined) out[name] = value;
  }
  const bin = binDirectory();
  const dirs = (process.env["PATH"] ?? "/usr/local/bin:/usr/bin:/bin").split(delimiter);
  if (bin !== undefined) out["PATH"] = [bin, ...dirs.filter((dir) => dir !== bin)].join(delimiter);
  return out;
}

async function runCommandIn(argv: readonly string[], env: Record<string, string | undefined>): Promise<number> {
  const { spawnProcess } = await import("../os/spawn.ts");
  const { shellExitCode } = await import("../os/signals.ts");
  const ignore = (): void => {};
  for (const signal of TERMINAL_SIGNALS) process.on(signal, ignore);
  let child: ReturnType<typeof spawnProcess>;
  try {
    child = spawnProcess({ argv, env, stdin: "inherit" });
  } catch (err) {
    throw new UsageError(`execvp (${argv[0]}): ${err instanceof Error ? err.message : String(err)}`, 1);
  }
  for (const signal of FORWARDED_SIGNALS) process.on(signal, () => child.kill(signal));
  const { status } = await child.exited;
  for (const signal of [...TERMINAL_SIGNALS, ...FORWARDED_SIGNALS]) process.removeAllListeners(signal);
  return shellExitCode(status);
}
