// The requests that job-manager answers, and who may make them: guests act on their own jobs, the instance owner on all.
import { DEFERRED, type Request } from "../../client/request.ts";
import { JOBID_ANY, RUNNING, STATE, URGENCY, USERID_ANY } from "../../client/jobs.ts";
import { allowUser, type Answer, type Methods } from "../../client/service.ts";
import { type EventlogEntry, parseEventlog } from "../../formats/eventlog.ts";
import { formatJobId, type JobId } from "../../formats/fluid.ts";
import { encodeJson, type Json, type JsonObject } from "../../formats/json.ts";
import { errno, FluxError, toFluxError } from "../../message/errno.ts";
import { arr, bool, def, int, jobid, json, num, obj, opt, type Reader, str, uint } from "../../message/unpack.ts";
import { DECODED_MAX } from "./alloc.ts";
import { type Job, jobspecOf, newJob, queueOf, systemAttribute } from "./job.ts";
import type { JobManager } from "./job-manager.ts";
import { dependenciesOf } from "./jobtap/jobtap.ts";
import { type Queue, setEnabled, setStarted } from "./queues.ts";
import { NEW_JOB, replay } from "./state.ts";
import { readJob } from "./store.ts";
import { nextTurn } from "./turn.ts";
import { updateJob } from "./update.ts";

const SIGNAL_MAX = 64;
/** Jobs that one slice of raiseall or of a queue's start takes before others get their turn. */
const SLICE = 200;

/** A user id; -1, as C clients write it, is any user. */
const userOrAny: Reader<number> = (value, path) => (value === -1 ? USERID_ANY : uint(value, path));
/** A job id; -1 is any job. */
const jobOrAny: Reader<JobId> = (value, path) => (value === -1 ? JOBID_ANY : jobid(value, path));

export function methods(m: JobManager): Methods {
  return {
    submit: (req) => submit(m, req),
    raise: allowUser((req) => raise(m, req)),
    raiseall: allowUser((req) => raiseAll(m, req)),
    kill: allowUser((req) => kill(m, req)),
    killall: allowUser((req) => killAll(m, req)),
    urgency: allowUser((req) => urgency(m, req)),
    memo: allowUser((req) => memo(m, req)),
    update: allowUser((req) => updateJob(m, req)),
    getattr: allowUser((req) => getattr(m, req)),
    getinfo: allowUser((req) => getinfo(m, req)),
    list: (req) => list(m, req),
    "inactive-list": () => ({ ids: m.core.inactive.ids(), ...(m.index === undefined ? {} : { index: m.index.name }) }),
    jobtap: (req) => jobtap(m, req),
    "jobtap-query": (req) => m.jobtap.query(req.unpack({ name: str }).name),
    "housekeeping-kill": (req) => m.housekeeping.kill(req),
    wait: (req) => wait(m, req),
    drain: (req) => defer(() => m.drain.drain(req)),
    idle: (req) => defer(() => m.drain.idle(req)),
    purge: (req) => m.purge.request(req),
    "purge-id": (req) => m.purge.requestId(req),
    "queue-list": allowUser(() => ({ queues: m.queues.names() })),
    "queue-status": allowUser((req) => m.queues.statusOf(req.unpack({ name: opt(str) }).name, m.alloc.isOnline)),
    "queue-enable": (req) => queueEnable(m, req),
    "queue-start": (req) => queueStart(m, req),
    "alloc-query": allowUser(() => ({ queue_length: m.alloc.queued, alloc_pending: m.alloc.pending, running: m.core.running })),
    "resource-status": () => ({ allocated: m.alloc.allocated() }),
    "events-journal": (req) => defer(() => m.journal.listen(req)),
    "sched-hello": (req) => defer(() => m.alloc.hello(req)),
    "sched-ready": (req) => m.alloc.ready(req),
    "exec-hello": (req) => defer(() => m.exec.hello(req)),
    disconnect: allowUser((req) => {
      m.alloc.disconnect(req.sender);
      m.exec.disconnect(req.sender);
    }),
  };
}

function defer(keep: () => void): Answer {
  keep();
  return DEFERRED;
}

// ---- submission

interface Submission {
  readonly id: JobId;
  readonly userid: number;
  readonly urgency: number;
  readonly flags: number;
  readonly t_submit: number;
  readonly jobspec: JsonObject;
}

/** From job-ingest, a batch of jobs that are valid and in the KVS. The answer comes when their eventlogs are there too. */
function submit(m: JobManager, request: Request): Answer {
  const { jobs } = request.unpack({ jobs: arr(obj) });
  const errors: Json[] = [];
  const accepted: Job[] = [];
  for (const item of jobs) {
    const submission = unpackSubmission(item);
    try {
      accepted.push(accept(m, submission));
    } catch (err) {
      errors.push([submission.id, toFluxError(err).message]);
    }
  }
  m.eventlogs.whenStored((error) => {
    for (const job of accepted) {
      if (error !== undefined) withdraw(m, job);
      else admit(m, job);
    }
    if (error !== undefined) request.fail(error);
    else request.respond({ errors });
  });
  m.touch();
  return DEFERRED;
}

const SUBMISSION = { id: jobid, userid: uint, urgency: uint, flags: uint, t_submit: num, jobspec: obj };

function unpackSubmission(item: JsonObject): Submission {
  return Object.fromEntries(Object.entries(SUBMISSION).map(([name, reader]) => [name, reader(item[name], `jobs.${name}`)])) as object as Submission;
}

/** A job in state NEW whose events wait for the commit. Throws FluxError EINVAL saying why it is refused; then nothing of it is left. */
function accept(m: JobManager, { id, userid, urgency, flags, t_submit, jobspec }: Submission): Job {
  const queue = queueOf(jobspec);
  m.queues.checkSubmit(queue);
  if (m.core.active.has(id) || m.core.inactive.has(id)) throw new FluxError(errno.EINVAL, `job id ${formatJobId(id, "f58")} is in use`);
  const job = newJob(id, { ...NEW_JOB, userid, jobspec: encodeJson(jobspec) }, queue, jobspec);
  m.core.add(job);
  try {
    m.core.post(job, "submit", { userid, urgency, flags, version: 1 }, { timestamp: t_submit });
    m.jobtap.admit(job);
    if (systemAttribute(jobspec, "dependencies") !== undefined) checkDependencies(m, job, jobspec);
  } catch (err) {
    refuse(m, job);
    throw err;
  }
  m.dependencies.accepted(job, jobspec);
  m.jobtap.tell("job.new", job);
  job.held = true;
  m.core.post(job, "validate");
  return job;
}

function checkDependencies(m: JobManager, job: Job, jobspec: JsonObject): void {
  for (const [i, dependency] of dependenciesOf(jobspec).entries()) m.jobtap.dependency(job, dependency, i);
}

/** Journal listeners saw the submit event: they are told to forget the job. */
function refuse(m: JobManager, job: Job): void {
  job.held = false;
  m.core.discard(job);
  m.eventlogs.forget(job.id);
  m.core.post(job, "invalidate", undefined, { volatile: true });
  m.dependencies.left(job);
  m.jobtap.tell("job.destroy", job);
}

/** The KVS could not take the submission. */
function withdraw(m: JobManager, job: Job): void {
  m.dependencies.ended(job, () => jobspecOf(job));
  refuse(m, job);
}

function admit(m: JobManager, job: Job): void {
  m.waiting.added(job);
  m.history.add(job.facts.userid, job.id, job.facts.t_submit);
  if (m.core.active.size > DECODED_MAX) job.decoded = undefined;
  try {
    m.core.release(job);
  } catch (err) {
    m.h.log(3, `job ${formatJobId(job.id, "f58")}: ${toFluxError(err).message}`);
  }
}

// ---- one job

/** An active job. Throws FluxError with `code` that says whether it is inactive or unknown. */
function activeJob(m: JobManager, id: JobId, code: number, unknown = "unknown job id"): Job {
  const job = m.core.active.get(id);
  if (job !== undefined) return job;
  throw new FluxError(code, m.core.inactive.has(id) ? "job is inactive" : unknown);
}

function requireOwner(request: Request, userid: number, text: string): void {
  if (!request.isOwner && request.userid !== userid) throw new FluxError(errno.EPERM, text);
}

function checkException(type: string, severity: number): void {
  if (severity < 0 || severity > 7) throw new FluxError(errno.EPROTO, "invalid exception severity");
  if (type === "" || /[\s=]/.test(type)) throw new FluxError(errno.EPROTO, "invalid exception type");
}

function raise(m: JobManager, request: Request): void {
  const { id, severity, type, note, wait_status, first } = request.unpack({ id: jobid, severity: int, type: str, note: opt(str), wait_status: opt(int), first: opt(bool) });
  checkException(type, severity);
  const job = activeJob(m, id, errno.ENOENT);
  requireOwner(request, job.facts.userid, "guests can only raise exceptions on their own jobs");
  // Shells of many nodes that fail for the same reason: one exception says it.
  if (first === true && job.facts.end?.name === "exception") return;
  m.raise(job, { type, severity, note, userid: request.userid, wait_status: wait_status === -1 ? undefined : wait_status });
}

async function raiseAll(m: JobManager, request: Request): Promise<JsonObject> {
  const { dry_run, userid, states, severity, type, note } = request.unpack({
    dry_run: bool, userid: userOrAny, states: int, severity: int, type: str, note: opt(str),
  });
  requireOwner(request, userid, "guests can only raise exceptions on their own jobs");
  checkException(type, severity);
  const jobs = [...m.core.active.values()].filter(({ facts }) => (facts.state & states) !== 0 && (userid === USERID_ANY || userid === facts.userid));
  if (dry_run) return { count: jobs.length, errors: 0 };
  let errors = 0;
  for (let i = 0; i < jobs.length; i++) {
    const job = jobs[i];
    if (i % SLICE === SLICE - 1) await nextTurn();
    if (job === undefined || job.facts.closed) continue;
    try {
      m.raise(job, { type, severity, note, userid: request.userid });
    } catch (err) {
      m.h.log(3, `error raising exception on id=${formatJobId(job.id, "f58")}: ${toFluxError(err).message}`);
      errors++;
    }
  }
  return { count: jobs.length, errors };
}

function checkSignal(signum: number): void {
  if (signum <= 0 || signum > SIGNAL_MAX) throw new FluxError(errno.EINVAL, "Invalid signal number");
}

/** The shells of the job hear of the signal by an event. */
function signal(m: JobManager, job: Job, signum: number): void {
  m.h.publish(`shell-${job.id}.kill`, { signum });
}

function kill(m: JobManager, request: Request): void {
  const { id, signum } = request.unpack({ id: jobid, signum: int });
  checkSignal(signum);
  const job = activeJob(m, id, errno.EINVAL);
  requireOwner(request, job.facts.userid, "guests may only send signals to their own jobs");
  if ((job.facts.state & RUNNING) === 0) throw new FluxError(errno.EINVAL, "job is not running");
  signal(m, job, signum);
}

function killAll(m: JobManager, request: Request): JsonObject {
  const { dry_run, userid, signum } = request.unpack({ dry_run: bool, userid: userOrAny, signum: int });
  requireOwner(request, userid, "guests can only kill their own jobs");
  checkSignal(signum);
  const jobs = [...m.core.active.values()].filter(({ facts }) => (facts.state & RUNNING) !== 0 && (userid === USERID_ANY || userid === facts.userid));
  if (!dry_run) for (const job of jobs) signal(m, job, signum);
  return { count: jobs.length, errors: 0 };
}

/** Guests may lower the urgency of their jobs, or raise it up to the default. */
function urgency(m: JobManager, request: Request): JsonObject {
  const { id, urgency } = request.unpack({ id: jobid, urgency: int });
  if (urgency < URGENCY.MIN || urgency > URGENCY.MAX) throw new FluxError(errno.EINVAL, "urgency value is out of range");
  const job = activeJob(m, id, errno.EINVAL, "unknown job");
  requireOwner(request, job.facts.userid, "guests can only reprioritize their own jobs");
  if (!request.isOwner && urgency > Math.max(URGENCY.DEFAULT, job.facts.urgency)) {
    throw new FluxError(errno.EPERM, "guests can only adjust urgency <= default");
  }
  if (job.facts.hasResources) throw new FluxError(errno.EINVAL, "urgency cannot be changed once resources are allocated");
  const old_urgency = job.facts.urgency;
  m.core.post(job, "urgency", { userid: request.userid, urgency });
  return { old_urgency };
}

function memo(m: JobManager, request: Request): void {
  const { id, memo, volatile } = request.unpack({ id: jobid, memo: obj, volatile: def(bool, false) });
  const job = activeJob(m, id, errno.ENOENT);
  requireOwner(request, job.facts.userid, "guests can only add a memo to their own jobs");
  m.core.post(job, "memo", memo, { volatile });
}

function getinfo(m: JobManager, request: Request): JsonObject {
  m.privateMode.check(request);
  return { max_jobid: m.core.maxJobid };
}

/** Refused without a reason in private mode, which would say that there is such a job. */
async function getattr(m: JobManager, request: Request): Promise<JsonObject> {
  const { id, attrs } = request.unpack({ id: jobid, attrs: arr(str) });
  const job = m.core.active.get(id);
  const userid = job?.facts.userid ?? m.core.inactive.get(id)?.userid;
  if (userid !== request.userid) m.privateMode.check(request);
  if (userid === undefined) throw new FluxError(errno.EINVAL, "unknown job");
  requireOwner(request, userid, "guests can only access their own jobs");
  const { jobspec, R, events } = job === undefined ? await storedAttributes(m, id) : activeAttributes(job);
  const answer: Record<string, Json> = {};
  for (const attr of attrs) {
    const value = attr === "jobspec" ? jobspec : attr === "R" ? R : attr === "eventlog" ? (events as readonly object[] as JsonObject[]) : undefined;
    if (value === undefined) throw new FluxError(errno.ENOENT, attr === "R" ? "R is NULL" : `unknown attr ${attr}`);
    answer[attr] = value;
  }
  return answer;
}

interface Attributes {
  readonly jobspec: JsonObject;
  readonly R: JsonObject | undefined;
  readonly events: readonly EventlogEntry[];
}

function activeAttributes(job: Job): Attributes {
  return { jobspec: jobspecOf(job), R: job.facts.R, events: parseEventlog(job.eventlog) };
}

async function storedAttributes(m: JobManager, id: JobId): Promise<Attributes> {
  const stored = await readJob(m.h, id);
  if (stored === undefined) throw new FluxError(errno.EINVAL, "unknown job");
  const events = parseEventlog(stored.eventlog);
  const facts = replay(events, stored.jobspec, stored.R);
  return { jobspec: jobspecOf(newJob(id, facts)), R: facts.R, events };
}

// ---- all jobs

/** Those that wait for resources in their order, then the other active ones, then those that are over and may be waited for. */
function list(m: JobManager, request: Request): JsonObject {
  const { max_entries } = request.unpack({ max_entries: int });
  if (max_entries < 0) throw new FluxError(errno.EPROTO, "max_entries must not be negative");
  const jobs = m.alloc.inOrder();
  for (const job of m.core.active.values()) if (job.alloc !== "queued") jobs.push(job);
  const max = max_entries === 0 ? Infinity : max_entries;
  const shown = jobs.slice(0, max).map(listed);
  for (const id of m.waiting.zombies()) {
    if (shown.length >= max) break;
    const job = m.core.inactive.get(id);
    if (job !== undefined) shown.push({ id, userid: job.userid, t_submit: job.t_submit, state: STATE.INACTIVE });
  }
  return { jobs: shown };
}

function listed({ id, facts }: Job): JsonObject {
  const { userid, urgency, priority, t_submit, state, annotations, dependencies } = facts;
  return {
    id, userid, urgency, priority, t_submit, state,
    ...(annotations === undefined ? {} : { annotations }),
    ...(dependencies.length === 0 ? {} : { dependencies }),
  };
}

function wait(m: JobManager, request: Request): Answer {
  const { id } = request.unpack({ id: jobOrAny });
  return m.waiting.wait(request, id, m.core.active) ?? DEFERRED;
}

// ---- plugins

/** Removes first, so that one request replaces a plugin. */
async function jobtap(m: JobManager, request: Request): Promise<JsonObject | undefined> {
  const { load, conf, remove, query_only } = request.unpack({ load: opt(str), conf: opt(json), remove: opt(str), query_only: def(bool, false) });
  if (query_only) return { plugins: m.jobtap.list() };
  if (remove !== undefined) m.jobtap.remove(remove);
  if (load !== undefined) await m.jobtap.load(load, conf);
  return undefined;
}

// ---- queues

async function queueEnable(m: JobManager, request: Request): Promise<void> {
  const { name, enable, reason, all } = request.unpack({ name: opt(str), enable: bool, reason: opt(str), all: def(bool, false) });
  if (!enable && reason === undefined) throw new FluxError(errno.EINVAL, "reason is required for disable");
  for (const queue of m.queues.select(name, all)) setEnabled(queue, enable, reason);
  await m.saveQueues();
}

async function queueStart(m: JobManager, request: Request): Promise<void> {
  const { name, start, reason, all, nocheckpoint } = request.unpack({
    name: opt(str), start: bool, reason: opt(str), all: def(bool, false), nocheckpoint: def(bool, false),
  });
  const queues = m.queues.select(name, all);
  for (const queue of queues) setStarted(queue, start, reason, !nocheckpoint);
  await requeue(m, m.queues.withVirtual(queues));
  if (!nocheckpoint) await m.saveQueues();
}

/** Takes the jobs of stopped queues back from the scheduler, or offers it those of started ones. */
async function requeue(m: JobManager, queues: readonly Queue[]): Promise<void> {
  const names = new Set<string | undefined>(queues.map((queue) => queue.name));
  const jobs = [...m.core.active.values()].filter((job) => job.facts.state === STATE.SCHED && names.has(job.queue));
  for (let i = 0; i < jobs.length; i++) {
    const job = jobs[i];
    if (i % SLICE === SLICE - 1) await nextTurn();
    if (job === undefined || job.facts.state !== STATE.SCHED) continue;
    if (m.queues.isStarted(job.queue)) m.alloc.enqueue(job);
    else if (job.alloc === "queued") m.alloc.leaveQueue(job);
    else m.alloc.cancel(job);
  }
}
