// flux jobtap: the plugins of the job manager (src/client/jobtap.ts).
import { isAbsolute, resolve } from "node:path";
import { existsSync } from "node:fs";
import { encodeJson, type JsonObject } from "../formats/json.ts";
import { arr, str, unpack } from "../message/unpack.ts";
import { errno, isErrno } from "../message/errno.ts";
import { defineCommand, flag, requireArguments, text, UsageError } from "./command.ts";
import { withFlux } from "./connect.ts";
import { objectOfWords } from "./object-words.ts";
import { print, wrongUsage } from "./output.ts";

async function send(payload: JsonObject, plugin: string): Promise<number> {
  return withFlux(async (h) => {
    try {
      await h.rpc("job-manager.jobtap", payload, { nodeid: 0 });
    } catch (err) {
      throw isErrno(err, errno.ENOENT) ? new UsageError(`${plugin} not found`) : err;
    }
    return 0;
  });
}

/** Throws UsageError. */
function onePlugin(args: readonly string[], path: string): string {
  requireArguments(["PLUGIN"].slice(args.length), path, "PLUGIN");
  if (args.length > 1) throw wrongUsage(`${path} PLUGIN`);
  return args[0] ?? "";
}

const load = defineCommand({
  name: "load",
  style: "argparse",
  summary: "load a plugin",
  usage: "[-r NAME] PLUGIN [KEY=VAL ...]",
  details: `Load a plugin: a TypeScript or JavaScript file, one that comes with Flux (alloc-bypass, alloc-check, perilog, submit-hold,
update-attributes), or a builtin one, whose name begins with a dot. KEY=VAL ... is its configuration.

Example:
  flux jobtap load /etc/flux/priority.ts weights.age=10`,
  options: { remove: text("-r, --remove NAME", "remove this one first: a name, a pattern, or all") },
  passThrough: true,
  run({ options, args }) {
    const [plugin = "", ...words] = args;
    requireArguments(["PLUGIN"].slice(args.length), "flux jobtap load", "[-r NAME] PLUGIN [KEY=VAL ...]");
    const path = /\.[cm]?[jt]s$/.test(plugin) && !isAbsolute(plugin) && existsSync(plugin) ? resolve(plugin) : plugin;
    const conf = words.length === 0 ? {} : { conf: objectOfWords(words) };
    return send({ load: path, ...conf, ...(options.remove === undefined ? {} : { remove: options.remove }) }, plugin);
  },
});

const remove = defineCommand({
  name: "remove",
  style: "argparse",
  summary: "remove plugins",
  usage: "PLUGIN",
  details: "Remove a plugin, those that match a pattern, or all (but the builtin ones).",
  run({ args }) {
    const plugin = onePlugin(args, "flux jobtap remove");
    return send({ remove: plugin }, plugin);
  },
});

const list = defineCommand({
  name: "list",
  style: "argparse",
  summary: "list the plugins",
  usage: "[-a]",
  options: { all: flag("-a, --all", "builtin ones too") },
  run({ options }) {
    return withFlux(async (h) => {
      const { plugins } = unpack(await h.rpc("job-manager.jobtap", { query_only: true }, { nodeid: 0 }), { plugins: arr(str) });
      print(...plugins.filter((name) => options.all || !name.startsWith(".")));
      return 0;
    });
  },
});

const query = defineCommand({
  name: "query",
  style: "argparse",
  summary: "print what a plugin tells of itself, as JSON",
  usage: "PLUGIN",
  run({ args }) {
    const plugin = onePlugin(args, "flux jobtap query");
    return withFlux(async (h) => {
      print(encodeJson(await h.rpc("job-manager.jobtap-query", { name: plugin }, { nodeid: 0 })));
      return 0;
    });
  },
});

export default defineCommand({
  name: "jobtap",
  style: "argparse",
  summary: "list, load and remove plugins of the job manager",
  details: "List, load and remove plugins of the job manager.\n\nExample:\n  flux jobtap list -a",
  subcommands: [load, remove, list, query],
});
