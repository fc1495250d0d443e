// What comes with rc1: the modules of an instance, and on rank 0 what is known of its earlier runs.
import { accessSync, constants, existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type ModprobeContext, task } from "../../client/modprobe.ts";
import { beginRun, enterSafeMode } from "../startlog.ts";
import { type DumpFile, fileToRestore, quoted } from "./dump-file.ts";
import { fakeResources } from "./fake-resources.ts";
import { runPrograms } from "./programs.ts";
import type { RcFile } from "./rc-file.ts";
import { slurmExpiration } from "./slurm.ts";

const MODULES = ["content", "heartbeat", "cron", "content-backing", "kvs", "kvs-watch", "resource", "job-manager", "job-list", "job-archive", "job-info", "job-ingest", "job-exec"];
const CRASHED = "crashed-before";
const RESTORE = "restore-file";
/** Larger values are left out: nobody who needs them again would have them in the KVS. */
const RESTORE_SIZE_LIMIT = "100M";

/** Where a dump is to be restored, the content store begins empty. */
const checkRestore = task("check-restore", { ranks: "0", before: ["content-backing"], needs: ["content-backing"], needsAttrs: ["content.restore"] }, async (context) => {
  const file = await fileToRestore(context, (await context.attr("content.restore")) ?? "");
  if (file === undefined) return;
  // Before anything is lost.
  accessSync(file.path, constants.R_OK);
  context.setOption("content-backing", "truncate");
  context.set(RESTORE, file);
});

const restore = task(
  "restore",
  { ranks: "0", before: ["kvs"], after: ["content-backing", "check-restore"], requires: ["check-restore", "content-backing"], needs: ["content-backing", "check-restore"], needsAttrs: ["content.restore"] },
  async (context) => {
    const file = context.get(RESTORE) as DumpFile | undefined;
    if (file === undefined) return;
    context.handle.log(6, `restoring content from ${file.path}`);
    await context.shell(`flux restore --sd-notify --quiet --checkpoint --size-limit=${RESTORE_SIZE_LIMIT} ${quoted(file.path)}`);
    if (file.link !== undefined) rmSync(file.link);
  },
);

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

const cronLoad = task("cron-load", { ranks: "0", after: ["cron"], needs: ["cron"], needsAttrs: ["cron.directory"] }, async (context) => {
  const directory = (await context.attr("cron.directory")) ?? "";
  if (!existsSync(directory)) return;
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (entry.isFile()) await context.shell(`flux cron tab ${quoted(join(directory, entry.name))}`);
  }
});

export const RC1: RcFile = {
  tasks: [cronLoad, checkRestore, restore, fakeResources, startEvent, checkCleanShutdown, slurmExpiration, task("run-all-rc1", { after: ["*"] }, () => runPrograms("rc1"))],
  async setup(context: ModprobeContext) {
    const backing = await context.attr("content.backing-module");
    if (backing !== undefined) context.setAlternative("content-backing", backing);
    context.loadModules(MODULES);
    if (process.env["FLUX_SCHED_MODULE"] !== "none") context.loadModules(["sched", "feasibility"]);
  },
};
