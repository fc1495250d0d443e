// flux env: the environment in which commands find this instance: as lines for a shell, or for one command.
import { runInOurPlace } from "./child.ts";
import { defineCommand } from "./command.ts";
import { commandEnvironment } from "./command-environment.ts";
import { print } from "./output.ts";

export default defineCommand({
  name: "env",
  style: "getopt",
  summary: "print the environment of this instance, or run a command in it",
  usage: "[COMMAND...]",
  passThrough: true,
  run({ args }) {
    const changes = commandEnvironment();
    if (args.length > 0) return runInOurPlace(args, { ...process.env, ...changes });
    print(...Object.entries(changes).map(([name, value]) => `export ${name}="${value.replace(/(["\\$`])/g, "\\$1")}"`));
    return 0;
  },
});
