// Store: what the job manager keeps in the KVS (RFC 16): job.XXXX.{eventlog,jobspec,R} and checkpoint.job-manager.
import type { Flux } from "../../client/flux.ts";
import { jobKvsPath, type JobId } from "../../formats/fluid.ts";
import { decodeJsonObject, encodeJson, isJsonObject, type JsonObject } from "../../formats/json.ts";
import { parseTreeobj, valData, valObject } from "../../formats/treeobj.ts";
import { errno, FluxError, isErrno } from "../../message/errno.ts";
import { arr, jobid, obj, unpack } from "../../message/unpack.ts";
import type { KvsOperation } from "./eventlogs.ts";

/** What the KVS has of a job. */
export interface StoredJob {
  readonly id: JobId;
  readonly eventlog: string;
  readonly jobspec: string;
  readonly R: JsonObject | undefined;
}

export interface Checkpoint {
  readonly maxJobid: JobId;
  readonly queues: readonly JsonObject[];
}

const NAMESPACE = "primary";
const READDIR = 1;
const CHECKPOINT = "checkpoint.job-manager";
const CHECKPOINT_VERSION = 1;

export function commit(h: Flux, ops: KvsOperation[]): Promise<JsonObject> {
  return h.rpc("kvs.commit", { namespace: NAMESPACE, flags: 0, ops });
}

/** The operation that puts a value. */
export function put(key: string, value: string): KvsOperation {
  return { key, flags: 0, dirent: valObject(Buffer.from(value)) as object as JsonObject };
}

/** The operation that removes a key and everything under it. */
export function unlink(key: string): KvsOperation {
  return { key, flags: 0, dirent: null };
}

/** A value as text; undefined when there is none. */
async function get(h: Flux, key: string): Promise<string | undefined> {
  try {
    const { val } = unpack(await h.rpc("kvs.lookup", { key, namespace: NAMESPACE, flags: 0 }), { val: obj });
    const object = parseTreeobj(val);
    if (object.type !== "val") throw new FluxError(errno.EISDIR, `${key} is not a value`);
    return Buffer.from(valData(object)).toString("utf8");
  } catch (err) {
    if (isErrno(err, errno.ENOENT)) return undefined;
    throw err;
  }
}

/** Names of the directories in a directory, in order; none when it isn't there. */
async function directories(h: Flux, key: string): Promise<string[]> {
  try {
    const { val } = unpack(await h.rpc("kvs.lookup", { key, namespace: NAMESPACE, flags: READDIR }), { val: obj });
    const object = parseTreeobj(val);
    if (object.type !== "dir") return [];
    return Object.entries(object.data).filter(([, item]) => item.type === "dir" || item.type === "dirref").map(([name]) => name).sort();
  } catch (err) {
    if (isErrno(err, errno.ENOENT)) return [];
    throw err;
  }
}

/** What the KVS has of a job; undefined when it lacks its eventlog or jobspec. */
export async function readJob(h: Flux, id: JobId): Promise<StoredJob | undefined> {
  const [eventlog, jobspec, R] = await Promise.all(["eventlog", "jobspec", "R"].map((name) => get(h, jobKvsPath(id, name))));
  if (eventlog === undefined || jobspec === undefined) return undefined;
  return { id, eventlog, jobspec, R: R === undefined ? undefined : withoutScheduling(decodeJsonObject(R)) };
}

/** Ids of all jobs in the KVS, in order. */
export async function* allJobs(h: Flux): AsyncGenerator<JobId, void, undefined> {
  for (const a of await directories(h, "job")) {
    for (const b of await directories(h, `job.${a}`)) {
      for (const c of await directories(h, `job.${a}.${b}`)) {
        for (const d of await directories(h, `job.${a}.${b}.${c}`)) {
          if (/^[0-9a-f]{16}$/.test(a + b + c + d)) yield BigInt(`0x${a}${b}${c}${d}`);
        }
      }
    }
  }
}

export function checkpointOperation({ maxJobid, queues }: Checkpoint): KvsOperation {
  return put(CHECKPOINT, encodeJson({ version: CHECKPOINT_VERSION, max_jobid: maxJobid, queue: queues }));
}

/** The checkpoint; undefined when there is none. Throws FluxError EINVAL for one of a later version. */
export async function readCheckpoint(h: Flux): Promise<Checkpoint | undefined> {
  const text = await get(h, CHECKPOINT);
  if (text === undefined) return undefined;
  const saved = decodeJsonObject(text);
  if (Number(saved["version"] ?? 0) > CHECKPOINT_VERSION) {
    throw new FluxError(errno.EINVAL, `${CHECKPOINT} has version ${JSON.stringify(saved["version"])}: this flux knows up to ${CHECKPOINT_VERSION}`);
  }
  const { max_jobid, queue } = unpack(saved, { max_jobid: jobid, queue: (v, path) => (v === undefined ? [] : arr(obj)(v, path)) });
  return { maxJobid: max_jobid, queues: queue };
}

function withoutScheduling(R: JsonObject): JsonObject {
  if (!isJsonObject(R) || !("scheduling" in R)) return R;
  const { scheduling: _, ...rest } = R;
  return rest;
}
