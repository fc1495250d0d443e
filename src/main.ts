// flux: the one executable. The first word names a command; its file is loaded only when it is called.
import { COMMANDS } from "./cli/commands.ts";
import { writeStderr } from "./os/stderr.ts";

/** The launcher moves the runtime's own variables out of the way of our start; programs that we start still get them. */
const KEPT_PREFIX = "FLUX_KEPT_BUN_";

function restoreKeptVariables(): void {
  for (const [name, value] of Object.entries(process.env)) {
    if (!name.startsWith(KEPT_PREFIX)) continue;
    process.env[`BUN_${name.slice(KEPT_PREFIX.length)}`] = value;
    delete process.env[name];
  }
}

async function main(words: readonly string[]): Promise<number> {
  const [name, ...rest] = words;
  if (name === undefined || name === "-h" || name === "--help" || name === "help") return help(name === undefined, rest);
  if (name === "-V" || name === "--version") return main(["version", ...rest]);
  const entry = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (entry === undefined) {
    writeStderr(`flux: '${name}' is not a flux command. See 'flux --help'\n`);
    return 1;
  }
  const [{ default: command }, { runCommand }] = await Promise.all([entry.load(), import("./cli/command.ts")]);
  return runCommand(command, rest);
}

async function help(missing: boolean, words: readonly string[]): Promise<number> {
  if (words.length > 0 && Object.hasOwn(COMMANDS, "help")) {
    const [{ default: command }, { runCommand }] = await Promise.all([(COMMANDS["help"] as (typeof COMMANDS)[string]).load(), import("./cli/command.ts")]);
    return runCommand(command, words);
  }
  const { commandList } = await import("./cli/command-list.ts");
  const text = commandList();
  if (missing) writeStderr(`${text}\n`);
  else console.log(text);
  return missing ? 1 : 0;
}

restoreKeptVariables();
process.exitCode = await main(process.argv.slice(2));
