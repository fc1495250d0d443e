// flux module-python-exec: what a broker starts to run a module that is written in Python (broker/module-process.ts).
import { runInOurPlace } from "./child.ts";
import { commandEnvironment, pythonInterpreter } from "./command-environment.ts";
import { defineCommand, UsageError } from "./command.ts";
import HOST_PROGRAM from "./module_host.py" with { type: "text" };
import { wrongUsage } from "./output.ts";

export default defineCommand({
  name: "module-python-exec",
  style: "getopt",
  summary: "run a broker module that is written in Python",
  usage: "PATH",
  run({ args }) {
    const [path] = args;
    if (path === undefined || args.length > 1) throw wrongUsage("flux module-python-exec PATH");
    if (process.env["FLUX_MODULE_URI"] === undefined) throw new UsageError("FLUX_MODULE_URI is not set: a broker starts this, see flux help module");
    return runInOurPlace([pythonInterpreter(), "-c", HOST_PROGRAM, path], { ...process.env, ...commandEnvironment() });
  },
});
