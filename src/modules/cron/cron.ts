// Module cron (rank 0): runs commands at intervals, at points in time, and on events (flux-cron(1)), by the brokers themselves and
// outside of any job.
//
//   cron.create { type, name, command, args, environ?, cwd?, repeat?, rank?, task-history-count?, stop-on-failure?, timeout? }
//   cron.delete { id, kill? }     cron.stop { id }     cron.start { id }         each → the entry
//   cron.list   → { entries: [entry, …] }
//   cron.sync   { topic?, disable?, sync_epsilon? } → { sync_event, sync_epsilon } or { sync_disabled: true }
//
//   type "interval": args { interval, after? }; "event": { topic, nth?, after?, min_interval? }; "datetime": see date-pattern.ts
//
// With a sync event, what is to run waits for the next such event, so that the nodes of an instance are disturbed at the same
// time; unless the last one was less than the epsilon ago.
//
// Arguments: sync=TOPIC sync_epsilon=FSD
import type { Subscription } from "../../client/flux.ts";
import { defineModule, type ModuleContext } from "../../client/module.ts";
import type { Request } from "../../client/request.ts";
import type { Flux } from "../../client/flux.ts";
import { parseDuration } from "../../formats/fsd.ts";
import type { JsonObject } from "../../formats/json.ts";
import { errno, FluxError, toFluxError } from "../../message/errno.ts";
import { bool, def, dict, int, num, obj, opt, str } from "../../message/unpack.ts";
import { CronEntry } from "./entry.ts";

const ENTRIES_MAX = 10_000;
const EPSILON_DEFAULT_S = 0.015;

export default defineModule({
  name: "cron",
  async start(h, context) {
    if (context.rank !== 0) throw new FluxError(errno.EINVAL, "cron runs on rank 0 only");
    const cron = new Cron(h, context);
    for (const arg of context.args) await cron.applyArgument(arg);
    await h.serve("cron", {
      create: (req) => cron.create(req),
      delete: (req) => cron.delete(req),
      stop: (req) => cron.withEntry(req, (entry) => entry.stop()),
      start: (req) => cron.withEntry(req, (entry) => entry.start()),
      list: () => ({ entries: cron.list() }),
      sync: (req) => cron.sync(req),
    });
    return { stop: () => cron.end() };
  },
});

class Cron {
  readonly #h: Flux;
  readonly #context: ModuleContext;
  readonly #entries = new Map<number, CronEntry>();
  #nextId = 1;
  #sync: { readonly topic: string; readonly subscription: Subscription } | undefined;
  #epsilon_s = EPSILON_DEFAULT_S;
  #lastSync_s = 0;
  #deferred: CronEntry[] = [];

  constructor(h: Flux, context: ModuleContext) {
    this.#h = h;
    this.#context = context;
  }

  async applyArgument(arg: string): Promise<void> {
    const [, name, value = ""] = /^(sync|sync_epsilon)=(.+)$/.exec(arg) ?? [];
    if (name === "sync") return this.#syncTo(value);
    if (name !== "sync_epsilon") throw new FluxError(errno.EINVAL, `Unknown option '${arg}'`);
    this.#epsilon_s = parseDuration(value);
  }

  list(): JsonObject[] {
    return [...this.#entries.values()].map((entry) => entry.describe());
  }

  async create(req: Request): Promise<JsonObject> {
    const given = req.unpack({
      type: str,
      name: str,
      command: str,
      args: obj,
      environ: opt(dict(str)),
      cwd: opt(str),
      repeat: def(int, 0),
      rank: def(int, 0),
      "task-history-count": def(int, 1),
      "stop-on-failure": def(int, 0),
      timeout: def(num, -1),
    });
    if (this.#entries.size >= ENTRIES_MAX) throw new FluxError(errno.ENOSPC, `there are ${ENTRIES_MAX} cron entries: delete some`);
    const id = this.#nextId++;
    const entry = await CronEntry.create(this.#h, this.#context.clock, {
      ...given,
      id,
      timeout_s: given.timeout < 0 ? undefined : given.timeout,
      taskHistoryCount: given["task-history-count"],
      stopOnFailure: given["stop-on-failure"],
      ready: (ready) => this.#runOrDefer(ready),
    });
    this.#entries.set(id, entry);
    entry.start();
    return entry.describe();
  }

  /** Throws FluxError ENOENT. */
  withEntry(req: Request, change: (entry: CronEntry) => void): JsonObject {
    const entry = this.#find(req);
    change(entry);
    return entry.describe();
  }

  async delete(req: Request): Promise<JsonObject> {
    const entry = this.#find(req);
    const description = entry.describe();
    this.#entries.delete(entry.id);
    this.#deferred = this.#deferred.filter((other) => other !== entry);
    if (req.unpack({ kill: def(bool, false) }).kill) entry.kill();
    await entry.end();
    return description;
  }

  #find(req: Request): CronEntry {
    const { id } = req.unpack({ id: int });
    const entry = this.#entries.get(id);
    if (entry === undefined) throw new FluxError(errno.ENOENT, `there is no cron entry ${id}`);
    return entry;
  }

  async sync(req: Request): Promise<JsonObject> {
    const { topic, disable, sync_epsilon } = req.unpack({ topic: opt(str), disable: def(bool, false), sync_epsilon: opt(num) });
    if (topic !== undefined) await this.#syncTo(topic);
    else if (disable) await this.#syncTo(undefined);
    if (sync_epsilon !== undefined) this.#epsilon_s = sync_epsilon;
    return this.#sync === undefined ? { sync_disabled: true } : { sync_event: this.#sync.topic, sync_epsilon: this.#epsilon_s };
  }

  async #syncTo(topic: string | undefined): Promise<void> {
    await this.#sync?.subscription.unsubscribe();
    this.#sync = undefined;
    if (topic === undefined) return this.#runDeferred();
    const subscription = await this.#h.subscribe(topic, (event) => {
      if (event.topic !== topic) return;
      this.#lastSync_s = this.#context.clock.now_s();
      this.#runDeferred();
    });
    this.#sync = { topic, subscription };
  }

  #runOrDefer(entry: CronEntry): void {
    if (this.#sync === undefined || this.#context.clock.now_s() - this.#lastSync_s < this.#epsilon_s) return entry.run();
    entry.stats.deferred++;
    this.#h.log(7, `deferring cron-${entry.id} to next ${this.#sync.topic} event`);
    this.#deferred.push(entry);
  }

  #runDeferred(): void {
    for (const entry of this.#deferred.splice(0)) entry.run();
  }

  async end(): Promise<void> {
    this.#deferred = [];
    await this.#sync?.subscription.unsubscribe();
    for (const entry of this.#entries.values()) {
      entry.kill();
      await entry.end().catch((err: unknown) => this.#h.log(3, `cron-${entry.id}: ${toFluxError(err).message}`));
    }
  }
}
