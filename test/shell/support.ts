// A cluster that runs jobs: job-exec and real shell processes on every broker, with a job-manager and a KVS that are only as much as
// they need: the one records what job-exec answers, the other keeps values as text.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { OWNER_ONLY } from "../../src/broker/access.ts";
import { listenLocal, type LocalConnector } from "../../src/broker/connector-local.ts";
import type { Flux } from "../../src/client/flux.ts";
import { defineModule } from "../../src/client/module.ts";
import type { Request } from "../../src/client/request.ts";
import { formatJobId, jobKvsPath } from "../../src/formats/fluid.ts";
import { parseEventlog, type EventlogEntry } from "../../src/formats/eventlog.ts";
import { wrapNone } from "../../src/formats/signature.ts";
import { encodeJson, type Json, type JsonObject } from "../../src/formats/json.ts";
import { arr, bool, def, fields, int, jobid, num, obj, opt, str, unpack } from "../../src/message/unpack.ts";
import { errno, FluxError } from "../../src/message/errno.ts";
import { spawnProcess } from "../../src/os/spawn.ts";
import { createJobExec } from "../../src/modules/job-exec/job-exec.ts";
import { OWNER, startCluster, type Cluster } from "../support/cluster.ts";

/** Ids of test jobs start above 2^53. */
const FIRST_ID = 2n ** 53n + 12345n;

export interface JobRecord {
  readonly id: bigint;
  /** start, exception, finish, release, as job-exec sent them. */
  readonly responses: { type: string; data: JsonObject }[];
  /** job-manager.raise from shells. */
  readonly raised: JsonObject[];
  readonly done: Promise<JobRecord>;
  readonly started: Promise<void>;
  status(): number | undefined;
}

export interface JobLab {
  readonly cluster: Cluster;
  readonly h: Flux;
  /** Text of a key, "job-ID" namespace after the job has ended. */
  kvs(id: bigint, key: string): string;
  execlog(id: bigint): EventlogEntry[];
  output(id: bigint): { stdout: string; stderr: string; entries: EventlogEntry[] };
  submit(jobspec: JsonObject, nodes: readonly number[], options?: { cores?: string; expiration?: number; id?: bigint; R?: JsonObject }): JobRecord;
  run(argv: readonly string[], options?: SpecOptions & { nodes?: readonly number[] }): Promise<JobRecord>;
  raise(id: bigint, severity?: number, type?: string): void;
  /** What the KVS was asked to do; `slow` delays commits. */
  readonly kvsState: FakeKvs;
  stop(): Promise<void>;
}

export interface SpecOptions {
  readonly ntasks?: number;
  readonly nnodes?: number;
  readonly cores?: number;
  readonly shell?: Record<string, Json>;
  readonly env?: Record<string, string>;
  readonly cwd?: string;
  readonly system?: Record<string, Json>;
}

/** A version 1 jobspec. */
export function jobspec(command: readonly string[], options: SpecOptions = {}): JsonObject {
  const { ntasks = 1, nnodes = 0, cores = 1 } = options;
  const slot = { type: "slot", count: nnodes > 0 ? Math.ceil(ntasks / nnodes) : ntasks, with: [{ type: "core", count: cores }], label: "task" };
  return {
    version: 1,
    resources: nnodes > 0 ? [{ type: "node", count: nnodes, with: [slot] }] : [slot],
    tasks: [{ command: [...command], slot: "task", count: { total: ntasks } }],
    attributes: {
      system: {
        duration: 0,
        cwd: options.cwd ?? "/tmp",
        environment: { PATH: "/usr/bin:/bin", ...options.env },
        shell: { options: { "cpu-affinity": "off", ...options.shell } },
        ...options.system,
      },
    },
  };
}

interface FakeKvs {
  readonly namespaces: Map<string, Map<string, string>>;
  readonly commits: { namespace: string; ops: number; lazy: boolean }[];
  /** Called for each commit; may delay it. */
  slow: (() => Promise<void>) | undefined;
}

function fakeKvs(state: FakeKvs) {
  const roots = new Map<string, Map<string, string>>();
  return defineModule({
    name: "kvs",
    async start(h) {
      await h.serve("kvs", {
        "namespace-create": (req) => {
          const { namespace } = req.unpack({ namespace: str, rootref: str });
          if (state.namespaces.has(namespace)) throw new FluxError(errno.EEXIST);
          state.namespaces.set(namespace, new Map());
        },
        "namespace-remove": (req) => void state.namespaces.delete(req.unpack({ namespace: str }).namespace),
        getroot: (req) => ({ rootref: `sha1-${req.unpack({ namespace: str }).namespace}`, rootseq: 1 }),
        lookup(req) {
          const { namespace, key } = req.unpack({ namespace: str, key: str });
          const value = state.namespaces.get(namespace)?.get(key);
          if (value === undefined) throw new FluxError(errno.ENOENT);
          return { val: { ver: 1, type: "val", data: Buffer.from(value).toString("base64") } };
        },
        async commit(req) {
          const { namespace, ops, lazy } = req.unpack({ namespace: str, ops: arr(obj), lazy: def(bool, false) });
          await state.slow?.();
          const store = state.namespaces.get(namespace);
          if (store === undefined) throw new FluxError(errno.ENOENT, `no namespace ${namespace}`);
          state.commits.push({ namespace, ops: ops.length, lazy });
          for (const op of ops) {
            const { key, flags, dirent } = unpack(op, { key: str, flags: int, dirent: obj });
            if (dirent["type"] === "dirref") {
              const [ref = ""] = arr(str)(dirent["data"], "data");
              for (const [name, value] of roots.get(ref) ?? []) store.set(`${key}.${name}`, value);
            } else {
              const text = Buffer.from(str(dirent["data"], "data"), "base64").toString();
              store.set(key, flags === 32 ? (store.get(key) ?? "") + text : text);
            }
          }
          const rootref = `sha1-${namespace}`;
          roots.set(rootref, store);
          return { rootref, rootseq: 2 };
        },
      });
    },
  });
}

/** The job-manager's end of RFC 32, recording. */
function fakeJobManager(jobs: Map<string, { raised: JsonObject[] }>) {
  return defineModule({
    name: "job-manager",
    async start(h) {
      await h.serve("job-manager", {
        "exec-hello": () => undefined,
        raise: (req: Request) => {
          const { id, type, severity, note, wait_status } = req.unpack({ id: jobid, type: str, severity: int, note: str, wait_status: opt(num) });
          const exception: JsonObject = { type, severity, note, ...(wait_status !== undefined && { wait_status }) };
          jobs.get(String(id))?.raised.push(exception);
          h.publish("job-exception", { id, type, severity, ...(wait_status !== undefined && { wait_status }) });
        },
        kill: (req: Request) => {
          const { id, signum } = req.unpack({ id: jobid, signum: int });
          h.publish(`shell-${id}.kill`, { signum });
        },
      });
    },
  });
}

export async function startLab(size = 1, options: { config?: JsonObject } = {}): Promise<JobLab> {
  const dir = mkdtempSync(join(tmpdir(), "flux-lab-"));
  const kvsState: FakeKvs = { namespaces: new Map([["primary", new Map()]]), commits: [], slow: undefined };
  const records = new Map<string, { raised: JsonObject[] }>();
  const sockets: LocalConnector[] = [];
  const children = new Set<number>();
  const main = join(import.meta.dir, "shell-main.ts");
  const rankOf = async (h: Flux): Promise<string> => h.attr("rank");
  const jobExec = createJobExec({
    startShell: async (h) => {
      const uri = `local://${dir}/local-${await rankOf(h)}`;
      return () => {
        const child = spawnProcess({ argv: [process.execPath, main], env: { ...process.env, FLUX_URI: uri }, cwd: "/", stdout: "inherit", stderr: "inherit", newSession: true });
        children.add(child.pid);
        void child.reaped.then(() => children.delete(child.pid));
        return child;
      };
    },
  });
  const cluster = await startCluster({ size, attrs: { rundir: dir, "jobid-path": "/", "content.hash": "sha1" }, rank0: [fakeKvs(kvsState), fakeJobManager(records)], modules: [], config: options.config ?? {} });
  for (const broker of cluster.brokers) {
    await cluster.open(broker.rank).rpc("attr.set", { name: "local-uri", value: `local://${dir}/local-${broker.rank}` }, { nodeid: broker.rank });
    sockets.push(listenLocal({ path: join(dir, `local-${broker.rank}`), router: broker.router, owner: OWNER, newId: () => crypto.randomUUID(), access: () => OWNER_ONLY, log: (_level, text) => broker.log.push(text) }));
  }
  for (const broker of cluster.brokers) await broker.host.load(jobExec);
  const h = cluster.open();
  let nextId = FIRST_ID;

  const text = (id: bigint, key: string): string => {
    const primary = kvsState.namespaces.get("primary") ?? new Map<string, string>();
    return primary.get(`${formatJobId(id, "kvs")}.guest.${key}`) ?? kvsState.namespaces.get(`job-${id}`)?.get(key) ?? "";
  };

  const lab: JobLab = {
    cluster,
    h,
    kvsState,
    kvs: text,
    execlog: (id) => parseEventlog(text(id, "exec.eventlog")),
    output(id) {
      const entries = parseEventlog(text(id, "output"));
      const streams = { stdout: "", stderr: "" };
      for (const { name, context } of entries) {
        if (name !== "data" || typeof context?.["data"] !== "string") continue;
        const data = context["encoding"] === "base64" ? Buffer.from(context["data"], "base64").toString("latin1") : context["data"];
        streams[context["stream"] as "stdout" | "stderr"] += data;
      }
      return { ...streams, entries };
    },
    submit(spec, nodes, { cores = "0-1", expiration = 0, id = nextId++, R: givenR } = {}) {
      const hosts = nodes.map((rank) => `test${rank}`);
      const starttime = Date.now() / 1000;
      const R = givenR ?? { version: 1, execution: { R_lite: [{ rank: nodes.join(","), children: { core: cores } }], nodelist: [hosts.join(",")], starttime, expiration } };
      const started = Promise.withResolvers<void>();
      const done = Promise.withResolvers<JobRecord>();
      const record: JobRecord = {
        id,
        responses: [],
        raised: [],
        done: done.promise,
        started: started.promise,
        status: () => record.responses.find((r) => r.type === "finish")?.data["status"] as number | undefined,
      };
      records.set(String(id), record);
      // As job-ingest stores it: the environment is in J only.
      kvsState.namespaces.get("primary")?.set(jobKvsPath(id, "J"), wrapNone(OWNER, encodeJson(spec)));
      const { system } = fields({ system: obj })(spec["attributes"], "attributes");
      const { environment: _, ...rest } = system;
      const stripped = { ...spec, attributes: { system: rest } };
      const follow = async (): Promise<void> => {
        for await (const payload of h.stream("job-exec.start", { id, userid: OWNER, jobspec: stripped, R, reattach: false }, { nodeid: 0 })) {
          const { type, data } = unpack(payload, { type: str, data: obj });
          record.responses.push({ type, data });
          if (type === "exception" && data["severity"] === 0) h.publish("job-exception", { id, type: str(data["type"], "type"), severity: 0 });
          if (type === "start") started.resolve();
          if (type === "release") {
            done.resolve(record);
            break;
          }
        }
      };
      follow().catch((err: unknown) => done.reject(err as Error));
      return record;
    },
    async run(argv, specOptions = {}) {
      const nodes = specOptions.nodes ?? [0];
      return lab.submit(jobspec(argv, { ...specOptions, nnodes: nodes.length }), nodes).done;
    },
    raise(id, severity = 0, type = "cancel") {
      h.publish("job-exception", { id, type, severity });
    },
    async stop() {
      h.close();
      await cluster.stop();
      for (const socket of sockets) socket.close();
      for (const pid of children) process.kill(pid, "SIGKILL");
      rmSync(dir, { recursive: true, force: true });
    },
  };
  return lab;
}
