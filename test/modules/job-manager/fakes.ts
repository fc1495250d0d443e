// Partners of the job manager for its tests: a KVS that is a Map, a scheduler with a number of cores, and an execution
// system whose jobs run until they are told to end (or end at once).
import { defineModule, type ModuleDefinition } from "../../../src/client/module.ts";
import { DEFERRED, type Request } from "../../../src/client/request.ts";
import type { Flux } from "../../../src/client/flux.ts";
import { submitJob, type SubmitOptions } from "../../../src/client/jobs.ts";
import { type EventlogEntry, parseEventlog } from "../../../src/formats/eventlog.ts";
import { jobKvsPath, type JobId } from "../../../src/formats/fluid.ts";
import type { Json, JsonObject } from "../../../src/formats/json.ts";
import { errno, FluxError } from "../../../src/message/errno.ts";
import { arr, bool, jobid, obj, str, uint, unpack } from "../../../src/message/unpack.ts";
import jobIngest from "../../../src/modules/job-ingest/job-ingest.ts";
import jobManager from "../../../src/modules/job-manager/job-manager.ts";
import { type Cluster, type ClusterOptions, startCluster } from "../../support/cluster.ts";

/** Milliseconds at which ids begin: beyond 2^53. */
export const FLUID_START = "fluid-start=1000000000";

/** Tells those who wait that something has changed. */
export class Changes {
  #waiting: (() => void)[] = [];

  readonly tell = (): void => {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  };

  async until(check: () => boolean): Promise<void> {
    while (!check()) await new Promise<void>((resolve) => void this.#waiting.push(resolve));
  }
}

export class FakeKvs {
  changed: () => void = () => undefined;
  readonly values = new Map<string, string>();
  commits = 0;
  operations = 0;
  /** Commits fail with this while it is set. */
  failure: FluxError | undefined;
  /** What was committed can't be written to disk while this is set. */
  diskFailure: FluxError | undefined;

  readonly module: ModuleDefinition = defineModule({
    name: "kvs",
    start: async (h) => {
      await h.serve("kvs", { durable: () => this.#durable(), commit: (req) => this.#commit(req), lookup: (req) => this.#lookup(req) });
    },
  });

  #durable(): void {
    if (this.diskFailure !== undefined) throw this.diskFailure;
  }

  eventlog(id: JobId): EventlogEntry[] {
    return parseEventlog(this.values.get(jobKvsPath(id, "eventlog")) ?? "");
  }

  names(id: JobId): string[] {
    return this.eventlog(id).map((event) => event.name);
  }

  #commit(request: Request): JsonObject {
    if (this.failure !== undefined) throw this.failure;
    this.commits++;
    for (const { key, flags, dirent } of request.unpack({ ops: arr(obj) }).ops as unknown as { key: string; flags: number; dirent: { data: string } | null }[]) {
      this.operations++;
      if (dirent === null) {
        for (const other of this.values.keys()) if (other === key || other.startsWith(`${key}.`)) this.values.delete(other);
        continue;
      }
      const text = Buffer.from(dirent.data, "base64").toString();
      this.values.set(key, (flags & 32) !== 0 ? (this.values.get(key) ?? "") + text : text);
    }
    queueMicrotask(this.changed);
    return { rootref: "sha1-0", rootseq: this.commits };
  }

  #lookup(request: Request): JsonObject {
    const { key, flags } = request.unpack({ key: str, flags: uint });
    if ((flags & 1) !== 0) return { val: this.#directory(key) };
    const text = this.values.get(key);
    if (text === undefined) throw new FluxError(errno.ENOENT);
    return { val: { type: "val", ver: 1, data: Buffer.from(text).toString("base64") } };
  }

  #directory(key: string): JsonObject {
    const data: Record<string, Json> = {};
    for (const path of this.values.keys()) {
      const [name, ...rest] = path.startsWith(`${key}.`) ? path.slice(key.length + 1).split(".") : [];
      if (name !== undefined && rest.length > 0) data[name] = { type: "dir", ver: 1, data: {} };
    }
    if (Object.keys(data).length === 0) throw new FluxError(errno.ENOENT);
    return { type: "dir", ver: 1, data };
  }
}

export class FakeScheduler {
  changed: () => void = () => undefined;
  free: number;
  readonly waiting = new Map<JobId, { request: Request; priority: number }>();
  /** Jobs in the order in which they were given resources. */
  readonly order: JobId[] = [];
  readonly prioritized: unknown[] = [];
  cancels = 0;
  hello: JobId[] = [];

  constructor(
    cores: number,
    readonly kvs: FakeKvs,
    readonly mode: JsonObject = { mode: "unlimited" },
  ) {
    this.free = cores;
  }

  readonly module: ModuleDefinition = defineModule({
    name: "sched-fake",
    start: async (h) => {
      await h.serve("sched", {
        alloc: (req) => this.#alloc(req),
        free: (req) => {
          unpack(req.unpack({ id: jobid, R: obj, final: bool }).R, { version: uint });
          this.free++;
          this.#schedule();
        },
        cancel: (req) => this.#cancel(req.unpack({ id: jobid }).id),
        prioritize: (req) => {
          for (const [id, priority] of req.payload["jobs"] as [number | bigint, number][]) {
            const item = this.waiting.get(BigInt(id));
            if (item !== undefined) item.priority = priority;
          }
          this.prioritized.push(req.payload["jobs"]);
        },
      });
      for await (const { id } of h.stream("job-manager.sched-hello", {})) this.hello.push(jobid(id, "id"));
      await h.rpc("job-manager.sched-ready", this.mode);
    },
  });

  #alloc(request: Request): typeof DEFERRED {
    const { id, priority } = request.unpack({ id: jobid, priority: uint, userid: uint, jobspec: obj });
    this.waiting.set(id, { request, priority });
    this.#schedule();
    this.changed();
    return DEFERRED;
  }

  #schedule(): void {
    while (this.free > 0 && this.waiting.size > 0) {
      const [id, { request }] = [...this.waiting].sort(([a, x], [b, y]) => y.priority - x.priority || (a < b ? -1 : 1))[0] as [JobId, { request: Request }];
      this.waiting.delete(id);
      this.free--;
      this.order.push(id);
      const R = { version: 1, execution: { R_lite: [{ rank: "0", children: { core: "0" } }], starttime: 1, expiration: 0, nodelist: ["test0"] }, scheduling: { x: 1 } };
      this.kvs.values.set(jobKvsPath(id, "R"), JSON.stringify(R));
      request.respond({ id, type: 0, R, annotations: { sched: { resource_summary: "rank0/core0" } } });
      request.finish();
    }
  }

  /** Says that it can't ever be done. */
  deny(id: JobId, note: string): void {
    const item = this.waiting.get(id);
    this.waiting.delete(id);
    item?.request.respond({ id, type: 2, note });
  }

  annotate(id: JobId, annotations: JsonObject): void {
    this.waiting.get(id)?.request.respond({ id, type: 1, annotations });
  }

  #cancel(id: JobId): void {
    this.cancels++;
    const item = this.waiting.get(id);
    if (item === undefined) return;
    this.waiting.delete(id);
    item.request.respond({ id, type: 3 });
    item.request.finish();
    this.changed();
  }
}

export class FakeExec {
  changed: () => void = () => undefined;
  readonly running = new Map<JobId, Request>();
  readonly reattached: JobId[] = [];

  /** `status`: what jobs end with at once; undefined: they run until end() is called. */
  constructor(readonly status?: number) {}

  readonly module: ModuleDefinition = defineModule({
    name: "exec-fake",
    start: async (h) => {
      await h.serve("exec-fake", { start: (req) => this.#start(req) });
      await h.subscribe("job-exception", ({ payload }) => {
        if (payload["severity"] === 0) this.end(jobid(payload["id"], "id"), 15);
      });
      await h.rpc("job-manager.exec-hello", { service: "exec-fake" });
    },
  });

  #start(request: Request): typeof DEFERRED {
    const { id, reattach } = request.unpack({ id: jobid, userid: uint, jobspec: obj, R: obj, reattach: bool });
    this.running.set(id, request);
    if (reattach) this.reattached.push(id);
    request.respond({ id, type: reattach ? "reattached" : "start", data: {} });
    if (this.status !== undefined) this.end(id, this.status);
    this.changed();
    return DEFERRED;
  }

  end(id: JobId, status: number): void {
    const request = this.running.get(id);
    if (request === undefined) return;
    this.running.delete(id);
    request.respond({ id, type: "finish", data: { status } });
    request.respond({ id, type: "release", data: { ranks: "all", final: true } });
    request.finish();
  }

  exception(id: JobId, severity: number, type: string, note: string): void {
    this.running.get(id)?.respond({ id, type: "exception", data: { severity, type, note } });
  }
}

export interface Rig {
  readonly cluster: Cluster;
  readonly h: Flux;
  readonly kvs: FakeKvs;
  readonly sched: FakeScheduler;
  readonly exec: FakeExec;
  /** A job of one core, with further attributes.system, or another jobspec. */
  submit(options?: SubmitOptions & { system?: JsonObject; jobspec?: JsonObject }): Promise<JobId>;
  /** Resolves when `check` holds; it is asked whenever a fake was. */
  until(check: () => boolean): Promise<void>;
  /** Resolves to the names of the job's events when it is inactive. */
  inactive(id: JobId): Promise<string[]>;
  stop(): Promise<void>;
}

export interface RigOptions extends ClusterOptions {
  readonly cores?: number;
  readonly mode?: JsonObject;
  /** Wait status of every job; undefined: jobs run until told to end. */
  readonly status?: number;
  readonly kvs?: FakeKvs;
  /** Modules that are there before the job manager. */
  readonly before?: readonly ModuleDefinition[];
}

export async function startRig(options: RigOptions = {}): Promise<Rig> {
  const kvs = options.kvs ?? new FakeKvs();
  const sched = new FakeScheduler(options.cores ?? 1, kvs, options.mode);
  const exec = new FakeExec(options.status);
  const changes = new Changes();
  for (const fake of [kvs, sched, exec]) fake.changed = changes.tell;
  const cluster = await startCluster({
    size: 1,
    ...options,
    rank0: [kvs.module, ...(options.before ?? []), jobManager, [jobIngest, FLUID_START], sched.module, exec.module],
  });
  const h = cluster.open();
  return {
    cluster,
    h,
    kvs,
    sched,
    exec,
    submit: ({ system, jobspec: given, ...rest } = {}) => submitJob(h, given ?? jobspec(system), rest),
    until: (check) => changes.until(check),
    async inactive(id) {
      await changes.until(() => kvs.names(id).at(-1) === "clean");
      return kvs.names(id);
    },
    stop: () => cluster.stop(),
  };
}

export function jobspec(system: JsonObject = {}): JsonObject {
  return {
    version: 1,
    resources: [{ type: "slot", count: 1, label: "task", with: [{ type: "core", count: 1 }] }],
    tasks: [{ command: ["true"], slot: "task", count: { per_slot: 1 } }],
    attributes: { system: { duration: 0, cwd: "/", environment: { HOME: "/" }, ...system } },
  };
}
