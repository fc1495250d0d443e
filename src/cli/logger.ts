// flux logger: adds a message to the broker's log ("log.append").
import { formatLogEntry, LOG_LEVELS, type LogLevel } from "../client/log.ts";
import { defineCommand, text, UsageError } from "./command.ts";
import { withFlux } from "./connect.ts";

export default defineCommand({
  name: "logger",
  style: "getopt",
  summary: "add a message to the broker's log",
  usage: "[--severity LEVEL] [--appname NAME] message ...",
  options: {
    severity: text("-s, --severity LEVEL", `how grave it is: ${LOG_LEVELS.join(" ")} (default notice)`),
    appname: text("-n, --appname NAME", "who says it (default logger)"),
  },
  async run({ options, args }) {
    const level = LOG_LEVELS.indexOf((options.severity ?? "notice") as "notice");
    if (level < 0) throw new UsageError(`invalid severity: Use ${LOG_LEVELS.join("|")}`);
    const message = args.length > 0 ? args.join(" ") : await Bun.stdin.text();
    return withFlux(async (h) => {
      const rank = await h.attr("rank");
      const entry = formatLogEntry(level as LogLevel, options.appname ?? "logger", message, Date.now(), rank);
      h.notify("log.append", Buffer.from(`${entry}\0`));
      return 0;
    });
  },
});
