// TaskSet: the tasks that modprobe knows, by name and by the services that they provide.
import type { JsonObject } from "../../formats/json.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { describeModule, type ModuleEntry, moduleTask, parseModuleEntry, type Task } from "./task.ts";

export class TaskSet {
  /** By name, in the order in which they were added. */
  readonly #tasks = new Map<string, Task>();

  add(task: Task): void {
    this.#tasks.set(task.name, task);
  }

  /** Adds what is not known by this name yet. */
  addNew(task: Task): void {
    if (!this.#tasks.has(task.name)) this.add(task);
  }

  get all(): Task[] {
    return [...this.#tasks.values()];
  }

  named(name: string): Task | undefined {
    return this.#tasks.get(name);
  }

  /** Whoever has or provides the name: the last one is preferred. Throws FluxError ENOENT when there is nobody. */
  providers(service: string): Task[] {
    const found = this.all.filter((task) => task.name === service || task.provides.includes(service));
    if (found.length === 0) throw new FluxError(errno.ENOENT, `no such task or module ${service}`);
    return found.toSorted((a, b) => a.priority - b.priority);
  }

  has(service: string): boolean {
    return this.all.some((task) => task.name === service || task.provides.includes(service));
  }

  /** The preferred one that isn't disabled, or else the preferred one. Throws FluxError ENOENT. */
  preferred(service: string): Task {
    const providers = this.providers(service);
    return (providers.findLast((task) => !task.disabled) ?? providers.at(-1)) as Task;
  }

  /** Makes `name` the preferred one of all that provide `service`. Throws FluxError. */
  setAlternative(service: string, name: string): void {
    if (!this.has(service)) throw new FluxError(errno.ENOENT, `no such service ${service}`);
    const providers = this.providers(service);
    const chosen = providers.find((task) => task.name === name);
    if (chosen === undefined) throw new FluxError(errno.ENOENT, `no module ${name} provides ${service}`);
    if (providers.length > 1) this.add({ ...chosen, priority: Math.max(...providers.map((task) => task.priority)) + 1 });
  }

  /** Throws FluxError ENOENT. */
  disable(service: string): void {
    for (const task of this.#named(service)) this.add({ ...task, disabled: true });
  }

  /** Throws FluxError ENOENT. */
  enable(service: string): void {
    for (const task of this.#named(service)) this.add({ ...task, forced: true });
  }

  #named(service: string): Task[] {
    if (!this.has(service)) throw new FluxError(errno.ENOENT, `no such module or task '${service}'`);
    return this.providers(service);
  }

  addModule(entry: ModuleEntry): void {
    if (this.has(entry.name)) this.update(entry.name, entry);
    else this.add(moduleTask(entry));
  }

  /** Changes keys of a module that is there, named by itself or a service of its. Throws FluxError. */
  update(name: string, changes: Partial<ModuleEntry>): void {
    const before = this.preferred(name);
    this.add(moduleTask({ ...(describeModule(before) as unknown as ModuleEntry), ...changes, name: before.name }));
  }

  /** A table of modprobe.toml, or [modules] of the configuration: both have alternatives and changes by module. Throws FluxError. */
  apply(table: JsonObject): void {
    for (const [key, value] of Object.entries(table)) {
      if (key === "modules" && Array.isArray(value)) for (const entry of value) this.addModule(parseModuleEntry(asTable(entry, key)));
      else if (key === "alternatives") this.#applyAlternatives(asTable(value, key));
      else this.update(key, parseModuleEntry(asTable(value, key), key));
    }
  }

  #applyAlternatives(table: JsonObject): void {
    for (const [service, name] of Object.entries(table)) {
      if (typeof name !== "string") throw new FluxError(errno.EINVAL, `alternatives.${service}: expected the name of a module`);
      this.setAlternative(service, name);
    }
  }
}

/** Throws FluxError EINVAL that names `key`. */
export function asTable(value: unknown, key: string): JsonObject {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new FluxError(errno.EINVAL, `${key}: expected a table`);
  return value as JsonObject;
}
