// A scheduler of your own, in one file without a library: shortest job first, on whole nodes.
//
//   flux module remove sched-simple
//   flux module load ./mysched.ts [max-nodes=N]
//   flux module reload ./mysched.ts            after editing it: jobs run and wait on
//   flux module remove mysched && flux module load sched-simple
//
// It speaks two protocols. By RFC 28, resource.acquire tells which nodes there are and which are up. By RFC 27, the job
// manager asks for resources with sched.alloc and returns them with sched.free; a scheduler that starts says hello, to learn
// which jobs have resources already, and then that it is ready. All the rest is policy: see schedule().
//
// A module's default export has a name and a start() that is given a handle (rpc, stream, serve, log, …) and a context. The
// types below are for an editor; a file elsewhere can leave out the import, or point it to its copy of the sources.
import type { Flux } from "../../src/client/flux.ts";
import type { ModuleContext } from "../../src/client/module.ts";
import type { Request } from "../../src/client/request.ts";
import type { JsonObject } from "../../src/formats/json.ts";

interface Node {
  readonly rank: number;
  readonly host: string;
  /** { core: "0-3", gpu: "0" } */
  readonly children: JsonObject;
  readonly cores: number;
  up: boolean;
  /** The job that has it. */
  job: bigint | undefined;
}

interface Waiting {
  readonly id: bigint;
  readonly nodes: number;
  readonly slots: number;
  /** Seconds; Infinity when the job names none. */
  readonly duration: number;
  /** Sends the answer to sched.alloc. */
  readonly answer: (payload: JsonObject) => void;
}

export default {
  name: "mysched",

  async start(h: Flux, context: ModuleContext) {
    const limit = Number(context.args.find((arg) => arg.startsWith("max-nodes="))?.slice("max-nodes=".length) ?? Infinity);
    const waiting = new Map<bigint, Waiting>();
    let nodes: Node[] = [];
    let stopped = false;

    /** The policy: whoever takes least time goes first; who does not fit is passed by. */
    function schedule(): void {
      for (const job of [...waiting.values()].sort((a, b) => a.duration - b.duration || (a.id < b.id ? -1 : 1))) {
        const free = nodes.filter((node) => node.up && node.job === undefined);
        if (job.nodes > nodes.length || job.nodes > limit) {
          waiting.delete(job.id);
          job.answer({ id: job.id, type: 2, note: `there will never be ${job.nodes} nodes for a job` });
        } else if (job.nodes <= free.length) give(job, free.slice(0, job.nodes));
      }
    }

    /** R (RFC 20) goes to the KVS before the job manager hears of it. */
    function give(job: Waiting, its: readonly Node[]): void {
      waiting.delete(job.id);
      for (const node of its) node.job = job.id;
      const starttime = context.clock.now_s();
      const R = {
        version: 1,
        execution: {
          R_lite: its.map(({ rank, children }) => ({ rank: String(rank), children })),
          nodelist: [its.map(({ host }) => host).join(",")],
          nslots: job.slots,
          starttime,
          expiration: job.duration === Infinity ? 0 : starttime + job.duration,
        },
      };
      const dirent = { ver: 1, type: "val", data: Buffer.from(JSON.stringify(R)).toString("base64") };
      h.rpc("kvs.commit", { namespace: "primary", flags: 0, ops: [{ key: `${kvsPath(job.id)}.R`, flags: 0, dirent }] }).then(
        () => job.answer({ id: job.id, type: 0, R, annotations: { sched: { resource_summary: `${its.length} nodes, shortest first` } } }),
        (err: unknown) => {
          h.log(3, `R of job ${job.id} could not be stored: ${String(err)}`);
          release(job.id);
          job.answer({ id: job.id, type: 2, note: "R could not be stored" });
        },
      );
    }

    function release(id: bigint): void {
      for (const node of nodes) if (node.job === id) node.job = undefined;
      schedule();
    }

    await h.serve("sched", {
      /** What is yielded is the answer; after it the request is done. */
      async *alloc(req: Request) {
        const { id, jobspec } = req.payload as { id: bigint | number; jobspec: JsonObject };
        const { promise, resolve } = Promise.withResolvers<JsonObject>();
        const job = { id: BigInt(id), answer: resolve, ...wants(jobspec, nodes[0]?.cores ?? 1) };
        waiting.set(job.id, job);
        schedule();
        yield await promise;
      },
      free(req: Request) {
        const { id, R, final } = req.payload as { id: bigint | number; R: JsonObject; final?: boolean };
        if (final === true) return release(BigInt(id));
        const ranks = ranksOf(R); // nodes that the job is done with
        for (const node of nodes) if (node.job === BigInt(id) && ranks.has(node.rank)) node.job = undefined;
        schedule();
      },
      cancel(req: Request) {
        const id = BigInt((req.payload as { id: bigint | number }).id);
        const job = waiting.get(id);
        waiting.delete(id);
        job?.answer({ id, type: 3 });
      },
      prioritize() {
        // The order is by duration: priorities change nothing.
      },
      expiration() {
        // Times of running jobs are not planned with.
      },
    });

    /** Learns of the nodes, of those that jobs have, and follows what becomes of them. */
    async function follow(): Promise<void> {
      const updates = h.stream("resource.acquire", undefined, { cancelTopic: "resource.acquire-cancel" });
      for await (const { resources, up, down, shrink } of updates) {
        if (resources !== undefined) {
          nodes = nodesOf(resources as JsonObject);
          for await (const { id } of h.stream("job-manager.sched-hello", { "partial-ok": false })) {
            const { R } = await h.rpc("job-info.lookup", { id: id as bigint | number, keys: ["R"], flags: 0 });
            const ranks = ranksOf(JSON.parse(R as string) as JsonObject);
            for (const node of nodes) if (ranks.has(node.rank)) node.job = BigInt(id as bigint | number);
          }
          await h.rpc("job-manager.sched-ready", { mode: "unlimited" });
        }
        for (const rank of idset(up)) setUp(rank, true);
        for (const rank of idset(down)) setUp(rank, false);
        const gone = new Set(idset(shrink));
        nodes = nodes.filter(({ rank }) => !gone.has(rank));
        schedule();
      }
    }

    function setUp(rank: number, up: boolean): void {
      for (const node of nodes) if (node.rank === rank) node.up = up;
    }

    follow().catch((err: unknown) => {
      if (!stopped) h.log(3, `resources: ${String(err)}`);
    });
    return {
      stop: () => void (stopped = true),
      stats: () => ({ waiting: waiting.size, free: nodes.filter((node) => node.up && node.job === undefined).length }),
    };
  },
};

/** Nodes, slots and seconds that a jobspec (RFC 25) asks for. */
function wants(jobspec: JsonObject, coresPerNode: number): { nodes: number; slots: number; duration: number } {
  interface Vertex { readonly type: string; readonly count: number; readonly with?: readonly Vertex[] }
  const { resources, attributes } = jobspec as { resources?: readonly Vertex[]; attributes?: { system?: { duration?: number } } };
  let nodes: number | undefined;
  let slots = 1;
  let cores = 1;
  for (let vertex = resources?.[0]; vertex !== undefined; vertex = vertex.with?.[0]) {
    if (vertex.type === "node") nodes = vertex.count;
    if (vertex.type === "slot") slots = vertex.count;
    if (vertex.type === "core") cores = vertex.count;
  }
  const duration = attributes?.system?.duration ?? 0;
  const perNode = Math.max(1, Math.floor(coresPerNode / cores));
  return { nodes: nodes ?? Math.ceil(slots / perNode), slots: (nodes ?? 1) * slots, duration: duration > 0 ? duration : Infinity };
}

function nodesOf(R: JsonObject): Node[] {
  const { R_lite, nodelist } = R["execution"] as { R_lite: { rank: string; children: JsonObject }[]; nodelist: string[] };
  const hosts = nodelist.flatMap(hostlist);
  return R_lite.flatMap(({ rank, children }) => [...idset(rank)].map((r) => ({ rank: r, children, cores: [...idset(children["core"])].length })))
    .sort((a, b) => a.rank - b.rank)
    .map((node, i) => ({ ...node, host: hosts[i] ?? `rank${node.rank}`, up: false, job: undefined }));
}

function ranksOf(R: JsonObject): Set<number> {
  const { R_lite } = R["execution"] as { R_lite: { rank: string }[] };
  return new Set(R_lite.flatMap(({ rank }) => [...idset(rank)]));
}

/** Numbers of "0-3,7" (RFC 22); none of undefined. */
function* idset(text: unknown): Generator<number, void, undefined> {
  if (typeof text !== "string" || text === "") return;
  for (const range of text.replace(/[[\]]/g, "").split(",")) {
    const [low = 0, high = low] = range.split("-").map(Number);
    for (let i = low; i <= high; i++) yield i;
  }
}

/** Names of "a[0-2,5],b" (RFC 29), with one pair of brackets a name. */
function hostlist(text: string): string[] {
  return text.split(/,(?![^[]*\])/).flatMap((name) => {
    const [, head = "", ids, tail = ""] = /^([^[]*)\[(.*)\](.*)$/.exec(name) ?? [];
    if (ids === undefined) return [name];
    return ids.split(",").flatMap((range) => {
      const [low = "0", high = low] = range.split("-");
      return Array.from({ length: Number(high) - Number(low) + 1 }, (_, i) => `${head}${String(Number(low) + i).padStart(low.length, "0")}${tail}`);
    });
  });
}

/** "job.0000.04d2.…" (RFC 16). */
function kvsPath(id: bigint): string {
  return `job.${(id.toString(16).padStart(16, "0").match(/.{4}/g) ?? []).join(".")}`;
}
