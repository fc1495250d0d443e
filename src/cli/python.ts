// flux python: a Python interpreter that finds Flux's bindings.
import { runInOurPlace } from "./child.ts";
import { defineCommand } from "./command.ts";
import { commandEnvironment, installedBindings, pythonInterpreter } from "./command-environment.ts";
import { print } from "./output.ts";

export default defineCommand({
  name: "python",
  style: "getopt",
  summary: "run a Python interpreter that finds Flux's bindings",
  usage: "[PYTHON-ARGUMENTS...]",
  verbatim: true,
  run({ args }) {
    if (args[0] === "--get-path") {
      print(installedBindings() ?? "");
      return 0;
    }
    return runInOurPlace([pythonInterpreter(), ...args], { ...process.env, ...commandEnvironment() });
  },
});
