// flux content: blobs of the content store (RFC 10), its caches, and the checkpoints that name roots of the KVS.
import { ContentStore, hashAttribute, isKvsRunning } from "../client/content.ts";
import { isBlobref } from "../formats/blobref.ts";
import { encodeJson } from "../formats/json.ts";
import { defineCommand, flag, UsageError, valueOr } from "./command.ts";
import { explain, withFlux } from "./connect.ts";
import { integer } from "./options.ts";
import { print, write, wrongUsage } from "./output.ts";

const load = defineCommand({
  name: "load",
  style: "getopt",
  summary: "print blobs, one after another",
  usage: "[OPTIONS] [BLOBREF...]",
  details: "Print the blobs of these names, or of the names on stdin, one a line.",
  options: { bypass: flag("-b, --bypass-cache", "ask the backing store on rank 0 itself") },
  async run({ options, args }) {
    const refs = args.length > 0 ? args : (await Bun.stdin.text()).split("\n").filter((line) => line !== "");
    if (refs.length === 0) throw new UsageError("no blobrefs were specified");
    return withFlux(async (h) => {
      const store = new ContentStore(h, options.bypass);
      for (const ref of refs) write(await explain("error loading blob", store.load(ref), true));
      return 0;
    });
  },
});

const store = defineCommand({
  name: "store",
  style: "getopt",
  summary: "store what comes on stdin, and print the names of its blobs",
  usage: "[OPTIONS]",
  options: {
    bypass: flag("-b, --bypass-cache", "store in the backing store on rank 0 itself"),
    chunksize: valueOr("--chunksize N", "cut the input into blobs of N bytes (0: one blob)", integer(0), 0),
  },
  async run({ options, args }) {
    if (args.length > 0) throw wrongUsage("flux content store [OPTIONS]");
    const bytes = new Uint8Array(await Bun.stdin.arrayBuffer());
    const step = options.chunksize === 0 ? Math.max(1, bytes.length) : options.chunksize;
    return withFlux(async (h) => {
      const content = new ContentStore(h, options.bypass);
      const hash = await hashAttribute(h);
      for (let at = 0; at === 0 || at < bytes.length; at += step) {
        print(await explain("error storing blob", content.store(bytes.subarray(at, at + step), hash), true));
      }
      return 0;
    });
  },
});

const flush = simple("flush", "write what this broker's cache has and the store behind it has not");
const dropcache = simple("dropcache", "empty this broker's cache of all that the store behind it has");

function simple(name: string, summary: string) {
  return defineCommand({
    name,
    style: "getopt",
    summary,
    usage: "",
    async run({ args }) {
      if (args.length > 0) throw wrongUsage(`flux content ${name}`);
      return withFlux(async (h) => {
        await explain(`content.${name}`, h.rpc(`content.${name}`));
        return 0;
      });
    },
  });
}

const checkpointList = defineCommand({
  name: "list",
  style: "getopt",
  summary: "list the checkpoints, the newest first",
  usage: "[OPTIONS]",
  options: {
    noHeader: flag("-n, --no-header", "print no line of headings"),
    json: flag("-j, --json", "print the checkpoints as they are stored"),
  },
  async run({ options, args }) {
    if (args.length > 0) throw wrongUsage("flux content checkpoint list [OPTIONS]");
    return withFlux(async (h) => {
      if (!options.noHeader && !options.json) print(line("Index", "Sequence", "Time", "Rootref"));
      const checkpoints = await explain("kvs_checkpoint_lookup", new ContentStore(h).checkpoints());
      for (const [index, { rootref, sequence, timestamp, value }] of checkpoints.entries()) {
        print(options.json ? encodeJson(value) : line(String(index), String(sequence), new Date(timestamp * 1000).toISOString().replace(/\.\d+Z$/, "Z"), rootref));
      }
      return 0;
    });
  },
});

function line(index: string, sequence: string, time: string, rootref: string): string {
  return `${index.padEnd(10)} ${sequence.padEnd(10)} ${time.padEnd(20)} ${rootref}`;
}

const checkpointUpdate = defineCommand({
  name: "update",
  style: "getopt",
  summary: "make a blob the root with which the KVS will start",
  usage: "BLOBREF",
  async run({ args }) {
    const [ref] = args;
    if (ref === undefined || args.length > 1) throw wrongUsage("flux content checkpoint update BLOBREF");
    return withFlux(async (h) => {
      if (await isKvsRunning(h)) throw new UsageError("please unload kvs module before updating checkpoint");
      if (!isBlobref(ref)) throw new UsageError("invalid blobref specified: Invalid argument");
      await explain("checkpoint update failed", new ContentStore(h, true).putCheckpoint(ref, 0, 0));
      return 0;
    });
  },
});

const checkpoint = defineCommand({
  name: "checkpoint",
  style: "getopt",
  summary: "list and change the checkpoints",
  subcommands: [checkpointList, checkpointUpdate],
});

export default defineCommand({
  name: "content",
  style: "getopt",
  summary: "access the content store",
  subcommands: [load, store, dropcache, flush, checkpoint],
});
