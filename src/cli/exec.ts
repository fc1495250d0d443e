// flux exec: runs a command on brokers, outside of any job ("rexec", RFC 42). Output comes back as it is made, stdin goes
// to all of them, the highest exit code is ours.
import type { Flux } from "../client/flux.ts";
import { describeSignal } from "../formats/signal.ts";
import { IdSet } from "../formats/idset.ts";
import { errno, FluxError } from "../message/errno.ts";
import { defineCommand, flag, hidden, text, UsageError } from "./command.ts";
import { withFlux } from "./connect.ts";
import { type AttachTarget, attachProcess, type RemoteCommand, type RemoteEvents, type RemoteProcess, startBackground, startProcess } from "./exec/remote.ts";
import { feedStdin, type StdinFeed } from "./exec/stdin.ts";
import { findTargets, type Targets } from "./exec/targets.ts";
import { print, write, writeError, wrongUsage, printError } from "./output.ts";

/** A further interrupt within this time ends us although processes run. */
const INTERRUPT_MS = 1000;
/** As sysexits.h has it: the host isn't there. */
const EX_NOHOST = 68;

interface ExecOptions {
  readonly labelIo: boolean;
  readonly noinput: boolean;
  readonly verbose: boolean;
  readonly quiet: boolean;
}

export default defineCommand({
  name: "exec",
  style: "getopt",
  summary: "run a command on brokers, outside of any job",
  usage: "[OPTIONS] COMMAND...",
  details: "Runs COMMAND on the brokers of the instance, outside of any job, and prints what it prints.\n\nExample: flux exec -r 0-3 -l hostname",
  passThrough: true,
  options: {
    rank: text("-r, --rank IDSET", "ranks to run on (default: all)"),
    exclude: text("-x, --exclude IDSET", "ranks to leave out"),
    bg: flag("--bg", "start the processes, print their pids, and end"),
    waitable: flag("--waitable", "with --bg, keep the exit status until somebody asks for it"),
    attach: flag("--attach", "attach to a background process: the argument is its pid or label"),
    label: text("--label LABEL", "name the process"),
    dir: text("-d, --dir PATH", "working directory"),
    labelIo: flag("-l, --label-io", "begin lines of output with the rank"),
    noinput: flag("-n, --noinput", "stdin is empty"),
    verbose: flag("-v, --verbose", "say what happens"),
    quiet: flag("-q, --quiet", "don't say how processes ended"),
    service: hidden(text("--service NAME", "service that runs the processes")),
    withImp: flag("--with-imp", "run the command by 'flux-imp run'"),
    jobid: text("-j, --jobid JOBID", "the brokers of a job, and the service of its shell"),
  },
  async run({ options, args }) {
    if (options.attach) checkAttach(options, args);
    else if (args.length === 0) throw wrongUsage("flux exec [OPTIONS] COMMAND...");
    if (options.label === "") throw new UsageError("failed to set label: Invalid argument");
    if (options.waitable && !options.bg) throw new UsageError("--waitable can only be used with --bg");
    return withFlux(async (h) => {
      const found = await findTargets(h, options);
      const targets = { ...found, service: options.service ?? found.service };
      if (options.attach) return execute(h, targets, attachTarget(args[0] as string, targets.ranks), options);
      const cmdline = options.withImp ? [await impPath(h), "run", ...args] : args;
      const command = await remoteCommand(h, cmdline, options);
      if (options.bg) return background(h, targets, command, options.waitable);
      return execute(h, targets, command, options);
    });
  },
});

function checkAttach(options: { bg: boolean; waitable: boolean }, args: readonly string[]): void {
  if (args.length === 0) throw new UsageError("--attach requires a pid or label argument");
  if (args.length > 1) throw new UsageError("--attach takes a single pid or label argument");
  if (options.bg || options.waitable) throw new UsageError("--attach cannot be used with --bg or --waitable");
}

function attachTarget(word: string, ranks: IdSet): AttachTarget {
  if (!/^[1-9]\d{0,9}$/.test(word)) return { label: word };
  if (ranks.count > 1) throw new UsageError("--attach by pid requires a single target rank (use --rank)");
  return { pid: Number(word) };
}

async function impPath(h: Flux): Promise<string> {
  const { obj, opt, str, unpack } = await import("../message/unpack.ts");
  const { exec } = unpack(await h.rpc("config.get"), { exec: opt(obj) });
  const { imp } = unpack(exec ?? {}, { imp: opt(str) });
  if (imp === undefined) throw new UsageError("--with-imp: exec.imp path not found in config");
  return imp;
}

async function remoteCommand(
  h: Flux,
  cmdline: readonly string[],
  { dir, label }: { dir: string | undefined; label: string | undefined },
): Promise<RemoteCommand> {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (value !== undefined && name !== "FLUX_PROXY_REMOTE") env[name] = value;
  }
  // So that commands of systemd work in an instance that systemd started.
  env["DBUS_SESSION_BUS_ADDRESS"] ??= `unix:path=/run/user/${await h.attr("security.owner")}/bus`;
  return { cmdline, cwd: dir === "none" ? undefined : (dir ?? process.cwd()), env, label };
}

async function background(h: Flux, { ranks, service }: Targets, command: RemoteCommand, waitable: boolean): Promise<number> {
  let code = 0;
  const start = async (rank: number): Promise<void> => {
    try {
      print(`${rank}: ${await startBackground(h, service, rank, command, waitable)}`);
    } catch (err) {
      if (!(err instanceof FluxError)) throw err;
      printError(`flux-exec: Error: rank ${rank}: ${command.cmdline[0]}: ${err.message}`);
      code = 1;
    }
  };
  await Promise.all([...ranks].map((rank) => start(rank)));
  return code;
}

async function execute(h: Flux, { ranks, service }: Targets, what: RemoteCommand | AttachTarget, options: ExecOptions): Promise<number> {
  const began_ms = performance.now();
  const say = (line: string): void => {
    if (options.verbose) printError(`${(performance.now() - began_ms).toFixed(6)}ms: ${line}`);
  };
  const name = "cmdline" in what ? (what.cmdline[0] as string) : "label" in what ? `label ${what.label}` : `pid ${what.pid}`;
  say(`Starting ${name} on ${ranks.toString({ brackets: true })}`);
  const processes: RemoteProcess[] = [];
  const feed = "cmdline" in what ? feedStdin(processes, ranks.count, options.noinput) : undefined;
  const events = remoteEvents(feed, options.labelIo);
  for (const rank of ranks) {
    processes.push("cmdline" in what ? startProcess(h, service, rank, what, events) : attachProcess(h, service, rank, what, events));
  }
  say("Sent all requests");
  const signals = forwardSignals(processes, "cmdline" in what ? undefined : name, options.verbose);
  const results = new Results(name);
  const finish = async (remote: RemoteProcess): Promise<void> => {
    const ending = await remote.ended;
    results.add(remote.rank, ending);
    // One that never started must not keep stdin from the others.
    if (ending instanceof FluxError && remote.pid === undefined) feed?.started();
    feed?.changed();
  };
  await Promise.all(processes.map((remote) => finish(remote)));
  signals.stop();
  await feed?.stop();
  say(`${processes.length} tasks complete with code ${results.code}`);
  if (!options.quiet) results.report();
  return results.code;
}

/** How the processes ended; the same endings of many ranks make one line. */
class Results {
  code = 0;
  readonly #endings = new Map<string, IdSet>();

  constructor(readonly name: string) {}

  add(rank: number, ending: number | FluxError): void {
    if (ending instanceof FluxError) {
      printError(`flux-exec: Error: rank ${rank}: ${this.name}: ${ending.message}`);
      this.code = Math.max(this.code, failureCode(ending.errno));
      return;
    }
    const signal = ending & 0x7f;
    const code = signal > 0 ? 128 + signal : (ending >> 8) & 0xff;
    this.code = Math.max(this.code, code);
    if (code === 0) return;
    const how = signal > 0 ? describeSignal(signal) : `Exit ${code}`;
    const ranks = this.#endings.get(how) ?? new IdSet();
    ranks.add(rank);
    this.#endings.set(how, ranks);
  }

  report(): void {
    for (const [how, ranks] of this.#endings) printError(`${ranks.toString({ brackets: true })}: ${how}`);
  }
}

function failureCode(number: number): number {
  if (number === errno.EPERM || number === errno.EACCES) return 126;
  if (number === errno.ENOENT) return 127;
  return number === errno.EHOSTUNREACH ? EX_NOHOST : 1;
}

function remoteEvents(feed: StdinFeed | undefined, labelIo: boolean): RemoteEvents {
  const lines = new Map<string, string>();
  const decoders = new Map<string, TextDecoder>();
  return {
    started: () => feed?.started(),
    credit: () => feed?.changed(),
    output(remote, stream, data, eof) {
      const emit = stream === "stderr" ? writeError : write;
      if (!labelIo) return emit(data);
      const key = `${remote.rank} ${stream}`;
      const decoder = decoders.get(key) ?? new TextDecoder();
      decoders.set(key, decoder);
      const whole = (lines.get(key) ?? "") + decoder.decode(data, { stream: !eof });
      const parts = whole.split("\n");
      lines.set(key, parts.pop() ?? "");
      if (parts.length > 0) emit(parts.map((line) => `${remote.rank}: ${line}\n`).join(""));
      const rest = lines.get(key) ?? "";
      if (eof && rest !== "") emit(`${remote.rank}: ${rest}\n`);
      if (eof) lines.set(key, "");
    },
  };
}

/** Sends SIGINT and SIGTERM on. Attached processes are left alone at SIGINT: we go, they stay. */
function forwardSignals(processes: readonly RemoteProcess[], attached: string | undefined, verbose: boolean): { stop(): void } {
  let interrupts = 0;
  let last_ms = 0;
  const send = (number: number): void => {
    const running = processes.filter((p) => p.isRunning && p.pid !== undefined);
    if (verbose) printError(`sending signal ${number} to ${running.length} running processes`);
    for (const remote of running) {
      remote.kill(number).catch((err: Error) => {
        if (verbose) printError(`failed to signal rank ${remote.rank}: ${err.message}`);
      });
    }
  };
  const onInterrupt = (): void => {
    if (attached !== undefined) {
      printError(`detached; use 'flux sproc kill ${attached.replace(/^\w+ /, "")}' to signal it`);
      process.exit(0);
    }
    if (interrupts >= 2 && performance.now() - last_ms < INTERRUPT_MS) {
      const hanging = IdSet.from(processes.filter((p) => p.isRunning).map((p) => p.rank));
      printError(`${hanging.toString({ brackets: true })}: command still running at exit`);
      process.exit(1);
    }
    send(2);
    if (interrupts > 0) printError("interrupt (Ctrl+C) one more time within 1.00 sec to exit");
    last_ms = performance.now();
    interrupts++;
  };
  const onTerminate = (): void => send(15);
  process.on("SIGINT", onInterrupt);
  process.on("SIGTERM", onTerminate);
  return {
    stop() {
      process.removeListener("SIGINT", onInterrupt);
      process.removeListener("SIGTERM", onTerminate);
    },
  };
}
