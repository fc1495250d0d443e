// Modprobe: loads and removes modules in the order of their table, and runs the tasks of rc files around that. The broker has
// one for its own rc1 and rc3, `flux modprobe` has one for everything else (flux-modprobe(1)).
import type { Flux } from "../../client/flux.ts";
import { errno, FluxError, isErrno, toFluxError } from "../../message/errno.ts";
import { arr, fields, str, unpack } from "../../message/unpack.ts";
import { shellExitCode } from "../../formats/waitstatus.ts";
import { spawnProcess } from "../../os/spawn.ts";
import { Context } from "./context.ts";
import { MODULE_TABLE } from "./module-table.ts";
import { type Order, Plan, runInOrder } from "./plan.ts";
import type { RcFile } from "./rc-file.ts";
import { codeTask, moduleTask, removalOf, runsOn, type Task } from "./task.ts";
import { asTable, TaskSet } from "./task-set.ts";

export interface ModprobeOptions {
  readonly rank: number;
  readonly dryRun?: boolean;
  /** A failure keeps no other task from its work. */
  readonly keepGoing?: boolean;
  /** For who wants to follow it. */
  readonly verbose?: (text: string) => void;
  /** What a dry run prints. */
  readonly print?: (line: string) => void;
  readonly report: (task: Task, error: FluxError) => void;
  /** Runs a command line of a task; resolves to its exit code. Default: with our own streams. */
  readonly shell?: (command: string) => Promise<number>;
  /** True when nothing more is to be started. */
  readonly isCancelled?: () => boolean;
}

export interface Timing {
  readonly name: string;
  readonly starttime: number;
  readonly duration: number;
}

const MODULE_LIST = { mods: arr(fields({ name: str, path: str, services: arr(str) })) };
/** What module.list says of modules that belong to the broker itself. */
const BUILTIN_PATH = "builtin";

export class Modprobe {
  readonly tasks = new TaskSet();
  readonly context: Context;
  readonly timing: Timing[] = [];
  readonly #h: Flux;
  readonly #options: ModprobeOptions;
  readonly #active: string[] = [];
  readonly #started_ms = performance.now();

  constructor(h: Flux, options: ModprobeOptions) {
    this.#h = h;
    this.#options = options;
    this.context = new Context(h, options.rank, {
      print: (text) => options.verbose?.(text),
      loadModules: (names) => this.#activate(names),
      removeModules: (names) => this.removeLater(names),
      setAlternative: (service, name) => this.tasks.setAlternative(service, name),
      enable: (name) => this.tasks.enable(name),
      shell: options.shell ?? runShell,
    });
    for (const entry of MODULE_TABLE) this.tasks.add(moduleTask(entry));
  }

  /** Takes over the table [modules] of the configuration. Throws FluxError. */
  async applyConfig(): Promise<void> {
    const table = await this.context.config("modules");
    if (table !== undefined) this.tasks.apply(asTable(table, "modules"));
  }

  /** Adds the tasks of a file and calls its setup(). */
  async addFile(file: RcFile): Promise<void> {
    for (const definition of file.tasks) {
      this.tasks.addNew(codeTask(definition));
      this.#active.push(definition.name);
    }
    await file.setup?.(this.context);
  }

  #activate(names: readonly string[]): void {
    for (const name of names) {
      const task = this.tasks.preferred(name);
      if (task.work.kind === "code") throw new FluxError(errno.EINVAL, `${name} is not a module`);
      this.#active.push(name, ...task.requires);
    }
  }

  /** The removal of modules (default: all) becomes a task. */
  async removeLater(names?: readonly string[]): Promise<void> {
    const going = names ?? (await this.#loaded()).names.filter((name) => this.tasks.has(name));
    this.#preferAll(going);
    for (const name of going) {
      const task = this.tasks.preferred(name);
      this.tasks.add(removalOf(task));
      this.#active.push(task.name);
    }
  }

  /** These, and what $FLUX_MODPROBE_DISABLE names, don't run. Throws FluxError ENOENT. */
  disable(more: readonly string[] = []): void {
    const names = [process.env["FLUX_MODPROBE_DISABLE"] ?? "", ...more].flatMap((list) => list.split(","));
    for (const name of names) if (name.trim() !== "") this.tasks.disable(name.trim());
  }

  /** What would run, and after what. */
  async plan(): Promise<Order> {
    const plan = await this.#newPlan();
    return plan.order(plan.requirements(plan.active(this.#active)));
  }

  /** Resolves to whether all went well. */
  run(order: Order): Promise<boolean> {
    return runInOrder(order, (name) => this.#runTask(name));
  }

  /** Loads modules and what they require, whatever is loaded. Throws FluxError EEXIST when there is nothing to do. */
  async load(names: readonly string[]): Promise<boolean> {
    const loaded = (await this.#loaded()).names;
    const needed = (await this.#newPlan()).requirements(names, true).filter((name) => !loaded.includes(name));
    if (needed.length === 0) throw new FluxError(errno.EEXIST, "All modules and dependencies are already loaded");
    this.#preferAll(needed);
    return this.run((await this.#newPlan()).order(needed));
  }

  /** Removes modules ("all": all) and what nobody requires any more. Throws FluxError ENOENT, EBUSY. */
  async remove(names: readonly string[]): Promise<boolean> {
    const { names: loaded, ofService } = await this.#loaded();
    const ours = loaded.filter((name) => this.tasks.has(name));
    const missing = names.find((name) => name !== "all" && !ofService.has(name));
    if (missing !== undefined) throw new FluxError(errno.ENOENT, `module ${missing} is not loaded`);
    const wanted = names.includes("all") ? ours : names.map((name) => ofService.get(name) ?? name);
    this.#preferAll(loaded.filter((name) => this.tasks.has(name)));
    const going = (await this.#newPlan()).removable(ours, wanted);
    for (const name of going) this.tasks.add(removalOf(this.tasks.named(name) ?? moduleTask({ name })));
    return this.run((await this.#newPlan()).order(going));
  }

  /** The one that would be taken for a service. */
  async resolve(service: string): Promise<Task> {
    return (await this.#newPlan()).resolve(service);
  }

  /** What is loaded, or about to be, goes before other alternatives. */
  #preferAll(names: readonly string[]): void {
    for (const name of names) {
      const task = this.tasks.named(name);
      for (const service of task?.provides ?? []) this.tasks.setAlternative(service, name);
    }
  }

  async #loaded(): Promise<{ names: string[]; ofService: Map<string, string> }> {
    const { mods } = unpack(await this.#h.rpc("module.list"), MODULE_LIST);
    const loaded = mods.filter((mod) => mod.path !== BUILTIN_PATH);
    return { names: loaded.map((mod) => mod.name), ofService: new Map(loaded.flatMap((mod) => [mod.name, ...mod.services].map((service) => [service, mod.name] as const))) };
  }

  async #newPlan(): Promise<Plan> {
    const enabled = new Set<string>();
    for (const task of this.tasks.all) if (await this.#isEnabled(task)) enabled.add(task.name);
    return new Plan(this.tasks, (task) => enabled.has(task.name));
  }

  async #isEnabled(task: Task): Promise<boolean> {
    if (task.forced) return true;
    if (task.disabled || !runsOn(task.ranks, this.#options.rank)) return false;
    const { context } = this;
    return (
      (await allHold(task.needsConfig, (key) => context.config(key))) &&
      (await allHold(task.needsAttrs, (name) => context.attr(name))) &&
      (await allHold(task.needsEnv, (name) => context.getenv(name)))
    );
  }

  async #runTask(name: string): Promise<boolean> {
    const { report, keepGoing = false, isCancelled } = this.#options;
    if (isCancelled?.()) return false;
    const task = this.tasks.preferred(name);
    const start_ms = performance.now();
    try {
      await this.#work(task);
      return true;
    } catch (err) {
      report(task, err instanceof Error && !(err instanceof FluxError) ? new FluxError(errno.EINVAL, err.message) : toFluxError(err));
      return keepGoing;
    } finally {
      this.timing.push({ name, starttime: (start_ms - this.#started_ms) / 1000, duration: (performance.now() - start_ms) / 1000 });
    }
  }

  async #work(task: Task): Promise<void> {
    const { work, name } = task;
    const { dryRun = false, print } = this.#options;
    if (work.kind === "code") {
      if (dryRun) return print?.(`run ${name}`);
      this.context.print(`start ${name}`);
      await work.run(this.context);
      return this.context.print(`completed ${name}`);
    }
    if (work.kind === "remove") return dryRun ? print?.(`remove ${name}`) : this.#removeModule(name);
    const args = this.context.argumentsOf(name, work.args, task.provides);
    if (dryRun) return print?.(["load", name, ...args].join(" "));
    const request = { path: work.module, args, exec: work.exec, ...(name !== work.module && { name }) };
    this.context.print(`module.load ${JSON.stringify(request)}`);
    await this.#h.rpc("module.load", request);
    this.context.print(`loaded ${name}`);
  }

  async #removeModule(name: string): Promise<void> {
    this.context.print(`module.remove ${name}`);
    try {
      await this.#h.rpc("module.remove", { name });
    } catch (err) {
      if (!isErrno(err, errno.ENOENT)) throw err; // Somebody has removed it.
    }
    this.context.print(`removed ${name}`);
  }
}

async function runShell(command: string): Promise<number> {
  return shellExitCode((await spawnProcess({ argv: ["bash", "-c", command] }).exited).status);
}

/** True when all of the names have a value, and those after a "!" have none. */
async function allHold(conditions: readonly string[], valueOf: (name: string) => Promise<unknown>): Promise<boolean> {
  for (const condition of conditions) {
    const inverted = condition.startsWith("!");
    const value = await valueOf(inverted ? condition.slice(1) : condition);
    if ((value === undefined || value === null) !== inverted) return false;
  }
  return true;
}
