// flux start: brings up a Flux instance. Without --test-size this process becomes its one broker (or one of many, under
// a launcher with PMI); with it, N brokers are started here and served PMI.
import { statSync } from "node:fs";
import { join } from "node:path";
import { parseDuration } from "../formats/fsd.ts";
import { Hostlist } from "../formats/hostlist.ts";
import { Taskmap } from "../formats/taskmap.ts";
import { strerror, toFluxError } from "../message/errno.ts";
import { writeStderr } from "../os/stderr.ts";
import { brokerOptionSpecs, toBrokerOptions } from "./broker-options.ts";
import { defineCommand, flag, hidden, list, optional, text, UsageError, value, valueOr } from "./command.ts";

const SYSTEM_CONFIG = "/etc/flux/system/conf.d";
const SYSTEM_STATEDIR = "/var/lib/flux";

export default defineCommand({
  name: "start",
  style: "getopt",
  summary: "bootstrap a Flux instance",
  usage: "[OPTIONS] [INITIAL-PROGRAM [ARGS...]]",
  details: "Start a Flux instance and run an initial program in it: by default an interactive shell.",
  options: {
    ...brokerOptionSpecs,
    brokerOpts: list("-o, --broker-opts OPTS", "pass options to the brokers, separated by commas"),
    recovery: optional("-r, --recovery [TARGET]", "start in recovery mode with a state directory or dump file", ""),
    sysconfig: flag("--sysconfig", "use the configuration of the system instance"),
    noexec: flag("-X, --noexec", "do not run anything (useful with -v)"),
    wrap: list("--wrap ARGS,...", "wrap broker execution in comma-separated arguments"),
    size: value("-s, --test-size N", "start N brokers on this host", parseSize),
    oldSize: hidden(value("--size N", "alias of --test-size", parseSize)),
    rundir: hidden(text("--rundir DIR", "directory for the brokers' sockets, made if needed")),
    hosts: value("--test-hosts HOSTLIST", "host names of the brokers, in rank order", (t) => Hostlist.parse(t).toArray()),
    exitTimeout: valueOr("--test-exit-timeout FSD", "after a broker has ended, kill the others after FSD (default 20s)", parseDuration, 20),
    exitMode: valueOr("--test-exit-mode MODE", "whose end starts that timeout: any or leader (default any)", choice("any", "leader"), "any"),
    startMode: valueOr("--test-start-mode MODE", "start all brokers, or the leader only (default all)", choice("all", "leader"), "all"),
    testRundir: text("--test-rundir DIR", "use an existing directory for the brokers' sockets"),
    rundirCleanup: flag("--test-rundir-cleanup", "remove the directory of --test-rundir in the end"),
    clique: valueOr("--test-pmi-clique MODE", "single, per-broker, none, or a task map (default single)", String, "single"),
  },
  passThrough: true,
  async run({ options, args }) {
    const size = options.size ?? options.oldSize;
    const words = brokerWords(options);
    if (size === undefined) {
      refuseTestOptions(options);
      return runHere(words, args, options.verbose, options.noexec, wrapWords(options.wrap));
    }
    const hosts = options.hosts;
    if (hosts !== undefined && hosts.length !== size) throw new UsageError("--test-hosts hostlist has incorrect size");
    const { startInstance } = await import("../broker/boot/starter.ts");
    return startInstance({
      size,
      wrap: wrapWords(options.wrap),
      brokerWords: words,
      command: args,
      hosts,
      nodeOfRank: cliques(options.clique, size),
      exitTimeout_ms: options.exitTimeout * 1000,
      exitMode: options.exitMode,
      startMode: options.startMode,
      rundir: options.testRundir ?? options.rundir,
      makeRundir: options.testRundir === undefined,
      removeRundir: options.rundirCleanup,
      verbose: options.verbose,
      noexec: options.noexec,
    });
  },
});

interface WordOptions {
  setattr: readonly string[];
  configPath: string | undefined;
  conf: readonly string[];
  brokerOpts: readonly string[];
  recovery: string | undefined;
  sysconfig: boolean;
}

/** The options of `flux broker` that stand for those of `flux start`. */
function brokerWords(options: WordOptions): string[] {
  const words = options.setattr.map((attr) => `-S${attr}`);
  words.push(...options.brokerOpts.flatMap((opts) => opts.split(",").filter((word) => word !== "")));
  if (options.recovery !== undefined) words.push(...recoveryWords(options.recovery));
  const isSystem = options.sysconfig || options.recovery === "";
  const configPath = options.configPath ?? (isSystem ? SYSTEM_CONFIG : undefined);
  if (configPath !== undefined) words.push(`-c${configPath}`);
  words.push(...options.conf.map((conf) => `--conf=${conf}`));
  return words;
}

function recoveryWords(target: string): string[] {
  const words = ["-Sbroker.recovery-mode=1", "-Sbroker.quorum=1", "-Sbroker.module-nopanic=1", "-Slog-stderr-level=5"];
  const path = target === "" ? SYSTEM_STATEDIR : target;
  try {
    const isDirectory = statSync(path).isDirectory();
    if (isDirectory) statSync(join(path, "content.sqlite"));
    return [...words, isDirectory ? `-Sstatedir=${path}` : `-Scontent.restore=${path}`];
  } catch (err) {
    throw new UsageError(`${path}: ${strerror(toFluxError(err).errno)}`);
  }
}

/** This process becomes the broker. */
async function runHere(words: readonly string[], command: readonly string[], verbose: number, noexec: boolean, wrap: readonly string[]): Promise<number> {
  const { selfCommand } = await import("../os/self.ts");
  if (verbose > 0) writeStderr(`flux-start: ${[...wrap, ...selfCommand(), "broker", ...words, ...command].join(" ")}\n`);
  if (noexec) return 0;
  if (wrap.length > 0) {
    const { runInOurPlace } = await import("./child.ts");
    runInOurPlace([...wrap, ...selfCommand(), "broker", ...words, ...command], process.env);
  }
  const { parseBrokerWords } = await import("./broker-words.ts");
  const { runBroker } = await import("../broker/broker.ts");
  return runBroker(toBrokerOptions(parseBrokerWords(words), command));
}

function wrapWords(wrap: readonly string[]): string[] {
  return wrap.flatMap((words) => words.split(","));
}

/** What only makes sense with --test-size. */
function refuseTestOptions(options: { hosts: unknown; testRundir: unknown; rundirCleanup: boolean }): void {
  const given: readonly (readonly [string, boolean])[] = [
    ["test-hosts", options.hosts !== undefined],
    ["test-rundir", options.testRundir !== undefined],
    ["test-rundir-cleanup", options.rundirCleanup],
  ];
  const bad = given.find(([, isGiven]) => isGiven)?.[0];
  if (bad !== undefined) throw new UsageError(`--${bad} only works with --test-size`);
}

/** The node of each broker as PMI tells it; undefined when it does not. */
function cliques(mode: string, size: number): number[] | undefined {
  if (mode === "none") return undefined;
  if (mode === "single") return Array.from({ length: size }, () => 0);
  if (mode === "per-broker") return Array.from({ length: size }, (_, rank) => rank);
  const map = Taskmap.parse(mode);
  if (map.ntasks !== size) throw new UsageError(`test-pmi-clique: the task map has ${map.ntasks} tasks, not ${size}`);
  return [...map.nodeids()];
}

function parseSize(given: string): number {
  if (!/^-?\d+$/.test(given)) throw new UsageError("Option 'test-size' requires an integer argument");
  const size = Number(given);
  if (size < 1) throw new UsageError("--test-size argument must be > 0");
  return size;
}

function choice<const T extends string>(...allowed: readonly T[]): (given: string) => T {
  return (given) => {
    const found = allowed.find((word) => word === given);
    if (found === undefined) throw new Error(`expected ${allowed.join(" or ")}`);
    return found;
  };
}
