// LineProgram: a validator or frobnicator that is a program: a line of JSON in, a line of JSON out, in order (see
// src/client/ingest-plugin.ts). It is started with the first job, and again when it has ended.
import { decodeJsonObject, encodeJson, type JsonObject } from "../../formats/json.ts";
import { errno, FluxError, toFluxError } from "../../message/errno.ts";
import type { LogLevel } from "../../client/log.ts";
import { type Child, spawnProcess } from "../../os/spawn.ts";

/** A longer answer is refused. */
const LINE_MAX_BYTES = 64 * 1024 * 1024;

export interface LineProgramOptions {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Bytes of jobs that may wait for its answer. */
  readonly buffer_bytes: number;
  readonly log: (level: LogLevel, text: string) => void;
}

interface Waiting {
  readonly size_bytes: number;
  resolve(answer: JsonObject): void;
  reject(err: FluxError): void;
}

export class LineProgram {
  readonly #options: LineProgramOptions;
  #child: Child | undefined;
  #waiting: Waiting[] = [];
  #waiting_bytes = 0;
  #line = "";
  requests = 0;
  errors = 0;

  constructor(options: LineProgramOptions) {
    this.#options = options;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get backlog(): number {
    return this.#waiting.length;
  }

  /** Resolves to the answer. Rejects with FluxError: the program can't be started, has ended, or can't keep up (ENOBUFS). */
  ask(question: JsonObject): Promise<JsonObject> {
    const line = `${encodeJson(question)}\n`;
    const size_bytes = Buffer.byteLength(line);
    const { buffer_bytes, argv } = this.#options;
    if (this.#waiting_bytes + size_bytes > buffer_bytes) {
      return Promise.reject(new FluxError(errno.ENOBUFS, `${argv[0]}: over ${buffer_bytes} bytes of jobs wait for it (ingest.buffer-size)`));
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
    });
  }

  /** No more jobs: it ends when it has answered those it has. */
  close(): void {
    this.#child?.stdin?.end();
  }

  #start(): Child {
    const { argv, env, log } = this.#options;
    const decoder = new TextDecoder();
    const child = spawnProcess({
      argv,
      env,
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
      onStdout: (chunk) => this.#take(decoder.decode(chunk, { stream: true })),
      onStderr: (chunk) => {
        for (const line of Buffer.from(chunk).toString().split("\n")) if (line !== "") log(3, `${argv[0]}: ${line}`);
      },
    });
    void child.exited.then(() => this.#ended(child));
    return child;
  }

  #take(text: string): void {
    this.#line += text;
    if (this.#line.length > LINE_MAX_BYTES) return void this.#child?.kill("SIGKILL");
    const lines = this.#line.split("\n");
    this.#line = lines.pop() ?? "";
    for (const line of lines) this.#answered(line);
  }

  #answered(line: string): void {
    const waiting = this.#waiting.shift();
    if (waiting === undefined) return this.#options.log(4, `${this.#options.argv[0]}: a line that answers nothing`);
    this.#waiting_bytes -= waiting.size_bytes;
    try {
      waiting.resolve(decodeJsonObject(line));
    } catch {
      waiting.reject(this.#failed("its answer is not a line of JSON"));
    }
  }

  #ended(child: Child): void {
    if (this.#child === child) this.#child = undefined;
    this.#line = "";
    this.#waiting_bytes = 0;
    for (const waiting of this.#waiting.splice(0)) waiting.reject(this.#failed("it ended before it answered"));
  }

  #failed(text: string): FluxError {
    this.errors++;
    return new FluxError(errno.EINVAL, `${this.#options.argv[0]}: ${text}`);
  }
}
