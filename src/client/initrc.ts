// Initrc: files of a site or a user that a job shell runs before a job's tasks (flux-shell-initrc(5)). They set shell options and the
// environment, and register hooks that are called while the job lives.
//
//   import { defineInitrc } from "…/src/client/initrc.ts";        // types only matter to TypeScript: plain JavaScript works too
//
//   export default defineInitrc((shell) => {
//     shell.options["cpu-affinity"] ??= "per-task";
//     shell.env["SITE"] ??= "cluster-1";
//     shell.register({
//       name: "greeter",
//       "task.init": ({ task }) => {
//         task.env["GREETING"] = `hello, task ${task.rank}`;
//       },
//       "shell.exit": () => shell.log("bye"),
//     });
//   });
//
// `flux run -o userrc=/path/rc.ts` runs it for one job; broker attribute conf.shell_initrc names one for all jobs, and all files of
// the directories in conf.shell_pluginpath (/etc/flux/shell/plugins) are run before it; -o initrc=FILE takes the place of these.
//
// The function may be async. When it has ended, the built-in plugins begin, so that they see the options it set. Hooks are
// called after the built-in plugins' own, in the order in which they were registered. What throws, in a hook, a timer or a
// promise that nobody awaits, ends its job with a message. The process serves no further job.
//
//   topic                 when                                                            told besides topic
//   shell.init            options are read, tasks known, none runs                        -
//   shell.post-init       all shells of the job have come so far                          -
//   task.init             before a task is started                                        task: may change env, argv, cpus
//   task.exec             the last moment before its process is made                      task: also umask, oom_score_adj
//   task.fork             its process runs                                                task with pid
//   shell.start           all tasks of this shell run                                     -
//   task.exit             a task has ended and its output is read                         task with wait_status, exitcode, signaled
//   shell.tasks-complete  first shell only: the tasks of all shells have ended            -
//   shell.finish          the tasks of this shell have ended                              -
//   shell.exit            the same, or the shell failed                                   -
//   shell.lost            first shell only: another one is gone                           shell_rank, severity
//   shell.resource-update the job's time limit was changed                                expiration
//   shell.log             a message of the shell (must not log itself)                    level, message, component
//   taskmap.SCHEME        --taskmap=SCHEME:VALUE: which tasks run where; returns a map    taskmap, value
//   mustache.render.TAG   {{TAG}} stands in a template; returns its text                  tag, task
//
// shell.init, post-init, start, finish, exit and task.init, task.exec may be async: the shell waits for them. A topic may have * for
// any characters. JavaScript can't run between fork(2) and exec(2): what a process does to itself before its program is said by
// task.umask and the like, or by a wrapper in task.argv.
import type { Json, JsonObject } from "../formats/json.ts";
import type { Clock } from "../os/clock.ts";
import type { Flux } from "./flux.ts";
import type { Answer } from "./service.ts";
import type { Request } from "./request.ts";

/** What is known of a job and of this shell of it. */
export interface ShellInfo {
  /** As people write it: "ƒ…". */
  readonly jobid: string;
  readonly id: bigint;
  readonly userid: number;
  readonly instance_owner: number;
  /** Of this shell, from 0. */
  readonly rank: number;
  /** Shells, which are the job's nodes. */
  readonly size: number;
  readonly ntasks: number;
  /** Service of the job's shells: "UID-shell-ID". */
  readonly service: string;
  /** Without environment. */
  readonly jobspec: JsonObject;
  readonly R: JsonObject;
}

export interface ShellRankInfo {
  readonly id: number;
  /** Host. */
  readonly name: string;
  readonly broker_rank: number;
  readonly ntasks: number;
  /** Idset, once the taskmap is made. */
  readonly taskids: string;
  /** Idsets of what R gives to this node. */
  readonly resources: { readonly ncores: number; readonly cores: string; readonly gpus: string };
}

/** A task, as far as it got. */
export interface InitrcTask {
  readonly rank: number;
  /** Index among the tasks of this shell. */
  readonly localid: number;
  readonly state: "Init" | "Running" | "Exited";
  /** Program and arguments. */
  argv: string[];
  /** On top of the job's environment. */
  readonly env: Record<string, string>;
  /** OS indexes of the CPUs it may run on; undefined: as the job. */
  cpus: readonly number[] | undefined;
  umask: number | undefined;
  /** -1000 to 1000: who is killed first when memory is short. */
  oom_score_adj: number | undefined;
  /** Once it runs. */
  readonly pid: number | undefined;
  /** Once it has ended. */
  readonly wait_status: number | undefined;
  readonly exitcode: number | undefined;
  readonly signaled: number | undefined;
}

export interface ShellArgs {
  readonly topic: string;
}

export interface TaskArgs extends ShellArgs {
  readonly task: InitrcTask;
}

type Hook<Args, Result = void> = (args: Args) => Result;
// eslint-disable-next-line typescript/no-invalid-void-type
type AsyncHook<Args> = (args: Args) => void | Promise<void>;

/** Functions by topic. */
export interface InitrcHooks {
  /** For messages. The name of a built-in plugin (`cpu-affinity`, `gpubind` …) takes its place. */
  readonly name?: string;
  readonly "shell.init"?: AsyncHook<ShellArgs>;
  readonly "shell.post-init"?: AsyncHook<ShellArgs>;
  readonly "shell.start"?: AsyncHook<ShellArgs>;
  readonly "shell.finish"?: AsyncHook<ShellArgs>;
  readonly "shell.exit"?: AsyncHook<ShellArgs>;
  readonly "shell.tasks-complete"?: AsyncHook<ShellArgs>;
  readonly "task.init"?: AsyncHook<TaskArgs>;
  readonly "task.exec"?: AsyncHook<TaskArgs>;
  readonly "task.fork"?: Hook<TaskArgs>;
  readonly "task.exit"?: Hook<TaskArgs>;
  readonly "shell.lost"?: Hook<ShellArgs & { readonly shell_rank: number; readonly severity: number }>;
  /** Seconds since the epoch; 0: no limit. */
  readonly "shell.resource-update"?: Hook<ShellArgs & { readonly expiration: number }>;
  readonly "shell.log"?: Hook<ShellArgs & { readonly level: number; readonly message: string; readonly component: string | undefined }>;
  /** Given the block distribution, answers with another map in any form of RFC 34. */
  readonly [scheme: `taskmap.${string}`]: Hook<ShellArgs & { readonly taskmap: string; readonly value: string }, string>;
  /** undefined: it knows nothing of that tag. */
  readonly [tag: `mustache.render.${string}`]: Hook<ShellArgs & { readonly tag: string; readonly task: InitrcTask | undefined }, string | undefined>;
  /** For topics with * in them. */
  readonly [topic: string]: string | undefined | ((args: never) => unknown);
}

/** A program that runs beside the tasks on each node: see flux-shell(1), coprocess. */
export interface Coprocess {
  /** It runs when the shell option of this name is set: -o NAME, or -o NAME.output=FILE … to change a member. */
  readonly name: string;
  readonly command: readonly string[];
  /** File for what it writes, a template. Default: "coproc-NAME-{{id}}.log". */
  readonly output?: string;
  /** Idset of shell ranks; default: "all". */
  readonly ranks?: string;
}

/** What an initrc is given. */
export interface JobShell {
  /** A handle on this node's broker, with the job's user's rights. */
  readonly h: Flux;
  readonly clock: Clock;
  readonly info: ShellInfo;
  /** Of all shells, by rank. */
  readonly ranks: readonly ShellRankInfo[];
  /** Of this shell. */
  readonly rankinfo: ShellRankInfo;
  /** Directory of the file that is being run. */
  readonly rcpath: string;
  /** Shell options (`-o NAME=VALUE`), which plugins read after all initrc files. */
  readonly options: Record<string, Json>;
  /** The environment of all tasks; Flux adds its own variables afterwards. */
  readonly env: Record<string, string>;
  /** From shell.init on. */
  readonly tasks: readonly InitrcTask[];

  /** Messages go to the job's stderr: always, with -o verbose, with -o verbose=2. */
  log(text: string): void;
  debug(text: string): void;
  trace(text: string): void;
  warn(text: string): void;
  error(text: string): void;
  /** Ends the job with this message. */
  die(text: string): never;

  /** Puts a directory in front of a variable like PATH. */
  prependPath(name: string, directory: string): void;
  /** Removes all variables that match. */
  stripEnv(...patterns: readonly RegExp[]): void;
  /** "-o mpi=openmpi@5": { value: "openmpi", version: "5" }. */
  versionedOption(name: string): { readonly value: string; readonly version: string | undefined } | undefined;

  register(hooks: InitrcHooks): void;
  /** Runs other initrc files, named by a path or glob; a relative one counts from rcpath. A glob may match nothing. */
  source(path: string): Promise<void>;
  defineCoprocess(coprocess: Coprocess): void;

  /** Adds to the context of an event in the job's exec eventlog. */
  addEventContext(event: "shell.init" | "shell.start", context: JsonObject): void;
  /** Replaces the tags in a template. */
  render(template: string): string;
  /** Offers SERVICE.method to the job's user, on this shell's broker; before shell.post-init. */
  serve(method: string, run: (request: Request) => Answer | Promise<Answer>): void;
  /** Calls SERVICE.method of another shell of the job. */
  call(shellRank: number, method: string, payload: JsonObject): Promise<JsonObject>;
  /** The shell stays after its tasks until what this returns is called. */
  hold(): () => void;
  /** A signal to every task of this shell. */
  killTasks(signum: number): void;
  /** An exception of the job; severity 0 ends it. */
  raise(type: string, severity: number, note: string): Promise<void>;
}

// eslint-disable-next-line typescript/no-invalid-void-type
export type Initrc = (shell: JobShell) => void | Promise<void>;

export function defineInitrc(start: Initrc): Initrc {
  return start;
}
