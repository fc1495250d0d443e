// What rank 0 does when the initial program has ended, before the instance goes down: no new jobs start, running ones
// are cancelled, and nothing is waited for longer than it takes.
import type { Flux } from "../client/flux.ts";
import { STATE } from "../client/jobs.ts";
import { errno, isErrno, toFluxError } from "../message/errno.ts";
import type { JsonObject } from "../formats/json.ts";

const USERID_ALL = 0xffffffff;

/** Throws nothing: a service that is not there has nothing to clean up, and failures are logged. */
export async function cleanUpJobs(h: Flux): Promise<void> {
  const steps: readonly (readonly [topic: string, payload: JsonObject])[] = [
    ["job-manager.queue-start", { start: false, all: true, nocheckpoint: true }],
    ["resource.acquire-mute", {}],
    ["job-manager.raiseall", { dry_run: false, userid: USERID_ALL, states: STATE.RUN, severity: 0, type: "cancel" }],
    ["job-manager.idle", {}],
  ];
  for (const [topic, payload] of steps) {
    try {
      await h.rpc(topic, payload, { nodeid: 0 });
    } catch (err) {
      if (!isErrno(err, errno.ENOSYS)) h.log(3, `cleanup: ${topic}: ${toFluxError(err).message}`);
    }
  }
}
