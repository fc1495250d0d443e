// perilog: the programs of [job-manager.prolog] and [job-manager.epilog] (flux-config-job-manager(5)): the prolog runs when a job
// has its resources and before its tasks start, the epilog when its tasks have ended and before its resources are free; on
// rank 0, or with per-rank on each of the job's.
//
//   events: prolog-start {description: "job-manager.prolog"}, prolog-finish {description, status}, likewise epilog
//   a prolog that fails ends the job with a fatal exception "prolog"; an epilog raises one of severity 2. Ranks where it
//   failed (per-rank), or that did not end it after SIGTERM and kill-timeout, are drained before the event.
//
// Environment of the programs: FLUX_JOB_ID, FLUX_JOB_USERID, FLUX_JOB_RANKS.
import { defineJobtap, type JobtapArgs, type Tap } from "../../../client/jobtap.ts";
import { RUNNING } from "../../../client/jobs.ts";
import { drain } from "../../../client/resources.ts";
import { parseDuration } from "../../../formats/fsd.ts";
import { formatJobId, type JobId } from "../../../formats/fluid.ts";
import { IdSet } from "../../../formats/idset.ts";
import { isJsonObject, type Json, type JsonObject } from "../../../formats/json.ts";
import { Rset } from "../../../formats/rset.ts";
import { exitCode, termSignal } from "../../../formats/waitstatus.ts";
import { errno, FluxError, toFluxError } from "../../../message/errno.ts";
import type { Timer } from "../../../os/clock.ts";
import { type Bulk, bulkErrorText, hostNames, runOnRanks } from "../../../client/bulk.ts";

type Kind = "prolog" | "epilog";

interface Settings {
  readonly command: readonly string[];
  readonly perRank: boolean;
  readonly cancelOnException: boolean;
  /** 0: none. */
  readonly timeout_s: number;
  readonly killTimeout_s: number;
}

interface Run {
  readonly kind: Kind;
  readonly id: JobId;
  readonly job: JobtapArgs;
  readonly settings: Settings;
  readonly bulk: Bulk;
  state: "running" | "canceled" | "timeout";
  isFinished: boolean;
  /** Seconds on the monotonic clock at which the timer goes off. */
  due_s: number;
  timer: Timer | undefined;
  /** Ranks named in messages. */
  failed: IdSet;
  /** It did not end after SIGTERM. */
  gaveUp: boolean;
}

const KILL_TIMEOUT_S = 60;
const SIGTERM = 15;
const PROLOG_TIMEOUT = "30m";
const LOG_IGNORE_MAX = 100;
/** Number of the broker's state "cleanup" in state-machine.monitor. */
const BROKER_CLEANUP = 6;
const KEYS = ["command", "timeout", "kill-timeout", "per-rank", "cancel-on-exception", "exit-on-first-error"];

export const perilog = defineJobtap({
  start(tap) {
    const { h } = tap;
    let settings: { readonly prolog: Settings | undefined; readonly epilog: Settings | undefined } = { prolog: undefined, epilog: undefined };
    let ignored: readonly RegExp[] = [];
    let isEnding = false;
    const runs = new Map<JobId, Run>();
    const hosts = hostNames(h);
    watchBroker(tap, () => {
      isEnding = true;
    });

    const log = (level: 3 | 6, text: string): void => h.log(level, text);
    const begin = (kind: Kind, job: JobtapArgs, own: Settings): void => {
      const name = formatJobId(job.id, "f58");
      const jobRanks = Rset.parse(job.R).ranks;
      const ranks = own.perRank ? jobRanks : IdSet.of(0);
      const prefix = (names: (ranks: IdSet) => string, rank: number): string => `${name}: ${kind}: ${names(IdSet.of(rank))} (rank ${rank}): `;
      const bulk = runOnRanks({
        h,
        ranks,
        argv: own.command,
        env: { FLUX_JOB_ID: name, FLUX_JOB_RANKS: jobRanks.toString(), FLUX_JOB_USERID: String(job.userid) },
        onLine(rank, stream, line) {
          if (/^\s*$/.test(line) || ignored.some((pattern) => pattern.test(line))) return;
          void hosts.then((names) => log(stream === "stderr" ? 3 : 6, `${prefix(names, rank)}${stream}: ${line}`));
        },
        onError: (rank, error) => void hosts.then((names) => log(3, prefix(names, rank) + bulkErrorText(error))),
      });
      const run: Run = { kind, id: job.id, job, settings: own, bulk, state: "running", isFinished: false, due_s: -1, timer: undefined, failed: new IdSet(), gaveUp: false };
      runs.set(job.id, run);
      if (own.timeout_s > 0) arm(tap, run, own.timeout_s, () => terminate(run, "timeout"));
      bulk.done.then(
        (status) => ended(run, status),
        (err: unknown) => log(3, `${name}: ${kind}: ${toFluxError(err).message}`),
      );
    };

    /** SIGTERM now; after kill-timeout the ranks where it still runs are drained and the job goes on. */
    const terminate = (run: Run, state: "canceled" | "timeout"): void => {
      if (run.isFinished || run.gaveUp) return;
      run.state = state;
      run.bulk.kill(SIGTERM).catch((err: unknown) => log(3, `${formatJobId(run.id, "f58")}: Failed to signal job ${run.kind}: ${toFluxError(err).message}`));
      arm(tap, run, run.settings.killTimeout_s, () => {
        log(3, `${formatJobId(run.id, "f58")}: timed out waiting for SIGTERM to terminate ${run.kind}`);
        run.gaveUp = true;
        run.failed = run.bulk.active.clone();
        const word = run.state === "canceled" ? "canceled then timed out" : "timed out";
        settle(run, drainFailed(run, word), exitOf(run));
      });
    };

    const ended = (run: Run, status: number): void => {
      if (run.gaveUp || run.isFinished) return;
      tap.clock.clear(run.timer);
      run.failed = run.bulk.failed.clone();
      const needsDrain = run.settings.perRank && run.state !== "canceled" && status !== 0;
      const word = run.state === "timeout" ? "timed out" : "failed";
      settle(run, needsDrain ? drainFailed(run, word) : Promise.resolve(), status);
    };

    const settle = (run: Run, drained: Promise<void>, status: number): void => {
      drained.then(() => finish(run, status)).catch((err: unknown) => log(3, `${formatJobId(run.id, "f58")}: ${run.kind}: ${toFluxError(err).message}`));
    };

    /** Resources must not go to another job before they are drained. */
    const drainFailed = async (run: Run, word: string): Promise<void> => {
      const reason = `${run.kind} ${word} for job ${formatJobId(run.id, "f58")}`;
      if (run.failed.isEmpty) return log(3, `${reason} but no failed ranks identified`);
      try {
        await drain(h, run.failed.toString(), { reason, mode: "update" });
      } catch (err) {
        log(3, `Failed to drain ranks with failed ${run.kind} for ${formatJobId(run.id, "f58")}: ${toFluxError(err).message}`);
      }
    };

    const finish = async (run: Run, status: number): Promise<void> => {
      const { kind, id } = run;
      const names = await hosts;
      const hasFailed = status !== 0 || run.state !== "running";
      const isCanceled = run.state === "canceled";
      runs.delete(id);
      tap.clock.clear(run.timer);
      run.isFinished = true;
      if (tap.job(id) === undefined) return;
      if ((status !== 0 && !isCanceled) || run.gaveUp) {
        tap.raise(id, kind, kind === "prolog" ? 0 : 2, failureText(run, status, names(run.failed)));
      }
      // There won't be a finish event: what the prolog did is undone by the epilog all the same.
      const epilog = kind === "prolog" && hasFailed && !isEnding ? settings.epilog : undefined;
      if (epilog !== undefined) tap.startEpilog(id, "job-manager.epilog");
      if (kind === "prolog") tap.finishProlog(id, "job-manager.prolog", status);
      else {
        tap.unsubscribe(id);
        tap.finishEpilog(id, "job-manager.epilog", status);
      }
      if (epilog !== undefined) begin("epilog", run.job, epilog);
    };

    return {
      "conf.update": (config) => {
        const table = tableOf(config["job-manager"]);
        const next = { prolog: settingsOf(config, "prolog"), epilog: settingsOf(config, "epilog") };
        ignored = patternsOf(tableOf(table["perilog"])["log-ignore"]);
        settings = next;
      },
      // After a restart, or when the plugin is loaded late: what was begun and not finished is begun again.
      "job.new": (job) => {
        if ((job.state & RUNNING) === 0) return;
        tap.subscribe(job.id);
        for (const kind of ["prolog", "epilog"] as const) {
          if (!isUnfinished(tap, job.id, kind)) continue;
          const own = settings[kind];
          if (own !== undefined) begin(kind, job, own);
          else if (kind === "prolog") tap.finishProlog(job.id, "job-manager.prolog", 0);
          else tap.finishEpilog(job.id, "job-manager.epilog", 0);
        }
      },
      "job.state.run": (job) => {
        if (settings.prolog === undefined && settings.epilog === undefined) return;
        tap.subscribe(job.id);
        if (settings.prolog === undefined) return;
        begin("prolog", job, settings.prolog);
        tap.startProlog(job.id, "job-manager.prolog");
      },
      "job.event.finish": (job) => {
        // Epilogs may take long: an instance that ends doesn't start any.
        if (settings.epilog === undefined || isEnding || runs.has(job.id)) return;
        begin("epilog", job, settings.epilog);
        tap.startEpilog(job.id, "job-manager.epilog");
      },
      "job.event.exception": ({ id, entry }) => {
        const run = runs.get(id);
        if (entry?.context?.["severity"] !== 0 || run === undefined || !run.settings.cancelOnException || run.state !== "running") return;
        if (!run.bulk.active.isEmpty) terminate(run, "canceled");
      },
      "plugin.query": () => ({
        conf: { prolog: showSettings(settings.prolog), epilog: showSettings(settings.epilog) },
        procs: Object.fromEntries(Array.from(runs.values(), (run) => [formatJobId(run.id, "f58"), showRun(tap, run)])),
      }),
    };
  },
});

function isUnfinished(tap: Tap, id: JobId, kind: Kind): boolean {
  const events = tap.events(id).filter(({ context }) => context?.["description"] === `job-manager.${kind}`);
  const count = (name: string): number => events.filter((event) => event.name === name).length;
  return count(`${kind}-start`) > count(`${kind}-finish`);
}

function exitOf(run: Run): number {
  return run.state === "timeout" ? SIGTERM : 1 << 8;
}

function arm(tap: Tap, run: Run, delay_s: number, fn: () => void): void {
  tap.clock.clear(run.timer);
  run.due_s = tap.clock.monotonic_ms() / 1000 + delay_s;
  run.timer = tap.clock.setTimer(delay_s * 1000, fn).unref();
}

function failureText(run: Run, status: number, hosts: string): string {
  const where = `on ${hosts} (rank ${run.failed.toString()})`;
  if (run.state === "canceled") return `${run.kind} canceled then timed out ${where}`;
  if (run.state === "timeout") return `${run.kind} timed out ${where}`;
  const code = exitCode(status) ?? -1;
  const signal = termSignal(status) ?? (code > 128 ? code - 128 : undefined);
  return signal === undefined ? `${run.kind} exited with code=${code} ${where}` : `${run.kind} killed by signal ${signal} ${where}`;
}

/** Calls `fn` when the broker begins to end. */
function watchBroker({ h }: Tap, fn: () => void): void {
  const watch = async (): Promise<void> => {
    for await (const { state } of h.stream("state-machine.monitor", { final: BROKER_CLEANUP })) if (Number(state) >= BROKER_CLEANUP) fn();
  };
  watch().catch((err: unknown) => h.log(7, `perilog: the broker's state can't be watched: ${toFluxError(err).message}`));
}

// ---- configuration

const tableOf = (value: Json | undefined): JsonObject => (isJsonObject(value) ? value : {});

function settingsOf(config: JsonObject, kind: Kind): Settings | undefined {
  const table = tableOf(config["job-manager"])[kind];
  if (table === undefined) return undefined;
  const fail = (text: string): FluxError => new FluxError(errno.EINVAL, `[job-manager.${kind}]: ${text}`);
  if (!isJsonObject(table)) throw fail("it must be a table");
  const unknown = Object.keys(table).find((key) => !KEYS.includes(key));
  if (unknown !== undefined) throw fail(`1 object item(s) left unpacked: ${unknown}`);
  const { imp } = tableOf(config["exec"]);
  const command = table["command"] ?? (typeof imp === "string" ? [imp, "run", kind] : undefined);
  if (command === undefined) throw fail("no command specified and exec.imp not defined");
  if (!Array.isArray(command)) throw fail("command must be an array");
  if (command.length === 0 || !(command as readonly Json[]).every((word) => typeof word === "string")) throw fail(`malformed ${kind} command`);
  const flag = (name: string, otherwise: boolean): boolean => {
    const value = table[name] ?? otherwise;
    if (typeof value !== "boolean") throw fail(`${name} must be true or false`);
    return value;
  };
  const killTimeout = table["kill-timeout"];
  if (killTimeout !== undefined && typeof killTimeout !== "number") throw fail("kill-timeout must be a number of seconds");
  flag("exit-on-first-error", false); // flux perilog-run obeys it
  return {
    command: command as readonly string[],
    perRank: flag("per-rank", false),
    cancelOnException: flag("cancel-on-exception", kind === "prolog"),
    timeout_s: timeoutOf(table["timeout"] ?? (kind === "prolog" ? PROLOG_TIMEOUT : "0"), fail(`invalid ${kind} timeout`)),
    killTimeout_s: killTimeout !== undefined && killTimeout > 0 ? killTimeout : KILL_TIMEOUT_S,
  };
}

function timeoutOf(value: Json, wrong: FluxError): number {
  if (typeof value !== "string") throw wrong;
  try {
    const timeout_s = parseDuration(value);
    return timeout_s === Number.POSITIVE_INFINITY ? 0 : timeout_s;
  } catch (err) {
    throw new FluxError(wrong.errno, wrong.message, { cause: err });
  }
}

function patternsOf(value: Json | undefined): readonly RegExp[] {
  if (value === undefined) return [];
  const fail = (text: string): FluxError => new FluxError(errno.EINVAL, `[job-manager.perilog]: error parsing log-ignore: ${text}`);
  if (!Array.isArray(value)) throw fail("not an array");
  if (value.length > LOG_IGNORE_MAX) throw fail(`more than ${LOG_IGNORE_MAX} patterns`);
  return (value as readonly Json[]).map((pattern) => {
    if (typeof pattern !== "string") throw fail("all entries must be a string value");
    try {
      return new RegExp(pattern);
    } catch {
      throw fail(`Failed to compile regex: ${pattern}`);
    }
  });
}

// ---- for flux jobtap query

function showSettings(settings: Settings | undefined): JsonObject {
  if (settings === undefined) return {};
  const { command, perRank, cancelOnException, timeout_s, killTimeout_s } = settings;
  return { command, per_rank: perRank, cancel_on_exception: cancelOnException, timeout: timeout_s, "kill-timeout": killTimeout_s };
}

function showRun(tap: Tap, { kind, state, bulk, timer, due_s }: Run): JsonObject {
  const remaining_time = timer === undefined ? -1 : Math.round(due_s - tap.clock.monotonic_ms() / 1000);
  return { name: kind, state, total: bulk.total, active: bulk.active.count, active_ranks: bulk.active.toString(), remaining_time };
}
