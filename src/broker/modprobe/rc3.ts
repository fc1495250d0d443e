// What comes with rc3: all modules go, and on rank 0 the end of this run is written down.
import { task } from "../../client/modprobe.ts";
import { endRun } from "../startlog.ts";
import { runPrograms } from "./programs.ts";
import type { RcFile } from "./rc-file.ts";

export const RC3: RcFile = {
  tasks: [
    task("run-all-rc3", { before: ["*"] }, () => runPrograms("rc3")),
    task("post-finish-event", { ranks: "0", before: ["kvs"], needs: ["kvs"] }, (context) => endRun(context.handle, Date.now() / 1000)),
    task("content-flush", { ranks: "0", after: ["kvs"], before: ["content-backing"], needs: ["content-backing"] }, async (context) => {
      await context.rpc("content.flush");
    }),
  ],
};
