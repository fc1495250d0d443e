// Core: the active jobs, and the one way in which anything happens to them: an event is posted, the state machine takes
// it, the journal and the eventlog get it, and what the job then needs is done. Whoever needs to hear of events
// (dependencies, waiters, queues) observes.
import { type JobState, RUNNING, STATE } from "../../client/jobs.ts";
import { type EventlogEntry, formatEventlogEntry } from "../../formats/eventlog.ts";
import { flat } from "../../formats/flat.ts";
import type { JobId } from "../../formats/fluid.ts";
import type { JsonObject } from "../../formats/json.ts";
import { toFluxError } from "../../message/errno.ts";
import { InactiveJobs } from "./inactive.ts";
import { type Job, jobspecOf, type Need, needsOf, queueOf } from "./job.ts";
import { apply } from "./state.ts";

export interface PostOptions {
  /** Only for the journal, not for the eventlog in the KVS. */
  readonly volatile?: boolean;
  /** Default: now. */
  readonly timestamp?: number;
}

/** What the core needs done by others. */
export interface CorePorts {
  now_s(): number;
  log(text: string): void;
  /** Tells journal listeners. `job.facts` are still those before the event. */
  journal(job: Job, entry: EventlogEntry): void;
  /** Appends to the job's eventlog in the KVS. */
  append(id: JobId, line: string): void;
  /** Priority of a job in PRIORITY; undefined: it will be posted later. */
  priority(job: Job): number | undefined;
  perform(need: Exclude<Need, "depend" | "priority" | "clean" | "retire">, job: Job): void;
  /** An event was applied; `previous` is the state before. */
  observe(job: Job, entry: EventlogEntry, previous: JobState): void;
  /** The job is over and is active no more. */
  retired(job: Job): void;
}

export class Core {
  readonly active = new Map<JobId, Job>();
  readonly inactive = new InactiveJobs();
  /** Jobs in RUN or CLEANUP. */
  running = 0;
  maxJobid: JobId = 0n;
  readonly #ports: CorePorts;

  constructor(ports: CorePorts) {
    this.#ports = ports;
  }

  add(job: Job): void {
    this.active.set(job.id, job);
    if (job.id > this.maxJobid) this.maxJobid = job.id;
    if ((job.facts.state & RUNNING) !== 0) this.running++;
  }

  /** Takes back a job that was refused. */
  discard(job: Job): void {
    job.inbox = [];
    this.active.delete(job.id);
  }

  /**
   * Posts an event. It is applied at once, or after the event that is being applied.
   * Throws FluxError when the event isn't possible (RFC 21); then nothing has changed.
   */
  post(job: Job, name: string, context?: JsonObject, options: PostOptions = {}): void {
    const timestamp = options.timestamp ?? this.#ports.now_s();
    const entry: EventlogEntry = context === undefined ? { timestamp, name } : { timestamp, name, context };
    job.inbox.push({ entry, volatile: options.volatile ?? false });
    if (job.inbox.length === 1 && !job.held) this.#drain(job);
  }

  /** The submission is in the KVS: events that waited for it are applied. */
  release(job: Job): void {
    job.held = false;
    this.#drain(job);
  }

  /** Does what the job needs in its state. */
  act(job: Job): void {
    for (const need of needsOf(job)) this.#do(need, job);
  }

  #do(need: Need, job: Job): void {
    switch (need) {
      case "depend":
        job.dependPosted = true;
        return this.post(job, "depend");
      case "priority": {
        job.priorityAsked = true;
        const priority = this.#ports.priority(job);
        return priority === undefined ? undefined : this.post(job, "priority", { priority });
      }
      case "clean":
        job.cleanPosted = true;
        return this.post(job, "clean");
      case "retire":
        return this.#retire(job);
      case "leave-queue":
      case "drop-alloc":
        this.#ports.perform(need, job);
        if (job.facts.state === STATE.CLEANUP) this.act(job);
        return;
      default:
        return this.#ports.perform(need, job);
    }
  }

  /**
   * Applies what is in the inbox, in order, and then does what the job needs: an event may have brought on another one, such as a
   * plugin's exception, after which it needs something else. An impossible event is dropped; the first such error is thrown in
   * the end.
   */
  #drain(job: Job): void {
    let failure: unknown;
    let changed = false;
    for (let next = job.inbox[0]; next !== undefined; next = job.inbox[0]) {
      if (job.facts.closed) {
        job.inbox = [];
        this.act(job);
        break;
      }
      try {
        this.#process(job, next.entry, next.volatile);
        changed = true;
      } catch (err) {
        failure ??= err;
        if (job.inbox.length > 1) this.#ports.log(`job ${job.id}: ${next.entry.name}: ${toFluxError(err).message}`);
      }
      if (changed && job.inbox.length === 1) {
        changed = false;
        try {
          this.act(job);
        } catch (err) {
          failure ??= err;
        }
      }
      job.inbox.shift();
    }
    if (failure !== undefined) throw failure;
  }

  #process(job: Job, entry: EventlogEntry, volatile: boolean): void {
    const previous = job.facts.state;
    const facts = apply(job.facts, entry);
    this.#ports.journal(job, entry);
    job.facts = facts;
    if (!volatile) {
      const line = formatEventlogEntry(entry);
      job.eventlog = flat(job.eventlog + line);
      this.#ports.append(job.id, line);
    }
    if (entry.name === "jobspec-update") {
      job.decoded = undefined;
      job.queue = queueOf(jobspecOf(job));
    }
    if (facts.state === STATE.PRIORITY && previous !== STATE.PRIORITY) job.priorityAsked = false;
    this.#count(previous, facts.state);
    this.#ports.observe(job, entry, previous);
  }

  #count(previous: JobState, state: JobState): void {
    const was = (previous & RUNNING) !== 0;
    const is = (state & RUNNING) !== 0;
    if (is && !was) this.running++;
    if (was && !is) this.running--;
  }

  #retire(job: Job): void {
    if (!this.active.delete(job.id)) return;
    this.inactive.add(job.id, job.facts);
    this.#ports.retired(job);
  }
}
