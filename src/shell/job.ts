// Job: what a shell knows about the job it runs, from its assignment: the jobspec (RFC 14), R (RFC 20), who it is in the job.
import { formatJobId, type JobId } from "../formats/fluid.ts";
import { isJsonObject, type Json, type JsonObject } from "../formats/json.ts";
import { getAttribute, jobspecCounts, parseJobspec, type Jobspec } from "../formats/jobspec.ts";
import { Rset } from "../formats/rset.ts";
import { Taskmap } from "../formats/taskmap.ts";
import { unpack } from "../message/unpack.ts";
import { distributePerResource, distributeTasks, firstIds, jobNodes, type JobNode } from "./layout.ts";
import { jobOrderSpec } from "./protocol.ts";

export interface Job {
  readonly id: JobId;
  /** The id as people see it: "ƒ…", or "f…" where the terminal is not UTF-8 or FLUX_F58_FORCE_ASCII is set. */
  readonly f58: string;
  readonly userid: number;
  readonly shellRank: number;
  /** KVS namespace of the guest. */
  readonly namespace: string;
  /** Service of the job's shells, on each of its brokers. */
  readonly service: string;
  readonly jobspec: Jobspec;
  /** As they came: the jobspec (without environment) and R. */
  readonly source: { readonly jobspec: JsonObject; readonly R: JsonObject };
  /** attributes.system.shell.options */
  readonly options: JsonObject;
  readonly command: readonly string[];
  readonly name: string;
  readonly cwd: string | undefined;
  /** Environment that the jobspec asks for; a variable that it removes is absent. */
  readonly environment: Readonly<Record<string, string>>;
  readonly nodes: readonly JobNode[];
  /** Ours of `nodes`. */
  readonly node: JobNode;
  /** The same as R has it: more than the tasks of an uneven job may use. */
  readonly allocated: JobNode;
  /** Tasks in the block distribution; the taskmap plugin may replace it. */
  readonly taskmap: Taskmap;
  readonly ntasks: number;
  readonly slots: { readonly count: number; readonly cores: number; readonly perNode: number };
  /** Seconds since the epoch, 0 for none. */
  readonly expiration: number;
}

/** What an order {type: "job"} says. Throws FluxError EPROTO, or FormatError naming what is wrong with the jobspec or R. */
export function parseJob(order: JsonObject, processEnv: Readonly<Record<string, string | undefined>>): Job {
  const { id, userid, shell_rank, namespace, jobspec: rawJobspec, R: rawR } = unpack(order, jobOrderSpec);
  const jobspec = parseJobspec(rawJobspec);
  const R = Rset.parse(rawR);
  const options = objectOf(getAttribute(jobspec, "system.shell.options"));
  const environment = environmentOf(getAttribute(jobspec, "system.environment"));
  const command = jobspec.tasks[0]?.command ?? [];
  const counts = jobspecCounts(jobspec);
  const perResource = options["per-resource"];
  const allNodes = jobNodes(R);
  const ppn =
    perResource !== undefined
      ? distributePerResource(allNodes, perResource)
      : distributeTasks(allNodes, counts.ntasks, counts.coresPerSlot);
  const taskmap = Taskmap.block(ppn);
  const uneven = jobspec.version === 1 && !counts.exclusive && counts.nnodes > 1 && counts.nslots > taskmap.ntasks && perResource === undefined;
  // What R has, which may be more than what was asked for.
  const gpusPerSlot = Math.floor(allNodes.reduce((sum, { gpus }) => sum + gpus.count, 0) / counts.nslots);
  const nodes = uneven
    ? allNodes.map((node, i) => ({
        ...node,
        cores: firstIds(node.cores, (ppn[i] ?? 0) * counts.coresPerSlot),
        gpus: firstIds(node.gpus, (ppn[i] ?? 0) * gpusPerSlot),
      }))
    : allNodes;
  const node = nodes[shell_rank];
  const allocated = allNodes[shell_rank];
  if (node === undefined || allocated === undefined) throw new RangeError(`shell rank ${shell_rank} is not among the ${nodes.length} nodes of the job`);
  const name = getAttribute(jobspec, "system.job.name");
  const cwd = getAttribute(jobspec, "system.cwd");
  return {
    id,
    f58: formatJobId(id, prefersAscii({ ...processEnv, ...environment }) ? "f58plain" : "f58"),
    userid,
    shellRank: shell_rank,
    namespace,
    service: shellService(userid, id),
    jobspec,
    source: { jobspec: rawJobspec, R: rawR },
    options,
    command,
    name: typeof name === "string" ? name : baseName(command[0] ?? ""),
    cwd: typeof cwd === "string" ? cwd : undefined,
    environment,
    nodes,
    node,
    allocated,
    taskmap,
    ntasks: taskmap.ntasks,
    slots: { count: counts.nslots, cores: counts.coresPerSlot, perNode: counts.slotsPerNode === 0 ? -1 : counts.slotsPerNode },
    expiration: R.expiration,
  };
}

/** "0-shell-f2aXyz": the service that a job's shells register; independent of the locale. */
export function shellService(userid: number, id: JobId): string {
  return `${userid}-shell-${formatJobId(id, "f58plain")}`;
}

/** Last part of a path. */
export function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

function prefersAscii(env: Readonly<Record<string, string | undefined>>): boolean {
  if (env["FLUX_F58_FORCE_ASCII"] !== undefined) return true;
  const locale = [env["LC_ALL"], env["LC_CTYPE"], env["LANG"]].find((value) => value !== undefined && value !== "");
  return locale !== undefined && !/utf-?8/i.test(locale);
}

/** A value that should be an object: {} when it is not there. */
export function objectOf(value: Json | undefined): JsonObject {
  return isJsonObject(value) ? value : {};
}

function environmentOf(value: Json | undefined): Record<string, string> {
  const env: Record<string, string> = {};
  for (const [name, text] of Object.entries(objectOf(value))) if (typeof text === "string") env[name] = text;
  return env;
}
