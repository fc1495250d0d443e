// An instance for a benchmark: started by the executable under test, used from outside through its URI, ended by
// closing the initial program's standard input.
import { spawn } from "node:child_process";
import { dirname } from "node:path";

export interface Instance {
  readonly uri: string;
  /** Runs a command of the executable under test in this instance; resolves to its seconds. Throws when it fails. */
  run(args: readonly string[], options?: RunOptions): Promise<number>;
  /** Runs a shell script in this instance, in which `flux` is the executable under test; the same. */
  sh(script: string, options?: RunOptions): Promise<number>;
  /** Process ids of the brokers, by rank. */
  readonly brokerPids: readonly number[];
  stop(): Promise<void>;
}

export interface RunOptions {
  readonly stdoutTo?: (chunk: Buffer) => void;
  readonly timeout_s?: number;
}

/** Whole-process seconds of one command; throws with its stderr when the exit code isn't 0. */
export function timeCommand(command: string, args: readonly string[], env: NodeJS.ProcessEnv, options: RunOptions = {}): Promise<number> {
  return new Promise((resolve, reject) => {
    const begin = performance.now();
    const child = spawn(command, args, { env, stdio: ["ignore", "pipe", "pipe"] });
    const timer = setTimeout(() => child.kill("SIGKILL"), (options.timeout_s ?? 600) * 1000);
    let errors = "";
    child.stdout.on("data", (chunk: Buffer) => options.stdoutTo?.(chunk));
    child.stderr.on("data", (chunk: Buffer) => (errors = (errors + chunk.toString()).slice(-2000)));
    child.on("error", reject);
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      const seconds = (performance.now() - begin) / 1000;
      if (code === 0) resolve(seconds);
      else reject(new Error(`${command} ${args.join(" ")}: ${signal ?? `exit code ${code}`} ${errors.trim()}`));
    });
  });
}

/** An environment in which only `flux` decides which Flux is used: it is the one that its jobs and scripts find. */
export function cleanEnvironment(flux: string): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = { PATH: `${dirname(flux)}:${process.env["PATH"]}`, HOME: process.env["HOME"], LANG: "C.UTF-8", TERM: "dumb" };
  // Without it, bash takes a socket on its stdin for rshd and reads the user's startup files, which may take seconds.
  env["SHLVL"] = "1";
  if (process.env["TMPDIR"] !== undefined) env["TMPDIR"] = process.env["TMPDIR"];
  return env;
}

export async function startInstance(flux: string, size: number): Promise<Instance> {
  const env = cleanEnvironment(flux);
  const script = 'echo "URI=$FLUX_URI"; echo "PIDS=$(flux exec flux getattr broker.pid | tr "\\n" " ")"; echo READY; read line';
  const child = spawn(flux, ["start", `--test-size=${size}`, "bash", "-c", script], { env, stdio: ["pipe", "pipe", "inherit"] });
  const text = await new Promise<string>((resolve, reject) => {
    let seen = "";
    child.stdout.on("data", (chunk: Buffer) => {
      seen += chunk.toString();
      if (seen.includes("READY")) resolve(seen);
    });
    child.on("close", (code) => reject(new Error(`${flux} start ended with ${code}: ${seen}`)));
  });
  const uri = /^URI=(.*)$/m.exec(text)?.[1] ?? "";
  const brokerPids = (/^PIDS=(.*)$/m.exec(text)?.[1] ?? "").trim().split(/\s+/).map(Number);
  const ended = new Promise<void>((resolve) => child.on("close", () => resolve()));
  return {
    uri,
    brokerPids,
    run: (args, options) => timeCommand(flux, args, { ...env, FLUX_URI: uri }, options),
    sh: (text, options) => timeCommand("bash", ["-c", text], { ...env, FLUX_URI: uri }, options),
    async stop() {
      child.stdin.end("\n");
      await ended;
    },
  };
}
