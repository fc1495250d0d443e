// Files of the site and the user that a job shell runs: finding them, running them, and what they are given (src/client/initrc.ts).
import { existsSync, readdirSync } from "node:fs";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import type { Coprocess, Initrc, InitrcHooks, InitrcTask, JobShell, ShellInfo, ShellRankInfo } from "../client/initrc.ts";
import { globToRegExp, hasWildcard } from "../formats/glob.ts";
import { isJsonObject, type Json } from "../formats/json.ts";
import { shellExitCode, termSignal } from "../formats/waitstatus.ts";
import { LOG } from "./log.ts";
import { type Shell, ShellExit } from "./shell.ts";
import type { Task } from "./task.ts";
import { renderFor } from "./template.ts";

/** What initrc files registered, in order. */
export interface Registered {
  readonly name: string;
  readonly hooks: InitrcHooks;
}

const SCRIPT = /\.[cm]?[jt]s$/;

/** Runs one file. Throws ShellExit with one sentence that names the file. */
export async function runInitrc(shell: Shell, path: string, registered: Registered[]): Promise<void> {
  const api = newJobShell(shell, path, registered);
  shell.log(LOG.debug, `running ${path}`, "initrc");
  try {
    await (await importInitrc(path))(api);
  } catch (err) {
    throw err instanceof ShellExit ? err : new ShellExit(1, `loading rc file ${path}: ${describeFailure(err)}`);
  }
}

async function importInitrc(path: string): Promise<Initrc> {
  const refuse = (why: string): never => {
    throw new ShellExit(1, `loading rc file ${path}: ${why}`);
  };
  if (!existsSync(path)) refuse("No such file or directory");
  if (path.endsWith(".lua")) refuse("Lua cannot be run here: write it in JavaScript or TypeScript (flux help shell-initrc)");
  if (!SCRIPT.test(path)) refuse("it is neither a .js nor a .ts file (flux help shell-initrc)");
  const { default: start } = (await import(path)) as { default?: unknown };
  if (typeof start !== "function") refuse("its default export is not a function (flux help shell-initrc)");
  return start as Initrc;
}

/** "TypeError: x is not a function (rc.ts:12)". */
export function describeFailure(reason: unknown): string {
  if (!(reason instanceof Error)) return String(reason);
  const text = reason.name === "Error" ? reason.message : `${reason.name}: ${reason.message}`;
  const [, file, line] = /([^\s/(]+\.[cm]?[jt]s):(\d+):\d+/.exec(reason.stack ?? "") ?? [];
  const where = file === undefined || line === undefined ? "" : ` (${file}:${line})`;
  return `${text.replace(/\s+/g, " ").trim()}${where}`;
}

/** Paths of the initrc files in a directory, sorted; none when it isn't there. */
export function initrcsIn(directory: string): string[] {
  try {
    return readdirSync(directory)
      .filter((name) => SCRIPT.test(name) && !name.endsWith(".d.ts"))
      .sort()
      .map((name) => join(directory, name));
  } catch {
    return [];
  }
}

function newJobShell(shell: Shell, path: string, registered: Registered[]): JobShell {
  const { job, host } = shell;
  const say = (level: (typeof LOG)[keyof typeof LOG]) => (text: string) => shell.log(level, text);
  return {
    h: shell.h,
    clock: host.clock,
    info: infoOf(shell),
    get ranks() {
      return job.nodes.map((_, rank) => rankInfo(shell, rank));
    },
    get rankinfo() {
      return rankInfo(shell, job.shellRank);
    },
    rcpath: dirname(path),
    options: shell.options,
    env: shell.env,
    get tasks() {
      return shell.tasks.map(taskView);
    },
    log: say(LOG.notice),
    debug: say(LOG.debug),
    trace: say(LOG.trace),
    warn: say(LOG.warning),
    error: say(LOG.error),
    die(text): never {
      throw new ShellExit(1, text);
    },
    prependPath(name, directory) {
      const before = shell.env[name];
      shell.env[name] = before === undefined || before === "" ? directory : `${directory}:${before}`;
    },
    stripEnv(...patterns) {
      for (const name of Object.keys(shell.env)) if (patterns.some((pattern) => pattern.test(name))) delete shell.env[name];
    },
    versionedOption: (name) => versioned(shell.option(name)),
    register(hooks) {
      const name = hooks.name ?? basename(path).replace(SCRIPT, "");
      shell.dropPlugin(name);
      registered.push({ name, hooks });
    },
    async source(pattern) {
      for (const file of matching(dirname(path), pattern)) await runInitrc(shell, file, registered);
    },
    defineCoprocess: (coprocess) => defineCoprocess(shell, coprocess),
    addEventContext: (event, context) => void Object.assign(shell.eventContext[event], context),
    render: (template) => renderFor(shell, template, { shellRank: job.shellRank }),
    serve: (method, run) => shell.serve(method, run),
    call: async (rank, method, payload) => shell.call(rank, method, payload),
    hold: () => shell.hold(),
    killTasks: (signum) => shell.killTasks(signum),
    raise: async (type, severity, note) => shell.raise(type, severity, note),
  };
}

function infoOf({ job, host }: Shell): ShellInfo {
  return {
    jobid: job.f58,
    id: job.id,
    userid: job.userid,
    instance_owner: host.instanceOwner,
    rank: job.shellRank,
    size: job.nodes.length,
    ntasks: job.ntasks,
    service: job.service,
    jobspec: job.source.jobspec,
    R: job.source.R,
  };
}

function rankInfo(shell: Shell, rank: number): ShellRankInfo {
  const node = shell.job.nodes[rank];
  if (node === undefined) throw new RangeError(`there is no shell rank ${rank}`);
  const taskids = shell.taskmap.taskids(rank);
  return {
    id: rank,
    name: node.host,
    broker_rank: node.brokerRank,
    ntasks: taskids.count,
    taskids: taskids.toString(),
    resources: { ncores: node.cores.count, cores: node.cores.toString(), gpus: node.gpus.toString() },
  };
}

/** A task as hooks see it: what they change is changed in the task. */
export function taskView(task: Task): InitrcTask {
  return {
    rank: task.rank,
    localid: task.localId,
    env: task.env,
    get state() {
      return task.status !== undefined ? "Exited" : task.child === undefined ? "Init" : "Running";
    },
    get argv() {
      return task.argv;
    },
    set argv(argv) {
      task.argv = argv;
    },
    get cpus() {
      return task.cpus;
    },
    set cpus(cpus) {
      task.cpus = cpus;
    },
    get umask() {
      return task.umask;
    },
    set umask(umask) {
      task.umask = umask;
    },
    get oom_score_adj() {
      return task.oomScoreAdj;
    },
    set oom_score_adj(value) {
      task.oomScoreAdj = value;
    },
    get pid() {
      return task.child?.pid;
    },
    get wait_status() {
      return task.status;
    },
    get exitcode() {
      return task.status === undefined ? undefined : shellExitCode(task.status);
    },
    get signaled() {
      return task.status === undefined ? undefined : termSignal(task.status);
    },
  };
}

/** "openmpi@5" → name and version. */
function versioned(option: Json | undefined): { value: string; version: string | undefined } | undefined {
  if (typeof option !== "string") return undefined;
  const at = option.indexOf("@");
  return at < 0 ? { value: option, version: undefined } : { value: option.slice(0, at), version: option.slice(at + 1) };
}

/** Files that a path or glob in the last part of a path names. */
function matching(directory: string, pattern: string): string[] {
  const path = isAbsolute(pattern) ? pattern : resolve(directory, pattern);
  if (!hasWildcard(path)) return [path];
  const wanted = globToRegExp(basename(path));
  return initrcsIn(dirname(path)).filter((file) => wanted.test(basename(file)));
}

/** Members of a coprocess that -o NAME.MEMBER=… may change. */
function defineCoprocess(shell: Shell, { name, ...definition }: Coprocess): void {
  if (typeof name !== "string" || name === "") throw new ShellExit(1, "defineCoprocess: missing required 'name'");
  const wanted = shell.option(name);
  if (wanted === undefined || wanted === false || wanted === 0) return;
  const all = shell.option("coprocess");
  shell.options["coprocess"] = {
    ...(isJsonObject(all) ? all : {}),
    [name]: { ...definition, ...(isJsonObject(wanted) ? wanted : {}) },
  };
}
