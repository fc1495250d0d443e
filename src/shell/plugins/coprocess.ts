// coprocess: programs that run beside the tasks, one on each node, and end with them: monitors, profilers.
// Option coprocess {NAME: {command [ARG …], output TEMPLATE, ranks IDSET | "all"}}; coprocess-kill-timeout FSD (default 10s).
//
// What they write goes to a file: of each node where the template differs, otherwise all to the leader's, over
//   SERVICE.coprocess-write {name, data, encoding?} and {name, eof_rank}
// When the tasks are done they get SIGTERM, and SIGKILL after the timeout. One that cannot be started, or fails, costs nothing.
import { IdSet } from "../../formats/idset.ts";
import { parseDuration } from "../../formats/fsd.ts";
import { isJsonObject, type Json, type JsonObject } from "../../formats/json.ts";
import { encodeData } from "../../formats/stdio.ts";
import { toFluxError } from "../../message/errno.ts";
import { opt, str, uint } from "../../message/unpack.ts";
import type { Timer } from "../../os/clock.ts";
import { type Child, spawnProcess } from "../../os/spawn.ts";
import { LOG } from "../log.ts";
import { type OutputFile, type OutputFiles, outputFiles } from "../output-file.ts";
import type { Plugin } from "../plugin.ts";
import { type Shell, ShellExit } from "../shell.ts";
import { isPerTask, renderFor } from "../template.ts";

const KILL_TIMEOUT_S = 10;
const SIGTERM = "SIGTERM";
const SIGKILL = "SIGKILL";

interface Coprocess {
  readonly name: string;
  readonly command: readonly string[];
  readonly output: string;
  readonly perShell: boolean;
  readonly ranks: IdSet | "all";
  child: Child | undefined;
  /** Leader: shells that will send more. */
  readonly senders: Set<number>;
  file: OutputFile | "broken" | undefined;
  /** What was sent to the leader and not answered yet. */
  sending: Promise<unknown>;
}

interface State {
  readonly shell: Shell;
  readonly all: Map<string, Coprocess>;
  readonly files: OutputFiles;
  readonly killTimeout_s: number;
  timer: Timer | undefined;
  /** Leader: until all senders have ended. */
  release: (() => void) | undefined;
}

export function coprocessPlugin(): Plugin {
  let state: State | undefined;
  return {
    name: "coprocess",
    init(shell) {
      const option = shell.option("coprocess");
      if (option === undefined) return;
      state = parse(shell, option);
      if (shell.isLeader && hasSenders(state)) serve(state);
    },
    start() {
      if (state === undefined) return;
      for (const coprocess of state.all.values()) if (runsHere(state, coprocess)) launch(state, coprocess);
    },
    tasksDone() {
      if (state !== undefined) end(state);
    },
    kill(_shell, signum) {
      for (const { child } of state?.all.values() ?? []) child?.killGroup(signum);
    },
    lostShell(_shell, shellRank) {
      for (const coprocess of state?.all.values() ?? []) coprocess.senders.delete(shellRank);
      if (state !== undefined) checkSenders(state);
    },
    async exit(shell) {
      if (state === undefined) return;
      for (const { child } of state.all.values()) child?.killGroup(SIGKILL);
      shell.host.clock.clear(state.timer);
      await Promise.all(Array.from(state.all.values(), async ({ child, sending }) => Promise.all([child?.reaped, sending])));
      state.files.close();
    },
  };
}

function parse(shell: Shell, option: Json): State {
  if (!isJsonObject(option) || Object.keys(option).length === 0) throw new ShellExit(1, "coprocess option must be a non-empty object");
  const all = new Map(Object.entries(option).map(([name, entry]) => [name, parseOne(shell, name, entry)]));
  return { shell, all, files: outputFiles(shell.spawn.cwd ?? "/"), killTimeout_s: killTimeout(shell), timer: undefined, release: undefined };
}

function killTimeout(shell: Shell): number {
  const option = shell.option("coprocess-kill-timeout");
  if (option === undefined) return KILL_TIMEOUT_S;
  try {
    if (typeof option === "string" || typeof option === "number") return parseDuration(String(option));
  } catch {
    // said below
  }
  throw new ShellExit(1, `failed to parse coprocess-kill-timeout: ${JSON.stringify(option)} is no Flux Standard Duration`);
}

function parseOne(shell: Shell, name: string, entry: Json): Coprocess {
  const refuse = (why: string): never => {
    throw new ShellExit(1, `coprocess: ${name}: ${why}`);
  };
  if (!isJsonObject(entry)) return refuse("it must be an object");
  const { command, output = `coproc-${name}-{{id}}.log`, ranks = "all", ...others } = entry;
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) return refuse(`${unknown} is not known`);
  if (!Array.isArray(command) || command.length === 0) return refuse("command must be a non-empty array");
  const words = (command as readonly Json[]).map((word) => (typeof word === "string" ? word : refuse("command elements must be strings")));
  if (typeof output !== "string") return refuse("output must be a string");
  const set = parseRanks(ranks) ?? refuse(`invalid ranks '${typeof ranks === "string" ? ranks : JSON.stringify(ranks)}'`);
  const perShell = isPerTask(output);
  const senders = shell.job.nodes.map((_, rank) => rank).filter((rank) => rank > 0 && (set === "all" || set.has(rank)));
  return {
    name,
    command: words.map((word) => renderFor(shell, word, { shellRank: shell.job.shellRank })),
    output,
    perShell,
    ranks: set,
    child: undefined,
    senders: new Set(perShell || !shell.isLeader ? [] : senders),
    file: undefined,
    sending: Promise.resolve(),
  };
}

function parseRanks(ranks: Json): IdSet | "all" | undefined {
  if (ranks === "all") return "all";
  try {
    return typeof ranks === "string" ? IdSet.parse(ranks) : undefined;
  } catch {
    return undefined;
  }
}

function runsHere({ shell }: State, { ranks }: Coprocess): boolean {
  return ranks === "all" || ranks.has(shell.job.shellRank);
}

function launch(state: State, coprocess: Coprocess): void {
  const { shell } = state;
  const release = shell.hold();
  const emit = (data: Uint8Array): void => (writesHere(state, coprocess) ? write(state, coprocess, data) : forward(state, coprocess, data));
  try {
    coprocess.child = spawnProcess({
      argv: coprocess.command,
      env: shell.env,
      ...(shell.spawn.cwd !== undefined && { cwd: shell.spawn.cwd }),
      stdin: "null",
      stdout: "pipe",
      stderr: "pipe",
      newSession: true,
      onStdout: emit,
      onStderr: emit,
    });
  } catch (err) {
    shell.log(LOG.error, `${coprocess.name}: launch failed: ${toFluxError(err).message}`, "coprocess");
    sendEnd(state, coprocess);
    release();
    return;
  }
  shell.log(LOG.debug, `${coprocess.name}: launched`, "coprocess");
  coprocess.child.exited
    .finally(() => {
      coprocess.child = undefined;
      sendEnd(state, coprocess);
      release();
    })
    .catch(() => undefined);
}

function writesHere({ shell }: State, { perShell }: Coprocess): boolean {
  return perShell || shell.isLeader;
}

/** The file is made when there is something to write. */
function write({ shell, files }: State, coprocess: Coprocess, data: Uint8Array): void {
  if (coprocess.file === "broken") return;
  try {
    coprocess.file ??= files.open(renderFor(shell, coprocess.output, { shellRank: shell.job.shellRank }), false);
    coprocess.file.write(data);
  } catch (err) {
    coprocess.file = "broken";
    shell.log(LOG.error, `${coprocess.name}: ${err instanceof Error ? err.message : String(err)}`, "coprocess");
  }
}

function forward(state: State, coprocess: Coprocess, data: Uint8Array): void {
  // Nobody reads the program's pipe while its last words are under way: it waits.
  const { child } = coprocess;
  for (const stream of [child?.stdout, child?.stderr]) stream?.pause();
  send(state, coprocess, encodeData(data));
  coprocess.sending.finally(() => [child?.stdout, child?.stderr].forEach((stream) => stream?.resume())).catch(() => undefined);
}

function sendEnd(state: State, coprocess: Coprocess): void {
  if (!writesHere(state, coprocess)) send(state, coprocess, { eof_rank: state.shell.job.shellRank });
}

function send({ shell }: State, coprocess: Coprocess, content: JsonObject): void {
  coprocess.sending = coprocess.sending
    .then(async () => shell.call(0, "coprocess-write", { name: coprocess.name, ...content }))
    .catch((err: unknown) => shell.h.log(LOG.debug, `job ${shell.job.f58}: coprocess ${coprocess.name}: ${toFluxError(err).message}`));
}

function hasSenders(state: State): boolean {
  return [...state.all.values()].some(({ senders }) => senders.size > 0);
}

/** Leader: writes what the others send, and stays as long as they do. */
function serve(state: State): void {
  state.release = state.shell.hold();
  state.shell.serve("coprocess-write", (request) => {
    const { name, data, encoding, eof_rank } = request.unpack({ name: str, data: opt(str), encoding: opt(str), eof_rank: opt(uint) });
    const coprocess = state.all.get(name);
    if (coprocess === undefined) return;
    if (data !== undefined) write(state, coprocess, Buffer.from(data, encoding === "base64" ? "base64" : "utf8"));
    if (eof_rank === undefined) return;
    coprocess.senders.delete(eof_rank);
    checkSenders(state);
  });
}

function checkSenders(state: State): void {
  if (!hasSenders(state)) state.release?.();
}

function end(state: State): void {
  const running = (): Child[] => [...state.all.values()].flatMap(({ child }) => child ?? []);
  if (running().length === 0) return;
  for (const child of running()) child.killGroup(SIGTERM);
  state.timer = state.shell.host.clock.setTimer(state.killTimeout_s * 1000, () => {
    if (running().length === 0) return;
    state.shell.log(LOG.warning, "coprocess: helper(s) still running, sending SIGKILL", "coprocess");
    for (const child of running()) child.killGroup(SIGKILL);
  });
}
