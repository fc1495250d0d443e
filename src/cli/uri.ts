// flux uri: print where an instance is.
import { Flux } from "../client/flux.ts";
import { localUri, parseUri } from "../formats/uri.ts";
import { defineCommand, exactArguments, flag, UsageError } from "./command.ts";
import { asRemote, resolveInstance, SCHEMES } from "./instance-uri.ts";
import { print } from "./output.ts";

export default defineCommand({
  name: "uri",
  style: "argparse",
  summary: "print the URI of an instance that runs as a job",
  usage: "[OPTIONS...] TARGET",
  details: `Print the URI of the instance that TARGET means: a job, a path of jobs, '..' for the parent, '/' for the outermost one.

Supported resolver schemes:
${SCHEMES.map(([scheme, about]) => `  ${scheme.padEnd(12)}${about}`).join("\n")}

Examples:
  flux uri ƒ2d4mS3y
  flux uri --local ƒ2d4mS3y/ƒ8x59eF   an instance in an instance
  flux uri slurm:4711                 the instance that a job of Slurm runs`,
  options: {
    remote: flag("--remote", "as it is reached from other hosts"),
    local: flag("--local", "as it is reached on its own host"),
    wait: flag("--wait", "wait for an instance that is starting"),
  },
  async run({ options, args }) {
    const [target] = exactArguments(args, ["TARGET"], "flux uri", "[OPTIONS...] TARGET");
    const uri = await resolveInstance(target, () => Flux.open(), { wait: options.wait });
    print(shownUri(uri, options.remote, options.local || process.env["FLUX_URI_RESOLVE_LOCAL"] !== undefined));
    return 0;
  },
});

function shownUri(uri: string, remote: boolean, local: boolean): string {
  const { scheme } = parseUri(uri);
  if (scheme !== "local" && scheme !== "ssh") throw new UsageError(`${uri}: scheme ${scheme} is neither local nor ssh`);
  if (remote) return asRemote(uri);
  return local ? localUri(uri) : uri;
}
