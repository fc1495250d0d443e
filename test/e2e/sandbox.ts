// A sandbox for tests that drive the real executable: its own TMPDIR, and a way to see what was left behind in it.
//
//   await using box = sandbox();
//   const { code, stdout } = await box.flux("start", "-s2", "hostname");
//   await box.nothingLeft();
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type Child, sendSignal, spawnProcess } from "../../src/os/spawn.ts";
import { shellExitCode } from "../../src/formats/waitstatus.ts";

export const FLUX = process.env["FLUX_EXECUTABLE"] ?? join(import.meta.dir, "..", "..", "dist", "flux");

export interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Started {
  readonly child: Child;
  readonly finished: Promise<Finished>;
  /** Resolves when stdout has this text; rejects when the program ends without it. */
  saw(text: string): Promise<void>;
}

export interface Sandbox {
  readonly dir: string;
  readonly env: Record<string, string | undefined>;
  start(...args: string[]): Started;
  flux(...args: string[]): Promise<Finished>;
  /** A shell script that finds `flux` in PATH. */
  sh(script: string): Promise<Finished>;
  /** Resolves when no process and no file of this sandbox is left; rejects, naming them, after five seconds. */
  nothingLeft(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

const LEFT_TIMEOUT_MS = 15_000;

export function sandbox(): Sandbox {
  const dir = mkdtempSync(join(tmpdir(), "fluxbox-"));
  const env: Record<string, string | undefined> = { ...process.env, TMPDIR: dir, FLUX_URI: undefined, SHELL: "/bin/sh" };
  const start = (...args: string[]): Started => startProgram([FLUX, ...args], env);
  return {
    dir,
    env,
    start,
    flux: (...args) => start(...args).finished,
    sh: (script) => startProgram(["/bin/sh", "-c", script], { ...env, PATH: `${dirname(FLUX)}:${env["PATH"]}` }).finished,
    nothingLeft: () => nothingLeft(dir),
    async [Symbol.asyncDispose]() {
      for (const { pid } of processesIn(dir)) sendSignal(pid, "SIGKILL");
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

function startProgram(argv: string[], env: Record<string, string | undefined>): Started {
  let stdout = "";
  let stderr = "";
  const waiting: { text: string; resolve: () => void; reject: (err: Error) => void }[] = [];
  const child = spawnProcess({
    argv,
    env,
    stdin: "null",
    stdout: "pipe",
    stderr: "pipe",
    onStdout(chunk) {
      stdout += Buffer.from(chunk).toString();
      for (const item of waiting) if (stdout.includes(item.text)) item.resolve();
    },
    onStderr: (chunk) => (stderr += Buffer.from(chunk).toString()),
  });
  const finished = child.exited.then(({ status }) => {
    for (const item of waiting) item.reject(new Error(`${argv.join(" ")} ended without '${item.text}': ${stdout}${stderr}`));
    return { code: shellExitCode(status), stdout, stderr };
  });
  return {
    child,
    finished,
    saw(text) {
      if (stdout.includes(text)) return Promise.resolve();
      return new Promise((resolve, reject) => waiting.push({ text, resolve, reject }));
    },
  };
}

/** Processes that were started with this TMPDIR. */
export function processesIn(dir: string): { pid: number; command: string }[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((name) => {
      try {
        const environ = readFileSync(`/proc/${name}/environ`, "utf8").split("\0");
        if (!environ.includes(`TMPDIR=${dir}`)) return [];
        return [{ pid: Number(name), command: readFileSync(`/proc/${name}/cmdline`, "utf8").replaceAll("\0", " ") }];
      } catch {
        return []; // it has ended in the meantime
      }
    });
}

async function nothingLeft(dir: string): Promise<void> {
  const until_ms = Date.now() + LEFT_TIMEOUT_MS;
  for (;;) {
    const left = [...processesIn(dir).map(({ command }) => command), ...readdirSync(dir)];
    if (left.length === 0) return;
    if (Date.now() > until_ms) throw new Error(`left behind: ${left.join(", ")}`);
    await Bun.sleep(20);
  }
}
