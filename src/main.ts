// flux: the one executable. The first word names a command; its file is loaded only when it is called.
import { reportError, runCommand } from "./cli/command.ts";
import { COMMANDS } from "./cli/commands.ts";
import { useAsciiJobIds } from "./formats/f58-prefix.ts";
import { localeIsUtf8 } from "./os/locale.ts";
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
  if (name === undefined) return commands("stderr");
  if (name === "--help" || (name === "help" && rest.length === 0)) return commands("stdout");
  if (name.startsWith("-")) return afterOptions(words);
  const entry = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (entry === undefined) return notOurs(name, rest);
  return runCommand((await entry.load()).default, rest);
}

async function afterOptions(words: readonly string[]): Promise<number> {
  const { takeFrontOptions } = await import("./cli/front.ts");
  let rest: readonly string[];
  try {
    rest = await takeFrontOptions(words);
  } catch (err) {
    return reportError("flux", "getopt", err);
  }
  return main(rest);
}

async function notOurs(name: string, words: readonly string[]): Promise<number> {
  const { runExternal, similarCommands } = await import("./cli/external.ts");
  try {
    runExternal(name, words);
  } catch (err) {
    return reportError("flux", "getopt", err);
  }
  const similar = similarCommands(name, Object.keys(COMMANDS).filter((other) => COMMANDS[other]?.hidden !== true));
  const hint = similar.length === 0 ? "" : `flux: The most similar command${similar.length === 1 ? " is" : "s are"}\n${similar.map((other) => `flux: \t${other}\n`).join("")}`;
  writeStderr(`flux: '${name}' is not a flux command. See 'flux --help'\n${hint}`);
  return 1;
}

/** The list of commands: an answer, or what to say when no command was given. */
async function commands(stream: "stdout" | "stderr"): Promise<number> {
  const { commandList } = await import("./cli/command-list.ts");
  const text = `${commandList()}\n`;
  if (stream === "stderr") writeStderr(text);
  else process.stdout.write(text);
  return stream === "stderr" ? 1 : 0;
}

restoreKeptVariables();
if (process.env["FLUX_F58_FORCE_ASCII"] !== undefined || !localeIsUtf8()) useAsciiJobIds();
process.exitCode = await main(process.argv.slice(2));
