// flux setattr: changes an attribute of the broker ("attr.set").
import { defineCommand, flag } from "./command.ts";
import { explain, withFlux } from "./connect.ts";
import { wrongUsage } from "./output.ts";

export default defineCommand({
  name: "setattr",
  style: "getopt",
  summary: "change an attribute of the broker",
  usage: "[OPTIONS] name value",
  options: { force: flag("-f, --force", "change even an attribute that isn't meant to change in a running broker") },
  async run({ options, args }) {
    const [name, value] = args;
    if (name === undefined || value === undefined || args.length !== 2) throw wrongUsage("flux setattr [OPTIONS] name value");
    return withFlux(async (h) => {
      await explain(name, h.rpc("attr.set", options.force ? { name, value, force: true } : { name, value }), true);
      return 0;
    });
  },
});
