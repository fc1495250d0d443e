// flux kvs get: values, once, or each time they change.
import type { Flux } from "../../client/flux.ts";
import { KVS } from "../../client/kvs.ts";
import type { JsonObject } from "../../formats/json.ts";
import { obj, unpack } from "../../message/unpack.ts";
import { defineCommand, flag, text, valueOr } from "../command.ts";
import { explained, withFlux } from "../connect.ts";
import { integer } from "../options.ts";
import { write, wrongUsage } from "../output.ts";
import { lookup, namespaceOption, treeobjText, untilNul, valueBytes, watch } from "./request.ts";

interface GetOptions {
  readonly namespace: string | undefined;
  readonly raw: boolean;
  readonly treeobj: boolean;
  readonly at: string | undefined;
  readonly label: boolean;
  readonly waitcreate: boolean;
  readonly watch: boolean;
  readonly uniq: boolean;
  readonly append: boolean;
  readonly full: boolean;
  readonly stream: boolean;
  readonly count: number;
}

export const get = defineCommand({
  name: "get",
  style: "getopt",
  summary: "print the value of a key",
  usage: "[OPTIONS] key [key...]",
  options: {
    namespace: namespaceOption,
    raw: flag("-r, --raw", "print the value's bytes as they are"),
    treeobj: flag("-t, --treeobj", "print the tree object (RFC 11)"),
    at: text("-a, --at TREEOBJ", "look below this tree object"),
    label: flag("-l, --label", "print key= before the value"),
    waitcreate: flag("-W, --waitcreate", "wait until the key exists"),
    watch: flag("-w, --watch", "print the value again each time it is written"),
    uniq: flag("-u, --uniq", "with --watch, only values that differ from the one before"),
    append: flag("-A, --append", "with --watch, only what is appended"),
    full: flag("-f, --full", "with --watch, see changes that come by other ways too"),
    count: valueOr("-c, --count COUNT", "with --watch, end after so many values", integer(0), 0),
    stream: flag("-S, --stream", "fetch a large value in pieces"),
  },
  async run({ options, args }) {
    if (args.length === 0) throw wrongUsage("flux kvs get [OPTIONS] key [key...]");
    return withFlux(async (h) => {
      if (options.watch) await Promise.all(args.map((key) => getStream(h, key, options)));
      else for (const key of args) await (options.stream ? getStream(h, key, options) : getOne(h, key, options));
      return 0;
    });
  },
});

async function getOne(h: Flux, key: string, options: GetOptions): Promise<void> {
  try {
    show(key, await lookup(h, key, flagsOf(options), options), options);
  } catch (err) {
    throw explained(key, err);
  }
}

async function getStream(h: Flux, key: string, options: GetOptions): Promise<void> {
  let count = 0;
  try {
    for await (const answer of watch(h, key, flagsOf(options), options)) {
      show(key, unpack(answer, { val: obj }).val, options);
      if (++count === options.count && options.watch) break;
    }
  } catch (err) {
    throw explained(key, err);
  }
  if (options.stream && !options.raw && !options.treeobj && count > 0) write("\n");
}

function flagsOf(options: GetOptions): number {
  let flags = 0;
  if (options.treeobj) flags |= KVS.TREEOBJ;
  if (options.waitcreate) flags |= KVS.WAITCREATE;
  if (options.stream) flags |= KVS.STREAM;
  if (!options.watch) return flags;
  flags |= KVS.WATCH;
  if (options.full) flags |= KVS.WATCH_FULL;
  if (options.uniq) flags |= KVS.WATCH_UNIQ;
  if (options.append) flags |= KVS.WATCH_APPEND;
  return flags;
}

function show(key: string, treeobj: JsonObject, options: GetOptions): void {
  const label = options.label ? `${key}=` : "";
  if (options.treeobj) return write(`${label}${treeobjText(treeobj)}\n`);
  const bytes = options.raw ? valueBytes(treeobj) : untilNul(valueBytes(treeobj));
  // An empty value is nothing at all, not an empty line.
  const end = options.raw || options.stream || bytes.length === 0 ? "" : "\n";
  write(Buffer.concat([Buffer.from(label), bytes, Buffer.from(end)]));
}
