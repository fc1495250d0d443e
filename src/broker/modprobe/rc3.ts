// What comes with rc3: all modules go, and on rank 0 the end of this run is written down.
import { task } from "../../client/modprobe.ts";
import { endRun } from "../startlog.ts";
import { fileToDump, linkDump, quoted } from "./dump-file.ts";
import { runPrograms } from "./programs.ts";
import type { RcFile } from "./rc-file.ts";

export const RC3: RcFile = {
  tasks: [
    task("run-all-rc3", { before: ["*"] }, () => runPrograms("rc3")),
    task("post-finish-event", { ranks: "0", before: ["kvs"], needs: ["kvs"] }, (context) => endRun(context.handle, Date.now() / 1000)),
    task("content-dump", { ranks: "0", after: ["content-flush"], before: ["content-backing"], needsAttrs: ["content.dump"] }, async (context) => {
      const file = await fileToDump(context, (await context.attr("content.dump")) ?? "", new Date());
      context.handle.log(6, `dumping content to ${file.path}`);
      await context.shell(`flux dump --sd-notify --quiet --ignore-failed-read --no-cache --maxreqs=128 --checkpoint ${quoted(file.path)}`);
      linkDump(file);
    }),
    task("content-flush", { ranks: "0", after: ["kvs"], before: ["content-dump", "content-backing"], needs: ["content-backing"] }, async (context) => {
      await context.rpc("content.flush");
    }),
  ],
};
