// alloc-check: watches that no resources are given to two jobs at once; a job that gets what another one has ends with a fatal
// exception. For testing schedulers.
import { defineJobtap, type JobtapArgs } from "../../../client/jobtap.ts";
import type { JobId } from "../../../formats/fluid.ts";
import { Rset } from "../../../formats/rset.ts";

export const allocCheck = defineJobtap({
  start(tap) {
    const allocated = new Map<JobId, Rset>();
    const release = ({ id }: JobtapArgs): void => void allocated.delete(id);
    return {
      "job.new": ({ id }) => tap.subscribe(id),
      "job.event.alloc": ({ id, R }) => {
        if (R === undefined) return;
        const own = Rset.parse(R);
        for (const other of allocated.values()) {
          const both = own.intersect(other);
          if (both.ncores > 0 || both.ngpus > 0) {
            tap.raise(id, "alloc-check", 0, "resources already allocated");
            break;
          }
        }
        allocated.set(id, own);
      },
      "job.event.free": release,
      "job.event.exception": (args) => {
        const context = args.entry?.context;
        if (context?.["severity"] === 0 && context["type"] === "scheduler-restart") release(args);
      },
      "job.destroy": release,
      "plugin.query": () => ({ jobs: allocated.size }),
    };
  },
});
