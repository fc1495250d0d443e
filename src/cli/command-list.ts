// The list of commands as `flux` and `flux help` show it: in groups, one line each.
import { COMMANDS, type CommandEntry } from "./commands.ts";
import { FRONT_OPTIONS } from "./front.ts";
import { optionHelp } from "./getopt.ts";

const GROUPS: readonly (readonly [title: string, names: readonly string[]])[] = [
  ["start an instance", ["start"]],
  ["run and submit jobs, allocate resources", ["submit", "run", "bulksubmit", "alloc", "batch"]],
  [
    "list and interact with jobs",
    ["jobs", "top", "pstree", "cancel", "pgrep", "pkill", "job", "proxy", "watch", "update", "housekeeping", "jobtap", "uri", "multi-prog"],
  ],
  ["get resource, queue and other instance information", ["resource", "queue", "overlay", "uptime", "startlog", "hostlist", "R"]],
  ["share data and run commands in an instance", ["kvs", "event", "exec", "sproc", "content", "cron", "archive"]],
  ["look after brokers", ["ping", "getattr", "setattr", "lsattr", "module", "modprobe", "dmesg", "logger", "config", "shutdown"]],
];
const OTHERS = "other useful commands";

/** Usage and all commands that exist and aren't hidden. */
export function commandList(commands: Readonly<Record<string, CommandEntry>> = COMMANDS): string {
  const shown = Object.keys(commands).filter((name) => commands[name]?.hidden !== true);
  const grouped = new Set(GROUPS.flatMap(([, names]) => names));
  const groups = [...GROUPS, [OTHERS, shown.filter((name) => !grouped.has(name))] as const];
  const sections = groups
    .map(([title, names]) => [title, names.filter((name) => shown.includes(name))] as const)
    .filter(([, names]) => names.length > 0)
    .map(([title, names]) => `${title}\n${names.map((name) => `   ${name.padEnd(18)} ${commands[name]?.summary ?? ""}`).join("\n")}`);
  return `Usage: flux [OPTIONS] COMMAND ARGS
${optionHelp(FRONT_OPTIONS).join("\n")}

${sections.join("\n\n")}

See 'flux help COMMAND' for more about one of them, and 'flux help help' for the other manual pages.`;
}
