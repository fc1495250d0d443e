// Startlog: when the instance ran, as events start and finish in the KVS at the key "admin.eventlog" (`flux startlog`
// shows them), and what follows from a run that did not finish: safe mode.
import type { Flux } from "../client/flux.ts";
import { eventlogAppend, kvsCommit, kvsCommitDurably, kvsGetText } from "../client/kvs.ts";
import { parseEventlog } from "../formats/eventlog.ts";
import { errno, FluxError, isErrno, toFluxError } from "../message/errno.ts";
import { str, unpack } from "../message/unpack.ts";
import { FLUX_VERSION } from "../version.ts";

export const STARTLOG_KEY = "admin.eventlog";
export const STARTLOG_VERSION = 1;

/** The broker's start time is rounded, and clocks are set. */
const CLOCK_SLACK_S = 1;

/** Why a queue is disabled or stopped in safe mode. */
export const SAFE_MODE_REASON = "Flux is in safe mode due to an incomplete shutdown.";

/** Adds this run's start event; resolves to whether the run before was not shut down properly. */
export async function beginRun(h: Flux, now_s: number): Promise<boolean> {
  const crashed = parseEventlog(await startlog(h)).at(-1)?.name === "start";
  const context = { version: STARTLOG_VERSION, core_version: FLUX_VERSION };
  try {
    await kvsCommitDurably(h, [eventlogAppend(STARTLOG_KEY, { timestamp: now_s, name: "start", context })]);
  } catch (err) {
    const { errno: code, message } = toFluxError(err);
    throw new FluxError(code, `${STARTLOG_KEY} can't be written: ${message}. If the content store has lost part of the KVS, put a copy of content.sqlite in its place, or move it away to start with nothing.`);
  }
  return crashed;
}

/** Adds the finish event if this run has a start event: the KVS must be unloaded in order after it. */
export async function endRun(h: Flux, now_s: number): Promise<void> {
  const last = parseEventlog(await startlog(h)).at(-1);
  const began_s = Number(unpack(await h.rpc("attr.get", { name: "broker.starttime" }), { value: str }).value);
  if (last?.name !== "start" || last.timestamp < began_s - CLOCK_SLACK_S) return;
  await kvsCommit(h, [eventlogAppend(STARTLOG_KEY, { timestamp: now_s, name: "finish", context: { version: STARTLOG_VERSION } })]);
}

/** No job is taken or started until the administrator has looked. */
export async function enterSafeMode(h: Flux): Promise<void> {
  await h.rpc("job-manager.queue-enable", { enable: false, reason: SAFE_MODE_REASON, all: true }, { nodeid: 0 });
  await h.rpc("job-manager.queue-start", { start: false, reason: SAFE_MODE_REASON, all: true }, { nodeid: 0 });
}

async function startlog(h: Flux): Promise<string> {
  try {
    return await kvsGetText(h, STARTLOG_KEY);
  } catch (err) {
    if (isErrno(err, errno.ENOENT)) return "";
    throw err;
  }
}
