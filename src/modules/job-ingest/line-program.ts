// LineProgram: a validator or frobnicator that is a program: a line of JSON in, a line of JSON out, in order (see
// src/client/ingest-plugin.ts). It is started with the first job, and again when it has ended. One that does not answer in
// time is killed with all that it started.
import { decodeJsonObject, encodeJson, type JsonObject } from "../../formats/json.ts";
import { errno, FluxError, toFluxError } from "../../message/errno.ts";
import type { LogLevel } from "../../client/log.ts";
import { type Clock, realClock, type Timer } from "../../os/clock.ts";
import { type Child, spawnProcess } from "../../os/spawn.ts";

/** A longer answer is refused. */
const LINE_MAX_BYTES = 64 * 1024 * 1024;
/** For one answer, from the one before it or, when there was nothing to do, from the question. */
const ANSWER_LIMIT_MS = 60_000;
/** From the end of its input to SIGTERM, and from there to SIGKILL. */
const CLOSE_GRACE_MS = 500;
/** What it left running may hold its output so long. */
const LINGER_MS = 1000;

export interface LineProgramOptions {
  /** In messages. */
  readonly name: string;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Bytes of jobs that may wait for its answer. */
  readonly buffer_bytes: number;
  readonly log: (level: LogLevel, text: string) => void;
  /** Default: the system's. */
  readonly clock?: Clock | undefined;
  /** Default: ANSWER_LIMIT_MS. */
  readonly answerLimit_ms?: number | undefined;
}

interface Waiting {
  readonly size_bytes: number;
  resolve(answer: JsonObject): void;
  reject(err: FluxError): void;
}

export class LineProgram {
  readonly #options: LineProgramOptions;
  readonly #clock: Clock;
  #child: Child | undefined;
  /** The child that gets no more jobs. */
  #closing: Child | undefined;
  #isClosed = false;
  /** Runs while the oldest question waits. */
  #timer: Timer | undefined;
  #waiting: Waiting[] = [];
  #waiting_bytes = 0;
  #line = "";
  requests = 0;
  errors = 0;

  constructor(options: LineProgramOptions) {
    this.#options = options;
    this.#clock = options.clock ?? realClock;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get backlog(): number {
    return this.#waiting.length;
  }

  /** Resolves to the answer. Rejects with FluxError: the program can't be started, has ended, can't keep up (ENOBUFS), does not answer in time (ETIMEDOUT), or was closed (ESHUTDOWN). */
  ask(question: JsonObject): Promise<JsonObject> {
    const line = `${encodeJson(question)}\n`;
    const size_bytes = Buffer.byteLength(line);
    const { buffer_bytes, name } = this.#options;
    if (this.#isClosed) return Promise.reject(new FluxError(errno.ESHUTDOWN, `${name}: it takes no more jobs`));
    if (this.#waiting_bytes + size_bytes > buffer_bytes) {
      return Promise.reject(new FluxError(errno.ENOBUFS, `${name}: over ${buffer_bytes} bytes of jobs wait for it (ingest.buffer-size)`));
    }
    this.requests++;
    return new Promise((resolve, reject) => {
      try {
        const child = (this.#child ??= this.#start());
        child.stdin?.write(line);
      } catch (err) {
        return reject(this.#failed(toFluxError(err).message));
      }
      this.#waiting.push({ size_bytes, resolve, reject });
      this.#waiting_bytes += size_bytes;
      if (this.#waiting.length === 1) this.#watch();
    });
  }

  /** No more jobs: it ends when it has answered those it has, or is ended soon after. */
  close(): void {
    this.#isClosed = true;
    const child = this.#child;
    if (child === undefined || child === this.#closing) return;
    this.#closing = child;
    child.stdin?.end();
    if (this.#waiting.length === 0) this.#expectEnd(child);
  }

  #expectEnd(child: Child): void {
    const { name, log } = this.#options;
    let timer = this.#clock.setTimer(CLOSE_GRACE_MS, () => {
      log(4, `${name}: it does not end with its input: SIGTERM`);
      child.killGroup("SIGTERM");
      timer = this.#clock.setTimer(CLOSE_GRACE_MS, () => child.killGroup("SIGKILL"));
    });
    void child.reaped.then(() => this.#clock.clear(timer));
  }

  /** The time for the answer to the oldest question begins. */
  #watch(): void {
    this.#clock.clear(this.#timer);
    this.#timer = this.#waiting.length === 0 ? undefined : this.#clock.setTimer(this.#limit_ms, () => this.#expired()).unref();
  }

  get #limit_ms(): number {
    return this.#options.answerLimit_ms ?? ANSWER_LIMIT_MS;
  }

  /** None of the questions will be answered; the next starts the program anew, however long this one takes to die. */
  #expired(): void {
    const text = `it did not answer within ${this.#limit_ms / 1000} s`;
    this.#options.log(3, `${this.#options.name}: ${text}: it is killed`);
    const child = this.#child;
    this.#child = undefined;
    this.#refuseAll(text, errno.ETIMEDOUT);
    child?.killGroup("SIGKILL");
  }

  #start(): Child {
    const { name, argv, env, log } = this.#options;
    const decoder = new TextDecoder();
    const child = spawnProcess({
      argv,
      env,
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
      newSession: true,
      linger_ms: LINGER_MS,
      onStdout: (chunk) => {
        // One that was given up answers nothing any more.
        if (child === this.#child) this.#take(decoder.decode(chunk, { stream: true }));
      },
      onStderr: (chunk) => {
        for (const line of Buffer.from(chunk).toString().split("\n")) if (line !== "") log(3, `${name}: ${line}`);
      },
    });
    void child.exited.then(() => this.#ended(child));
    return child;
  }

  #take(text: string): void {
    this.#line += text;
    if (this.#line.length > LINE_MAX_BYTES) return void this.#child?.killGroup("SIGKILL");
    const lines = this.#line.split("\n");
    this.#line = lines.pop() ?? "";
    for (const line of lines) this.#answered(line);
  }

  #answered(line: string): void {
    const waiting = this.#waiting.shift();
    if (waiting === undefined) return this.#options.log(4, `${this.#options.name}: a line that answers nothing`);
    this.#waiting_bytes -= waiting.size_bytes;
    this.#watch();
    if (this.#waiting.length === 0 && this.#child !== undefined && this.#child === this.#closing) this.#expectEnd(this.#child);
    try {
      waiting.resolve(decodeJsonObject(line));
    } catch {
      waiting.reject(this.#failed("its answer is not a line of JSON"));
    }
  }

  #ended(child: Child): void {
    if (this.#child !== child) return;
    this.#child = undefined;
    this.#refuseAll("it unexpectedly exited before it answered", errno.EINVAL);
  }

  #refuseAll(text: string, code: number): void {
    this.#line = "";
    this.#waiting_bytes = 0;
    const refused = this.#waiting.splice(0);
    this.#watch();
    for (const waiting of refused) waiting.reject(this.#failed(text, code));
  }

  #failed(text: string, code: number = errno.EINVAL): FluxError {
    this.errors++;
    return new FluxError(code, `${this.#options.name}: ${text}`);
  }
}
