// Queues (RFC 33): the anonymous one, or those that [queues] configures; each can be disabled (no submission) and
// stopped (no allocation). The jobs of a virtual queue are allocated while both it and its parent are started. Pure state; what
// starting and stopping does to jobs is the caller's.
import { readTable } from "../../client/config-table.ts";
import type { JsonObject } from "../../formats/json.ts";
import { queueTables } from "../../formats/queue-config.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { arr, bool, opt, str, unpack } from "../../message/unpack.ts";

export interface Queue {
  /** undefined: the anonymous queue. */
  readonly name: string | undefined;
  enabled: boolean;
  disableReason: string | undefined;
  started: boolean;
  /** What a restart finds: like `started`, but without changes that are not to survive one. */
  startedSticky: boolean;
  stopReason: string | undefined;
  /** Properties that jobs of this queue require of their nodes. */
  requires: readonly string[];
  /** Name of the queue that a virtual queue belongs to. */
  parent: string | undefined;
}

export class Queues {
  #anonymous: Queue | undefined = newQueue(undefined);
  readonly #named = new Map<string, Queue>();

  get areNamed(): boolean {
    return this.#anonymous === undefined;
  }

  names(): string[] {
    return [...this.#named.keys()];
  }

  all(): Queue[] {
    return this.#anonymous === undefined ? [...this.#named.values()] : [this.#anonymous];
  }

  /** Throws FluxError EINVAL for a queue that isn't there. */
  find(name: string | undefined): Queue {
    const queue = name === undefined ? this.#anonymous : this.#named.get(name);
    if (queue !== undefined) return queue;
    throw new FluxError(errno.EINVAL, name === undefined ? "a named queue is required" : `'${name}' is not a valid queue`);
  }

  /** The queues that a request about `name` means: all for none. Throws FluxError EINVAL. */
  select(name: string | undefined, all: boolean): Queue[] {
    if (name !== undefined) return [this.find(name)];
    if (this.areNamed && !all) throw new FluxError(errno.EINVAL, "Use --all to apply this command to all queues");
    return this.all();
  }

  isStarted(name: string | undefined): boolean {
    const queue = name === undefined ? this.#anonymous : this.#named.get(name);
    return queue?.started === true && !this.#isBlocked(queue);
  }

  /** The queues whose jobs are allocated with those of one of these: they, and their virtual queues. */
  withVirtual(queues: readonly Queue[]): Queue[] {
    const names = new Set(queues.map(({ name }) => name));
    return this.all().filter(({ name, parent }) => names.has(name) || (parent !== undefined && names.has(parent)));
  }

  #isBlocked({ parent }: Queue): boolean {
    return parent !== undefined && this.#named.get(parent)?.started !== true;
  }

  /** Answer of queue-status. Nothing is started while there is no scheduler. */
  statusOf(name: string | undefined, schedulerOnline: boolean): JsonObject {
    const queue = this.find(name);
    const { enabled, disableReason, started, parent } = queue;
    const blocked = !schedulerOnline ? "scheduler" : this.#isBlocked(queue) ? "parent" : undefined;
    const start = started && blocked === undefined;
    const stopReason = blocked === "scheduler" ? "Scheduler is offline" : started ? `parent queue '${parent}' is stopped` : queue.stopReason;
    return {
      enable: enabled,
      start,
      ...(enabled || disableReason === undefined ? {} : { disable_reason: disableReason }),
      ...(start || stopReason === undefined ? {} : { stop_reason: stopReason }),
      ...(started && blocked !== undefined ? { blocked } : {}),
      ...(parent === undefined ? {} : { parent }),
    };
  }

  /** Throws FluxError EINVAL with the reason when jobs can't be submitted to this queue. */
  checkSubmit(name: string | undefined): void {
    const queue = this.find(name);
    if (queue.enabled) return;
    throw new FluxError(errno.EINVAL, `job submission${name === undefined ? "" : ` to ${name}`} is disabled: ${queue.disableReason ?? ""}`);
  }

  /** Takes the [queues] table, checked; existing queues keep their state. Throws FluxError EINVAL, and then nothing has changed. */
  configure(config: JsonObject): void {
    const wanted = Array.from(queueTables(config), ([name, table]) => ({ name, ...readTable(table, `queues.${name}`, { requires: opt(arr(str)), parent: opt(str) }) }));
    if (wanted.length === 0) {
      this.#named.clear();
      this.#anonymous ??= newQueue(undefined);
      return;
    }
    this.#anonymous = undefined;
    for (const name of this.names()) if (!wanted.some((queue) => queue.name === name)) this.#named.delete(name);
    for (const { name, requires = [], parent } of wanted) {
      const queue = this.#named.get(name) ?? newQueue(name);
      queue.requires = requires;
      queue.parent = parent;
      this.#named.set(name, queue);
    }
  }

  /** For the checkpoint in the KVS. */
  save(): JsonObject[] {
    return this.all().map((queue) => ({
      enable: queue.enabled,
      start: queue.startedSticky,
      ...(queue.name === undefined ? {} : { name: queue.name }),
      ...(queue.enabled || queue.disableReason === undefined ? {} : { disable_reason: queue.disableReason }),
      ...(queue.startedSticky || queue.stopReason === undefined ? {} : { stop_reason: queue.stopReason }),
    }));
  }

  /** Takes a checkpoint; queues that are no more are passed over. Throws FluxError EPROTO. */
  restore(saved: readonly JsonObject[]): void {
    for (const item of saved) {
      const { name, enable, start, disable_reason, stop_reason } = unpack(item, {
        name: opt(str), enable: bool, start: bool, disable_reason: opt(str), stop_reason: opt(str),
      });
      const queue = name === undefined ? this.#anonymous : this.#named.get(name);
      if (queue === undefined) continue;
      setEnabled(queue, enable, disable_reason);
      setStarted(queue, start, stop_reason, true);
    }
  }
}

export function setEnabled(queue: Queue, enabled: boolean, reason: string | undefined): void {
  queue.enabled = enabled;
  queue.disableReason = enabled ? undefined : reason;
}

export function setStarted(queue: Queue, started: boolean, reason: string | undefined, sticky: boolean): void {
  // What is stopped for good stays so, and says why, when the instance ends.
  if (!sticky && !started && !queue.started) return;
  queue.started = started;
  if (sticky) queue.startedSticky = started;
  queue.stopReason = started ? undefined : reason;
}

/** The anonymous queue begins started, named ones stopped. */
function newQueue(name: string | undefined): Queue {
  const started = name === undefined;
  return { name, enabled: true, disableReason: undefined, started, startedSticky: started, stopReason: undefined, requires: [], parent: undefined };
}
