// What the end-to-end tests share: the real dist/flux, run as a user runs it, in an environment that holds nothing of
// the tests' own.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";

/** FLUX_EXECUTABLE names another build to test; its file must be called "flux", since scripts find it in PATH. */
export const FLUX = process.env["FLUX_EXECUTABLE"] ?? join(import.meta.dir, "../../dist/flux");

export interface Result {
  readonly stdout: string;
  readonly stderr: string;
  /** Exit code, or 128 + the signal that ended the process. */
  readonly code: number;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly input?: string | Uint8Array;
  /** The process is killed, and the call rejects, after this long. */
  readonly timeout_ms?: number;
}

const TIMEOUT_MS = 45_000;

/** The environment of a fresh login that has Flux in front of its PATH. */
export function userEnvironment(extra: Readonly<Record<string, string>> = {}): Record<string, string> {
  return {
    PATH: `${join(FLUX, "..")}:${process.env["PATH"] ?? "/usr/bin:/bin"}`,
    HOME: process.env["HOME"] ?? "/",
    LANG: "C.UTF-8",
    TERM: "xterm",
    SHELL: "/bin/bash",
    ...extra,
  };
}

/** Runs a program to its end. */
export async function run(argv: readonly string[], options: RunOptions = {}): Promise<Result> {
  const child = Bun.spawn([...argv], {
    env: userEnvironment(options.env),
    cwd: options.cwd ?? "/",
    stdin: options.input === undefined ? "ignore" : Buffer.from(options.input),
    stdout: "pipe",
    stderr: "pipe",
  });
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    child.kill("SIGKILL");
  }, options.timeout_ms ?? TIMEOUT_MS);
  const [stdout, stderr] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  await child.exited;
  clearTimeout(timer);
  if (timedOut) throw new Error(`timed out: ${argv.join(" ")}\nstdout: ${stdout}\nstderr: ${stderr}`);
  return { stdout, stderr, code: child.exitCode ?? 128 + (typeof child.signalCode === "string" ? constants.signals[child.signalCode] : 0) };
}

/** Runs `flux` to its end. */
export function flux(args: readonly string[], options: RunOptions = {}): Promise<Result> {
  return run([FLUX, ...args], options);
}

export interface Instance {
  readonly uri: string;
  /** Runs a `flux` command in this instance. */
  flux(args: readonly string[], options?: RunOptions): Promise<Result>;
  /** Runs a shell script in this instance. */
  sh(script: string, options?: RunOptions): Promise<Result>;
  /** A private folder, removed at the end; brokers keep their files below it. */
  readonly folder: string;
  /** Ends the instance. Rejects when a process or a file of it is left. */
  stop(): Promise<void>;
}

/** Brings up an instance that lives until stop(). Job ids begin above 2^53. */
export async function startInstance(size: number, startArgs: readonly string[] = []): Promise<Instance> {
  const folder = mkdtempSync(join(tmpdir(), "flux-e2e-"));
  const script = 'echo "URI=$FLUX_URI"; exec cat >/dev/null';
  const child = Bun.spawn([FLUX, "start", `--test-size=${size}`, `--conf=ingest.fluid-start=${FLUID_START_MS}`, ...startArgs, "sh", "-c", script], {
    env: userEnvironment({ TMPDIR: folder }),
    cwd: "/",
    stdin: "pipe",
    stdout: "pipe",
    stderr: "pipe",
  });
  const stderr = new Response(child.stderr).text();
  const uri = await readUri(child.stdout, stderr);
  const env = { FLUX_URI: uri, TMPDIR: folder };
  return {
    uri,
    folder,
    flux: (args, options = {}) => flux(args, { ...options, env: { ...env, ...options.env } }),
    sh: (script, options = {}) => run(["sh", "-c", script], { ...options, env: { ...env, ...options.env } }),
    async stop() {
      await child.stdin.end();
      const code = await child.exited;
      const errors = await stderr;
      const left = existsSync(folder) ? readdirSync(folder).filter((name) => name.startsWith("flux-")) : [];
      const processes = processesBelow(folder);
      rmSync(folder, { recursive: true, force: true });
      if (code !== 0) throw new Error(`the instance ended with exit code ${code}: ${errors}`);
      if (left.length > 0) throw new Error(`the instance left ${left.join(", ")} behind`);
      if (processes.length > 0) throw new Error(`the instance left processes behind: ${processes.join("; ")}`);
    },
  };
}

/** RFC 19 ids hold milliseconds above 24 bits: 2^53 is passed after 2^29 of them. */
const FLUID_START_MS = 2 ** 29 + 12345;

async function readUri(stdout: ReadableStream<Uint8Array>, stderr: Promise<string>): Promise<string> {
  const reader = stdout.getReader();
  let seen = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Error(`the instance did not start: ${seen}${await stderr}`);
    seen += Buffer.from(value).toString();
    const uri = /^URI=(.+)$/m.exec(seen)?.[1];
    if (uri !== undefined) {
      reader.releaseLock();
      return uri;
    }
  }
}

/** Command lines of processes that have `text` in their environment or arguments. */
export function processesBelow(text: string): string[] {
  const found: string[] = [];
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    if (Number(pid) === process.pid) continue;
    try {
      const [environ, cmdline] = ["environ", "cmdline"].map((file) => readProc(pid, file));
      if (environ?.includes(text) || cmdline?.includes(text)) found.push(`${pid}: ${cmdline?.replaceAll("\0", " ")}`);
    } catch {
      // It ended while we looked.
    }
  }
  return found;
}

function readProc(pid: string, file: string): string {
  return readFileSync(`/proc/${pid}/${file}`, "utf8");
}
