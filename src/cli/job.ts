// flux job: everything about single jobs. The commands are in src/cli/job/.
import { defineCommand } from "./command.ts";
import { attach } from "./job/attach.ts";
import { kill, killall, raise, raiseall, urgency } from "./job/control.ts";
import { eventlog, waitEvent } from "./job/eventlog.ts";
import { id, info, last, list, listIds, listInactive, namespace, stats } from "./job/info.ts";
import { memo, purge, submit } from "./job/manage.ts";
import { status, wait } from "./job/status.ts";
import { hostpids, taskmap, timeleft } from "./job/tasks.ts";

export default defineCommand({
  name: "job",
  style: "getopt",
  summary: "attach to, inspect, signal and wait for jobs",
  details: "Attach to, inspect, signal and wait for jobs.\n\nExample:\n  flux job attach $(flux submit hostname)",
  subcommands: [
    attach, status, wait, eventlog, waitEvent, info, kill, killall, raise, raiseall, urgency, id, last, list, listIds, listInactive, stats,
    submit, memo, taskmap, hostpids, timeleft, namespace, purge,
  ],
});
