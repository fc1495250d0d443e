// flux getattr: one attribute of the broker ("attr.get").
import { defineCommand } from "./command.ts";
import { explain, withFlux } from "./connect.ts";
import { print, wrongUsage } from "./output.ts";

export default defineCommand({
  name: "getattr",
  style: "getopt",
  summary: "print an attribute of the broker",
  usage: "name",
  async run({ args }) {
    const [name] = args;
    if (name === undefined || args.length !== 1) throw wrongUsage("flux getattr name");
    return withFlux(async (h) => {
      print(await explain(name, h.attr(name)));
      return 0;
    });
  },
});
