// One run of a cron entry's command: a shell on some broker (RFC 42), and what is told of it afterwards.
import type { Flux } from "../../client/flux.ts";
import { startSubprocess, type Subprocess } from "../../client/subprocess.ts";
import type { JsonObject } from "../../formats/json.ts";
import { toFluxError } from "../../message/errno.ts";
import type { Clock, Timer } from "../../os/clock.ts";
import { splitLines } from "../../formats/lines.ts";
import { exitCode, shellExitCode, termSignal } from "../../formats/waitstatus.ts";

const SIGTERM = 15;

export interface TaskOptions {
  readonly h: Flux;
  readonly clock: Clock;
  readonly rank: number;
  readonly command: string;
  readonly cwd: string | undefined;
  readonly env: Readonly<Record<string, string>> | undefined;
  /** Undefined: it may run for ever. */
  readonly timeout_s: number | undefined;
  readonly onLine: (isError: boolean, line: string) => void;
}

export class CronTask {
  readonly #options: TaskOptions;
  readonly #created_s: number;
  #subprocess: Subprocess | undefined;
  #started_s: number | undefined;
  #running_s: number | undefined;
  #ended_s: number | undefined;
  #pid = -1;
  #status = 0;
  #rexecErrno = 0;
  #isTimedOut = false;
  #timer: Timer | undefined;

  constructor(options: TaskOptions) {
    this.#options = options;
    this.#created_s = options.clock.now_s();
  }

  /** Resolves when it is over, to what went wrong, if anything did; never rejects. */
  async run(): Promise<string | undefined> {
    const { h, clock, rank, command, cwd, env, timeout_s, onLine } = this.#options;
    const out = splitLines((line) => onLine(false, textOf(line)));
    const err = splitLines((line) => onLine(true, textOf(line)));
    this.#started_s = clock.now_s();
    try {
      this.#subprocess = startSubprocess(h, {
        argv: ["sh", "-c", command],
        rank,
        ...(cwd !== undefined && { cwd }),
        ...(env !== undefined && { env }),
        onStdout: (data) => out.push(data),
        onStderr: (data) => err.push(data),
        onStarted: (pid) => this.#isRunning(pid, timeout_s),
      });
      this.#subprocess.end();
      this.#status = await this.#subprocess.exited;
    } catch (error) {
      const { errno, message } = toFluxError(error);
      this.#rexecErrno = errno;
      return `failed to run ${command}: ${message}`;
    } finally {
      clock.clear(this.#timer);
      this.#ended_s = clock.now_s();
      out.end();
      err.end();
    }
    if (this.#status === 0) return undefined;
    const signal = termSignal(this.#status);
    return `"${command}": Failed: ${signal === undefined ? `Exit ${exitCode(this.#status)}` : `Signal ${signal}`}`;
  }

  #isRunning(pid: number, timeout_s: number | undefined): void {
    this.#pid = pid;
    this.#running_s = this.#options.clock.now_s();
    if (timeout_s === undefined) return;
    this.#timer = this.#options.clock.setTimer(timeout_s * 1000, () => {
      this.#isTimedOut = true;
      this.kill();
    });
  }

  kill(): void {
    this.#subprocess?.kill(SIGTERM).catch(() => undefined); // It has ended, or never began.
  }

  describe(): JsonObject {
    const isOver = this.#ended_s !== undefined;
    return {
      rank: this.#options.rank,
      pid: this.#pid,
      status: this.#status,
      state: this.#state(isOver),
      "create-time": this.#created_s,
      ...(this.#rexecErrno !== 0 && { rexec_errno: this.#rexecErrno }),
      ...(this.#isTimedOut && { timedout: true }),
      ...(isOver && { code: shellExitCode(this.#status) }),
      ...(this.#started_s !== undefined && { "start-time": this.#started_s }),
      ...(this.#running_s !== undefined && { "running-time": this.#running_s }),
      ...(this.#ended_s !== undefined && { "end-time": this.#ended_s }),
    };
  }

  #state(isOver: boolean): string {
    if (this.#rexecErrno !== 0) return "Rexec Failure";
    if (this.#started_s === undefined) return "Deferred";
    if (!isOver) return "Running";
    if (this.#isTimedOut) return "Timeout";
    return this.#status === 0 ? "Exited" : "Failed";
  }
}

/** Without its end, as text. */
function textOf(line: Uint8Array): string {
  return Buffer.from(line).toString("utf8").replace(/\n$/, "");
}
