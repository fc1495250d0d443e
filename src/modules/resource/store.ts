// What the resource module keeps in the KVS: resource.R, resource.eventlog and checkpoint.resource.
import type { Flux } from "../../client/flux.ts";
import { encodeJson, type JsonObject } from "../../formats/json.ts";
import { parseTreeobj, valData, valObject } from "../../formats/treeobj.ts";
import { errno, FluxError, isErrno } from "../../message/errno.ts";
import { obj } from "../../message/unpack.ts";

/** Flag of a KVS operation: add to the value that is there. */
const APPEND = 32;

/** Text of a key; undefined when it isn't there, or no KVS is. */
export async function readKey(h: Flux, key: string): Promise<string | undefined> {
  try {
    const { val } = await h.rpc("kvs.lookup", { key, namespace: "primary", flags: 0 });
    const value = parseTreeobj(obj(val, "val"));
    if (value.type !== "val") throw new FluxError(errno.EISDIR, `KVS key ${key} is a ${value.type}`);
    return Buffer.from(valData(value)).toString();
  } catch (err) {
    if (isErrno(err, errno.ENOENT) || isErrno(err, errno.ENOSYS)) return undefined;
    throw err;
  }
}

function operation(key: string, text: string, flags: number): JsonObject {
  return { key, flags, dirent: valObject(Buffer.from(text)) as object as JsonObject };
}

async function commit(h: Flux, ops: readonly JsonObject[]): Promise<void> {
  await h.rpc("kvs.commit", { namespace: "primary", flags: 0, ops });
}

export async function appendEvents(h: Flux, text: string): Promise<void> {
  await commit(h, [operation("resource.eventlog", text, APPEND)]);
}

/** Stores R and, in the same transaction, the event that tells of it. */
export async function storeR(h: Flux, R: JsonObject, events: string): Promise<void> {
  const ops = [operation("resource.R", encodeJson(R), 0)];
  if (events !== "") ops.push(operation("resource.eventlog", events, APPEND));
  await commit(h, ops);
}

export async function storeCheckpoint(h: Flux, checkpoint: JsonObject): Promise<void> {
  await commit(h, [operation("checkpoint.resource", encodeJson(checkpoint), 0)]);
}
