// Programs that a test starts and watches: launchers (srun, mpiexec) and brokers of several "hosts". Output is kept, and
// may be waited for.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { processesBelow, type Result, userEnvironment } from "./flux.ts";

export interface Launched {
  readonly pid: number;
  /** Resolves when stdout or stderr has this text; rejects when the program ends without it. */
  saw(text: string): Promise<void>;
  kill(signal: NodeJS.Signals): void;
  readonly done: Promise<Result>;
}

/** Starts a program in a user's environment with `env` on top. */
export function launch(argv: readonly string[], env: Readonly<Record<string, string>>, cwd: string = "/"): Launched {
  const child = Bun.spawn([...argv], { env: userEnvironment(env), cwd, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const waiting: { text: string; resolve: () => void; reject: (err: Error) => void }[] = [];
  const seen = { stdout: "", stderr: "" };
  const read = async (name: "stdout" | "stderr"): Promise<void> => {
    for await (const chunk of child[name]) {
      seen[name] += Buffer.from(chunk).toString();
      for (const item of waiting) if (seen[name].includes(item.text)) item.resolve();
    }
  };
  const done = Promise.all([read("stdout"), read("stderr"), child.exited]).then((): Result => {
    for (const item of waiting) item.reject(new Error(`${argv.join(" ")} ended without '${item.text}': ${seen.stdout}${seen.stderr}`));
    const code = child.exitCode ?? 128 + (typeof child.signalCode === "string" ? constants.signals[child.signalCode] : 0);
    return { ...seen, code };
  });
  return {
    pid: child.pid,
    done,
    kill: (signal) => child.kill(signal),
    saw(text) {
      if (seen.stdout.includes(text) || seen.stderr.includes(text)) return Promise.resolve();
      return new Promise((resolve, reject) => waiting.push({ text, resolve, reject }));
    },
  };
}

export interface Scratch {
  readonly folder: string;
  /** For TMPDIR: what is started with it leaves its traces below it. */
  readonly tmp: Readonly<{ TMPDIR: string }>;
  /** Resolves when no process and no file is left below TMPDIR; rejects, naming them, after a while. */
  nothingLeft(): Promise<void>;
  /** The same for processes alone: nobody removes the files of those that were killed. */
  noProcessLeft(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

const LEFT_TIMEOUT_MS = 15_000;

/** A private folder for one test. */
export function scratch(): Scratch {
  const folder = mkdtempSync(join(tmpdir(), "fluxrun-"));
  const TMPDIR = mkdtempSync(join(folder, "tmp-"));
  const processes = (): string[] => processesBelow(`TMPDIR=${TMPDIR}`);
  const files = (): string[] => (existsSync(TMPDIR) ? readdirSync(TMPDIR) : []);
  return {
    folder,
    tmp: { TMPDIR },
    nothingLeft: () => until(() => [...processes(), ...files()]),
    noProcessLeft: () => until(processes),
    async [Symbol.asyncDispose]() {
      for (const line of processes()) process.kill(Number.parseInt(line, 10), "SIGKILL");
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function until(left: () => string[]): Promise<void> {
  const end_ms = Date.now() + LEFT_TIMEOUT_MS;
  for (;;) {
    const now = left();
    if (now.length === 0) return;
    if (Date.now() > end_ms) throw new Error(`left behind: ${now.join(", ")}`);
    await Bun.sleep(20);
  }
}

/** Ports of 127.0.0.1 that nobody listened at a moment ago. */
export function freePorts(count: number): number[] {
  const listeners = Array.from({ length: count }, () => Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } }));
  const ports = listeners.map(({ port }) => port);
  for (const listener of listeners) listener.stop(true);
  return ports;
}

/** Direct children of a process. */
export function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter((word) => word !== "").map(Number);
}
