// Rc files in Python: one interpreter runs all of them (rc_host.py, which describes the protocol), and does what modprobe
// says. It needs Flux's Python bindings.
import { resolve } from "node:path";
import { checkReadable, type RcFile } from "../../broker/modprobe/rc-file.ts";
import type { ModprobeContext, TaskDefinition } from "../../client/modprobe.ts";
import type { Json, JsonObject } from "../../formats/json.ts";
import { errno, FluxError, toFluxError } from "../../message/errno.ts";
import { arr, bool, def, dict, fields, int, json, opt, type Reader, str, unpack } from "../../message/unpack.ts";
import { type Child, spawnProcess } from "../../os/spawn.ts";
import { commandEnvironment, pythonInterpreter } from "../command-environment.ts";
import { UsageError } from "../command.ts";
import HOST_PROGRAM from "./rc_host.py" with { type: "text" };

/** A file is told by a line; one that has more in it than this is no list of tasks. */
const LINE_MAX_BYTES = 4 * 1024 * 1024;

const TASKS = arr(
  fields({
    name: str,
    ranks: str,
    priority: int,
    disabled: bool,
    provides: arr(str),
    requires: arr(str),
    needs: arr(str),
    before: arr(str),
    after: arr(str),
    needs_attrs: arr(str),
    needs_config: arr(str),
    needs_env: arr(str),
  }),
);

interface Waiting {
  readonly context: ModprobeContext | undefined;
  readonly resolve: (done: Json) => void;
  readonly reject: (err: Error) => void;
}

export class PythonHost {
  #child: Child | undefined;
  #rest = "";
  #ended = false;
  /** What the interpreter is doing; it does one thing after another. */
  #waiting: Waiting | undefined;
  #queue: Promise<unknown> = Promise.resolve();

  /** Throws FluxError or UsageError that names the file. */
  async load(path: string): Promise<RcFile> {
    const file = resolve(path);
    checkReadable(file);
    const found = TASKS(await this.#do({ do: "load", path: file }, undefined), "tasks");
    const tasks = found.map(
      ({ name, needs_attrs: needsAttrs, needs_config: needsConfig, needs_env: needsEnv, ...conditions }): TaskDefinition => ({
        ...conditions,
        needsAttrs,
        needsConfig,
        needsEnv,
        name,
        run: async (context) => void (await this.#do({ do: "run", task: name }, context)),
      }),
    );
    return { tasks, setup: async (context) => void (await this.#do({ do: "setup", path: file }, context)) };
  }

  /** Ends the interpreter. */
  async close(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    child.extra[0]?.end();
    await child.exited;
  }

  #do(request: JsonObject, context: ModprobeContext | undefined): Promise<Json> {
    const answer = this.#queue.then(() => this.#ask(request, context));
    this.#queue = answer.catch(() => undefined);
    return answer;
  }

  #ask(request: JsonObject, context: ModprobeContext | undefined): Promise<Json> {
    this.#child ??= this.#start();
    return new Promise((fulfil, reject) => {
      if (this.#ended) return reject(this.#gone());
      this.#waiting = { context, resolve: fulfil, reject };
      this.#send(request);
    });
  }

  #start(): Child {
    const argv = [pythonInterpreter(), "-c", HOST_PROGRAM];
    try {
      return spawnProcess({
        argv,
        env: { ...process.env, ...commandEnvironment() },
        stdin: "inherit",
        extraFds: [{ onData: (chunk) => this.#receive(chunk), onClose: () => this.#end() }],
      });
    } catch (err) {
      throw new UsageError(`rc files in Python need an interpreter: ${toFluxError(err).message} (see FLUX_PYTHON in flux-modprobe(1))`);
    }
  }

  #send(message: JsonObject): void {
    this.#child?.extra[0]?.write(`${JSON.stringify(message)}\n`);
  }

  #receive(chunk: Uint8Array): void {
    const lines = (this.#rest + Buffer.from(chunk).toString("utf8")).split("\n");
    this.#rest = lines.pop() ?? "";
    if (this.#rest.length > LINE_MAX_BYTES) this.#child?.kill("SIGKILL");
    for (const line of lines) this.#handle(JSON.parse(line) as JsonObject);
  }

  #handle(message: JsonObject): void {
    const waiting = this.#waiting;
    if (waiting === undefined) return;
    if (typeof message["call"] === "string") {
      void this.#answer(message["call"], message["args"], waiting.context);
      return;
    }
    this.#waiting = undefined;
    const { error } = unpack(message, { error: opt(str) });
    if (error === undefined) waiting.resolve(message["done"] ?? null);
    else waiting.reject(new FluxError(errno.EINVAL, error));
  }

  async #answer(name: string, args: unknown, context: ModprobeContext | undefined): Promise<void> {
    let answer: JsonObject;
    try {
      if (context === undefined) throw new FluxError(errno.EINVAL, `${name} can only be called by a task or setup()`);
      answer = { result: (await call(context, name, arr(json)(args, "args"))) ?? null };
    } catch (err) {
      answer = { error: toFluxError(err).message };
    }
    this.#send(answer);
  }

  #end(): void {
    this.#ended = true;
    this.#waiting?.reject(this.#gone());
    this.#waiting = undefined;
  }

  /** The interpreter has printed what its trouble was. */
  #gone(): UsageError {
    return new UsageError("the Python interpreter has ended. Rc files in Python need Flux's bindings: let PYTHONPATH or FLUX_PYTHONPATH_PREPEND name their directory");
  }
}

type Arguments = <T>(index: number, reader: Reader<T>) => T;

/** What a Python function may want of modprobe, with the arguments that its context has. */
const CALLS: Readonly<Record<string, (context: ModprobeContext, at: Arguments) => unknown>> = {
  print: (context, at) => context.print(at(0, str)),
  getenv: (context, at) => context.getenv(at(0, str)),
  setenv: (context, at) => context.setenv(at(0, dict(opt(str)))),
  setopt: (context, at) => context.setOption(at(0, str), at(1, str), at(2, def(bool, false))),
  getopts: (context, at) => [...at(1, arr(str)), ...[at(0, str), ...at(2, arr(str))].flatMap((module) => context.options(module))],
  load_modules: (context, at) => context.loadModules(at(0, arr(str))),
  remove_modules: (context, at) => context.removeModules(at(0, opt(arr(str)))),
  set_alternative: (context, at) => context.setAlternative(at(0, str), at(1, str)),
  enable: (context, at) => context.enable(at(0, str)),
};

/** Throws FluxError. */
async function call(context: ModprobeContext, name: string, args: readonly Json[]): Promise<Json | undefined> {
  const wanted = CALLS[name];
  if (wanted === undefined) throw new FluxError(errno.ENOSYS, `${name} is not a function of the context`);
  return (await wanted(context, (index, reader) => reader(args[index], `${name}: argument ${index + 1}`))) as Json | undefined;
}
