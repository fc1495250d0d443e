// initrc, userrc: runs files of the site and the user, and calls the hooks they register (src/client/initrc.ts).
//
// Options: initrc=FILE in place of the site's, userrc=FILE after them. Of the site are the files of the directories in attribute
// conf.shell_pluginpath, with -o mpi=NAME the file mpi/NAME.js in one of these, then the file that attribute conf.shell_initrc names.
//
// Two plugins, because tasks' hooks come after those of all built-in plugins, but the last words before output is closed. A process
// that has run such a file is given up with its job: nobody knows what it left.
import { existsSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { format } from "node:util";
import type { InitrcHooks, ShellArgs } from "../../client/initrc.ts";
import { globToRegExp, hasWildcard } from "../../formats/glob.ts";
import { isErrno, errno } from "../../message/errno.ts";
import { str, unpack } from "../../message/unpack.ts";
import { describeFailure, initrcsIn, type Registered, runInitrc, taskView } from "../initrc.ts";
import { LOG } from "../log.ts";
import type { Plugin } from "../plugin.ts";
import { SHELL_INITRC, SHELL_PLUGINPATH } from "../site.ts";
import { type Extensions, type Shell, ShellExit } from "../shell.ts";
import type { Task } from "../task.ts";

type Topic = keyof InitrcHooks & string;

export interface InitrcPlugins {
  readonly outer: Plugin;
  readonly inner: Plugin;
}

export function initrcPlugins(): InitrcPlugins {
  const registered: Registered[] = [];
  const load = async (shell: Shell): Promise<void> => {
    const files = await initrcFiles(shell);
    if (files.length === 0) return;
    shell.retire();
    takeOver(shell);
    for (const file of files) await runInitrc(shell, file, registered);
    shell.extensions = extensionsOf(shell, registered);
  };
  const exit = async (shell: Shell): Promise<void> => {
    try {
      await callHooks(registered, "shell.exit", {});
    } catch (err) {
      shell.log(LOG.fatal, messageOf(err));
      await shell.raise("exec", 0, messageOf(err));
    }
  };
  const prepare = async (task: Task): Promise<void> => {
    await callAll(registered, "task.init", { task: taskView(task) });
    await callAll(registered, "task.exec", { task: taskView(task) });
  };
  const inner: Plugin = {
    name: "initrc-hooks",
    tasksKnown: () => callHooks(registered, "shell.init", {}),
    allReady: () => callHooks(registered, "shell.post-init", {}),
    taskInit: (_shell, task) => (registered.length === 0 ? undefined : prepare(task)),
    taskStarted: (_shell, task) => callNow(registered, "task.fork", { task: taskView(task) }),
    start: () => callHooks(registered, "shell.start", {}),
    taskExit: (_shell, task) => callNow(registered, "task.exit", { task: taskView(task) }),
    lostShell: (_shell, shell_rank, severity) => callNow(registered, "shell.lost", { shell_rank, severity }),
    expiration: (_shell, expiration) => callNow(registered, "shell.resource-update", { expiration }),
    tasksComplete(shell) {
      callHooks(registered, "shell.tasks-complete", {})?.catch((err: unknown) => shell.fatal(1, messageOf(err)));
    },
    finish: () => callHooks(registered, "shell.finish", {}),
  };
  return { outer: { name: "initrc", load, exit }, inner };
}

/** The files to run, in order. */
async function initrcFiles(shell: Shell): Promise<string[]> {
  const initrc = pathOption(shell, "initrc");
  const userrc = pathOption(shell, "userrc");
  const site = initrc === undefined ? await siteFiles(shell) : [initrc];
  return userrc === undefined ? site : [...site, userrc];
}

function pathOption(shell: Shell, name: string): string | undefined {
  const value = shell.option(name);
  if (value === undefined) return undefined;
  if (typeof value !== "string" || value === "") throw new ShellExit(1, `shell option ${name} must be the path of a file`);
  return resolve(shell.job.cwd ?? "/", value);
}

async function siteFiles(shell: Shell): Promise<string[]> {
  const [path, initrc] = await Promise.all([attribute(shell, "conf.shell_pluginpath"), attribute(shell, "conf.shell_initrc")]);
  const directories = (path === "" ? SHELL_PLUGINPATH : path).split(":").filter((directory) => directory !== "");
  const files = [...directories.flatMap(initrcsIn), ...directories.flatMap((directory) => mpiInitrcs(shell, join(directory, "mpi")))];
  if (initrc !== "") return [...files, initrc];
  return existsSync(SHELL_INITRC) ? [...files, SHELL_INITRC] : files;
}

/** Of -o mpi=NAME[@VERSION]: mpi/NAME[@VERSION].js and the like. */
function mpiInitrcs(shell: Shell, directory: string): string[] {
  const name = shell.option("mpi");
  if (typeof name !== "string" || name.includes("/")) return [];
  return initrcsIn(directory).filter((path) => basename(path).replace(/\.\w+$/, "") === name);
}

/** Asked for each job, since it may be changed while the instance runs. */
async function attribute(shell: Shell, name: string): Promise<string> {
  try {
    return unpack(await shell.h.rpc("attr.get", { name }), { value: str }).value;
  } catch (err) {
    if (isErrno(err, errno.ENOENT)) return "";
    throw err;
  }
}

/**
 * From now on this process is the initrc's: what a timer or a forgotten promise throws ends the job, with a message, and what is
 * printed is a message of the shell.
 */
function takeOver(shell: Shell): void {
  const stray = (reason: unknown): void => shell.fatal(1, reason instanceof ShellExit ? reason.message : `initrc: ${describeFailure(reason)}`);
  const print =
    (level: (typeof LOG)[keyof typeof LOG]) =>
    (...values: unknown[]): void =>
      shell.log(level, format(...values));
  process.on("uncaughtException", stray);
  process.on("unhandledRejection", stray);
  Object.assign(console, { log: print(LOG.notice), info: print(LOG.notice), warn: print(LOG.warning), error: print(LOG.error), debug: print(LOG.debug) });
}

function messageOf(err: unknown): string {
  return err instanceof ShellExit ? err.message : describeFailure(err);
}

type HookFunction = (args: ShellArgs) => unknown;

function* hooksFor(registered: readonly Registered[], topic: string): Generator<{ name: string; run: HookFunction }> {
  for (const { name, hooks } of registered) {
    for (const [key, run] of Object.entries(hooks)) {
      if (typeof run !== "function") continue;
      if (key === topic || (hasWildcard(key) && globToRegExp(key).test(topic))) yield { name, run: run as HookFunction };
    }
  }
}

/** Calls the hooks of a topic one after the other. Undefined when there are none. The promise rejects with ShellExit. */
function callHooks(registered: readonly Registered[], topic: Topic, args: object): Promise<void> | undefined {
  return registered.length === 0 ? undefined : callAll(registered, topic, args);
}

async function callAll(registered: readonly Registered[], topic: string, args: object): Promise<void> {
  for (const { name, run } of hooksFor(registered, topic)) {
    try {
      await run({ topic, ...args });
    } catch (err) {
      throw hookFailure(name, topic, err);
    }
  }
}

/** The same where the shell cannot wait. */
function callNow(registered: readonly Registered[], topic: string, args: object): void {
  for (const { name, run } of hooksFor(registered, topic)) {
    try {
      run({ topic, ...args });
    } catch (err) {
      throw hookFailure(name, topic, err);
    }
  }
}

function hookFailure(name: string, topic: string, err: unknown): ShellExit {
  return err instanceof ShellExit ? err : new ShellExit(1, `${name}: ${topic}: ${describeFailure(err)}`);
}

/** The last that knows an answer gives it. */
function ask(registered: readonly Registered[], topic: string, args: object): string | undefined {
  let answer: string | undefined;
  for (const { name, run } of hooksFor(registered, topic)) {
    let value: unknown;
    try {
      value = run({ topic, ...args });
    } catch (err) {
      throw hookFailure(name, topic, err);
    }
    if (value === undefined) continue;
    if (typeof value !== "string") throw new ShellExit(1, `${name}: ${topic} must return a string`);
    answer = value;
  }
  return answer;
}

function extensionsOf(shell: Shell, registered: readonly Registered[]): Extensions {
  let logging = false;
  return {
    taskmap: (scheme, value) => ask(registered, `taskmap.${scheme}`, { taskmap: shell.job.taskmap.toString(), value }),
    render(tag, task) {
      const found = task === undefined ? undefined : shell.tasks.find((each: Task) => each.rank === task.rank);
      return ask(registered, `mustache.render.${tag}`, { tag, task: found === undefined ? undefined : taskView(found) });
    },
    log(level, message, component) {
      if (logging) return;
      logging = true;
      try {
        callNow(registered, "shell.log", { level, message, component });
      } catch (err) {
        shell.fatal(1, messageOf(err));
      } finally {
        logging = false;
      }
    },
  };
}
