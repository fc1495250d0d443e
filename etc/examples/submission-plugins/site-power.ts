// A plugin of the commands that submit jobs: an option of the site's own, a default, and a check.
//
//   FLUX_CLI_PLUGINPATH=etc/examples/submission-plugins flux submit --ex-site-power=low -n4 ./app
//   FLUX_CLI_PLUGINPATH=etc/examples/submission-plugins flux submit --list-plugins
//
// A site puts it into /etc/flux/cli/plugins, a user into ~/.config/flux/cli/plugins. What a plugin may do stands in
// src/client/submission-plugin.ts and in flux-submission-plugins(7). A file elsewhere can leave out the import, or point it to its copy
// of the sources.
import { defineSubmissionPlugin } from "../../../src/client/submission-plugin.ts";

const LIMITS_W = { low: 200, high: 400 } as const;

export default defineSubmissionPlugin({
  documentation: `--ex-site-power=low|high bounds the power that each node of a job may draw.
Jobs without it run under the site's own limit.`,
  options: { "site-power": { argument: "LEVEL", help: "power limit of each node: low or high", choices: ["low", "high"] } },

  // Nobody's jobs run for ever by mistake.
  preinit({ builtin }) {
    builtin["timeLimit"] ??= "30m";
  },

  modifyJobspec({ own, jobspec }) {
    const level = own["site-power"];
    if (level === "low" || level === "high") jobspec.attributes.system["site"] = { power_limit_w: LIMITS_W[level] };
  },

  validate({ own, builtin }) {
    if (own["site-power"] !== undefined && builtin["nodes"] === undefined) throw new Error("--ex-site-power needs whole nodes: give --nodes");
  },
});
