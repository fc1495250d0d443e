// Processes: the one way the project starts a program.
//
// - A child gets exactly what is named here: environment, directory, descriptors 0-2 and the extra ones. Other descriptors are closed,
//   signals reset, the limit of open files is the one that this process itself was started with, the CPU mask our own or `cpus`.
// - 'pipe' is a socketpair, as in other Flux implementations: a program that reopens /dev/stdout needs a pipe or file of its
//   own (pass its descriptor).
// - Every failure to start is thrown at once as FluxError: ENOENT (which says whether program or directory is missing), EACCES,
//   E2BIG, EMFILE ... A script without #! runs under /bin/sh, as execvp(3) does.
// - `exited` resolves when the process is gone AND its stdout and stderr are at their end, so that whoever awaits it has all output.
//   A descendant that keeps them open delays it; `linger_ms` bounds that. `reaped` resolves without waiting for output.

import { accessSync, constants, statSync } from "node:fs";
import { isAbsolute, join, resolve } from "node:path";

import { errno, errnoNumber, FluxError, strerror, toFluxError } from "../message/errno.ts";
import { withAffinity } from "./affinity.ts";
import { openFdStream, type FdStream, type FdStreamOptions } from "./fd-stream.ts";
import { closeFd, socketPair } from "./libc.ts";
import { launchNofile, RLIMITS, UNLIMITED, withSoftLimits, type RlimitName } from "./limits.ts";
import { parseSignal } from "../formats/signal.ts";
import { exitStatus, signalStatus } from "../formats/waitstatus.ts";
import { withUmask } from "./umask.ts";

/** A stream of the child: a pipe to us, nothing (/dev/null), ours, or a descriptor that stays the caller's. */
export type ChildStdio = "pipe" | "null" | "inherit" | number;

export interface SpawnOptions {
  /** Program and arguments. A program without a slash is looked up in the PATH of `env`. */
  argv: readonly string[];
  /** The whole environment. Default: ours. */
  env?: Readonly<Record<string, string | undefined>>;
  /** Directory to start in. Default: ours. */
  cwd?: string;
  /** Default "null". */
  stdin?: ChildStdio;
  /** Default "inherit". */
  stdout?: ChildStdio;
  /** Default "inherit". */
  stderr?: ChildStdio;
  /** Become the child's descriptors 3, 4, ...: a descriptor, which stays the caller's, or a duplex socket, whose other
   *  end is `child.extra[i]` and has these handlers. */
  extraFds?: ReadonlyArray<number | FdStreamOptions>;
  /** A session and process group of its own, so that `killGroup` reaches all of it. */
  newSession?: boolean;
  /** CPUs (OS indexes) the child may run on. Default: ours. */
  cpus?: readonly number[];
  /** Soft limits of the child; UNLIMITED is -1. `nofile` is by default what this process was started with. */
  rlimits?: Readonly<Partial<Record<RlimitName, number>>>;
  umask?: number;
  /** After the process is gone, wait at most this long for its descendants to close stdout and stderr. Default: for ever. */
  linger_ms?: number;
  onStdout?: (chunk: Uint8Array) => void;
  onStderr?: (chunk: Uint8Array) => void;
  /** stdout came to its end (called once, also when the stream was cut by `linger_ms`). */
  onStdoutEnd?: () => void;
  onStderrEnd?: () => void;
}

export interface ExitStatus {
  /** The status word of wait(2): see signals.ts. */
  status: number;
}

/** What a process and the descendants it waited for have used. */
export interface ChildUsage {
  readonly cpu_s: number;
  /** Of the largest of them. */
  readonly peak_bytes: number;
}

export interface Child {
  readonly pid: number;
  /** Present when `stdin` is "pipe". Writing after the child has gone throws EPIPE. */
  readonly stdin: FdStream | undefined;
  readonly stdout: FdStream | undefined;
  readonly stderr: FdStream | undefined;
  /** Our ends of the extra descriptors that are sockets, by position. */
  readonly extra: ReadonlyArray<FdStream | undefined>;
  /** The process is gone; output may still come. */
  readonly reaped: Promise<ExitStatus>;
  /** The process is gone and all its output was delivered. */
  readonly exited: Promise<ExitStatus>;
  /** Send a signal; false when the process is gone. */
  kill(signal: number | string): boolean;
  /** Send a signal to its process group; false when nothing is left of it. Needs `newSession`. */
  killGroup(signal: number | string): boolean;
  /** Let our process end although the child runs; its open pipes still hold us. */
  unref(): void;
  /** Once it is gone. */
  usage(): ChildUsage | undefined;
}

/** What a program name and its options come down to: what to execute, checked, with a clear error when that cannot work. */
export interface PreparedProgram {
  path: string;
  argv: string[];
  env: Record<string, string | undefined>;
  cwd: string;
}

const DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin";
const SHELL = "/bin/sh";

/** Check the directory, find the program, and refuse what cannot be passed to a program. Throws as described above. */
export function prepareProgram(argv: readonly string[], env: SpawnOptions["env"], cwd?: string): PreparedProgram {
  const [program] = argv;
  if (program === undefined || program === "") throw new FluxError(errno.EINVAL, "there is no program to run");
  if (argv.some((arg) => arg.includes("\0"))) throw new FluxError(errno.EINVAL, "an argument with a NUL byte cannot be passed to a program");
  const environment = { ...(env ?? process.env) };
  const directory = cwd ?? currentDirectory();
  if (cwd !== undefined) checkDirectory(cwd);
  return { path: findProgram(program, environment["PATH"], directory), argv: [...argv], env: environment, cwd: directory };
}

function currentDirectory(): string {
  try {
    return process.cwd();
  } catch (error) {
    throw new FluxError(errno.ENOENT, "the current directory was removed: change to one that exists", { cause: error });
  }
}

function checkDirectory(path: string): void {
  let isDirectory: boolean;
  try {
    isDirectory = statSync(path).isDirectory();
  } catch (error) {
    const { errno: number } = toFluxError(error);
    throw new FluxError(number, `cannot change to directory ${path}: ${strerror(number)}`, { cause: error });
  }
  if (!isDirectory) throw new FluxError(errno.ENOTDIR, `cannot change to directory ${path}: ${strerror(errno.ENOTDIR)}`);
}

/** Absolute path of a program, found as execvp(3) does; ENOENT or EACCES with the program's name. */
export function findProgram(program: string, path: string | undefined, cwd: string): string {
  const candidates = program.includes("/")
    ? [resolve(cwd, program)]
    : (path ?? DEFAULT_PATH).split(":").map((dir) => join(isAbsolute(dir) ? dir : resolve(cwd, dir), program));
  let failure: number = errno.ENOENT;
  for (const candidate of candidates) {
    const number = executableErrno(candidate);
    if (number === 0) return candidate;
    if (number !== errno.ENOENT && number !== errno.ENOTDIR) failure = number;
  }
  throw new FluxError(failure, `${program}: ${strerror(failure)}`);
}

function executableErrno(path: string): number {
  try {
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat === undefined) return errno.ENOENT;
    if (!stat.isFile()) return errno.EACCES;
    accessSync(path, constants.X_OK);
    return 0;
  } catch (error) {
    return toFluxError(error, errno.EACCES).errno;
  }
}

/** Limits that would hurt this process if they were set around the spawn: the child sets them on its way (`ulimit` of /bin/sh). */
const LIMITS_IN_CHILD: Readonly<Partial<Record<RlimitName, { option: string; unit: number }>>> = {
  as: { option: "-v", unit: 1024 },
  data: { option: "-d", unit: 1024 },
  stack: { option: "-s", unit: 1024 },
  cpu: { option: "-t", unit: 1 },
  nproc: { option: "-p", unit: 1 },
};

const SHELL_LIMIT_SCRIPT = 'while [ "$1" != -- ]; do ulimit -S $1 $2 || exit 126; shift 2; done; shift; exec "$@"';

/** The command line that sets limits in a small shell first, then becomes the program. */
function underLimits(program: PreparedProgram, limits: ReadonlyArray<readonly [RlimitName, number]>): PreparedProgram {
  const words = limits.flatMap(([name, value]) => {
    const how = LIMITS_IN_CHILD[name] ?? { option: "-n", unit: 1 };
    return [how.option, value === UNLIMITED ? "unlimited" : String(Math.ceil(value / how.unit))];
  });
  const argv = [SHELL, "-c", SHELL_LIMIT_SCRIPT, SHELL, ...words, "--", program.path, ...program.argv.slice(1)];
  return { ...program, path: SHELL, argv };
}

type StartOptions = Omit<Bun.Spawn.SpawnOptions<"ignore", "ignore", "ignore">, "cwd" | "env" | "argv0">;

/** What the child inherits by being started while this process has it: applied around the spawn. */
export interface InheritedSettings {
  cpus?: readonly number[] | undefined;
  rlimits?: SpawnOptions["rlimits"] | undefined;
  umask?: number | undefined;
}

/** Start a prepared program. The only caller of Bun.spawn. */
export function startProgram(program: PreparedProgram, settings: InheritedSettings, options: StartOptions): Bun.Subprocess {
  const limits = limitEntries(settings.rlimits);
  const inChild = limits.filter(([name]) => name in LIMITS_IN_CHILD);
  const around = limits.filter(([name]) => !(name in LIMITS_IN_CHILD));
  const start = inChild.length > 0 ? underLimits(program, inChild) : program;
  const run = (what: PreparedProgram): Bun.Subprocess => {
    const spawn = (): Bun.Subprocess =>
      Bun.spawn([what.path, ...what.argv.slice(1)], { ...options, argv0: what.argv[0] ?? what.path, env: what.env, cwd: what.cwd });
    const masked = settings.umask === undefined ? spawn : () => withUmask(settings.umask ?? 0, spawn);
    return settings.cpus === undefined ? masked() : withAffinity(settings.cpus, masked);
  };
  try {
    return withSoftLimits(around, () => run(start));
  } catch (error) {
    const number = spawnErrno(error);
    if (number === errno.ENOEXEC) {
      const script = { ...program, path: SHELL, argv: [SHELL, program.path, ...program.argv.slice(1)] };
      return withSoftLimits(around, () => run(script));
    }
    if (number === errno.EMFILE) {
      // More descriptors are open here than the child may have: leave our limit alone and let the child lower its own.
      const nofile = around.filter(([name]) => name === "nofile");
      const others = around.filter(([name]) => name !== "nofile");
      return rethrowing(program, () => withSoftLimits(others, () => run(underLimits(program, [...inChild, ...nofile]))));
    }
    throw describe(program, error);
  }
}

function rethrowing(program: PreparedProgram, start: () => Bun.Subprocess): Bun.Subprocess {
  try {
    return start();
  } catch (error) {
    throw describe(program, error);
  }
}

function limitEntries(rlimits: SpawnOptions["rlimits"]): Array<readonly [RlimitName, number]> {
  const entries: Array<readonly [RlimitName, number]> = [["nofile", rlimits?.nofile ?? launchNofile()]];
  for (const name of Object.keys(rlimits ?? {}) as RlimitName[]) {
    if (!Object.hasOwn(RLIMITS, name)) throw new FluxError(errno.EINVAL, `${name} is not a resource limit`);
    const value = rlimits?.[name];
    if (name !== "nofile" && value !== undefined) entries.push([name, value]);
  }
  return entries;
}

function spawnErrno(error: unknown): number {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return (typeof code === "string" ? errnoNumber(code) : undefined) ?? errno.EINVAL;
}

function describe(program: PreparedProgram, error: unknown): FluxError {
  if (error instanceof FluxError) return error;
  const number = spawnErrno(error);
  const known = number !== errno.EINVAL || !(error instanceof Error);
  return new FluxError(number, `${program.argv[0]}: ${known ? strerror(number) : error.message}`, { cause: error });
}

/** The wait status from what the runtime reports: an exit code, or a signal by name or (real-time) number. */
export function waitStatus(exitCode: number | null, signal: number | string | null | undefined): number {
  if (signal === null || signal === undefined) return exitStatus(exitCode ?? 255);
  return signalStatus(typeof signal === "number" ? signal : parseSignal(signal));
}

/** Signal a process or, with a negative pid, a group: false when there is none. */
export function sendSignal(pid: number, signal: number | string): boolean {
  const number = typeof signal === "number" ? signal : parseSignal(signal);
  try {
    return process.kill(pid, number);
  } catch (error) {
    const failure = toFluxError(error);
    if (failure.errno === errno.ESRCH) return false;
    throw new FluxError(failure.errno, `kill: ${strerror(failure.errno)}`, { cause: error });
  }
}

/** A socket pair on its way into a child. */
export interface Wire {
  ours: number;
  childs: number;
}

/** The descriptors for one spawn: our ends to open afterwards, the child's ends to close. */
export function wires(wanted: ReadonlyArray<ChildStdio | undefined>): { stdio: Array<"ignore" | "inherit" | number>; pairs: Array<Wire | undefined> } {
  const pairs: Array<Wire | undefined> = [];
  const stdio: Array<"ignore" | "inherit" | number> = [];
  try {
    for (const what of wanted) {
      const wire = what === "pipe" ? pair() : undefined;
      pairs.push(wire);
      stdio.push(wire?.childs ?? (what === "inherit" || typeof what === "number" ? what : "ignore"));
    }
  } catch (error) {
    for (const wire of pairs) closeWire(wire);
    throw error;
  }
  return { stdio, pairs };
}

function pair(): Wire {
  const [ours, childs] = socketPair();
  return { ours, childs };
}

export function closeWire(wire: Wire | undefined): void {
  if (wire === undefined) return;
  closeFd(wire.ours);
  closeFd(wire.childs);
}

/** Start a program. Throws FluxError when it cannot be started; see the head of this file. */
export function spawnProcess(options: SpawnOptions): Child {
  const program = prepareProgram(options.argv, options.env, options.cwd);
  const extraStdio = (options.extraFds ?? []).map((extra): ChildStdio => (typeof extra === "number" ? extra : "pipe"));
  const { stdio, pairs } = wires([options.stdin ?? "null", options.stdout ?? "inherit", options.stderr ?? "inherit", ...extraStdio]);
  const gone = Promise.withResolvers<ExitStatus>();
  let subprocess: Bun.Subprocess;
  try {
    subprocess = startProgram(program, options, {
      stdio: stdio as ["ignore", "ignore", "ignore"],
      detached: options.newSession === true,
      onExit(_, exitCode, signal) {
        gone.resolve({ status: waitStatus(exitCode, signal) });
      },
    });
  } catch (error) {
    for (const wire of pairs) closeWire(wire);
    throw error;
  }
  for (const wire of pairs) if (wire !== undefined) closeFd(wire.childs);
  const stream = (index: number, how: FdStreamOptions): FdStream | undefined => {
    const wire = pairs[index];
    return wire === undefined ? undefined : openFdStream(wire.ours, how);
  };
  const stdin = stream(0, {});
  const stdout = stream(1, output(options.onStdout, options.onStdoutEnd));
  const stderr = stream(2, output(options.onStderr, options.onStderrEnd));
  const extra = (options.extraFds ?? []).map((how, i) => (typeof how === "number" ? undefined : stream(3 + i, how)));
  const { pid } = subprocess;
  let alive = true;
  const reaped = gone.promise.then((exit) => {
    alive = false;
    stdin?.end();
    return exit;
  });
  return {
    pid,
    stdin,
    stdout,
    stderr,
    extra,
    reaped,
    exited: afterOutput(reaped, [stdout, stderr], options.linger_ms),
    kill: (signal) => alive && sendSignal(pid, signal),
    killGroup(signal) {
      if (options.newSession !== true) throw new FluxError(errno.EINVAL, "a process without a session of its own has no group to signal");
      return sendSignal(-pid, signal);
    },
    unref: () => subprocess.unref(),
    usage: () => usageOf(subprocess),
  };
}

/** What a child that is gone has used. */
export function usageOf(subprocess: Bun.Subprocess): ChildUsage | undefined {
  const usage = subprocess.resourceUsage();
  return usage === undefined ? undefined : { cpu_s: Number(usage.cpuTime.total) / 1e6, peak_bytes: usage.maxRSS };
}

function output(onData?: (chunk: Uint8Array) => void, onEnd?: () => void): FdStreamOptions {
  return { ...(onData && { onData }), ...(onEnd && { onClose: () => onEnd() }) };
}

async function afterOutput(reaped: Promise<ExitStatus>, outputs: Array<FdStream | undefined>, linger_ms?: number): Promise<ExitStatus> {
  const exit = await reaped;
  const open = outputs.filter((stream) => stream !== undefined);
  if (open.length === 0) return exit;
  let timer: ReturnType<typeof setTimeout> | undefined;
  if (linger_ms !== undefined) timer = setTimeout(() => open.forEach((stream) => stream.destroy()), linger_ms);
  await Promise.all(open.map(async (stream) => stream.closed));
  clearTimeout(timer);
  return exit;
}

/** Output of a program that is short by nature, for discovery and tests. */
export interface CollectedOutput extends ExitStatus {
  stdout: string;
  stderr: string;
}

const COLLECT_MAX_BYTES = 64 * 1024 * 1024;

/**
 * Run a program to its end and return what it wrote. More than `max_bytes` (default 64 MiB) ends it with EOVERFLOW, and
 * `timeout_ms` with ETIMEDOUT.
 */
export async function collectOutput(options: SpawnOptions & { input?: string | Uint8Array; max_bytes?: number; timeout_ms?: number }): Promise<CollectedOutput> {
  const limit = options.max_bytes ?? COLLECT_MAX_BYTES;
  const parts: { out: Uint8Array[]; err: Uint8Array[] } = { out: [], err: [] };
  let total = 0;
  const keep = (list: Uint8Array[]) => (chunk: Uint8Array) => {
    total += chunk.length;
    if (total <= limit) list.push(chunk);
    else child.kill("SIGKILL");
  };
  const child: Child = spawnProcess({
    ...options,
    stdin: options.input === undefined ? (options.stdin ?? "null") : "pipe",
    stdout: "pipe",
    stderr: options.stderr ?? "pipe",
    onStdout: keep(parts.out),
    onStderr: keep(parts.err),
  });
  if (options.input !== undefined) child.stdin?.write(options.input);
  child.stdin?.end();
  let expired = false;
  const timer = options.timeout_ms === undefined ? undefined : setTimeout(() => ((expired = true), child.kill("SIGKILL")), options.timeout_ms);
  const { status } = await child.exited;
  clearTimeout(timer);
  if (expired) throw new FluxError(errno.ETIMEDOUT, `${options.argv[0]} did not end within ${(options.timeout_ms ?? 0) / 1000} s`);
  if (total > limit) throw new FluxError(errno.EOVERFLOW, `${options.argv[0]} wrote more than ${limit} bytes`);
  return { status, stdout: Buffer.concat(parts.out).toString(), stderr: Buffer.concat(parts.err).toString() };
}
