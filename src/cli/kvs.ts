// flux kvs: the key-value store of an instance (RFC 11). The commands are in src/cli/kvs/.
import { defineCommand } from "./command.ts";
import { dir, ls } from "./kvs/dir.ts";
import { eventlog } from "./kvs/eventlog.ts";
import { get } from "./kvs/get.ts";
import { namespace } from "./kvs/namespace.ts";
import { copy, link, mkdir, move, put, unlink } from "./kvs/put.ts";
import { getroot, readlink, sync, version, wait } from "./kvs/root.ts";

export default defineCommand({
  name: "kvs",
  style: "getopt",
  summary: "store, read and watch keys of the instance's key-value store",
  subcommands: [namespace, get, put, dir, ls, unlink, link, readlink, mkdir, copy, move, version, wait, getroot, sync, eventlog],
});
