// flux kvs readlink, version, wait, getroot, sync: links, and the root that every commit replaces.
import { KVS, KVS_COMMIT } from "../../client/kvs.ts";
import { uint, unpack } from "../../message/unpack.ts";
import { defineCommand, flag, text, UsageError } from "../command.ts";
import { explain, withFlux } from "../connect.ts";
import { print, wrongUsage } from "../output.ts";
import { symlinkData } from "./dir.ts";
import { commit, getRoot, lookup, namespaceOf, namespaceOption, rootText } from "./request.ts";

export const readlink = defineCommand({
  name: "readlink",
  style: "getopt",
  summary: "print where a link leads",
  usage: "[OPTIONS] key [key...]",
  options: {
    namespace: namespaceOption,
    at: text("-a, --at TREEOBJ", "look below this tree object"),
    namespaceOnly: flag("-o, --namespace-only", "print only the target's namespace, if it has one"),
    keyOnly: flag("-k, --key-only", "print only the target's key"),
  },
  async run({ options, args }) {
    if (args.length === 0) throw wrongUsage("flux kvs readlink [OPTIONS] key [key...]");
    return withFlux(async (h) => {
      for (const key of args) {
        const treeobj = await explain(key, lookup(h, key, KVS.READLINK, options));
        const { target, namespace } = unpack(treeobj, { data: symlinkData }).data;
        if (options.namespaceOnly && namespace !== undefined) print(namespace);
        else print(options.keyOnly || namespace === undefined ? target : `${namespace}::${target}`);
      }
      return 0;
    });
  },
});

export const version = defineCommand({
  name: "version",
  style: "getopt",
  summary: "print the sequence number of the root",
  usage: "[OPTIONS]",
  options: { namespace: namespaceOption },
  run: ({ options }) =>
    withFlux(async (h) => {
      print(String((await explain("flux_kvs_get_version", getRoot(h, options.namespace))).rootseq));
      return 0;
    }),
});

export const wait = defineCommand({
  name: "wait",
  style: "getopt",
  summary: "wait until the root has a sequence number",
  usage: "[OPTIONS] version",
  options: { namespace: namespaceOption },
  async run({ options, args }) {
    const [word] = args;
    if (word === undefined) throw wrongUsage("flux kvs wait [OPTIONS] version");
    if (args.length !== 1) throw new UsageError("wait: specify a version");
    if (!/^\d+$/.test(word)) throw new UsageError(`wait: '${word}' is not a version: expected a number`);
    return withFlux(async (h) => {
      const request = { rootseq: Number(word), namespace: namespaceOf(options.namespace) };
      unpack(await explain("flux_kvs_wait_version", h.rpc("kvs.wait-version", request)), { rootseq: uint });
      return 0;
    });
  },
});

export const getroot = defineCommand({
  name: "getroot",
  style: "getopt",
  summary: "print the root",
  usage: "[OPTIONS]",
  options: {
    namespace: namespaceOption,
    sequence: flag("-s, --sequence", "print its sequence number"),
    owner: flag("-o, --owner", "print the namespace's owner"),
    blobref: flag("-b, --blobref", "print its blobref"),
  },
  async run({ options, args }) {
    if (args.length > 0) throw wrongUsage("flux kvs getroot [OPTIONS]");
    const what = options.owner ? "owner" : options.sequence ? "sequence" : options.blobref ? "blobref" : "treeobj";
    return withFlux(async (h) => {
      const root = await explain(`flux_kvs_getroot_get_${what}`, getRoot(h, options.namespace));
      if (what === "owner") print(String(root.owner));
      else if (what === "sequence") print(String(root.rootseq));
      else print(what === "blobref" ? root.rootref : rootText(root.rootref));
      return 0;
    });
  },
});

export const sync = defineCommand({
  name: "sync",
  style: "getopt",
  summary: "return when everything committed so far is on disk",
  usage: "",
  async run({ args }) {
    if (args.length > 0) throw wrongUsage("flux kvs sync");
    return withFlux(async (h) => {
      // An empty transaction queues behind those before it.
      await explain("flux_kvs_commit", commit(h, undefined, [], KVS_COMMIT.SYNC));
      return 0;
    });
  },
});
