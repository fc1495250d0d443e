// flux kvs namespace: separate trees with owners of their own, as each job has one.
import { arr, fields, int, str, unpack } from "../../message/unpack.ts";
import { defineCommand, text, value } from "../command.ts";
import { explain, withFlux } from "../connect.ts";
import { integer } from "../options.ts";
import { print, wrongUsage } from "../output.ts";

/** No owner given: the user who asks. */
const OWNER_UNKNOWN = -1;

const create = defineCommand({
  name: "create",
  style: "getopt",
  summary: "create namespaces",
  usage: "[OPTIONS] name [name...]",
  options: {
    owner: value("-o, --owner UID", "owner of the namespace", integer(0)),
    rootref: text("-r, --rootref BLOBREF", "begin with this root and not with an empty one"),
  },
  async run({ options, args }) {
    if (args.length === 0) throw wrongUsage("flux kvs namespace create [OPTIONS] name [name...]");
    return withFlux(async (h) => {
      const rootref = options.rootref ?? (await emptyRoot(await h.attr("content.hash")));
      for (const namespace of args) {
        const request = { namespace, rootref, owner: (options.owner ?? OWNER_UNKNOWN) | 0, flags: 0 };
        await explain(namespace, h.rpc("kvs.namespace-create", request, { nodeid: 0 }), true);
      }
      return 0;
    });
  },
});

/** The blobref of a directory without entries. */
async function emptyRoot(hash: string): Promise<string> {
  const { blobrefOf, isHashName } = await import("../../formats/blobref.ts");
  return blobrefOf(Buffer.from('{"data":{},"type":"dir","ver":1}'), isHashName(hash) ? hash : "sha1");
}

const remove = defineCommand({
  name: "remove",
  style: "getopt",
  summary: "remove namespaces",
  usage: "name [name...]",
  async run({ args }) {
    if (args.length === 0) throw wrongUsage("flux kvs namespace remove name [name...]");
    return withFlux(async (h) => {
      for (const namespace of args) await explain(namespace, h.rpc("kvs.namespace-remove", { namespace }, { nodeid: 0 }));
      return 0;
    });
  },
});

const list = defineCommand({
  name: "list",
  style: "getopt",
  summary: "list the namespaces that this broker knows",
  usage: "",
  async run({ args }) {
    if (args.length > 0) throw wrongUsage("flux kvs namespace list");
    return withFlux(async (h) => {
      const answer = await explain("kvs.namespace-list", h.rpc("kvs.namespace-list"));
      const entry = fields({ namespace: str, owner: int, flags: int });
      print("NAMESPACE                                 OWNER      FLAGS");
      for (const { namespace, owner, flags } of unpack(answer, { namespaces: arr(entry) }).namespaces) {
        const bits = (flags >>> 0).toString(16).toUpperCase().padStart(8, "0");
        print(`${namespace.padEnd(36)} ${String(owner >>> 0).padStart(10)} 0x${bits}`);
      }
      return 0;
    });
  },
});

export const namespace = defineCommand({
  name: "namespace",
  style: "getopt",
  summary: "create, remove and list namespaces",
  subcommands: [create, remove, list],
});
