// flux version: of the commands, of the broker that $FLUX_URI names, and of flux-ts itself.
// Scripts compare these numbers with that of flux-core, and package managers look for the one of libflux-core: they say whose
// commands, files and protocols these are.
import { Flux } from "../client/flux.ts";
import { FLUX_TS_VERSION, FLUX_VERSION } from "../version.ts";
import { defineCommand } from "./command.ts";
import { explain } from "./connect.ts";
import { print } from "./output.ts";

export default defineCommand({
  name: "version",
  style: "getopt",
  summary: "print versions of the commands and the broker",
  usage: "",
  async run() {
    print(`commands:    \t\t${FLUX_VERSION}`, `libflux-core:\t\t${FLUX_VERSION}`, `flux-ts:     \t\t${FLUX_TS_VERSION}`);
    const uri = process.env["FLUX_URI"];
    if (uri !== undefined) {
      const h = await explain(`flux_open ${uri} failed`, Flux.open(), true);
      try {
        print(`broker:  \t\t${await h.attr("version")}`, `FLUX_URI:\t\t${uri}`);
      } finally {
        h.close();
      }
    }
    print(`build-options:\t\t+bun==${Bun.version}`);
    return 0;
  },
});
