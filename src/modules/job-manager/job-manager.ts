// job-manager: owns every job from submission to its end (RFC 21). It drives each through the states, asks the scheduler
// for resources (RFC 27) and the execution system to run it (RFC 32), writes its eventlog (RFC 16), and answers requests
// about jobs and queues. Loaded on rank 0.
//
//   submit {jobs: [{id, userid, urgency, t_submit, flags, jobspec}]} → {errors: [[id, text]]}
//   raise, raiseall, kill, killall, urgency, memo, update, wait, list, getattr, getinfo, purge, purge-id, drain, idle
//   inactive-list → {ids, index?}: jobs that are over; index: lists of them that were kept for another index are worthless
//   queue-list, queue-status, queue-enable, queue-start, alloc-query, resource-status
//   jobtap, jobtap-query, housekeeping-kill
//   events-journal, history.get, post-event.post, sched-hello, sched-ready, exec-hello
//
// The parts: state.ts says what events do, job.ts what a job needs, core.ts brings events and needs together; the other
// files are one partner or request each. What happens in one turn of the event loop is stored and told at its end.
import { configTable } from "../../client/config-table.ts";
import type { Flux } from "../../client/flux.ts";
import { kvsCommit, kvsCommitDurably, type KvsOp, kvsWatch } from "../../client/kvs.ts";
import { defineModule, type ModuleContext, type ModuleHooks } from "../../client/module.ts";
import { STATE } from "../../client/jobs.ts";
import { PrivateMode } from "../../client/private-mode.ts";
import { parseEventlog } from "../../formats/eventlog.ts";
import { formatJobId } from "../../formats/fluid.ts";
import type { JsonObject } from "../../formats/json.ts";
import type { Method, OpenMethod } from "../../client/service.ts";
import { errno, FluxError, toFluxError } from "../../message/errno.ts";
import { Alloc } from "./alloc.ts";
import { Core } from "./core.ts";
import { Dependencies } from "./dependencies.ts";
import { Drain } from "./drain.ts";
import { Eventlogs } from "./eventlogs.ts";
import { Exec } from "./exec.ts";
import { Housekeeping } from "./housekeeping.ts";
import { History } from "./history.ts";
import { inactiveRow } from "./inactive.ts";
import { isWaitable, type Job, jobspecOf, newJob } from "./job.ts";
import { JobIndex } from "./job-index.ts";
import { builtins } from "./jobtap/builtins.ts";
import { dependenciesOf, Jobtap } from "./jobtap/jobtap.ts";
import { Journal, type JournalRecord } from "./journal.ts";
import { Lifetime } from "./lifetime.ts";
import { methods } from "./methods.ts";
import { checkPolicies } from "./policy.ts";
import { Purge } from "./purge.ts";
import { Queues, setStarted } from "./queues.ts";
import { restart } from "./restart.ts";
import { replay } from "./state.ts";
import { checkpointOperation, readJob } from "./store.ts";
import { createTurn } from "./turn.ts";
import { Waiting } from "./wait.ts";

/** As stock Flux has it in its lists. */
const PERILOG = "perilog.so";

/** Everything that the request handlers of methods.ts work with. */
export interface JobManager {
  readonly h: Flux;
  readonly context: ModuleContext;
  readonly core: Core;
  readonly alloc: Alloc;
  readonly exec: Exec;
  readonly queues: Queues;
  readonly journal: Journal;
  readonly eventlogs: Eventlogs;
  readonly waiting: Waiting;
  readonly drain: Drain;
  readonly dependencies: Dependencies;
  readonly history: History;
  readonly purge: Purge;
  readonly jobtap: Jobtap;
  readonly housekeeping: Housekeeping;
  readonly lifetime: Lifetime;
  readonly privateMode: PrivateMode;
  /** The methods of the service; plugins add theirs. */
  readonly methods: Record<string, Method | OpenMethod>;
  /** undefined where nothing outlasts the instance. */
  readonly index: JobIndex | undefined;
  /** Something was posted outside of a job's events: end the turn. */
  touch(): void;
  /** Resolves when what the administrator did to the queues survives a crash. */
  saveQueues(): Promise<void>;
  raise(job: Job, exception: Exception): void;
}

export interface Exception {
  readonly type: string;
  readonly severity: number;
  readonly note?: string | undefined;
  readonly userid?: number;
  readonly wait_status?: number | undefined;
}

export default defineModule({
  name: "job-manager",
  async start(h, context): Promise<ModuleHooks> {
    const opened = await JobIndex.open(h);
    const index = opened?.index;
    const manager = createManager(h, context, index);
    Object.assign(manager.methods, methods(manager));
    configure(manager, context.config);
    await manager.jobtap.start(context.config);
    await loadPerilog(manager, context.config);
    await restart({
      h,
      core: manager.core,
      index: opened,
      checkpoint: ({ queues }) => restoreQueues(manager, queues, context.config),
      append: (id, line) => {
        manager.eventlogs.append(id, line);
        manager.touch();
      },
      added: (job) => readmit(manager, job),
      remembered: (id, facts) => {
        manager.history.add(facts.userid, id, facts.t_submit);
        manager.waiting.remembered(id, facts);
      },
      indexed: ({ userid, id, t_submit }) => manager.history.add(userid, id, t_submit),
    });
    const heartbeat = await h.subscribe("heartbeat.pulse", () => manager.purge.tick());
    await h.serve("job-manager", manager.methods);
    manager.lifetime.watch();
    return {
      async stop() {
        await heartbeat.unsubscribe();
        manager.lifetime.stop();
        manager.housekeeping.stop();
        manager.dependencies.stop();
        manager.journal.end();
        manager.jobtap.stop();
        await manager.eventlogs.settled();
        await kvsCommit(h, [checkpointOf(manager)]);
        index?.close();
      },
      stats(request) {
        manager.privateMode.check(request);
        return stats(manager);
      },
      async reconfigure(config) {
        configure(manager, config);
        manager.jobtap.configure(config);
        await loadPerilog(manager, config);
      },
    };
  },
});

export function createManager(h: Flux, context: ModuleContext, index?: JobIndex): JobManager {
  const { clock, owner } = context;
  const touch = createTurn(() => {
    if (h.isClosed) return;
    journal.flush();
    alloc.pump();
    eventlogs.flush();
  });
  const core = new Core({
    now_s: () => clock.now_s(),
    log: (text) => h.log(3, text),
    journal: (job, entry) => journal.add(job, entry),
    append: (id, line) => {
      eventlogs.append(id, line);
      touch();
    },
    priority: (job) => jobtap.priority(job),
    perform: (need, job) => {
      switch (need) {
        case "alloc":
          return alloc.enqueue(job);
        case "leave-queue":
          return alloc.leaveQueue(job);
        case "cancel-alloc":
          return alloc.cancel(job);
        case "drop-alloc":
          return alloc.drop(job);
        case "start":
          return exec.start(job);
        case "free":
          alloc.free(job);
          job.freePosted = true;
          return core.post(job, "free");
      }
    },
    observe: (job, entry, previous) => {
      touch();
      const { state } = job.facts;
      if (entry.name === "submit") index?.submitted(job.id);
      else if (entry.name === "start") dependencies.started(job);
      else if (entry.name === "resource-update" && entry.context !== undefined) exec.expirationChanged(job, entry.context);
      else if (entry.name === "priority" && previous === STATE.SCHED) alloc.reprioritized(job);
      else if (entry.name === "priority" && job.alloc === "sent") alloc.reprioritized(job);
      if (previous === STATE.DEPEND && state !== STATE.DEPEND) dependencies.left(job);
      jobtap.applied(job, entry, previous);
    },
    retired: (job) => {
      // Who waits for it after a restart wants to know more than the index has.
      if (index !== undefined && !isWaitable(job)) index.retired(inactiveRow(job.id, job.facts));
      waiting.ended(job);
      dependencies.ended(job, () => jobspecOf(job));
      jobtap.tell("job.inactive-add", job);
      jobtap.tell("job.destroy", job);
      drain.check();
    },
  });
  const raise = (job: Job, exception: Exception): void => raiseException(h, core, job, exception);
  const raiseAsOwner = (job: Job, type: string, severity: number, note: string): void => raise(job, { type, severity, note, userid: owner });
  const raiseSafely = (job: Job, type: string, severity: number, note: string): void =>
    logFailure(h, job, () => raiseAsOwner(job, type, severity, note));
  const queues = new Queues();
  const eventlogs = new Eventlogs({ commit: (operations, lazy, ids) => commitEventlogs(h, index, operations, lazy, ids), log: (text) => h.log(2, text) });
  const journal = new Journal({
    activeJobs: () => core.active.values(),
    inactiveIds: () => core.inactive.ids(),
    stored: () =>
      new Promise((resolve) => {
        eventlogs.whenStored(() => resolve());
        touch();
      }),
    readInactive: (id) => readRecord(h, id),
  });
  const housekeeping = new Housekeeping({ h, clock, free: (id, R, final) => alloc.release(id, R, final) });
  const alloc: Alloc = new Alloc({
    h,
    core,
    isStarted: (job) => queues.isStarted(job.queue),
    housekeeping,
    raise: raiseAsOwner,
    changed: () => drain.check(),
    touch,
  });
  const exec = new Exec({ h, core, owner, raise: raiseSafely });
  const waiting = new Waiting();
  const drain = new Drain({
    active: () => core.active.size,
    running: () => core.running,
    requested: () => alloc.pending,
    whenStored: (fn) => {
      eventlogs.whenStored(fn);
      touch();
    },
  });
  const dependencies = new Dependencies({
    clock,
    findActive: (id) => core.active.get(id),
    findInactive: (id) => core.inactive.get(id),
    post: (job, name, eventContext) => logFailure(h, job, () => core.post(job, name, eventContext)),
    raise: raiseSafely,
  });
  const history = new History((id) => core.active.has(id) || core.inactive.has(id));
  const methodTable: Record<string, Method | OpenMethod> = {};
  const lifetime: Lifetime = new Lifetime({ log: (level, text) => h.log(level, text), watch: () => kvsWatch(h, "resource.R", { waitCreate: true }), core });
  const plugins = builtins({ dependencies: () => dependencies, history: () => history, queues, expiration_s: () => lifetime.expiration_s });
  const jobtap: Jobtap = new Jobtap({ h, clock, owner, core, raise: raiseAsOwner, methods: methodTable }, plugins);
  const purge: Purge = new Purge({
    h,
    core,
    now_s: () => clock.now_s(),
    commit: (operations) => kvsCommit(h, operations),
    checkpoint: () => checkpointOf(manager),
    removed: (job) => {
      history.removed(job.userid);
      jobtap.forgotten(job);
      index?.removed([job.id]);
    },
    settled: () => eventlogs.settled(),
  });
  const manager: JobManager = { h, context, core, alloc, exec, queues, journal, eventlogs, waiting, drain, dependencies, history, purge, jobtap, housekeeping, lifetime, privateMode: new PrivateMode(), methods: methodTable, index, touch, saveQueues: () => saveQueues(manager), raise };
  return manager;
}

async function commitEventlogs(h: Flux, index: JobIndex | undefined, operations: KvsOp[], lazy: boolean, ids: Iterable<bigint>): Promise<void> {
  index?.beforeCommit();
  const { rootseq } = await kvsCommit(h, operations, { lazy });
  index?.committed(ids, rootseq);
}

async function saveQueues(manager: JobManager): Promise<void> {
  await kvsCommitDurably(manager.h, [checkpointOf(manager)]);
}

/** Posts the exception event and tells everybody by the event "job-exception" {id, type, severity}. */
function raiseException(h: Flux, core: Core, job: Job, { type, severity, note, userid, wait_status }: Exception): void {
  const status = wait_status === undefined ? {} : { wait_status };
  core.post(job, "exception", { type, severity, note: note ?? "", ...(userid === undefined ? {} : { userid }), ...status });
  h.publish("job-exception", { id: job.id, type, severity, ...status }, { private: true });
}

/** A job that restart.ts brought back takes its place. */
function readmit(manager: JobManager, job: Job): void {
  const jobspec = jobspecOf(job);
  manager.history.add(job.facts.userid, job.id, job.facts.t_submit);
  manager.waiting.added(job);
  manager.dependencies.accepted(job, jobspec);
  manager.jobtap.tell("job.create", job);
  manager.jobtap.tell("job.new", job);
  if (job.facts.state !== STATE.DEPEND || job.facts.dependencies.length === 0) return;
  for (const [i, dependency] of dependenciesOf(jobspec).entries()) {
    try {
      manager.jobtap.dependency(job, dependency, i);
    } catch (err) {
      manager.raise(job, { type: "dependency", severity: 4, note: `${toFluxError(err).message} (job may be stuck in DEPEND state)` });
    }
  }
}

async function readRecord(h: Flux, id: bigint): Promise<JournalRecord | undefined> {
  const stored = await readJob(h, id);
  if (stored === undefined) return undefined;
  const events = parseEventlog(stored.eventlog);
  const facts = replay(events, stored.jobspec, stored.R);
  return { id, events, jobspec: jobspecOf(newJob(id, facts)), ...(facts.R === undefined ? {} : { R: facts.R }) };
}

function checkpointOf({ core, queues }: JobManager): KvsOp {
  return checkpointOperation({ maxJobid: core.maxJobid, queues: queues.save() });
}

function configure({ queues, purge, housekeeping, privateMode }: JobManager, config: JsonObject): void {
  checkPolicies(config);
  stopsOnRestart(config);
  privateMode.configure(config);
  purge.configure(config);
  housekeeping.configure(config);
  queues.configure(config);
}

/** Throws FluxError EINVAL. */
function stopsOnRestart(config: JsonObject): boolean {
  const value = configTable(config, "job-manager")["stop-queues-on-restart"] ?? false;
  if (typeof value !== "boolean") throw new FluxError(errno.EINVAL, "job-manager.stop-queues-on-restart: must be true or false");
  return value;
}

/** [job-manager] stop-queues-on-restart: those that were started wait for the administrator. */
function restoreQueues({ queues }: JobManager, saved: readonly JsonObject[], config: JsonObject): void {
  queues.restore(saved);
  if (!stopsOnRestart(config)) return;
  for (const queue of queues.all()) if (queue.started) setStarted(queue, false, "Automatically stopped due to restart", true);
}

/** Who configures a prolog or epilog gets the plugin that runs it. */
async function loadPerilog({ jobtap }: JobManager, config: JsonObject): Promise<void> {
  const { prolog, epilog } = configTable(config, "job-manager");
  if (prolog === undefined && epilog === undefined) return;
  if (!jobtap.list().some((name) => name === "perilog" || name === PERILOG)) await jobtap.loadNeeded(PERILOG);
}

function stats({ core, journal, eventlogs, housekeeping }: JobManager): JsonObject {
  return {
    journal: { listeners: journal.listeners, events: journal.events },
    active_jobs: core.active.size,
    inactive_jobs: core.inactive.size,
    max_jobid: core.maxJobid,
    commits: eventlogs.commits,
    housekeeping: housekeeping.stats(),
  };
}

function logFailure(h: Flux, job: Job, run: () => void): void {
  try {
    run();
  } catch (err) {
    h.log(3, `job ${formatJobId(job.id, "f58")}: ${toFluxError(err).message}`);
  }
}
