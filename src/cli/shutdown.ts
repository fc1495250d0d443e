// flux shutdown: ends an instance in order ("shutdown.start"), and shows what its broker says meanwhile. Before, the attribute
// content.dump is set for a dump of the KVS, from which the next start can make a content store without what nobody needs.
import { createInterface } from "node:readline";
import { Flux } from "../client/flux.ts";
import { kvsGetroot } from "../client/kvs.ts";
import { lastingDirectory } from "../client/statedir.ts";
import { isJsonObject, type JsonObject } from "../formats/json.ts";
import { errno, FluxError, isErrno, toFluxError } from "../message/errno.ts";
import { str, unpack } from "../message/unpack.ts";
import { defineCommand, flag, optional, text, UsageError } from "./command.ts";
import { explain } from "./connect.ts";
import { openInstance, resolveInstance } from "./instance-uri.ts";
import { printError, writeError, wrongUsage } from "./output.ts";
import { isTerminal } from "../os/terminal.ts";

const LOG_WARNING = 4;
const LOG_INFO = 6;
const LOG_DEBUG = 7;

interface ShutdownOptions {
  readonly skipGc: boolean;
  readonly gc: boolean;
  readonly dump: string | undefined;
  readonly yes: boolean;
  readonly no: boolean;
}

export default defineCommand({
  name: "shutdown",
  style: "getopt",
  summary: "shut an instance down",
  usage: "[OPTIONS] [TARGET]",
  details: "Shut down this instance, or the one that TARGET means: a job id or URI (see flux help uri).\n\nExample: flux shutdown --gc",
  options: {
    skipGc: flag("--skip-gc", "dump nothing this time"),
    gc: flag("--gc", "clean up the KVS: dump it, for the next start to begin with (--dump=auto)"),
    dump: text("--dump PATH", "dump the KVS to an archive"),
    background: flag("--background", "don't wait for the end"),
    quiet: flag("--quiet", "show warnings and errors only"),
    verbose: optional("-v, --verbose [LEVEL]", "show all of the broker's log", "1"),
    yes: flag("-y, --yes", "answer yes to questions"),
    no: flag("-n, --no", "answer no to questions"),
  },
  async run({ options, args }) {
    const [target] = args;
    if (args.length > 1) throw wrongUsage("flux shutdown [OPTIONS] [TARGET]");
    const h = await openTarget(target);
    try {
      await configureDump(h, options);
      const loglevel = options.quiet ? LOG_WARNING : (options.verbose ?? "0") === "0" ? LOG_INFO : LOG_DEBUG;
      if (options.background) await h.rpc("shutdown.start", { loglevel });
      else await follow(h, loglevel);
      return 0;
    } finally {
      h.close();
    }
  },
});

async function openTarget(target: string | undefined): Promise<Flux> {
  const uri = target === undefined ? undefined : await resolve(target);
  try {
    return await (uri === undefined ? Flux.open() : openInstance(uri));
  } catch (err) {
    throw new UsageError(`error connecting to Flux: ${toFluxError(err).message}`);
  }
}

async function resolve(target: string): Promise<string> {
  try {
    return await resolveInstance(target, () => Flux.open());
  } catch (err) {
    throw new UsageError(`failed to resolve target ${target} to a Flux URI: ${toFluxError(err).message}`);
  }
}

/** Shows the log until the instance has ended. */
async function follow(h: Flux, loglevel: number): Promise<void> {
  for await (const payload of h.stream("shutdown.start", { loglevel })) writeError(unpack(payload, { log: str }).log);
}

async function configureDump(h: Flux, options: ShutdownOptions): Promise<void> {
  if (options.gc && (options.skipGc || options.dump !== undefined)) throw new UsageError("--gc is incompatible with --skip-gc or --dump");
  const before = await h.optionalAttr("content.dump");
  if (options.skipGc) {
    if (before !== undefined) await explain("rmattr content.dump", h.rpc("attr.rm", { name: "content.dump" }), true);
    return;
  }
  const wanted = options.dump ?? (options.gc || (await isGcDue(h, options)) ? "auto" : before);
  if (wanted === undefined) return;
  if (wanted !== before) await explain("setattr content.dump", h.rpc("attr.set", { name: "content.dump", value: wanted }), true);
  printError(`flux-shutdown: shutdown will dump KVS to ${wanted === "auto" ? await dumpDirectory(h) : wanted} (this may take some time)`);
}

async function dumpDirectory(h: Flux): Promise<string> {
  return `${(await lastingDirectory(h)) ?? "."}/dump/`;
}

/** True when the KVS has changed more often than [kvs] gc-threshold, and the user agrees. */
async function isGcDue(h: Flux, options: ShutdownOptions): Promise<boolean> {
  const threshold = thresholdOf(await explain("Error fetching flux config", h.rpc("config.get"), true));
  if (threshold <= 0 || (await kvsVersion(h)) <= threshold) return false;
  if (options.yes || options.no) return options.yes;
  if (!isTerminal(0)) throw new UsageError("gc threshold exceeded, specify -y or -n");
  return ask("gc threshold exceeded, do you want to perform garbage collection [Y/n]? ");
}

function thresholdOf(config: JsonObject): number {
  const kvs = config["kvs"];
  const threshold = isJsonObject(kvs) ? kvs["gc-threshold"] : undefined;
  return typeof threshold === "number" ? threshold : 0;
}

async function kvsVersion(h: Flux): Promise<number> {
  try {
    return (await kvsGetroot(h)).rootseq;
  } catch (err) {
    if (isErrno(err, errno.ENOSYS)) return 0;
    throw new UsageError(`Error fetching KVS version: ${err instanceof FluxError ? err.message : String(err)}`);
  }
}

/** An empty answer is yes. Throws UsageError when there is none. */
async function ask(question: string): Promise<boolean> {
  const lines = createInterface({ input: process.stdin, output: process.stdout });
  try {
    lines.setPrompt(question);
    lines.prompt();
    for await (const line of lines) {
      const [first = "y"] = line.toLowerCase();
      if (first === "y" || first === "n") return first === "y";
      process.stdout.write("Please answer y or n\n");
      lines.prompt();
    }
  } finally {
    lines.close();
  }
  throw new UsageError("error retrieving user input");
}
