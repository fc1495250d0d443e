// Jobtap: plugins of the job manager (flux-jobtap(1)). A plugin sees every job and what happens to it, and may refuse
// jobs, give them priorities, hold them by dependencies, start prologs and epilogs, change jobspecs and post events.
//
//   import { defineJobtap } from "…/src/client/jobtap.ts";        // types only matter to TypeScript: plain JavaScript works too
//
//   export default defineJobtap({
//     start(tap) {
//       return {
//         "job.validate": ({ jobspec }) => {
//           if (isTooLarge(jobspec)) throw new Error("too large for us");
//         },
//         "job.priority.get": ({ userid }) => ({ priority: shareOf(userid) }),
//         "job.state.priority": ({ userid }) => ({ priority: shareOf(userid) }),
//       };
//     },
//   });
//
// `flux jobtap load /path/plugin.ts key=value …` loads it, or [job-manager] plugins = [{load = "/path/plugin.ts", conf = {…}}].
//
// Callbacks are called in the order in which plugins were loaded. They are called while the job stands still: events that a
// callback posts to its own job are applied when it has returned; those for another job at once. A callback answers at once:
// for what takes time, hold the job by a dependency, a prolog or an epilog, or answer priority "unavailable" and call
// tap.reprioritize() later. When one throws, plugins after it aren't asked, and what the job manager wanted to know
// is refused with the error's message (or logged, where there is nothing to refuse).
//
//   topic                    when                                                   may return
//   job.create               a job arrives, unchecked; throw refuses it             -
//   job.validate             is it acceptable? (also after an update of its jobspec) -
//   job.dependency.SCHEME    a dependency of this scheme; throw refuses the job     -
//   job.new                  a job was accepted; also for each job there is when    annotations
//                            the plugin is loaded or the instance restarts
//   job.state.STATE          it entered depend priority sched run cleanup inactive  priority annotations R (sched only)
//   job.event.NAME           any event of a job that the plugin subscribed to       annotations
//   job.update               its jobspec was changed                                annotations
//   job.update.KEY           may this jobspec key be changed? throw refuses         validated feasibility updates
//   job.priority.get         what is its priority now?                              priority
//   job.destroy              it was refused, or is over                             -
//   job.inactive-add, job.inactive-remove    it is remembered, forgotten            -
//   conf.update              the instance's configuration; throw refuses it         -
//   plugin.query             `flux jobtap query`                                    an object to add to the answer
//
// A topic may have * for any characters: "job.state.*".
import type { EventlogEntry } from "../formats/eventlog.ts";
import type { JobId } from "../formats/fluid.ts";
import type { Json, JsonObject } from "../formats/json.ts";
import type { Clock } from "../os/clock.ts";
import type { Flux } from "./flux.ts";
import type { JobResult, JobState } from "./jobs.ts";
import type { Method } from "./service.ts";

/** What a callback is told. */
export interface JobtapArgs {
  readonly topic: string;
  readonly id: JobId;
  readonly userid: number;
  readonly urgency: number;
  /** One of STATE. */
  readonly state: JobState;
  /** -1 before it has one. */
  readonly priority: number;
  readonly t_submit: number;
  /** Without environment. Never change it: see tap.updateJobspec(). */
  readonly jobspec: JsonObject;
  /** From state RUN on. */
  readonly R?: JsonObject | undefined;
  /** What led to CLEANUP. */
  readonly end_event?: EventlogEntry | undefined;
  /** job.state.*: the event, and the state before. job.event.*: the event. */
  readonly entry?: EventlogEntry;
  readonly prev_state?: JobState;
  /** job.dependency.*: {scheme, value, …}. */
  readonly dependency?: JsonObject;
  /** job.update: what was changed. */
  readonly updates?: JsonObject;
  /** job.update.KEY: the key, its new value, and who wants it. */
  readonly key?: string;
  readonly value?: Json;
  readonly cred?: { readonly userid: number; readonly rolemask: number };
}

export interface JobtapAnswer {
  /** A number from 0 to 2^32 - 1; "unavailable": there will be one later. */
  readonly priority?: number | "unavailable";
  /** Merged into the job's annotations; null removes. */
  readonly annotations?: JsonObject;
  /** Resources that the job runs on without asking the scheduler; with flag alloc-bypass. */
  readonly R?: JsonObject;
  /** This change needs no job.validate. */
  readonly validated?: boolean;
  /** The scheduler must be asked whether the changed job can ever run. */
  readonly feasibility?: boolean;
  /** Further changes that go with this one. */
  readonly updates?: JsonObject;
}

export type JobCallback = (args: JobtapArgs) => JobtapAnswer | void;

export interface JobtapCallbacks {
  readonly "conf.update"?: (config: JsonObject) => void;
  readonly "plugin.query"?: () => JsonObject;
  readonly [topic: `job.${string}`]: JobCallback;
  /** For tap.call(). */
  readonly [topic: string]: ((args: never) => unknown) | undefined;
}

/** What a plugin can do. An unknown or inactive job is FluxError ENOENT. */
export interface Tap {
  /** The job manager's handle: RPCs, events, log. */
  readonly h: Flux;
  readonly clock: Clock;
  /** The plugin's, as `flux jobtap list` shows it. */
  readonly name: string;
  /** What it was loaded with; {} for nothing. */
  readonly conf: JsonObject;
  /** User id of the instance owner. */
  readonly owner: number;

  /** An active job; undefined when there is none of that id. */
  job(id: JobId): JobtapArgs | undefined;
  jobs(): JobtapArgs[];
  /** How a job in CLEANUP or INACTIVE ended. */
  result(id: JobId): JobResult | undefined;
  /** The job's eventlog, and what is posted and waits to be applied. */
  events(id: JobId): EventlogEntry[];
  /** Whether an event of that name has been posted to the job. */
  wasPosted(id: JobId, name: string): boolean;
  /** The plugin's own data of a job, gone with the job. */
  aux(id: JobId): Map<string, unknown>;

  post(id: JobId, name: string, context?: JsonObject): void;
  /** Severity 0 ends the job. */
  raise(id: JobId, type: string, severity: number, note: string): void;
  /** Holds a job in DEPEND. False: it had this dependency already, perhaps before a restart; it is met or stands as it is. */
  addDependency(id: JobId, description: string): boolean;
  removeDependency(id: JobId, description: string): void;
  /** The job doesn't start before the prolog has finished. EINVAL when it is too late. */
  startProlog(id: JobId, description: string): void;
  finishProlog(id: JobId, description: string, status: number): void;
  /** The job keeps its resources until the epilog has finished. EINVAL unless the job is in CLEANUP. */
  startEpilog(id: JobId, description: string): void;
  finishEpilog(id: JobId, description: string, status: number): void;
  /** "debug", "immutable", "alloc-bypass". */
  setFlag(id: JobId, flag: string): void;
  /** Changes the jobspec of a pending job: {"attributes.system.duration": 60}. Other plugins may refuse it. */
  updateJobspec(id: JobId, updates: JsonObject): void;
  reprioritize(id: JobId, priority: number): void;
  /** Every pending job is asked for its priority again. */
  reprioritizeAll(): void;
  /** From now on the plugin's job.event.* callbacks are called for this job. */
  subscribe(id: JobId): void;
  unsubscribe(id: JobId): void;
  /** Calls other plugins' callbacks for a topic that doesn't begin with "job."; the last answer. */
  call(topic: string, args: unknown): unknown;
  /** Offers job-manager.PLUGIN.METHOD; for the instance owner only, unless `users`. */
  serve(method: string, run: Method, options?: { readonly users?: boolean }): void;
}

export interface JobtapPlugin {
  /** For service names; default: that of the file. */
  readonly name?: string;
  /** Order in which jobs are announced to a plugin that is loaded later: by state and id, or backwards. */
  readonly order?: "state" | "-state";
  start(tap: Tap): JobtapCallbacks | Promise<JobtapCallbacks>;
  /** The plugin is removed, or the job manager ends. */
  stop?(): void;
}

export function defineJobtap(plugin: JobtapPlugin): JobtapPlugin {
  return plugin;
}
