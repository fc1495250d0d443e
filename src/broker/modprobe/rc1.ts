// What comes with rc1: the modules of an instance, and on rank 0 what is known of its earlier runs.
import { type ModprobeContext, task } from "../../client/modprobe.ts";
import { beginRun, enterSafeMode } from "../startlog.ts";
import { runPrograms } from "./programs.ts";
import type { RcFile } from "./rc-file.ts";

const MODULES = ["content", "heartbeat", "content-backing", "kvs", "kvs-watch", "resource", "job-manager", "job-list", "job-archive", "job-info", "job-ingest", "job-exec"];
const CRASHED = "crashed-before";

/** Before whoever keeps something that has to fit this run. */
const startEvent = task("post-start-event", { ranks: "0", after: ["content-backing", "kvs"], before: ["resource", "job-manager"], requires: ["kvs"], needs: ["content-backing"] }, async (context) => {
  context.set(CRASHED, await beginRun(context.handle, Date.now() / 1000));
});

/** If the last run crashed, nothing of its jobs must start by itself. */
const checkCleanShutdown = task(
  "check-clean-shutdown",
  { ranks: "0", after: ["post-start-event", "job-manager"], before: ["job-exec", "job-ingest", "sched"], needs: ["job-manager"], needsAttrs: ["!broker.recovery-mode"] },
  async (context) => {
    if (context.get(CRASHED) !== true) return;
    await enterSafeMode(context.handle);
    context.handle.log(3, "Flux was not shut down properly: safe mode, job submission and scheduling are stopped. See flux startlog and flux jobs -a; then flux queue enable --all and flux queue start --all.");
  },
);

export const RC1: RcFile = {
  tasks: [startEvent, checkCleanShutdown, task("run-all-rc1", { after: ["*"] }, () => runPrograms("rc1"))],
  async setup(context: ModprobeContext) {
    const backing = await context.attr("content.backing-module");
    if (backing !== undefined) context.setAlternative("content-backing", backing);
    context.loadModules(MODULES);
    if (process.env["FLUX_SCHED_MODULE"] !== "none") context.loadModules(["sched", "feasibility"]);
  },
};
