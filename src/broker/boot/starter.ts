// The starter: what `flux start --test-size=N` is while its brokers run. It gives each a PMI socket and a lifeline,
// passes signals on, and ends when they have ended. When it is killed, the lifelines end, and the brokers go.
import { randomBytes } from "node:crypto";
import { accessSync, constants, mkdirSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { IdSet } from "../../formats/idset.ts";
import { FluxError, strerror, toFluxError } from "../../message/errno.ts";
import { saveTerminal } from "../../os/foreground.ts";
import { NOFILE_VARIABLE, launchNofile } from "../../os/limits.ts";
import { processesWithEnvironment } from "../../os/process-tree.ts";
import { selfCommand } from "../../os/self.ts";
import { describeSignal } from "../../formats/signal.ts";
import { shellExitCode, termSignal } from "../../formats/waitstatus.ts";
import { type Child, sendSignal, spawnProcess } from "../../os/spawn.ts";
import { writeStderr } from "../../os/stderr.ts";
import { removeDirectory, temporaryRoot } from "../../os/tmpdir.ts";
import { formatProcessMapping } from "../../pmi/process-mapping.ts";
import { pmiEndpoint, pmiEnvironment } from "../../pmi/serve-fd.ts";
import { createPmiServer, type PmiServer } from "../../pmi/server.ts";
import { STARTER_RUNDIR_VARIABLE } from "../environment.ts";
import type { StartService } from "./start-service.ts";
import { LIFELINE_VARIABLE } from "../lifeline.ts";

export interface StartOptions {
  readonly size: number;
  readonly wrap: readonly string[];
  readonly brokerWords: readonly string[];
  readonly command: readonly string[];
  readonly hosts: readonly string[] | undefined;
  readonly nodeOfRank: readonly number[] | undefined;
  readonly exitTimeout_ms: number;
  readonly exitMode: "any" | "leader";
  readonly startMode: "all" | "leader";
  /** A directory that is there, or (makeRundir) may have to be made. Undefined: a temporary one. */
  readonly rundir: string | undefined;
  readonly makeRundir: boolean;
  readonly removeRundir: boolean;
  readonly verbose: number;
  readonly noexec: boolean;
}

/** Descriptors of a broker: the first two extra ones. */
const PMI_FD = 3;
const LIFELINE_FD = 4;
/** After the exit timeout, how long the leader may take to go down in order. */
const LEADER_GRACE_MS = 3000;
/** After the leader has gone, how long the others may take. */
const STRAGGLER_GRACE_MS = 3000;

/** Runs an instance; resolves to its exit code. */
export async function startInstance(options: StartOptions): Promise<number> {
  // From here on a signal ends us in order: nothing was made yet that could be left behind.
  const signals = catchSignals();
  const rundir = prepareRundir(options);
  try {
    if (options.verbose > 0) for (let rank = 0; rank < options.size; rank++) say(`${rank}: ${brokerArgv(options, rundir.path, rank).join(" ")}`);
    if (options.noexec) return 0;
    return await new Starter(options, rundir.path, rundir.isOurs).run(signals);
  } finally {
    signals.release();
    if (rundir.isOurs) removeDirectory(rundir.path);
  }
}

interface CaughtSignals {
  /** Calls `fn` for each signal, those that came before too. */
  pass(fn: (signal: NodeJS.Signals) => void): void;
  release(): void;
}

function catchSignals(): CaughtSignals {
  const names: readonly NodeJS.Signals[] = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"];
  const early: NodeJS.Signals[] = [];
  let handler = (signal: NodeJS.Signals): void => void early.push(signal);
  const listener = (signal: NodeJS.Signals): void => handler(signal);
  for (const name of names) process.on(name, listener);
  return {
    pass(fn) {
      handler = fn;
      for (const signal of early.splice(0)) fn(signal);
    },
    release() {
      for (const name of names) process.off(name, listener);
    },
  };
}

function prepareRundir(options: StartOptions): { path: string; isOurs: boolean } {
  if (options.rundir === undefined) return { path: newRundir(), isOurs: true };
  if (!options.makeRundir) return { path: options.rundir, isOurs: options.removeRundir };
  const made = mkdirSync(options.rundir, { recursive: true, mode: 0o700 }) !== undefined;
  return { path: options.rundir, isOurs: made || options.removeRundir };
}

/** A name only: the brokers make the directory, since a starter that is killed before they run could not remove it. */
function newRundir(): string {
  const root = temporaryRoot();
  try {
    accessSync(root, constants.W_OK | constants.X_OK);
  } catch (err) {
    const error = toFluxError(err);
    throw new FluxError(error.errno, `cannot make a directory in ${root}: ${strerror(error.errno)}`);
  }
  return join(root, `flux-${randomBytes(6).toString("base64url").replace(/[-_]/g, "x")}`);
}

function brokerArgv(options: StartOptions, rundir: string, rank: number): string[] {
  const argv = [...options.wrap, ...selfCommand(), "broker", ...options.brokerWords, `--setattr=rundir=${rundir}`];
  // The directory is the starter's to remove, whoever of them makes it.
  argv.push("--setattr=rundir-cleanup=0");
  const host = options.hosts?.[rank];
  if (host !== undefined) argv.push(`--setattr=hostname=${host}`);
  return rank === 0 ? [...argv, ...options.command] : argv;
}

class Starter {
  readonly #options: StartOptions;
  readonly #rundir: string;
  readonly #ownsRundir: boolean;
  readonly #pmi: PmiServer;
  readonly #brokers = new Map<number, Child>();
  /** Exit codes of those that have ended. */
  readonly #exitCodes = new Map<number, number>();
  readonly #allEnded = Promise.withResolvers<void>();
  #service: StartService | undefined;
  #exitCode = 0;
  #killTimer: ReturnType<typeof setTimeout> | undefined;
  #stragglerTimer: ReturnType<typeof setTimeout> | undefined;
  #signals = 0;

  constructor(options: StartOptions, rundir: string, ownsRundir: boolean) {
    this.#options = options;
    this.#rundir = rundir;
    this.#ownsRundir = ownsRundir;
    const { nodeOfRank, verbose } = options;
    this.#pmi = createPmiServer({
      size: options.size,
      kvsname: "-",
      preset: nodeOfRank === undefined ? [] : [["PMI_process_mapping", formatProcessMapping(nodeOfRank)]],
      onAbort: (rank, code, message) => {
        say(`${rank}: PMI_Abort()${message === "" ? "" : `: ${message}`}`);
        this.#exitCode = Math.max(this.#exitCode, code);
        this.#signalAll("SIGKILL");
      },
      onError: (rank, error) => say(`${rank}: ${error.message}`),
      ...(verbose > 1 && { trace: (rank: number, direction: string, line: string) => process.stdout.write(`${rank}: ${direction}: ${line.trimEnd()}\n`) }),
    });
  }

  async run(signals: CaughtSignals): Promise<number> {
    const { size, startMode } = this.#options;
    const restoreTerminal = saveTerminal();
    try {
      for (let rank = 0; rank < (startMode === "all" ? size : 1); rank++) this.#start(rank);
      signals.pass((signal) => this.#forward(signal));
      await this.#serve();
      await this.#allEnded.promise;
    } catch (err) {
      this.#signalAll("SIGKILL");
      if (this.#brokers.size > 0) await this.#allEnded.promise;
      throw err;
    } finally {
      this.#service?.close();
      clearTimeout(this.#killTimer);
      clearTimeout(this.#stragglerTimer);
      restoreTerminal();
    }
    return this.#exitCode;
  }

  /** Where programs of the instance can ask for its brokers. */
  async #serve(): Promise<void> {
    const { serveStart } = await import("./start-service.ts");
    // The brokers that could remove it run by now.
    mkdirSync(this.#rundir, { recursive: true, mode: 0o700 });
    this.#service = await serveStart(join(this.#rundir, "start"), {
      size: this.#options.size,
      pidOf: (rank) => this.#brokers.get(rank)?.pid,
      kill: (rank, signum) => void this.#brokers.get(rank)?.kill(signum),
      run: (rank) => this.#start(rank),
      exitCodeOf: (rank) => this.#exitCodes.get(rank) ?? 0,
    });
  }

  #start(rank: number): void {
    const { size } = this.#options;
    const pmi = pmiEndpoint(this.#pmi, rank);
    const env: Record<string, string | undefined> = {
      ...process.env,
      ...pmiEnvironment(PMI_FD, rank, size),
      [LIFELINE_VARIABLE]: String(LIFELINE_FD),
      [NOFILE_VARIABLE]: String(launchNofile()),
    };
    // The instance is not a job, even when its starter runs in one.
    for (const name of ["FLUX_URI", "PMI_PORT", "PMI_ID", "PMI_SPAWNED"]) delete env[name];
    if (this.#ownsRundir) env[STARTER_RUNDIR_VARIABLE] = this.#rundir;
    env["FLUX_START_URI"] = `local://${this.#rundir}/start`;
    const child = spawnProcess({
      argv: brokerArgv(this.#options, this.#rundir, rank),
      env,
      stdin: "inherit",
      stdout: "inherit",
      stderr: "inherit",
      extraFds: [pmi.handlers, {}],
    });
    pmi.connect(child.extra[0]);
    this.#brokers.set(rank, child);
    void child.reaped.then(({ status }) => this.#ended(rank, child, status));
  }

  #ended(rank: number, child: Child, status: number): void {
    this.#brokers.delete(rank);
    const signal = termSignal(status);
    const code = shellExitCode(status);
    this.#exitCodes.set(rank, code);
    this.#service?.ended(rank);
    if (signal !== undefined) say(`${rank} (pid ${child.pid}) ${describeSignal(signal)}`);
    else if (code !== 0) say(`${rank} (pid ${child.pid}) exited with rc=${code}`);
    // Whoever is still here when the leader has gone in order has not joined, and never will.
    if (rank === 0 && this.#brokers.size > 0) {
      this.#signalAll("SIGTERM");
      this.#stragglerTimer = setTimeout(() => this.#signalAll("SIGKILL"), STRAGGLER_GRACE_MS);
    }
    // The initial program of a leader that was killed has nobody else to end it: its group has the leader's number.
    if (rank === 0 && signal !== undefined) for (const end of ["SIGHUP", "SIGTERM", "SIGKILL"]) sendSignal(-child.pid, end);
    if (signal !== undefined) this.#killOrphans(rank);
    if (this.#brokers.size === 0) this.#allEnded.resolve();
    const { exitMode, exitTimeout_ms } = this.#options;
    if (exitMode === "any") this.#exitCode = Math.max(this.#exitCode, code);
    else if (rank === 0) this.#exitCode = code;
    const counts = exitMode === "any" || rank === 0;
    if (!counts || this.#brokers.size === 0 || this.#killTimer !== undefined || !Number.isFinite(exitTimeout_ms)) return;
    this.#killTimer = setTimeout(() => this.#timedOut(), exitTimeout_ms);
  }

  /**
   * Kills what a broker that was killed ran for `flux exec` (job shells see its end themselves). On rank 0 the user's own
   * programs have its URI too: there only sessions that are wired to the broker are meant.
   */
  #killOrphans(rank: number): void {
    const found = processesWithEnvironment(`FLUX_URI=local://${this.#rundir}/local-${rank}`);
    const sessions = new Set(found.filter(({ pid, sid }) => pid === sid && hasSocketForOutput(pid)).map(({ sid }) => sid));
    for (const { pid, sid } of found) if (rank > 0 || sessions.has(sid)) sendSignal(pid, "SIGKILL");
  }

  /** The leader may still take the rest down in order, and the initial program with it. */
  #timedOut(): void {
    if (this.#brokers.size === 0) return;
    const leader = this.#brokers.get(0);
    if (leader === undefined) return this.#killAll();
    leader.kill("SIGTERM");
    this.#killTimer = setTimeout(() => this.#killAll(), LEADER_GRACE_MS);
  }

  #killAll(): void {
    if (this.#brokers.size === 0) return;
    say(`Exit timeout: killed rank ${IdSet.from(this.#brokers.keys()).toString()}`);
    this.#signalAll("SIGKILL");
  }

  /** The leader takes the instance down in order; asking twice is meant. */
  #forward(signal: NodeJS.Signals): void {
    this.#signals++;
    const leader = this.#brokers.get(0);
    if (leader === undefined) return this.#signalAll("SIGTERM");
    leader.kill(signal);
    if (this.#signals > 2) this.#signalAll("SIGKILL");
  }

  #signalAll(signal: string): void {
    for (const child of this.#brokers.values()) child.kill(signal);
  }
}

function hasSocketForOutput(pid: number): boolean {
  try {
    return readlinkSync(`/proc/${pid}/fd/1`).startsWith("socket:");
  } catch {
    return false; // it is gone
  }
}

function say(text: string): void {
  writeStderr(`flux-start: ${text}\n`);
}
