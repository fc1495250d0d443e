// update-attributes: lets users change further attributes of their pending jobs: those in conf.keys (default: the job's name).
//
//   flux jobtap load update-attributes keys='["attributes.system.job.name", "attributes.user.project"]'
import { defineJobtap, type JobCallback } from "../../../client/jobtap.ts";
import { RUNNING } from "../../../client/jobs.ts";
import { errno, FluxError } from "../../../message/errno.ts";
import { arr, def, str } from "../../../message/unpack.ts";

const NAME = "attributes.system.job.name";
const ALLOWED = /^attributes\.[^.]+(\.[^.]+)*$/;

export const updateAttributes = defineJobtap({
  start({ conf }) {
    const keys = def(arr(str), [NAME])(conf["keys"], "keys");
    const wrong = keys.find((key) => !ALLOWED.test(key));
    if (wrong !== undefined) throw new FluxError(errno.EINVAL, `update-attributes: '${wrong}' is not the key of an attribute`);
    const allow: JobCallback = ({ key, value, state }) => {
      if ((state & RUNNING) !== 0) throw new Error(`update of ${key} for running job not supported`);
      if (key === NAME && typeof value !== "string") throw new Error("a job's name must be a string");
    };
    return Object.fromEntries(keys.map((key) => [`job.update.${key}`, allow]));
  },
});
