// The programs that a broker runs at the turns of its life: rc1, rc2 (the initial program), cleanup, rc3. Each name has
// a list of commands that run one after another; the exit code is that of the first that fails, as a shell has it.
import { basename } from "node:path";
import { accessSync, constants, readFileSync, statSync } from "node:fs";
import { errno, FluxError, strerror, toFluxError } from "../message/errno.ts";
import { inOwnGroup, type OwnGroup } from "../os/foreground.ts";
import { isTerminal } from "../os/terminal.ts";
import type { Clock, Timer } from "../os/clock.ts";
import { describeSignal, parseSignal } from "../formats/signal.ts";
import { exitCode, termSignal } from "../formats/waitstatus.ts";
import { type Child, sendSignal, spawnProcess } from "../os/spawn.ts";
import { splitLines, type Splitter } from "../formats/lines.ts";
import { descendantsOf, processesWithEnvironment, readProcess } from "../os/process-tree.ts";

export interface Command {
  readonly argv: readonly string[];
  /** The words of the user, for log lines. */
  readonly title: string;
  /** Terminal, stdin and output are ours; otherwise output goes to the log. */
  readonly foreground: boolean;
}

export interface ProgramsOptions {
  readonly clock: Clock;
  readonly environment: () => Record<string, string>;
  readonly log: (level: 3 | 6, text: string) => void;
  /** What runs in the foreground must have a process group of its own, even when we lead ours. */
  readonly ownGroup: () => boolean;
  /** Called as a command starts. */
  readonly starting: (title: string) => void;
}

/** After SIGHUP, how long a program may take before it is killed, when the instance is shut down. */
export const SHUTDOWN_GRACE_MS = 30_000;
/** The same when a signal ends the broker: whoever sent it kills us when we take long. */
export const SIGNAL_GRACE_MS = 5000;

interface Running {
  readonly name: string;
  readonly child: Child;
  readonly group: OwnGroup | undefined;
  timer: Timer | undefined;
}

export class Programs {
  readonly #options: ProgramsOptions;
  readonly #commands = new Map<string, Command[]>();
  readonly #running = new Map<string, Running>();
  /** With the grace that each was given. */
  readonly #aborted = new Map<string, number>();

  constructor(options: ProgramsOptions) {
    this.#options = options;
  }

  push(name: string, command: Command): void {
    const list = this.#commands.get(name) ?? [];
    list.push(command);
    this.#commands.set(name, list);
  }

  /** In front of what is there: cleanup commands run in the reverse order of their registration. */
  pushFront(name: string, command: Command): void {
    this.#commands.set(name, [command, ...(this.#commands.get(name) ?? [])]);
  }

  has(name: string): boolean {
    return this.#commands.has(name);
  }

  /** Runs the commands of `name`; resolves to the exit code. */
  async run(name: string): Promise<number> {
    let exitCode = 0;
    for (const [index, command] of (this.#commands.get(name) ?? []).entries()) {
      if (this.#aborted.has(name) && index > 0) break;
      const code = await this.#runOne(name, index, command);
      if (exitCode === 0) exitCode = code;
    }
    return exitCode;
  }

  /** Runs a command line for `name` besides its commands, its output to the log; resolves to the exit code. */
  runLine(name: string, line: string): Promise<number> {
    return this.#runOne(name, 0, { argv: ["bash", "-c", line], title: line, foreground: false });
  }

  /** Ends what runs under `name`: SIGHUP, and SIGKILL after `grace_ms` (0: at once) or the second time. What has not started yet ends as it starts. */
  abort(name: string, grace_ms: number): void {
    const again = this.#aborted.has(name);
    this.#aborted.set(name, grace_ms);
    const running = this.#running.get(name);
    if (running === undefined) return;
    if (grace_ms === 0 || again) return this.#signal(running, "SIGKILL");
    this.#hangUp(running, grace_ms);
  }

  #hangUp(running: Running, grace_ms: number): void {
    this.#signal(running, "SIGHUP");
    this.#signal(running, "SIGCONT");
    running.timer ??= this.#options.clock.setTimer(grace_ms, () => this.#signal(running, "SIGKILL"));
  }

  #signal(running: Running, signal: string): void {
    const { group, child } = running;
    if (group?.isSeparate === true) {
      // An interactive shell has made a group of its own out of it.
      const pgid = readProcess(child.pid)?.pgid;
      if (pgid !== undefined && pgid !== group.pgid) signalGroup(pgid, signal);
      return signalGroup(group.pgid, signal);
    }
    // It shares our group: whatever it has started there goes with it.
    const pgid = readProcess(process.pid)?.pgid;
    const descendants = descendantsOf(child.pid).filter((entry) => entry.pgid === pgid);
    child.kill(signal);
    for (const { pid } of descendants) sendSignal(pid, signal);
  }

  async #runOne(name: string, index: number, command: Command): Promise<number> {
    const { clock, log } = this.#options;
    const start_ms = clock.monotonic_ms();
    const report = (code: number, how: string): number => {
      const seconds = ((clock.monotonic_ms() - start_ms) / 1000).toFixed(1);
      log(code === 0 ? 6 : 3, `${name}.${index}: ${command.title} ${how} (rc=${code}) ${seconds}s`);
      return code;
    };
    let running: Running;
    this.#options.starting(command.title);
    try {
      running = this.#spawn(name, index, command);
    } catch (err) {
      const error = toFluxError(err);
      return report(error.errno === errno.ENOENT ? 127 : 126, strerror(error.errno));
    }
    this.#running.set(name, running);
    const grace_ms = this.#aborted.get(name);
    if (grace_ms !== undefined) this.#hangUp(running, grace_ms);
    const { status } = await running.child.exited;
    this.#running.delete(name);
    clock.clear(running.timer);
    running.group?.restore();
    // What the program left running in its group goes with it.
    if (running.group?.isSeparate) signalGroup(running.group.pgid, "SIGHUP");
    if (command.foreground) hangUpLeftovers(this.#options.environment()["FLUX_URI"]);
    const signal = termSignal(status);
    if (signal !== undefined) return report(128 + signal, describeSignal(signal));
    const code = exitCode(status) ?? 1;
    if (code === 0 && this.#aborted.has(name)) return report(1, "aborted after exit with rc=0");
    return report(code, "Exited");
  }

  #spawn(name: string, index: number, command: Command): Running {
    const env = this.#options.environment();
    if (command.foreground) {
      const must = this.#options.ownGroup();
      const { result, group } = inOwnGroup(must, (prefix) => spawnProcess({ argv: [...prefix, ...command.argv], env, stdin: "inherit", stdout: "inherit", stderr: "inherit" }));
      return { name, child: result, group, timer: undefined };
    }
    const output = (level: 3 | 6): Splitter => splitLines((line) => this.#logLine(level, `${name}.${index}: `, line));
    const [out, err] = [output(6), output(3)];
    const child = spawnProcess({
      argv: command.argv,
      env,
      stdin: "null",
      stdout: "pipe",
      stderr: "pipe",
      onStdout: (chunk) => out.push(chunk),
      onStdoutEnd: () => out.end(),
      onStderr: (chunk) => err.push(chunk),
      onStderrEnd: () => err.end(),
    });
    return { name, child, group: undefined, timer: undefined };
  }

  #logLine(level: 3 | 6, prefix: string, line: Uint8Array): void {
    const text = Buffer.from(line).toString("utf8").trimEnd();
    if (text !== "") this.#options.log(level, prefix + text);
  }
}

/**
 * What a shell with job control, or one that shares our group, has left running in our session: programs of this
 * instance whose parent is gone, and what is below them. As when a terminal hangs up, nohup(1) and setsid(1) keep a
 * program from it. Others in the session who only talk to this instance have their parents.
 */
function hangUpLeftovers(uri: string | undefined): void {
  const sid = readProcess(process.pid)?.sid;
  if (uri === undefined || sid === undefined) return;
  const ours = new Map(processesWithEnvironment(`FLUX_URI=${uri}`).flatMap((entry) => (entry.sid === sid ? [[entry.pid, entry]] : [])));
  for (const entry of ours.values()) {
    let top = entry;
    for (let above = ours.get(top.ppid); above !== undefined; above = ours.get(top.ppid)) top = above;
    const parent = readProcess(top.ppid);
    if (parent !== undefined && parent.pid !== 1 && parent.sid === sid) continue;
    sendSignal(entry.pid, "SIGHUP");
    sendSignal(entry.pid, "SIGCONT");
  }
}

function signalGroup(pgid: number, signal: string): void {
  try {
    process.kill(-pgid, parseSignal(signal));
  } catch (err) {
    if (toFluxError(err).errno !== errno.ESRCH && toFluxError(err).errno !== errno.EPERM) throw err;
  }
}

/** A command line for the user's shell. */
export function shellCommand(line: string, shell: string, foreground: boolean): Command {
  return { argv: [shell, "-c", line], title: line, foreground };
}

/**
 * The initial program that the words of `flux start` stand for: none is the user's shell on the terminal, one word is
 * a command line for the shell (or an executable file, or the name of a shell), more are program and arguments.
 * Throws FluxError when an interactive shell is wanted without a terminal.
 */
export function initialProgram(words: readonly string[], env: NodeJS.ProcessEnv = process.env): Command {
  const shell = env["SHELL"] ?? "/bin/bash";
  const [first] = words;
  if (first === undefined || (words.length === 1 && isShell(first))) {
    if (!isTerminal(0)) throw new FluxError(errno.ENOTTY, "stdin is not a tty - can't run interactive shell");
    const program = first ?? shell;
    return { argv: [program], title: program, foreground: true };
  }
  if (words.length > 1 || isProgramFile(first)) return { argv: words, title: words.join(" "), foreground: true };
  return shellCommand(first, shell, true);
}

function isShell(word: string): boolean {
  let shells: string[];
  try {
    shells = readFileSync("/etc/shells", "utf8").split("\n").filter((line) => line.startsWith("/"));
  } catch {
    shells = ["/bin/sh", "/bin/bash"]; // a system without a list of shells
  }
  return shells.some((path) => !["true", "false"].includes(basename(path)) && (word === path || word === basename(path)));
}

function isProgramFile(word: string): boolean {
  if (/\s/.test(word)) return false;
  try {
    if (!statSync(word).isFile()) return false;
    accessSync(word, constants.X_OK | constants.R_OK);
    return true;
  } catch {
    return false; // not there, or not for us: the shell says so
  }
}
