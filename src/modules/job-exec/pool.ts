// Pool: the shell processes of one broker. Each waits for a job, runs it, and waits again; one job at a time, never for two users.
//
// Processes are started when a job wants one and none is idle. A few stay for the next jobs. One that dies is gone with its job only;
// one that says that something was left over, or has run many jobs, is replaced.
import type { Request } from "../../client/request.ts";
import type { JsonObject } from "../../formats/json.ts";
import { errno, FluxError, toFluxError } from "../../message/errno.ts";
import type { Clock, Timer } from "../../os/clock.ts";
import { signalStatus } from "../../formats/waitstatus.ts";
import { sendSignal, type Child } from "../../os/spawn.ts";

/** Starts a shell process that will ask for work with `job-exec.shell-wait`. Throws when it can't. */
export type StartShell = () => Pick<Child, "pid" | "reaped">;

export interface PoolOptions {
  readonly clock: Clock;
  readonly start: StartShell;
  /** Idle processes to keep. */
  readonly keep: () => number;
  readonly jobsMax: () => number;
  /** A process that has not asked for work after so long is killed. Default: START_LIMIT_MS. */
  readonly startLimit_ms?: number;
  readonly log: (level: 3 | 4 | 7, text: string) => void;
}

/** A shell that runs, or will run, one job. */
export interface Lease {
  /** An order for the shell; without effect before it has its job. */
  order(order: JsonObject): void;
  /** Signals the process and the process groups of the tasks it told of. False while no process has the job. */
  kill(pids: readonly number[], signum: number): boolean;
  /** Gives the process back. */
  release(reuse: boolean): void;
  /** Gives up waiting; false when a process has the job. */
  cancel(): boolean;
}

export interface LeaseEvents {
  /** Its process ended: wait status. */
  readonly lost: (status: number) => void;
  /** No process could be started. */
  readonly failed: (error: FluxError) => void;
  /** A process has the job; reports of this sender are about it. */
  readonly taken: (sender: string) => void;
}

interface Worker {
  readonly request: Request;
  readonly pid: number;
  jobs: number;
  lease: Waiting | undefined;
  /** Since when it is idle, by the clock's monotonic_ms. */
  idleSince_ms: number;
}

interface Waiting {
  readonly job: JsonObject;
  readonly events: LeaseEvents;
  worker: Worker | undefined;
}

/** Processes that may be on their way at a time. */
const STARTING_MAX = 8;
/** A process on its way holds one of those places: it gets this long to ask for work. */
const START_LIMIT_MS = 60_000;
/** Idle processes beyond those to keep stay this long, since the next jobs may be near. */
const SURPLUS_MS = 5000;
/** All but one go after this. */
const IDLE_MS = 60_000;
const IDLE_MAX = 64;
/** When the pool ends, how long a shell may take to end its job's tasks (worker.ts) before it is killed. */
const RETIRE_MS = 2000;
/** How long a process may live on whose connection has ended. */
const ENDING_MS = 500;
const SIGKILL = 9;

export class Pool {
  readonly #options: PoolOptions;
  readonly #workers = new Set<Worker>();
  readonly #idle: Worker[] = [];
  readonly #queue: Waiting[] = [];
  /** Started and not yet heard of, by process id: what kills each when it stays silent. */
  readonly #starting = new Map<number, Timer>();
  readonly #processes = new Map<number, Promise<{ status: number }>>();
  #idleTimer: Timer | undefined;
  #stopped = false;
  #started = 0;

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  get stats(): JsonObject {
    return { shells: this.#workers.size, idle: this.#idle.length, starting: this.#starting.size, waiting: this.#queue.length, started: this.#started };
  }

  /** Gives `job` to a shell process, now or when there is one. */
  lease(job: JsonObject, events: LeaseEvents): Lease {
    const waiting: Waiting = { job, events, worker: undefined };
    const worker = this.#idle.pop();
    if (worker !== undefined) this.#give(worker, waiting);
    else {
      this.#queue.push(waiting);
      this.#startNeeded();
    }
    return {
      order: (order) => waiting.worker?.request.respond(order),
      kill: (pids, signum) => this.#kill(waiting, pids, signum),
      release: (reuse) => this.#release(waiting, reuse),
      cancel: () => this.#cancel(waiting),
    };
  }

  /** A shell process asks for work. The request stays open as long as the process serves. */
  join(request: Request, pid: number): void {
    const worker: Worker = { request, pid, jobs: 0, lease: undefined, idleSince_ms: 0 };
    this.#arrived(pid);
    this.#workers.add(worker);
    request.onCancel(() => this.#gone(worker));
    this.#ready(worker);
    this.#startNeeded();
  }

  /** Starts processes in advance, up to `count` idle ones. */
  warm(count: number): void {
    while (!this.#stopped && this.#idle.length + this.#starting.size < Math.min(count, STARTING_MAX)) {
      if (!this.#startOne()) return;
    }
  }

  /** Ends all processes; resolves when they are gone. One with a job ends its tasks first; one that doesn't go is killed. */
  async stop(): Promise<void> {
    this.#stopped = true;
    const { clock } = this.#options;
    clock.clear(this.#idleTimer);
    for (const worker of this.#workers) {
      worker.request.respond({ type: "retire" });
      worker.request.finish();
    }
    for (const [pid, timer] of this.#starting) {
      clock.clear(timer);
      if (pid > 1) sendSignal(pid, SIGKILL);
    }
    this.#workers.clear();
    this.#idle.length = 0;
    const killer = clock.setTimer(RETIRE_MS, () => {
      for (const pid of this.#processes.keys()) if (pid > 1) sendSignal(pid, SIGKILL);
    });
    await Promise.allSettled(this.#processes.values());
    clock.clear(killer);
  }

  #give(worker: Worker, waiting: Waiting): void {
    worker.jobs++;
    worker.lease = waiting;
    waiting.worker = worker;
    waiting.events.taken(worker.request.sender);
    worker.request.respond(waiting.job);
  }

  #ready(worker: Worker): void {
    const waiting = this.#queue.shift();
    if (waiting !== undefined) return this.#give(worker, waiting);
    if (this.#stopped || this.#idle.length >= IDLE_MAX) return this.#retire(worker);
    worker.idleSince_ms = this.#options.clock.monotonic_ms();
    this.#idle.push(worker);
    this.#watchIdle();
  }

  #watchIdle(): void {
    if (this.#idle.length > Math.min(1, this.#options.keep())) this.#idleTimer ??= this.#options.clock.setTimer(SURPLUS_MS, () => this.#shrink()).unref();
  }

  /** Lets processes go that have been idle for long; the one that was used last is used next. */
  #shrink(): void {
    this.#idleTimer = undefined;
    const now_ms = this.#options.clock.monotonic_ms();
    const keep = this.#options.keep();
    for (;;) {
      const [oldest] = this.#idle;
      if (oldest === undefined) break;
      const idle_ms = now_ms - oldest.idleSince_ms;
      const goes = this.#idle.length > keep ? idle_ms >= SURPLUS_MS : this.#idle.length > Math.min(1, keep) && idle_ms >= IDLE_MS;
      if (!goes) break;
      this.#idle.shift();
      this.#retire(oldest);
    }
    this.#watchIdle();
  }

  #retire(worker: Worker): void {
    this.#workers.delete(worker);
    worker.request.respond({ type: "retire" });
    worker.request.finish();
  }

  #release(waiting: Waiting, reuse: boolean): void {
    const { worker } = waiting;
    if (worker === undefined) return;
    waiting.worker = undefined;
    worker.lease = undefined;
    if (!this.#workers.has(worker)) return;
    if (!reuse || worker.jobs >= this.#options.jobsMax()) this.#retire(worker);
    else this.#ready(worker);
    this.#startNeeded();
  }

  #cancel(waiting: Waiting): boolean {
    const at = this.#queue.indexOf(waiting);
    if (at < 0) return false;
    this.#queue.splice(at, 1);
    return true;
  }

  #kill(waiting: Waiting, pids: readonly number[], signum: number): boolean {
    const { worker } = waiting;
    if (worker === undefined) return false;
    signalGroups(pids, signum);
    if (worker.pid > 1) sendSignal(worker.pid, signum);
    return true;
  }

  /** The process's connection ended. */
  #gone(worker: Worker): void {
    this.#workers.delete(worker);
    const at = this.#idle.indexOf(worker);
    if (at >= 0) this.#idle.splice(at, 1);
    const waiting = worker.lease;
    if (waiting === undefined) return;
    waiting.worker = undefined;
    const process = this.#processes.get(worker.pid);
    if (process === undefined) return waiting.events.lost(signalStatus(SIGKILL));
    // A process that lost its connection is of no use, whatever it still does. One that is ending says how.
    const { clock } = this.#options;
    const killer = clock.setTimer(ENDING_MS, () => worker.pid > 1 && sendSignal(worker.pid, SIGKILL));
    const lost = (status: number): void => {
      clock.clear(killer);
      waiting.events.lost(status);
    };
    process.then(({ status }) => lost(status), () => lost(signalStatus(SIGKILL)));
  }

  #startNeeded(): void {
    while (!this.#stopped && this.#starting.size < Math.min(this.#queue.length, STARTING_MAX)) {
      if (!this.#startOne()) return;
    }
  }

  #startOne(): boolean {
    try {
      const child = this.#options.start();
      this.#started++;
      this.#expect(child.pid);
      this.#processes.set(child.pid, child.reaped);
      child.reaped.then(
        ({ status }) => this.#ended(child.pid, status),
        () => this.#ended(child.pid, signalStatus(SIGKILL)),
      );
      return true;
    } catch (err) {
      const error = toFluxError(err, errno.EIO);
      this.#options.log(3, `cannot start a job shell: ${error.message}`);
      this.#queue.shift()?.events.failed(error);
      return false;
    }
  }

  /** The process asks for work in time, or is killed: #ended() then fails a job that waits, as for any that dies early. */
  #expect(pid: number): void {
    const { clock, log, startLimit_ms = START_LIMIT_MS } = this.#options;
    const expire = (): void => {
      log(3, `job shell ${pid} did not ask for work within ${startLimit_ms / 1000} s: it is killed`);
      if (pid > 1) sendSignal(pid, SIGKILL);
    };
    this.#starting.set(pid, clock.setTimer(startLimit_ms, expire).unref());
  }

  /** It is not on its way any more; false when it was not. */
  #arrived(pid: number): boolean {
    this.#options.clock.clear(this.#starting.get(pid));
    return this.#starting.delete(pid);
  }

  #ended(pid: number, status: number): void {
    setImmediate(() => this.#processes.delete(pid));
    if (!this.#arrived(pid) || this.#stopped) return;
    // It never asked for work: the next job would wait for ever.
    this.#options.log(3, `a job shell ended before it took a job (wait status ${status})`);
    this.#queue.shift()?.events.failed(new FluxError(errno.EIO, `job shell ended with wait status ${status} before it took the job`));
    this.#startNeeded();
  }
}

/** Process groups may be gone already. */
export function signalGroups(pids: readonly number[], signum: number): void {
  for (const pid of pids) if (pid > 1) sendSignal(-pid, signum);
}
