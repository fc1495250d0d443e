// alloc-bypass: the instance owner's jobs may bring their own R in attributes.system.alloc-bypass.R; they run on it without
// asking the scheduler, beside the jobs that it put there: for tools that look after running jobs.
import { defineJobtap } from "../../../client/jobtap.ts";
import { kvsCommit, putJson } from "../../../client/kvs.ts";
import { jobKvsPath } from "../../../formats/fluid.ts";
import { isJsonObject, type JsonObject } from "../../../formats/json.ts";
import { Rset } from "../../../formats/rset.ts";
import { toFluxError } from "../../../message/errno.ts";
import { systemAttribute } from "../job.ts";

function bypassOf(jobspec: JsonObject): JsonObject | undefined {
  const table = systemAttribute(jobspec, "alloc-bypass");
  const R = isJsonObject(table) ? table["R"] : undefined;
  return isJsonObject(R) ? R : undefined;
}

export const allocBypass = defineJobtap({
  start(tap) {
    return {
      "job.validate": ({ id, jobspec, userid }) => {
        if (systemAttribute(jobspec, "alloc-bypass") === undefined) return;
        const R = bypassOf(jobspec);
        if (R === undefined) throw new Error("invalid system.alloc-bypass.R: it must be an object");
        if (userid !== tap.owner) throw new Error("Guest user cannot use alloc bypass");
        try {
          Rset.parse(R);
        } catch (err) {
          throw new Error(`alloc-bypass: invalid R: ${toFluxError(err).message}`, { cause: err });
        }
        tap.setFlag(id, "alloc-bypass");
      },
      "job.state.sched": ({ id, jobspec, R: given }) => {
        const R = bypassOf(jobspec);
        if (R === undefined) return undefined;
        kvsCommit(tap.h, [putJson(jobKvsPath(id, "R"), R)]).then(
          () => {
            if (tap.job(id) !== undefined) tap.post(id, "alloc", { bypass: true });
          },
          (err: unknown) => tap.raise(id, "alloc", 0, `failed to commit R to kvs: ${toFluxError(err).message}`),
        ).catch((err: unknown) => tap.h.log(3, `alloc-bypass: ${toFluxError(err).message}`));
        return given === undefined ? { R } : undefined;
      },
    };
  },
});
