// flux lsattr: the names of all attributes of the broker, and their values ("attr.list", "attr.get").
import type { Flux } from "../client/flux.ts";
import { errno, isErrno } from "../message/errno.ts";
import { arr, str, unpack } from "../message/unpack.ts";
import { defineCommand, flag } from "./command.ts";
import { explain, withFlux } from "./connect.ts";
import { print, wrongUsage } from "./output.ts";

export default defineCommand({
  name: "lsattr",
  style: "getopt",
  summary: "list the attributes of the broker",
  usage: "[OPTIONS]",
  options: { values: flag("-v, --values", "show values too") },
  async run({ options, args }) {
    if (args.length > 0) throw wrongUsage("flux lsattr [-v]");
    return withFlux(async (h) => {
      const names = unpack(await explain("attr.list", h.rpc("attr.list")), { names: arr(str) }).names.toSorted();
      if (!options.values) print(...names);
      else print(...(await Promise.all(names.map(async (name) => `${name.padEnd(40)}${await valueOf(h, name)}`))));
      return 0;
    });
  },
});

/** "-" for an attribute without a value. */
async function valueOf(h: Flux, name: string): Promise<string> {
  try {
    return await h.attr(name);
  } catch (err) {
    if (isErrno(err, errno.ENOENT)) return "-";
    throw err;
  }
}
