// Housekeeping: [job-manager.housekeeping] (flux-config-job-manager(5)): a program that runs on every rank of a job when the job
// is over, before its resources go back to the scheduler. The job doesn't wait for it.
//
//   job-manager.housekeeping-kill {signum, jobid?, ranks?}
//
// Resources are freed when all ranks are done; with release-after = "0" as each is done; with another duration, those
// that are done so long after the first one was, and then each.
// Environment of the program: FLUX_JOB_ID, FLUX_JOB_USERID, FLUX_JOB_RANKS.
import type { Flux } from "../../client/flux.ts";
import type { Request } from "../../client/request.ts";
import { formatJobId, type JobId } from "../../formats/fluid.ts";
import { parseDuration } from "../../formats/fsd.ts";
import { IdSet } from "../../formats/idset.ts";
import { isJsonObject, type Json, type JsonObject } from "../../formats/json.ts";
import { Rset } from "../../formats/rset.ts";
import { exitCode, termSignal } from "../../formats/waitstatus.ts";
import { describeSignal } from "../../formats/signal.ts";
import { errno, FluxError, toFluxError } from "../../message/errno.ts";
import { int, jobid, opt, type Reader, str } from "../../message/unpack.ts";
import type { Clock, Timer } from "../../os/clock.ts";
import { type Bulk, bulkErrorText, hostNames, runOnRanks } from "../../client/bulk.ts";
import type { Job } from "./job.ts";

export interface HousekeepingPorts {
  readonly h: Flux;
  readonly clock: Clock;
  /** Returns resources to the scheduler. */
  readonly free: (id: JobId, R: JsonObject, final: boolean) => void;
}

interface Settings {
  readonly command: readonly string[];
  /** -1: when all are done. */
  readonly releaseAfter_s: number;
  /** A setting of old releases that has no effect. */
  readonly useSystemdUnit: boolean;
}

interface Allocation {
  readonly id: JobId;
  readonly userid: number;
  readonly priority: number;
  readonly t_submit: number;
  readonly t_start: number;
  /** What has not been freed. */
  R: Rset;
  /** Ranks where the program has not ended. */
  readonly pending: IdSet;
  readonly freed: IdSet;
  bulk: Bulk;
  timer: Timer | undefined;
  isTimeUp: boolean;
}

const NEVER = -1;
const SIGTERM = 15;
const KEYS = ["command", "release-after", "use-systemd-unit", "exit-on-first-error"];
/** -1, as C clients write it, is every job. */
const jobOrAny: Reader<JobId | undefined> = (value, path) => (value === undefined || value === -1 ? undefined : jobid(value, path));

export class Housekeeping {
  readonly #ports: HousekeepingPorts;
  readonly #allocations = new Map<JobId, Allocation>();
  #settings: Settings | undefined;

  constructor(ports: HousekeepingPorts) {
    this.#ports = ports;
  }

  get isConfigured(): boolean {
    return this.#settings !== undefined;
  }

  /** Takes the configuration. Throws FluxError EINVAL. */
  configure(config: JsonObject): void {
    this.#settings = settingsOf(config);
    if (this.#settings?.useSystemdUnit === true) {
      this.#ports.h.log(3, "job-manager.housekeeping.use-systemd-unit is deprecated - ignoring: let the command start the unit and wait for it");
    }
    this.#ports.h.log(7, `housekeeping is ${this.#settings === undefined ? "not " : ""}configured`);
  }

  /** Takes over the resources of a job that is over. False: there is no housekeeping. */
  start({ id, facts }: Job): boolean {
    if (this.#settings === undefined || facts.R === undefined) return false;
    const { h, clock } = this.#ports;
    const R = Rset.parse(facts.R);
    const { userid, priority, t_submit } = facts;
    const name = formatJobId(id, "f58");
    const hosts = hostNames(h);
    const say = (level: 3 | 6, rank: number, text: string): void => void hosts.then((names) => h.log(level, `housekeeping: ${names(IdSet.of(rank))} (rank ${rank}) ${name}: ${text}`));
    const bulk = runOnRanks({
      h,
      ranks: R.ranks,
      argv: this.#settings.command,
      env: { FLUX_JOB_ID: String(id), FLUX_JOB_USERID: String(userid), FLUX_JOB_RANKS: R.ranks.toString() },
      onLine: (rank, stream, line) => say(stream === "stderr" ? 3 : 6, rank, line),
      onError: (rank, error) => say(3, rank, bulkErrorText(error)),
      onExit: (rank, status) => {
        const failure = failureOf(status);
        if (failure !== undefined) say(3, rank, failure);
        this.#finished(allocation, rank);
      },
    });
    const allocation: Allocation = {
      id, userid, priority, t_submit, R, bulk, t_start: clock.now_s(), pending: R.ranks.clone(), freed: new IdSet(), timer: undefined, isTimeUp: false,
    };
    this.#allocations.set(id, allocation);
    h.log(7, `housekeeping: ${name} started`);
    return true;
  }

  /** What the scheduler has to be told about when it comes back; one that doesn't know of partly freed jobs gets those rest freed by force. */
  hello(request: Request, partialOk: boolean): void {
    for (const { id, priority, userid, t_submit, freed, pending, bulk } of [...this.#allocations.values()]) {
      if (freed.isEmpty || partialOk) {
        request.respond({ id, priority, userid, t_submit, ...(freed.isEmpty ? {} : { free: freed.toString() }) });
        continue;
      }
      this.#ports.h.log(3, `housekeeping: rank ${pending.toString()} from ${formatJobId(id, "f58")} will be terminated because scheduler does not support restart with partially released resources`);
      this.#allocations.delete(id);
      this.#kill(bulk, SIGTERM);
    }
  }

  /** What housekeeping holds. */
  resources(): Rset[] {
    return Array.from(this.#allocations.values(), ({ R }) => R);
  }

  kill(request: Request): void {
    const { signum, jobid: id, ranks } = request.unpack({ signum: int, jobid: jobOrAny, ranks: opt(str) });
    const only = ranks === undefined ? undefined : IdSet.parse(ranks);
    for (const allocation of this.#allocations.values()) {
      if (id === undefined || allocation.id === id) this.#kill(allocation.bulk, signum, only);
    }
  }

  /** For stats-get. */
  stats(): JsonObject {
    const running = Array.from(this.#allocations.values(), ({ id, t_start, pending, R }) => [
      formatJobId(id, "f58"),
      { t_start, pending: pending.toString(), allocated: R.ranks.toString() },
    ]);
    return {
      running: Object.fromEntries(running),
      config: { "release-after": this.#settings?.releaseAfter_s ?? NEVER, command: (this.#settings?.command ?? []).join(" ") },
    };
  }

  stop(): void {
    for (const { timer } of this.#allocations.values()) this.#ports.clock.clear(timer);
  }

  #kill(bulk: Bulk, signum: number, ranks?: IdSet): void {
    bulk.kill(signum, ranks).catch((err: unknown) => this.#ports.h.log(3, `kill: ${toFluxError(err).message}`));
  }

  #finished(allocation: Allocation, rank: number): void {
    if (this.#allocations.get(allocation.id) !== allocation || !allocation.pending.remove(rank)) return;
    const releaseAfter_s = this.#settings?.releaseAfter_s ?? NEVER;
    if (allocation.pending.isEmpty || releaseAfter_s === 0 || allocation.isTimeUp) this.#release(allocation);
    else if (releaseAfter_s > 0 && allocation.timer === undefined) {
      allocation.timer = this.#ports.clock.setTimer(releaseAfter_s * 1000, () => {
        allocation.isTimeUp = true;
        this.#release(allocation);
      });
    }
    if (!allocation.pending.isEmpty) return;
    this.#ports.clock.clear(allocation.timer);
    this.#allocations.delete(allocation.id);
    this.#ports.h.log(7, `housekeeping: ${formatJobId(allocation.id, "f58")} complete`);
  }

  /** Frees the ranks that are done. */
  #release(allocation: Allocation): void {
    const ranks = allocation.R.ranks.subtract(allocation.pending);
    if (ranks.isEmpty) return;
    const done = allocation.R.slice(ranks);
    allocation.R = allocation.R.slice(allocation.pending);
    for (const rank of ranks) allocation.freed.add(rank);
    this.#ports.free(allocation.id, done.encode(), allocation.pending.isEmpty);
  }
}

function failureOf(status: number): string | undefined {
  const signal = termSignal(status);
  if (signal !== undefined) return describeSignal(signal);
  return exitCode(status) === 0 ? undefined : "nonzero exit code";
}

function settingsOf(config: JsonObject): Settings | undefined {
  const manager = config["job-manager"];
  const table = isJsonObject(manager) ? manager["housekeeping"] : undefined;
  if (table === undefined) return undefined;
  const fail = (text: string): FluxError => new FluxError(errno.EINVAL, text);
  if (!isJsonObject(table)) throw fail("job-manager.housekeeping: must be a table");
  const unknown = Object.keys(table).find((key) => !KEYS.includes(key));
  if (unknown !== undefined) throw fail(`job-manager.housekeeping: 1 object item(s) left unpacked: ${unknown}`);
  const exec = config["exec"];
  const imp = isJsonObject(exec) ? exec["imp"] : undefined;
  const command = table["command"] ?? (typeof imp === "string" ? [imp, "run", "housekeeping"] : undefined);
  if (command === undefined) throw fail("job-manager.housekeeping implies IMP but exec.imp is undefined");
  if (!Array.isArray(command) || command.length === 0 || !(command as readonly Json[]).every((word) => typeof word === "string")) {
    throw fail("error creating housekeeping command");
  }
  const flag = (name: string): boolean => {
    const value = table[name] ?? false;
    if (typeof value !== "boolean") throw fail(`job-manager.housekeeping.${name}: must be true or false`);
    return value;
  };
  flag("exit-on-first-error"); // flux perilog-run obeys it
  return { command: command as readonly string[], releaseAfter_s: releaseAfter(table["release-after"]), useSystemdUnit: flag("use-systemd-unit") };
}

function releaseAfter(value: Json | undefined): number {
  if (value === undefined) return NEVER;
  try {
    if (typeof value === "string") return parseDuration(value);
  } catch {
    // Said below.
  }
  throw new FluxError(errno.EINVAL, "job-manager.housekeeping.release-after FSD parse error");
}
