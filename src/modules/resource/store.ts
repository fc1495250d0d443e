// What the resource module keeps in the KVS: resource.R, resource.eventlog and checkpoint.resource.
import type { Flux } from "../../client/flux.ts";
import { append, kvsCommit, kvsCommitDurably, kvsGetText, put, putJson } from "../../client/kvs.ts";
import type { JsonObject } from "../../formats/json.ts";
import { errno, isErrno } from "../../message/errno.ts";

const EVENTLOG = "resource.eventlog";

/** Text of a key; undefined when it isn't there, or no KVS is. */
export async function readKey(h: Flux, key: string): Promise<string | undefined> {
  try {
    return await kvsGetText(h, key);
  } catch (err) {
    if (isErrno(err, errno.ENOENT) || isErrno(err, errno.ENOSYS)) return undefined;
    throw err;
  }
}

export async function appendEvents(h: Flux, text: string): Promise<void> {
  await kvsCommitDurably(h, [append(EVENTLOG, text)]);
}

/** Stores these events instead of those that are there. */
export async function replaceEvents(h: Flux, text: string): Promise<void> {
  await kvsCommit(h, [put(EVENTLOG, text)]);
}

/** Stores R and, in the same transaction, the event that tells of it. */
export async function storeR(h: Flux, R: JsonObject, events: string): Promise<void> {
  await kvsCommit(h, [putJson("resource.R", R), append(EVENTLOG, events)]);
}

export async function storeCheckpoint(h: Flux, checkpoint: JsonObject): Promise<void> {
  await kvsCommit(h, [putJson("checkpoint.resource", checkpoint)]);
}
