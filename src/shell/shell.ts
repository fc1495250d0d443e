// Shell: runs the tasks of one job on one node, and tells job-exec how it goes.
//
//   load            files of the site and the user change options and the environment (initrc.ts)
//   init            plugins prepare environment, directory, limits, services
//   barrier         with several shells: all of them are ready, so that whatever a task talks to is there
//   tasks           started one after the other
//   main            until every task is gone and nothing holds the shell any more
//   finish          what wants to be done while output can still be written
//   exit            plugins flush; the last report carries what output is left
//
// Nothing of a job is set in this process: environment, directory, limits and CPU mask are given to each task as it is started. So the
// same process may run the next job of the same user.
import type { Flux, Served } from "../client/flux.ts";
import type { Request } from "../client/request.ts";
import { type Answer, allowUser, type OpenMethod } from "../client/service.ts";
import { formatError } from "./failure.ts";
import type { JsonObject, Json } from "../formats/json.ts";
import type { Taskmap } from "../formats/taskmap.ts";
import { isSignal } from "../formats/signal.ts";
import { exitCode, shellExitCode } from "../formats/waitstatus.ts";
import { errno, FluxError, strerror, toFluxError } from "../message/errno.ts";
import type { Message } from "../message/message.ts";
import type { Clock, Timer } from "../os/clock.ts";
import { sendSignal, type SpawnOptions } from "../os/spawn.ts";
import type { Topology } from "../os/topology.ts";
import type { Job } from "./job.ts";
import { LOG, type LogLevel, type ShellLog } from "./log.ts";
import type { JobPlugins } from "./plugins/mod.ts";
import type { Plugin } from "./plugin.ts";
import { eventLine, type GuestKey, type ShellReport } from "./protocol.ts";
import { newTask, type Task } from "./task.ts";

/** The shell ends with this exit code; what went wrong is in the text. */
export class ShellExit extends Error {
  constructor(
    readonly code: number,
    text: string,
    /** Wait status of the task to blame: it becomes the job's status. */
    readonly waitStatus?: number,
  ) {
    super(text);
    this.name = "ShellExit";
  }
}

/** What is the same for all jobs of a shell process. */
export interface ShellHost {
  readonly h: Flux;
  readonly clock: Clock;
  readonly hostname: string;
  /** local:// URI that tasks are given. */
  readonly uri: string;
  /** Of the instance: "/" or "/ƒabc". */
  readonly jobidPath: string;
  readonly instanceLevel: number;
  readonly rundir: string;
  readonly instanceOwner: number;
  /** Environment of the shell process itself. */
  readonly processEnv: Readonly<Record<string, string | undefined>>;
  /** Found out when a job needs it. */
  readonly topology: () => Topology;
  /** Takes a report to job-exec. */
  readonly report: (report: ShellReport) => void;
}

/** Things that are the same for all tasks of a job. */
export interface SpawnDefaults {
  cwd: string | undefined;
  cpus: readonly number[] | undefined;
  rlimits: NonNullable<SpawnOptions["rlimits"]>;
}

/** What files of the site and the user add to the built-in ways: see initrc.ts. */
export interface Extensions {
  /** Another map for the default one; undefined: there is no such scheme. */
  taskmap(scheme: string, value: string): string | undefined;
  /** The text for a tag of a template; undefined: nobody knows it. */
  render(tag: string, task: Pick<Task, "rank"> | undefined): string | undefined;
  /** Told of each message. */
  log(level: LogLevel, text: string, component: string | undefined): void;
}

export interface Shell {
  readonly host: ShellHost;
  readonly h: Flux;
  readonly job: Job;
  readonly isLeader: boolean;
  /** Of the job's tasks, before their own. */
  readonly env: Record<string, string>;
  readonly spawn: SpawnDefaults;
  taskmap: Taskmap;
  tasks: readonly Task[];
  /** 0; 1 with -o verbose, 2 with -o verbose=2. */
  readonly verbose: number;
  readonly log: ShellLog;
  /** Shell options: those of the jobspec, and what files of the site and the user made of them. */
  readonly options: Record<string, Json>;
  /** One of them; undefined when it is not set. */
  option(name: string): Json | undefined;
  extensions: Extensions | undefined;
  /** The plugin of that name is called no more: something else takes its place. Throws EINVAL when nothing can. */
  dropPlugin(name: string): void;
  /** This process takes no further job. */
  retire(): void;
  /** Leader: the tasks of all shells have ended. */
  tasksComplete(): void;
  /** Offers `SERVICE.method` on this broker to the job's user and the instance owner. */
  serve(method: string, run: (request: Request) => Answer | Promise<Answer>): void;
  /** Calls `SERVICE.method` of another shell of the job. */
  call(shellRank: number, method: string, payload: JsonObject): Promise<JsonObject>;
  /** The same, resolved to the whole response. */
  callMessage(shellRank: number, method: string, payload: JsonObject): Promise<Message>;
  /** A signal to every task that runs. */
  killTasks(signum: number): void;
  /** Ends the shell: tasks are killed, the job gets an exception with this text unless it has one. */
  fatal(code: number, text: string, waitStatus?: number): void;
  /** Raises an exception of the job (RFC 21). */
  raise(type: string, severity: number, note: string, waitStatus?: number): Promise<void>;
  /** Keeps the shell alive after its tasks until the result is called. */
  hold(): () => void;
  /** Adds an event to the exec eventlog (RFC 50): sent with the next report, or soon. */
  postEvent(name: string, context: JsonObject): void;
  /** Text for a guest eventlog, which travels with the first or the last report, whichever comes next. */
  appendNext(key: GuestKey, text: string): void;
  /** Contexts of the events shell.init and shell.start. */
  readonly eventContext: { readonly "shell.init": Record<string, Json>; readonly "shell.start": Record<string, Json> };
}

export interface ShellRun {
  /** Resolves when the shell is through with the job; never rejects. False: something is left that a next job could feel. */
  readonly finished: Promise<boolean>;
  go(): void;
  /** What is no signal is logged. */
  kill(signum: number | undefined): void;
  /** Nobody wants the job any more: its tasks are killed, and none is started from now on. */
  abort(): void;
  lostShell(shellRank: number, severity: number, message: string): void;
  expiration(expiration: number): void;
  /** What was reported first is in the KVS. */
  logged(): void;
}

/** An event waits this long for a report that is sent anyway. */
const EVENT_DELAY_MS = 10;

interface State {
  shell: Shell;
  job: Job;
  host: ShellHost;
  plugins: readonly Plugin[];
  retired: boolean;
  /** Tasks that have ended. */
  ended: number;
  methods: Record<string, OpenMethod>;
  served: Served | undefined;
  holds: number;
  pendingEvents: string;
  eventTimer: Timer | undefined;
  append: Partial<Record<GuestKey, string>>;
  released: PromiseWithResolvers<void>;
  go: PromiseWithResolvers<void>;
  failure: PromiseWithResolvers<never>;
  failed: boolean;
  reported: boolean;
  tasksStarted: boolean;
  /** Signals that came before all tasks were there: the others get them as they start. */
  readonly earlySignals: number[];
  raised: boolean;
}

/** Begins to run a job. */
export function runShell(host: ShellHost, job: Job, makePlugins: (shell: Shell) => JobPlugins): ShellRun {
  const state = newState(host, job, makePlugins);
  const { shell } = state;
  return {
    finished: live(state),
    go: () => state.go.resolve(),
    kill: (signum) => {
      if (signum === undefined) return shell.log(LOG.warning, "kill: ignoring malformed event");
      if (!isSignal(signum)) return shell.log(LOG.error, `kill: signal ${signum}: ${strerror(errno.EINVAL)}`);
      shell.log(LOG.debug, `forwarding signal ${signum} to tasks`);
      for (const plugin of state.plugins) plugin.kill?.(shell, signum);
      shell.killTasks(signum);
      if (!state.tasksStarted) state.earlySignals.push(signum);
    },
    abort() {
      fail(state, new ShellExit(1, "the broker has gone"));
      shell.killTasks(9);
    },
    lostShell(shellRank, severity, message) {
      if (message !== "") shell.log(LOG.warning, message);
      tell(state, (plugin) => plugin.lostShell?.(shell, shellRank, severity));
    },
    expiration(expiration) {
      tell(state, (plugin) => plugin.expiration?.(shell, expiration));
    },
    logged() {
      tell(state, (plugin) => plugin.logged?.(shell));
    },
  };
}

/** Something happened that nobody waits for: a plugin that cannot cope with it ends the job. */
function tell(state: State, call: (plugin: Plugin) => void): void {
  try {
    for (const plugin of state.plugins) call(plugin);
  } catch (err) {
    fail(state, err);
  }
}

function newState(host: ShellHost, job: Job, makePlugins: (shell: Shell) => JobPlugins): State {
  const options: Record<string, Json> = { ...job.options };
  const verbose = options["verbose"];
  let log: ShellLog = () => undefined;
  const shell: Shell = {
    host,
    h: host.h,
    job,
    isLeader: job.shellRank === 0,
    env: { ...job.environment },
    spawn: { cwd: undefined, cpus: undefined, rlimits: {} },
    taskmap: job.taskmap,
    tasks: [],
    verbose: typeof verbose === "number" ? verbose : verbose === true ? 1 : 0,
    log(level, text, component) {
      log(level, text, component);
      shell.extensions?.log(level, text, component);
    },
    options,
    option: (name) => options[name] ?? undefined,
    extensions: undefined,
    dropPlugin(name) {
      if (ESSENTIAL.has(name)) throw new FluxError(errno.EINVAL, `nothing can take the place of ${name}`);
      state.plugins = state.plugins.filter((plugin) => plugin.name !== name);
    },
    retire: () => void (state.retired = true),
    tasksComplete: () => tell(state, (plugin) => plugin.tasksComplete?.(shell)),
    serve(method, run) {
      state.methods[method] = allowUser((request) => {
        request.requireOwnerOrUser(job.userid);
        return run(request);
      });
    },
    call: async (shellRank, method, payload) => (await shell.callMessage(shellRank, method, payload)).payload,
    callMessage: async (shellRank, method, payload) => host.h.call(`${job.service}.${method}`, payload, { nodeid: job.nodes[shellRank]?.brokerRank ?? 0 }),
    killTasks: (signum) => killTasks(state, signum),
    fatal: (code, text, waitStatus) => fail(state, new ShellExit(code, text, waitStatus)),
    raise: async (type, severity, note, waitStatus) => raise(state, type, severity, note, waitStatus),
    hold() {
      state.holds++;
      let held = true;
      return () => {
        if (!held) return;
        held = false;
        if (--state.holds === 0) state.released.resolve();
      };
    },
    postEvent(name, context) {
      state.pendingEvents += eventLine(host.clock.now_s(), name, context);
      state.eventTimer ??= host.clock.setTimer(EVENT_DELAY_MS, () => report(state, {}));
    },
    appendNext(key, text) {
      state.append[key] = (state.append[key] ?? "") + text;
    },
    eventContext: { "shell.init": { service: job.service, "leader-rank": job.nodes[0]?.brokerRank ?? 0, size: job.nodes.length }, "shell.start": {} },
  };
  const state: State = {
    shell,
    job,
    host,
    plugins: [],
    retired: false,
    ended: 0,
    methods: {},
    served: undefined,
    holds: 0,
    pendingEvents: "",
    eventTimer: undefined,
    append: {},
    released: Promise.withResolvers(),
    go: Promise.withResolvers(),
    failure: Promise.withResolvers(),
    failed: false,
    reported: false,
    tasksStarted: false,
    earlySignals: [],
    raised: false,
  };
  // A failure while nobody waits for it is kept until the next step looks.
  state.failure.promise.catch(() => undefined);
  const { plugins, output } = makePlugins(shell);
  state.plugins = plugins;
  log = output.log;
  return state;
}

/** Plugins without which a shell is none. */
const ESSENTIAL: ReadonlySet<string> = new Set(["environment", "output", "input", "tasks-complete"]);

async function live(state: State): Promise<boolean> {
  let status = 0;
  let clean = true;
  try {
    await runToEnd(state);
    status = highestExit(state) << 8;
  } catch (err) {
    clean = err instanceof ShellExit;
    status = (await giveUp(state, err)) << 8;
  }
  state.shell.log(LOG.debug, `exit ${status >> 8}`);
  for (const plugin of state.plugins) {
    try {
      await plugin.exit?.(state.shell);
    } catch (err) {
      clean = false;
      state.host.h.log(LOG.error, `job ${state.job.f58}: ${plugin.name}: ${toFluxError(err).message}`);
    }
  }
  if (state.served !== undefined) state.served.stop().catch(() => undefined);
  report(state, { phase: "exited", status, last: !clean || state.retired });
  return clean;
}

async function runToEnd(state: State): Promise<void> {
  const { shell, job } = state;
  checkVerbose(shell.option("verbose"));
  await all(state, (plugin) => plugin.load?.(shell));
  await all(state, (plugin) => plugin.init?.(shell));
  createTasks(state);
  await all(state, (plugin) => plugin.tasksKnown?.(shell));
  state.served = await state.host.h.serve(job.service, state.methods);
  logLayout(shell);
  if (job.nodes.length > 1) {
    report(state, { phase: "ready" });
    await unlessFailed(state, state.go.promise);
  }
  if (shell.isLeader) shell.postEvent("shell.init", shell.eventContext["shell.init"]);
  await all(state, (plugin) => plugin.allReady?.(shell));
  await startTasks(state);
  await all(state, (plugin) => plugin.start?.(shell));
  const start = shell.isLeader ? { at_start: eventLine(state.host.clock.now_s(), "shell.start", startContext(shell)) } : {};
  report(state, { phase: "running", pids: shell.tasks.map((task) => task.child?.pid ?? 0), ...start });
  await unlessFailed(state, state.released.promise);
  await all(state, (plugin) => plugin.finish?.(shell));
}

function checkVerbose(option: Json | undefined): void {
  if (option === undefined || typeof option === "boolean" || (typeof option === "number" && Number.isInteger(option))) return;
  throw new ShellExit(1, `invalid option verbose=${typeof option === "string" ? option : JSON.stringify(option)}: it is a number`);
}

/** Calls a hook of all plugins, one after the other; no turn of the event loop is lost where there is nothing to wait for. */
async function all(state: State, call: (plugin: Plugin) => void | Promise<void>): Promise<void> {
  for (const plugin of state.plugins) {
    const done = call(plugin);
    if (done !== undefined) await unlessFailed(state, done);
  }
}

/** Context of shell.start. */
function startContext(shell: Shell): JsonObject {
  return { taskmap: { version: 1, map: shell.taskmap.toJSON() }, ...shell.eventContext["shell.start"] };
}

function createTasks(state: State): void {
  const { shell, job } = state;
  shell.tasks = shell.taskmap
    .taskids(job.shellRank)
    .toArray()
    .map((rank, localId) => newTask(rank, localId, job.command));
}

async function startTasks(state: State): Promise<void> {
  const { shell } = state;
  if (state.failed) await state.failure.promise;
  const done = shell.hold();
  for (const task of shell.tasks) {
    for (const plugin of state.plugins) {
      const prepared = plugin.taskInit?.(shell, task);
      if (prepared !== undefined) await unlessFailed(state, prepared);
    }
    startTask(state, task);
    for (const signum of state.earlySignals) killTask(state, task, signum);
    for (const plugin of state.plugins) plugin.taskStarted?.(shell, task);
  }
  state.tasksStarted = true;
  if (shell.tasks.length === 0) tasksDone(state);
  done();
}

function startTask(state: State, task: Task): void {
  const { shell } = state;
  const setpgrp = shell.option("nosetpgrp") === undefined;
  const release = shell.hold();
  try {
    task.child = task.spawn({
      argv: task.argv,
      env: { ...shell.env, ...task.env },
      ...(shell.spawn.cwd !== undefined && { cwd: shell.spawn.cwd }),
      stdin: task.stdin ?? "pipe",
      stdout: "pipe",
      stderr: "pipe",
      extraFds: task.extraFds,
      newSession: setpgrp,
      ...((task.cpus ?? shell.spawn.cpus) !== undefined && { cpus: task.cpus ?? shell.spawn.cpus ?? [] }),
      rlimits: shell.spawn.rlimits,
      ...(task.umask !== undefined && { umask: task.umask }),
      onStdout: (chunk) => task.onStdout(chunk),
      onStderr: (chunk) => task.onStderr(chunk),
      onStdoutEnd: () => task.onStdoutEnd(),
      onStderrEnd: () => task.onStderrEnd(),
    });
  } catch (err) {
    release();
    throw startFailure(shell, task, toFluxError(err));
  }
  for (const started of task.onStarted) started(task.child);
  task.child.exited
    .then(({ status }) => {
      task.status = status;
      shell.log(LOG.debug, `task ${task.rank} complete status=${shellExitCode(status)}`);
      for (const plugin of state.plugins) plugin.taskExit?.(shell, task);
      if (++state.ended === shell.tasks.length) tasksDone(state);
    })
    .catch((err: unknown) => fail(state, err))
    .finally(release);
}

function tasksDone(state: State): void {
  for (const plugin of state.plugins) plugin.tasksDone?.(state.shell);
}

/** 127 for a program that isn't there, 126 for one that may not be executed, as sh(1) has it. */
function startFailure(shell: Shell, task: Task, error: FluxError): ShellExit {
  const code = error.errno === errno.ENOENT ? 127 : error.errno === errno.EACCES || error.errno === errno.EPERM ? 126 : 1;
  return new ShellExit(code, `task ${task.rank} (host ${shell.host.hostname}): start failed: ${task.argv[0]}: ${strerror(error.errno)}`);
}

async function unlessFailed(state: State, promise: Promise<void>): Promise<void> {
  await Promise.race([state.failure.promise, promise]);
}

function fail(state: State, reason: unknown): void {
  if (state.failed) return;
  state.failed = true;
  state.failure.reject(reason);
}

/** Something went wrong for good: says so, ends the tasks, raises an exception. Returns the exit code. */
async function giveUp(state: State, reason: unknown): Promise<number> {
  const { shell } = state;
  state.failed = true;
  const exit = reason instanceof ShellExit ? reason : new ShellExit(1, formatError(reason));
  shell.log(LOG.fatal, exit.message);
  shell.killTasks(9);
  await raise(state, "exec", 0, exit.message, exit.waitStatus);
  await Promise.all(shell.tasks.map(async (task) => task.child?.reaped));
  return exit.code;
}

async function raise(state: State, type: string, severity: number, note: string, waitStatus?: number): Promise<void> {
  if (state.raised && severity === 0) return;
  if (severity === 0) state.raised = true;
  const more = { ...(waitStatus !== undefined && { wait_status: waitStatus }), ...(severity === 0 && { first: true }) };
  try {
    await state.host.h.rpc("job-manager.raise", { id: state.job.id, type, severity, note, ...more });
  } catch (err) {
    state.host.h.log(LOG.error, `job ${state.job.f58}: failed to raise job exception: ${toFluxError(err).message}`);
  }
}

function killTasks(state: State, signum: number): void {
  for (const task of state.shell.tasks) killTask(state, task, signum);
}

function killTask(state: State, task: Task, signum: number): void {
  if (task.child === undefined || task.status !== undefined) return;
  if (state.shell.option("nosetpgrp") !== undefined) task.child.kill(signum);
  else sendSignal(-task.child.pid, signum);
}

function highestExit(state: State): number {
  return state.shell.tasks.reduce((most, { status }) => Math.max(most, status === undefined ? 0 : (exitCode(status) ?? shellExitCode(status))), 0);
}

function report(state: State, what: Omit<ShellReport, "id" | "shell_rank" | "append">): void {
  const append: Partial<Record<GuestKey, string>> = {};
  if (state.pendingEvents !== "") append["exec.eventlog"] = state.pendingEvents;
  state.pendingEvents = "";
  state.host.clock.clear(state.eventTimer);
  state.eventTimer = undefined;
  if (what.phase !== undefined) {
    if (state.shell.isLeader && !state.reported && what.phase !== "exited") for (const plugin of state.plugins) plugin.firstReport?.(state.shell);
    state.reported = true;
    Object.assign(append, state.append);
    state.append = {};
  }
  const base = { id: state.job.id, shell_rank: state.job.shellRank, ...what };
  state.host.report(Object.keys(append).length > 0 ? { ...base, append } : base);
}

function logLayout(shell: Shell): void {
  if (shell.verbose === 0) return;
  const { job, taskmap } = shell;
  const { count, cores, perNode } = job.slots;
  if (shell.isLeader) shell.log(LOG.debug, `0: task_count=${job.ntasks} slot_count=${count} cores_per_slot=${cores} slots_per_node=${perNode}`);
  const ids = taskmap.taskids(job.shellRank);
  shell.log(LOG.debug, `${job.shellRank}: task${ids.count > 1 ? "s" : ""} ${ids.toString({ brackets: true })} on cores ${job.node.cores.toString()}`);
}
