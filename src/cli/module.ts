// flux module: the broker's modules (RFC 5): list, load, remove, reload; what each counts; its debug flags; a trace of
// its messages.
import { realpathSync } from "node:fs";
import type { Flux } from "../client/flux.ts";
import type { JsonObject } from "../formats/json.ts";
import { errno, FluxError, isErrno, toFluxError } from "../message/errno.ts";
import { arr, def, fields, int, str, unpack } from "../message/unpack.ts";
import { defineCommand, flag, optional, text, UsageError, value } from "./command.ts";
import { explain, withFlux } from "./connect.ts";
import { TRACE_OPTIONS, traceModules } from "./message-trace.ts";
import { real } from "./options.ts";
import { print, wrongUsage } from "./output.ts";

/** A module idle for longer is shown as "idle". */
const IDLE_MAX_S = 99;
const STATES: Readonly<Record<number, string>> = { 0: "I", 1: "R", 2: "F", 3: "X" };

const moduleEntry = fields({
  name: str,
  path: str,
  idle: int,
  status: int,
  services: arr(str),
  sendqueue: def(int, 0),
  recvqueue: def(int, 0),
});
type ModuleEntry = ReturnType<typeof moduleEntry>;

const list = defineCommand({
  name: "list",
  style: "getopt",
  summary: "list loaded modules",
  usage: "[OPTIONS]",
  options: { long: flag("-l, --long", "show where each was loaded from") },
  async run({ options, args }) {
    if (args.length > 0) throw wrongUsage("flux module list [OPTIONS]");
    return withFlux(async (h) => {
      const { mods } = unpack(await explain("list", h.rpc("module.list")), { mods: arr(moduleEntry) });
      const header = "Module                    Idle  S Sendq Recvq Service";
      print(options.long ? `${header}  Path` : header, ...mods.map((m) => moduleLine(m, options.long)));
      return 0;
    });
  },
});

function moduleLine(m: ModuleEntry, long: boolean): string {
  const idle = m.idle <= IDLE_MAX_S ? String(m.idle) : "idle";
  const state = STATES[m.status] ?? "?";
  const head = `${m.name.slice(0, 25).padEnd(25)} ${idle.padStart(4)}  ${state} ${pad5(m.sendqueue)} ${pad5(m.recvqueue)}`;
  const services = m.services.filter((s) => s !== m.name).join(",");
  if (!long) return `${head} ${services}`;
  return `${head} ${(services.length > 8 ? `${services.slice(0, 7)}+` : services).padEnd(8)} ${m.path}`;
}

function pad5(count: number): string {
  return String(count).padStart(5);
}

const loadOptions = {
  name: text("--name NAME", "give the module another name"),
  exec: flag("--exec", "run the module in a process of its own"),
  loader: text("--loader PATH", "program that runs the module"),
} as const;

const removeOptions = {
  force: flag("-f, --force", "a module that isn't loaded is no error"),
  cancel: flag("--cancel", "stop a module that doesn't answer"),
} as const;

interface LoadOptions {
  readonly name: string | undefined;
  readonly exec: boolean;
  readonly loader: string | undefined;
}

const load = defineCommand({
  name: "load",
  style: "getopt",
  summary: "load a module",
  usage: "[OPTIONS] module [ARGUMENTS...]",
  options: loadOptions,
  passThrough: true,
  async run({ options, args }) {
    const [path, ...words] = args;
    if (path === undefined) throw wrongUsage("flux module load [OPTIONS] module");
    return withFlux((h) => loadModule(h, path, words, options));
  },
});

async function loadModule(h: Flux, path: string, args: readonly string[], options: LoadOptions): Promise<number> {
  const { name, exec, loader } = options;
  const request: JsonObject = {
    path: canonicalPath(path),
    args,
    exec,
    ...(name === undefined ? {} : { name }),
    ...(loader === undefined ? {} : { loader }),
  };
  await explain(`load ${path}`, h.rpc("module.load", request), true);
  return 0;
}

/** The broker may run in another directory: what looks like a file is named in full. */
function canonicalPath(path: string): string {
  if (!path.includes("/") && !/\.(so|py|ts|js|mjs)$/.test(path)) return path;
  try {
    return realpathSync(path);
  } catch (err) {
    throw new UsageError(`could not canonicalize module path '${path}': ${new FluxError(toFluxError(err).errno).message}`);
  }
}

const removeSpec = {
  style: "getopt",
  summary: "unload a module",
  usage: "[OPTIONS] module",
  options: removeOptions,
} as const;

const remove = defineCommand({
  ...removeSpec,
  name: "remove",
  async run({ options, args }) {
    const [name] = args;
    if (name === undefined || args.length !== 1) throw wrongUsage("flux module remove [OPTIONS] module");
    return withFlux((h) => removeModule(h, name, options));
  },
});

async function removeModule(h: Flux, name: string, options: { force: boolean; cancel: boolean }): Promise<number> {
  const removed = h.rpc("module.remove", { name: canonicalPath(name), cancel: options.cancel });
  await explain(
    `remove ${name}`,
    removed.catch((err: unknown) => {
      if (!options.force || !isErrno(err, errno.ENOENT)) throw err;
    }),
    true,
  );
  return 0;
}

const reload = defineCommand({
  name: "reload",
  style: "getopt",
  summary: "unload a module and load it again",
  usage: "[OPTIONS] module [ARGUMENTS...]",
  options: { ...removeOptions, ...loadOptions },
  passThrough: true,
  async run({ options, args }) {
    const [path, ...words] = args;
    if (path === undefined) throw wrongUsage("flux module reload [OPTIONS] module");
    return withFlux(async (h) => {
      await removeModule(h, options.name ?? path, options);
      return loadModule(h, path, words, options);
    });
  },
});

const stats = defineCommand({
  name: "stats",
  style: "getopt",
  summary: "print what a module counts",
  usage: "[OPTIONS] module",
  options: {
    parse: text("-p, --parse OBJNAME", "only this member; a path's names are separated by periods"),
    scale: value("-s, --scale N", "multiply a number by N", real),
    type: text("-t, --type int|double", "print the value as this type"),
    rusage: optional("-R, --rusage [self|children|thread]", "the resources it used instead (default: self)", ""),
    clear: flag("-c, --clear", "clear the counters on this broker"),
    clearAll: flag("-C, --clear-all", "clear the counters on all brokers"),
  },
  async run({ options, args }) {
    const [service] = args;
    if (service === undefined || args.length !== 1) throw wrongUsage("flux module stats [OPTIONS] module");
    if (options.type !== undefined && !["int", "double"].includes(options.type)) {
      throw new UsageError(`invalid --type '${options.type}': use int or double`);
    }
    return withFlux(async (h) => {
      if (options.clear) {
        await explain(`${service}.stats-clear`, h.rpc(`${service}.stats-clear`));
      } else if (options.clearAll) {
        h.publish(`${service}.stats-clear`);
      } else {
        const method = options.rusage === undefined ? "stats-get" : "rusage";
        const request = options.rusage ? { who: options.rusage } : undefined;
        const answer = await explain(`${service}.${method}`, h.call(`${service}.${method}`, request), true);
        await showStats(answer.text ?? "", options.parse, options.scale ?? 1, options.type);
      }
      return 0;
    });
  },
});

async function showStats(answer: string, path: string | undefined, scale: number, type: string | undefined): Promise<void> {
  const { formatRawJson, memberOf, parseRawJson, RawNumber } = await import("./raw-json.ts");
  const root = parseRawJson(answer);
  const found = path === undefined ? root : memberOf(root, path);
  if (found === undefined) throw new UsageError(`\`${path}' not found in response`);
  const number = found instanceof RawNumber ? Number(found.text) : 0;
  if (type === "int" || (found instanceof RawNumber && !found.isReal && type === undefined)) print(String(Math.trunc(number * scale)));
  else if (type === "double" || found instanceof RawNumber) print((number * scale).toFixed(6));
  else print(formatRawJson(found, 1));
}

const debug = defineCommand({
  name: "debug",
  style: "getopt",
  summary: "print or change a module's debug flags",
  usage: "[OPTIONS] module",
  options: {
    clear: flag("-C, --clear", "set all flags to 0"),
    set: value("-S, --set MASK", "set the flags to MASK", mask),
    setbit: value("-s, --setbit MASK", "set these flags to 1", mask),
    clearbit: value("-c, --clearbit MASK", "set these flags to 0", mask),
  },
  async run({ options, args }) {
    const [service] = args;
    if (service === undefined || args.length !== 1) throw new UsageError("flux-debug requires service argument");
    return withFlux(async (h) => {
      const request = debugRequest(options);
      const { flags } = unpack(await explain(`${service}.debug`, h.rpc(`${service}.debug`, request)), { flags: int });
      print(`0x${(flags >>> 0).toString(16)}`);
      return 0;
    });
  },
});

function mask(word: string): number {
  const number = Number(word);
  if (word.trim() === "" || !Number.isInteger(number) || number < 0 || number > 0xffffffff) {
    throw new Error("expected a number such as 5 or 0x10");
  }
  return number | 0;
}

function debugRequest(options: { clear: boolean; set: number | undefined; setbit: number | undefined; clearbit: number | undefined }): JsonObject {
  if (options.clear) return { op: "clr", flags: 0 };
  if (options.set !== undefined) return { op: "set", flags: options.set };
  if (options.clearbit !== undefined) return { op: "clrbit", flags: options.clearbit };
  return { op: "setbit", flags: options.setbit ?? 0 };
}

const trace = defineCommand({
  name: "trace",
  style: "getopt",
  summary: "show the messages of modules as they pass",
  usage: "[OPTIONS] [module...]",
  options: {
    ...TRACE_OPTIONS,
    topic: text("-T, --topic GLOB", "only topics like this"),
  },
  async run({ options, args }) {
    return withFlux((h) => traceModules(h, args, options));
  },
});

export default defineCommand({
  name: "module",
  style: "getopt",
  summary: "list, load, remove and inspect the broker's modules",
  subcommands: [list, remove, { ...remove, name: "unload" }, load, reload, stats, debug, trace],
});
