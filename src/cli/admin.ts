// flux admin: what administrators of an instance need now and then.
import { defineCommand } from "./command.ts";
import { explain, withFlux } from "./connect.ts";

const cleanupPush = defineCommand({
  name: "cleanup-push",
  style: "argparse",
  summary: "run a command when the initial program has ended",
  usage: "[COMMAND...]",
  details: "Run COMMAND, or each line of stdin, when the initial program has ended, before rc3 and before what was pushed earlier.",
  passThrough: true,
  async run({ args }) {
    const commands = args.length > 0 ? [args.join(" ")] : lines(await Bun.stdin.text());
    return withFlux(async (h) => {
      // Each goes to the front of those before.
      await explain("runat.push", h.rpc("runat.push", { name: "cleanup", commands: commands.toReversed() }), true);
      return 0;
    });
  },
});

function lines(input: string): string[] {
  return input.replace(/\n$/, "").split("\n").map((line) => line.trim()).filter((line, i, all) => line !== "" || all.length > 1 || i > 0);
}

export default defineCommand({
  name: "admin",
  style: "argparse",
  summary: "administrate an instance",
  subcommands: [cleanupPush],
});
