// flux resource: nodes, cores and GPUs of the instance. The commands are in src/cli/resource/.
import { defineCommand } from "./command.ts";
import { acquireMute, eventlog, reload } from "./resource/journal.ts";
import { info, list, R } from "./resource/list.ts";
import { drain, status, undrain } from "./resource/status.ts";

export default defineCommand({
  name: "resource",
  style: "argparse",
  summary: "list, drain and inspect resources",
  details: "List, drain and inspect the resources of the instance.\n\nExamples:\n  flux resource list\n  flux resource drain node3 broken disk",
  subcommands: [list, info, status, drain, undrain, R, eventlog, reload, acquireMute],
});
