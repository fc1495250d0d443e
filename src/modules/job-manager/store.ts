// Store: what the job manager keeps in the KVS (RFC 16): job.XXXX.{eventlog,jobspec,R} and checkpoint.job-manager.
import type { Flux } from "../../client/flux.ts";
import { kvsDir, kvsGetText, type KvsOp, putJson } from "../../client/kvs.ts";
import { jobKvsPath, type JobId } from "../../formats/fluid.ts";
import { decodeJsonObject, isJsonObject, type JsonObject } from "../../formats/json.ts";
import { errno, FluxError, isErrno } from "../../message/errno.ts";
import { arr, jobid, obj, unpack } from "../../message/unpack.ts";

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

const CHECKPOINT = "checkpoint.job-manager";
const CHECKPOINT_VERSION = 1;

/** A value as text; undefined when there is none. */
async function get(h: Flux, key: string): Promise<string | undefined> {
  try {
    return await kvsGetText(h, key);
  } catch (err) {
    if (isErrno(err, errno.ENOENT)) return undefined;
    throw err;
  }
}

/** Names of the directories in a directory, in order; none when it isn't there. */
async function directories(h: Flux, key: string): Promise<string[]> {
  try {
    const entries = Object.entries(await kvsDir(h, key));
    return entries.filter(([, { type }]) => type === "dir" || type === "dirref").map(([name]) => name).sort();
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

export function checkpointOperation({ maxJobid, queues }: Checkpoint): KvsOp {
  return putJson(CHECKPOINT, { version: CHECKPOINT_VERSION, max_jobid: maxJobid, queue: queues });
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
