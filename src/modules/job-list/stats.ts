// How many jobs are in which state and how they ended: of all jobs, and by queue.
import { resultName, STATE, stateName } from "../../client/jobs.ts";
import type { Json, JsonObject } from "../../formats/json.ts";

const STATES = [STATE.DEPEND, STATE.PRIORITY, STATE.SCHED, STATE.RUN, STATE.CLEANUP, STATE.INACTIVE] as const;

interface Counts {
  readonly states: Map<number, number>;
  readonly results: Map<string, number>;
  purged: number;
}

function newCounts(): Counts {
  return { states: new Map(), results: new Map(), purged: 0 };
}

function add<K>(map: Map<K, number>, key: K, n: number): void {
  map.set(key, (map.get(key) ?? 0) + n);
}

export class JobStats {
  readonly #all = newCounts();
  readonly #queues = new Map<string, Counts>();

  /** Queues of the configuration are told of even when they are empty. */
  setQueues(names: readonly string[]): void {
    for (const name of names) this.#of(name);
  }

  #of(queue: string | undefined): Counts[] {
    if (queue === undefined) return [this.#all];
    let counts = this.#queues.get(queue);
    if (counts === undefined) this.#queues.set(queue, (counts = newCounts()));
    return [this.#all, counts];
  }

  /** A job has left state `from` and entered `to`; a job that is over has a result. */
  move(queue: string | undefined, from: number, to: number, result?: number): void {
    for (const counts of this.#of(queue)) {
      if (from !== STATE.NEW) add(counts.states, from, -1);
      if (to !== STATE.NEW) add(counts.states, to, 1);
      if (result !== undefined) add(counts.results, resultName(result), 1);
    }
  }

  /** A pending job has another queue. */
  requeue(from: string | undefined, to: string | undefined, state: number): void {
    if (from === to || state === STATE.NEW) return;
    if (from !== undefined) for (const counts of this.#of(from).slice(1)) add(counts.states, state, -1);
    if (to !== undefined) for (const counts of this.#of(to).slice(1)) add(counts.states, state, 1);
  }

  purge(queue: string | undefined, result: number): void {
    for (const counts of this.#of(queue)) {
      add(counts.states, STATE.INACTIVE, -1);
      add(counts.results, resultName(result), -1);
      counts.purged++;
    }
  }

  encode(): JsonObject {
    return { ...encodeCounts(this.#all), queues: [...this.#queues].map(([name, counts]) => ({ ...encodeCounts(counts), name })) };
  }
}

function encodeCounts({ states, results, purged }: Counts): JsonObject {
  const job_states: Record<string, Json> = {};
  let total = 0;
  for (const state of STATES) {
    const count = states.get(state) ?? 0;
    job_states[stateName(state).toLowerCase()] = count;
    total += count;
  }
  job_states["total"] = total;
  const result = (name: string): number => results.get(name) ?? 0;
  return {
    job_states,
    successful: result("COMPLETED"),
    failed: result("FAILED"),
    canceled: result("CANCELED"),
    timeout: result("TIMEOUT"),
    inactive_purged: purged,
  };
}
