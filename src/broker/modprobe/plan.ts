// What runs, and in which order: pure functions over a TaskSet. `isEnabled` says whether a task's own conditions hold.
import { errno, FluxError } from "../../message/errno.ts";
import type { Task } from "./task.ts";
import type { TaskSet } from "./task-set.ts";

export type IsEnabled = (task: Task) => boolean;

/** Task → the tasks that go before it. */
export type Order = ReadonlyMap<string, readonly string[]>;

export class Plan {
  readonly #tasks: TaskSet;
  readonly #isEnabled: IsEnabled;

  constructor(tasks: TaskSet, isEnabled: IsEnabled) {
    this.#tasks = tasks;
    this.#isEnabled = isEnabled;
  }

  /** The preferred one of those that can run, or else the preferred one. Throws FluxError ENOENT. */
  resolve(service: string, ignoreNeeds: boolean = false): Task {
    const providers = this.#tasks.providers(service);
    const viable = providers.findLast((task) => this.#isEnabled(task) && (ignoreNeeds || this.#hasNeeds(task, new Set())));
    return (viable ?? providers.at(-1)) as Task;
  }

  /** True when everything that `task` needs could run. `asked`: whose needs are being looked at. */
  #hasNeeds(task: Task, asked: ReadonlySet<string>): boolean {
    const now = new Set(asked).add(task.name);
    return task.needs.every((need) => {
      if (!this.#tasks.has(need)) return false;
      return this.#tasks.providers(need).some((other) => !now.has(other.name) && this.#isEnabled(other) && this.#hasNeeds(other, now));
    });
  }

  /** Of these tasks those that are enabled and have what they need among them. */
  active(names: readonly string[]): string[] {
    let left = names.filter((name) => this.#isEnabled(this.#tasks.preferred(name)));
    for (;;) {
      const present = new Set(left.flatMap((name) => namesOf(this.#tasks.preferred(name))));
      const next = left.filter((name) => this.resolve(name).needs.every((need) => present.has(need)));
      if (next.length === left.length) return left;
      left = next;
    }
  }

  /** These and all that they require, by their own names. */
  requirements(names: readonly string[], includeDisabled: boolean = false): string[] {
    const found = new Set<string>();
    const visited = new Set<string>();
    const visit = (service: string): void => {
      const task = this.resolve(service, includeDisabled);
      if (visited.has(task.name)) return;
      visited.add(task.name);
      if (includeDisabled || this.#isEnabled(task)) found.add(task.name);
      for (const required of task.requires) visit(required);
    };
    for (const name of names) visit(name);
    return [...found];
  }

  order(names: readonly string[]): Order {
    const tasks = new Map(names.map((name) => [name, this.resolve(name)] as const).map(([, task]) => [task.name, task]));
    const before = new Map<string, Set<string>>();
    for (const name of tasks.keys()) before.set(name, new Set());
    for (const task of tasks.values()) {
      for (const other of this.#others(task.after, tasks, (t) => !t.after.includes("*"))) before.get(task.name)?.add(other);
      for (const other of this.#others(task.before, tasks, (t) => !t.before.includes("*"))) before.get(other)?.add(task.name);
    }
    return new Map([...before].map(([name, set]) => [name, [...set]]));
  }

  /** The tasks among `tasks` that a list of before or after means. */
  #others(services: readonly string[], tasks: ReadonlyMap<string, Task>, inStar: (task: Task) => boolean): string[] {
    if (services.includes("*")) return [...tasks.values()].filter(inStar).map((task) => task.name);
    return services.flatMap((service) => {
      if (!this.#tasks.has(service)) throw new FluxError(errno.ENOENT, `no such task or module ${service}`);
      const { name } = this.resolve(service);
      return tasks.has(name) ? [name] : [];
    });
  }

  /**
   * Of the loaded modules those that go when `names` go: they, and what nobody requires any more. Throws FluxError EBUSY
   * when one of `names` is required by one that stays.
   */
  removable(loaded: readonly string[], names: readonly string[]): string[] {
    const users = new Map<string, Set<string>>();
    for (const name of loaded) {
      for (const service of this.resolve(name).requires) {
        const required = this.#tasks.has(service) ? this.resolve(service).name : service;
        users.set(required, (users.get(required) ?? new Set()).add(name));
      }
    }
    const gone = new Set(names);
    const isUnused = (name: string): boolean => [...(users.get(name) ?? [])].every((user) => gone.has(user));
    for (const name of gone) {
      const candidates = this.#tasks.has(name) ? this.resolve(name).requires : [];
      for (const service of candidates) {
        const required = this.resolve(service).name;
        // A Set's iteration goes on to what is added during it.
        if (loaded.includes(required) && isUnused(required)) gone.add(required);
      }
    }
    for (const name of names) {
      const left = [...(users.get(name) ?? [])].filter((user) => !gone.has(user)).toSorted();
      if (left.length > 0) throw new FluxError(errno.EBUSY, `${name} still in use by ${left.join(", ")}`);
    }
    return [...gone];
  }
}

function namesOf(task: Task): string[] {
  return [task.name, ...task.provides];
}

/** Throws FluxError EINVAL when tasks wait for each other in a circle. */
export function refuseCycles(order: Order): void {
  const state = new Map<string, "open" | "done">();
  const path: string[] = [];
  const visit = (name: string): void => {
    if (state.get(name) === "done") return;
    path.push(name);
    if (state.get(name) === "open") throw new FluxError(errno.EINVAL, `nodes are in a cycle: ${path.slice(path.indexOf(name)).join(", ")}`);
    state.set(name, "open");
    for (const other of order.get(name) ?? []) visit(other);
    path.pop();
    state.set(name, "done");
  };
  for (const name of order.keys()) visit(name);
}

/** Runs tasks, each when those before it are over. After a failure no more start; resolves to whether all went well. */
export async function runInOrder(order: Order, run: (name: string) => Promise<boolean>): Promise<boolean> {
  refuseCycles(order);
  const waiting = new Map([...order].map(([name, before]) => [name, new Set(before)]));
  let failed = false;
  let running = 0;
  const over = Promise.withResolvers<void>();
  const startReady = (): void => {
    const ready = failed ? [] : [...waiting].filter(([, before]) => before.size === 0).map(([name]) => name);
    for (const name of ready) waiting.delete(name);
    for (const name of ready) void start(name);
    if (running === 0) over.resolve();
  };
  const start = async (name: string): Promise<void> => {
    running++;
    const ok = await run(name).catch(() => false);
    running--;
    if (!ok) failed = true;
    for (const before of waiting.values()) before.delete(name);
    startReady();
  };
  startReady();
  await over.promise;
  return !failed;
}
