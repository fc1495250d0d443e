// flux pkill: cancel jobs by name or id.
import { cancelJob, waitInactive } from "../client/jobs.ts";
import { FluxError } from "../message/errno.ts";
import { defineCommand, flag } from "./command.ts";
import { withFlux } from "./connect.ts";
import { showJobId } from "./job-id.ts";
import { SEARCH_OPTIONS, searchJobs, searchTest } from "./job-search.ts";
import { writeError } from "./output.ts";

export default defineCommand({
  name: "pkill",
  style: "argparse",
  summary: "cancel jobs by name or id",
  usage: "[OPTIONS] EXPRESSION [EXPRESSION ...]",
  details: "Cancel jobs whose name matches a regular expression, or whose id is in a range.\n\nExample:\n  flux pkill --wait '^test'",
  options: { ...SEARCH_OPTIONS, wait: flag("--wait", "wait until they have ended") },
  run({ options, args }) {
    const test = searchTest(args, "pkill");
    return withFlux(async (h) => {
      const rows = await searchJobs(h, options, test);
      if (rows.length === 0) return 1;
      const outcomes = await Promise.all(
        rows.map(async ({ id }) => {
          try {
            await cancelJob(h, id);
          } catch (err) {
            if (!(err instanceof FluxError)) throw err;
            writeError(`flux-pkill: ERROR: ${showJobId(id)}: cancel: ${err.message}\n`);
            return false;
          }
          if (options.wait) await waitInactive(h, id);
          return true;
        }),
      );
      const canceled = outcomes.filter((ok) => ok).length;
      writeError(`flux-pkill: INFO: Canceled ${canceled} job${canceled === 1 ? "" : "s"}\n`);
      return canceled === rows.length ? 0 : 1;
    });
  },
});
