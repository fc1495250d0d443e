// Pipeline: what happens to a jobspec between its submission and its id: frobnicators change it, then validators look at
// it. One plugin that answers at once costs a call; where all do, so does the pipeline.
import { existsSync, statSync } from "node:fs";
import { basename, extname, isAbsolute } from "node:path";
import type { LogLevel } from "../../client/log.ts";
import type { Flux } from "../../client/flux.ts";
import type { Frobnicate, IngestContext, IngestJob, Validate } from "../../client/ingest-plugin.ts";
import { isJsonObject, type JsonObject } from "../../formats/json.ts";
import { errno, FluxError, toFluxError } from "../../message/errno.ts";
import type { Clock } from "../../os/clock.ts";
import { selfCommand } from "../../os/self.ts";
import { FROBNICATORS, tableOf, VALIDATORS } from "./builtin-plugins.ts";
import type { StageConfig } from "./ingest-config.ts";
import PYTHON_HOST from "./ingest_host.py" with { type: "text" };
import { LineProgram } from "./line-program.ts";

export interface PipelineOptions {
  readonly config: JsonObject;
  readonly validator: StageConfig;
  readonly frobnicator: StageConfig;
  readonly buffer_bytes: number;
  readonly open: () => Promise<Flux>;
  /** Of programs. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: (level: LogLevel, text: string) => void;
  /** For the time limits of programs. Default: the system's. */
  readonly clock?: Clock;
}

interface Stage<T> {
  readonly steps: readonly T[];
  readonly programs: readonly LineProgram[];
  requests: number;
  errors: number;
}

export class Pipeline {
  readonly #frobnicators: Stage<Frobnicate>;
  readonly #validators: Stage<Validate>;
  /** Jobs that have not come to the validators, which then are asked all at once. */
  #frobnicating = 0;
  #isClosing = false;

  private constructor(frobnicators: Stage<Frobnicate>, validators: Stage<Validate>) {
    this.#frobnicators = frobnicators;
    this.#validators = validators;
  }

  /** Rejects with FluxError EINVAL or ENOENT: a plugin that isn't there, or doesn't like its options. */
  static async create(options: PipelineOptions): Promise<Pipeline> {
    const frobnicators = await openStage<Frobnicate>("frobnicator", options.frobnicator, options, FROBNICATORS, frobnicateBy);
    const validators = await openStage<Validate>("validator", options.validator, options, VALIDATORS, validateBy);
    return new Pipeline(frobnicators, validators);
  }

  /** The jobspec that comes out. Throws, or rejects with, FluxError. */
  process(job: IngestJob, validate: boolean): JsonObject | Promise<JsonObject> {
    const jobspec = this.frobnicate(job);
    const next = (made: JsonObject): JsonObject | Promise<JsonObject> => {
      if (!validate || this.#validators.steps.length === 0) return made;
      return this.#validated(made === job.jobspec ? job : { ...job, jobspec: made });
    };
    return jobspec instanceof Promise ? this.#afterwards(jobspec, next) : next(jobspec);
  }

  async #afterwards(jobspec: Promise<JsonObject>, next: (made: JsonObject) => JsonObject | Promise<JsonObject>): Promise<JsonObject> {
    this.#frobnicating++;
    let result;
    try {
      result = next(await jobspec);
    } finally {
      this.#frobnicating--;
      if (this.#isClosing) this.close();
    }
    return result;
  }

  frobnicate(job: IngestJob): JsonObject | Promise<JsonObject> {
    const stage = this.#frobnicators;
    if (stage.steps.length === 0) return job.jobspec;
    stage.requests++;
    const apply = (jobspec: JsonObject, from: number): JsonObject | Promise<JsonObject> => {
      let made = jobspec;
      for (let i = from; i < stage.steps.length; i++) {
        const next = stage.steps[i]?.({ ...job, jobspec: made }) ?? made;
        if (next instanceof Promise) return next.then((then) => apply(then, i + 1));
        made = next;
      }
      return made;
    };
    return counted(stage, () => apply(job.jobspec, 0));
  }

  /** Throws, or rejects with, FluxError that says everything that the validators say. */
  validate(job: IngestJob): void | Promise<void> {
    const stage = this.#validators;
    stage.requests++;
    const problems: FluxError[] = [];
    const pending: Promise<void>[] = [];
    for (const step of stage.steps) {
      try {
        const result = step(job);
        if (result instanceof Promise) pending.push(result.catch((err: unknown) => void problems.push(refusal(err))));
      } catch (err) {
        problems.push(refusal(err));
      }
    }
    const finish = (): void => {
      const [first] = problems;
      if (first === undefined) return;
      stage.errors++;
      throw new FluxError(first.errno, [...new Set(problems.map(({ message }) => message))].join(", "));
    };
    return pending.length === 0 ? finish() : Promise.all(pending).then(finish);
  }

  #validated(job: IngestJob): JsonObject | Promise<JsonObject> {
    const result = this.validate(job);
    return result instanceof Promise ? result.then(() => job.jobspec) : job.jobspec;
  }

  /** As stock Flux tells of its worker processes; ours are those of programs only. */
  stats(): JsonObject {
    return { frobnicator: stageStats(this.#frobnicators), validator: stageStats(this.#validators) };
  }

  /** No more jobs. Those under way go on; a program ends when it has answered, and no job is left that may come to it. */
  close(): void {
    this.#isClosing = true;
    if (this.#frobnicating > 0) return;
    for (const program of [...this.#frobnicators.programs, ...this.#validators.programs]) program.close();
  }
}

function counted<T>(stage: { errors: number }, run: () => T | Promise<T>): T | Promise<T> {
  const failed = (err: unknown): never => {
    stage.errors++;
    throw refusal(err);
  };
  try {
    const result = run();
    return result instanceof Promise ? result.catch(failed) : result;
  } catch (err) {
    return failed(err);
  }
}

/** What a user's plugin throws is the reason of a refusal. */
function refusal(err: unknown): FluxError {
  return err instanceof FluxError ? err : new FluxError(errno.EINVAL, err instanceof Error ? err.message : String(err));
}

function stageStats({ programs, requests, errors }: Stage<unknown>): JsonObject {
  const running = programs.filter(({ pid }) => pid !== undefined);
  return {
    running: running.length,
    requests,
    errors,
    trash: 0,
    backlog: programs.reduce((sum, { backlog }) => sum + backlog, 0),
    pids: running.map(({ pid }) => pid ?? -1),
  };
}

// ---- plugins

interface AnyPlugin<T> {
  readonly description?: string;
  readonly args?: readonly string[];
  start(context: IngestContext): T | Promise<T>;
}

async function openStage<T>(
  kind: "validator" | "frobnicator",
  stage: StageConfig,
  options: PipelineOptions,
  builtin: Readonly<Record<string, AnyPlugin<T>>>,
  byProgram: (program: LineProgram) => T,
): Promise<Stage<T>> {
  const steps: T[] = [];
  const programs: LineProgram[] = [];
  if (!stage.enabled) return { steps, programs, requests: 0, errors: 0 };
  const args = parseArgs(stage.args);
  const known = new Set<string>();
  let knowsAll = false;
  for (const name of stage.plugins) {
    if (isProgram(name)) {
      knowsAll = true;
      const { env, buffer_bytes, log, clock } = options;
      const program = new LineProgram({ name, argv: programArgv(kind, name, stage.args), env, buffer_bytes, log, clock });
      programs.push(program);
      steps.push(byProgram(program));
      continue;
    }
    const plugin = Object.hasOwn(builtin, name) ? builtin[name] : await importPlugin<T>(kind, name);
    if (plugin === undefined) throw new FluxError(errno.ENOENT, `${kind} plugin '${name}' not found`);
    if (plugin.args === undefined) knowsAll = true;
    for (const arg of plugin.args ?? []) known.add(arg);
    const table = tableOf(options.config, "ingest", kind, basename(name, extname(name)));
    steps.push(await plugin.start({ config: options.config, options: table, args, open: options.open }));
  }
  const unknown = [...args.keys()].find((arg) => !known.has(arg));
  if (unknown !== undefined && !knowsAll) throw new FluxError(errno.EINVAL, `${kind}: unrecognized arguments: --${unknown}`);
  return { steps, programs, requests: 0, errors: 0 };
}

/** A plugin in Python is hosted by a program of ours, in the interpreter that finds Flux's bindings. */
function programArgv(kind: string, path: string, args: readonly string[]): string[] {
  return path.endsWith(".py") ? [...selfCommand(), "python", "-c", PYTHON_HOST, kind, path, ...args] : [path, ...args];
}

const SOURCE = /\.[cm]?[jt]s$/;

/** A path that is not one of a source file. Throws FluxError ENOENT. */
function isProgram(name: string): boolean {
  if (!name.includes("/") || SOURCE.test(name)) return false;
  if (!isAbsolute(name) || statSync(name, { throwIfNoEntry: false })?.isFile() !== true) throw new FluxError(errno.ENOENT, `plugin '${name}' not found`);
  return true;
}

let version = 0;

/** Imports a user's file anew each time, so that a reload gets what was edited. */
async function importPlugin<T>(kind: string, path: string): Promise<AnyPlugin<T> | undefined> {
  if (!SOURCE.test(path) || !isAbsolute(path) || !existsSync(path)) return undefined;
  let exported: unknown;
  try {
    exported = ((await import(`${path}?v=${++version}`)) as { default?: unknown }).default;
  } catch (err) {
    throw new FluxError(errno.EINVAL, `${path}: ${err instanceof Error ? err.message : String(err)}`, { cause: err });
  }
  if (typeof exported !== "object" || exported === null || !("start" in exported) || typeof exported.start !== "function") {
    throw new FluxError(errno.EINVAL, `${path}: the default export is no ${kind}: it lacks start() (see client/ingest-plugin.ts)`);
  }
  return exported as AnyPlugin<T>;
}

/** "--name=value", or "--name" and its value as the next word. Throws FluxError EINVAL. */
function parseArgs(words: readonly string[]): Map<string, string> {
  const args = new Map<string, string>();
  for (let i = 0; i < words.length; i++) {
    const match = /^--([^=]+)(?:=(.*))?$/s.exec(words[i] ?? "");
    if (match === null) throw new FluxError(errno.EINVAL, `unrecognized arguments: ${words[i]}`);
    const next = words[i + 1];
    const takesNext = match[2] === undefined && next !== undefined && !next.startsWith("--");
    args.set(match[1] ?? "", takesNext ? next : (match[2] ?? ""));
    if (takesNext) i++;
  }
  return args;
}

// ---- programs

function question({ jobspec, userid, urgency, flags }: IngestJob): JsonObject {
  return { jobspec, userid, urgency, flags };
}

function check({ errnum, errstr }: JsonObject): void {
  if (errnum === 0) return;
  const code = typeof errnum === "number" && errnum > 1 ? errnum : errno.EINVAL;
  throw new FluxError(code, typeof errstr === "string" ? errstr : "refused without a reason");
}

function validateBy(program: LineProgram): Validate {
  return async (job) => check(await program.ask(question(job)));
}

function frobnicateBy(program: LineProgram): Frobnicate {
  return async (job) => {
    const answer = await program.ask(question(job));
    check(answer);
    if (!isJsonObject(answer["data"])) throw new FluxError(errno.EINVAL, "the frobnicator's answer has no data");
    return answer["data"];
  };
}

/** For `flux job-validator` and `flux job-frobnicator`: name and description of what comes with Flux. */
export function listPlugins(kind: "validator" | "frobnicator"): [name: string, description: string][] {
  const plugins: Readonly<Record<string, AnyPlugin<unknown>>> = kind === "validator" ? VALIDATORS : FROBNICATORS;
  return Object.entries(plugins).map(([name, { description = "" }]) => [name, description]);
}

/** The error of a plugin as a line of JSON has it. */
export function answerOf(err: unknown): JsonObject {
  const { errno: errnum, message } = err instanceof FluxError ? err : toFluxError(err);
  return { errnum, errstr: message };
}
