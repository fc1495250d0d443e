// .validate-duration: no job is to last longer than the instance. .update-duration: who may change a job's duration.
import { defineJobtap } from "../../../client/jobtap.ts";
import { RUNNING } from "../../../client/jobs.ts";
import { formatDuration } from "../../../formats/fsd.ts";
import { isOwner } from "../../../message/roles.ts";
import { systemAttribute } from "../job.ts";

/** `expiration_s` is when the instance's resources expire; 0 is never. */
export function validateDuration(expiration_s: () => number) {
  return defineJobtap({
    start: ({ clock }) => ({
      "job.validate": (args) => {
        const expires_s = expiration_s();
        if (expires_s <= 0) return;
        const duration_s = systemAttribute(args.jobspec, "duration");
        const left_s = expires_s - clock.now_s();
        if (typeof duration_s !== "number" || duration_s <= left_s) return;
        if (left_s < 0) throw new Error("duration exceeds instance lifetime");
        throw new Error(`job duration (${formatDuration(duration_s, 2)}) exceeds remaining instance lifetime (${formatDuration(left_s, 2)})`);
      },
    }),
  });
}

export const updateDuration = defineJobtap({
  start({ conf }) {
    const allowsAny = conf["owner-allow-any"] === undefined || (conf["owner-allow-any"] !== 0 && conf["owner-allow-any"] !== false);
    return {
      "job.update.attributes.system.duration": ({ value, state, cred }) => {
        if (typeof value !== "number") throw new Error("duration must be a number of seconds");
        if (value < 0) throw new Error("duration must not be negative");
        const mayAny = cred !== undefined && isOwner(cred) && allowsAny;
        if ((state & RUNNING) !== 0 && !mayAny) throw new Error("duration update of running job requires instance owner privileges");
        return mayAny ? { validated: true } : undefined;
      },
    };
  },
});
