// Testexec: a job that runs nothing, for tests and simulations: attributes.system.exec.test of the jobspec
//   {run_duration DURATION, wait_status, mock_exception "init" | "run", override, reattach_finish}
//
// Thousands of these must pass in a second: they have no namespace of their own. What a short one has to say is written into the
// primary namespace at its end, in commits that many jobs share.
import { append } from "../../client/kvs.ts";
import { parseDuration } from "../../formats/fsd.ts";
import { jobKvsPath } from "../../formats/fluid.ts";
import { IdSet } from "../../formats/idset.ts";
import { isJsonObject, type JsonObject } from "../../formats/json.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { def, int, num, opt, str, unpack } from "../../message/unpack.ts";
import type { Timer } from "../../os/clock.ts";
import { type Guest, type PrimaryWriter } from "./guest.ts";
import { type ActiveJob, type Execution, fatal, jobComplete, jobStarted, postEvent } from "./job.ts";
import type { Clock } from "../../os/clock.ts";

export interface TestConfig {
  /** Seconds; 0 is until it is killed. */
  readonly duration_s: number;
  readonly waitStatus: number;
  readonly mockException: string | undefined;
  /** Starts and finishes only when "job-exec.override" says so. */
  readonly override: boolean;
  readonly reattachFinish: boolean;
}

/** The simulation that a jobspec asks for, or undefined. Throws FluxError for one that is malformed. */
export function testConfig(jobspec: JsonObject): TestConfig | undefined {
  const system = member(member(jobspec, "attributes"), "system");
  const test = member(member(system, "exec"), "test");
  if (test === undefined) return undefined;
  const { run_duration, wait_status, mock_exception, override, reattach_finish } = unpack(test, {
    run_duration: opt(str),
    wait_status: def(int, 0),
    mock_exception: opt(str),
    override: def(int, 0),
    reattach_finish: def(int, 0),
  });
  const duration_s = run_duration === undefined ? num(system?.["duration"] ?? 0, "duration") : parseRun(run_duration);
  return { duration_s, waitStatus: wait_status, mockException: mock_exception, override: override !== 0, reattachFinish: reattach_finish !== 0 };
}

function member(value: JsonObject | undefined, name: string): JsonObject | undefined {
  const found = value?.[name];
  return isJsonObject(found) ? found : undefined;
}

function parseRun(text: string): number {
  try {
    return parseDuration(text);
  } catch {
    throw new FluxError(errno.EINVAL, `Unable to parse run duration: ${text}`);
  }
}

export interface TestExecution extends Execution {
  /** "job-exec.override" of a client. */
  override(event: string, status: number): void;
}

export function testExecution(job: ActiveJob, config: TestConfig): TestExecution {
  const { clock } = job.context;
  let timer: Timer | undefined;
  let ended = false;

  const end = (status: number): void => {
    if (ended) return;
    ended = true;
    clock.clear(timer);
    jobComplete(job, status);
  };

  const run = (): void => {
    jobStarted(job);
    if (!job.reattach) postEvent(job, "recoverable");
    const left_s = job.reattach ? config.duration_s - (clock.now_s() - (job.starttime > 0 ? job.starttime : job.t0)) : config.duration_s;
    if (job.reattach && config.reattachFinish) return end(config.waitStatus);
    if (config.duration_s > 0 && config.duration_s !== Infinity) timer = clock.setTimer(Math.max(0, left_s) * 1000, () => end(config.waitStatus));
  };

  return {
    name: "testexec",
    start() {
      if (config.mockException === "init") {
        job.started = false;
        return fatal(job, "mock initialization exception generated");
      }
      if (!config.override) run();
      if (config.mockException === "run") fatal(job, "mock run exception generated");
    },
    // A simulated task dies of whatever signal it gets.
    kill: (signum) => end(signum),
    killShells: () => end(SIGKILL),
    leave() {
      ended = true;
      clock.clear(timer);
      return true;
    },
    activeRanks: () => (ended ? new IdSet() : IdSet.from(job.nodes.map((node) => node.brokerRank))),
    override(event, status) {
      if (!config.override) throw new FluxError(errno.EINVAL, "Job not in exec override mode");
      if (event === "start") {
        if (job.running) throw new FluxError(errno.EINVAL, "Job already running");
        run();
      } else if (event === "finish") {
        if (!job.running) throw new FluxError(errno.EINVAL, "Job not running");
        end(status);
      } else throw new FluxError(errno.EINVAL, "Invalid event");
    },
  };
}

const SIGKILL = 9;
/** A simulation that is over sooner is written in one piece. */
const FIRST_WRITE_MS = 5;

/** The guest of a simulated job: its exec eventlog, straight in the primary namespace. */
export function simulatedGuest(
  job: { readonly id: bigint },
  primary: PrimaryWriter,
  clock: Clock,
  on: { readonly error: (error: unknown) => void; readonly logged: () => void },
): Guest {
  let text = "";
  let timer: Timer | undefined;
  const write = (): void => {
    if (text === "") return;
    primary.write([append(jobKvsPath(job.id, "guest.exec.eventlog"), text)]).catch(on.error);
    text = "";
    on.logged();
  };
  return {
    namespace: `job-${job.id}`,
    create: async () => undefined,
    open: () => undefined,
    append(key, more) {
      if (key !== "exec.eventlog") return;
      text += more;
      timer ??= clock.setTimer(FIRST_WRITE_MS, () => {
        timer = undefined;
        write();
      });
    },
    async finish() {
      clock.clear(timer);
      write();
    },
  };
}
