// flux pgrep: find jobs by name or id.
import { defineCommand, flag, text } from "./command.ts";
import { withFlux } from "./connect.ts";
import { JOB_FIELDS } from "./job-row.ts";
import { SEARCH_OPTIONS, searchJobs, searchTest } from "./job-search.ts";
import { chooseFormat, type NamedFormats, parseTable, printFormats, printTable } from "./table.ts";

const FORMATS: NamedFormats = {
  default: { description: "Default flux-pgrep format string", format: "{id.f58}" },
  full: { description: "full flux-pgrep format string", format: "{id.f58:>12} {name}" },
  long: {
    description: "Extended flux-pgrep format string",
    format: "{id.f58:>12} ?:{queue:<8.8} {username:<8.8} {name:<10.10+} {status:>9.9} {ntasks:>6} {nnodes:>6h} {contextual_time!F:>8h} {contextual_info}",
  },
};

export default defineCommand({
  name: "pgrep",
  style: "argparse",
  summary: "find jobs by name or id",
  usage: "[OPTIONS] EXPRESSION [EXPRESSION ...]",
  details: "Print the ids of jobs whose name matches a regular expression, or whose id is in a range.\n\nExamples:\n  flux pgrep -a '^test'\n  flux pgrep ƒ2d4mS3y..ƒ2oRCRBd",
  options: {
    ...SEARCH_OPTIONS,
    noHeader: flag("-n, --no-header", "no line of titles"),
    format: text("-o, --format FORMAT", "a named format (see --format=help), or one such as '{id} {name}'"),
  },
  run({ options, args }) {
    if (options.format === "help") {
      printFormats("flux-pgrep", FORMATS);
      return 0;
    }
    const test = searchTest(args, "pgrep");
    const format = parseTable(chooseFormat(options.format, FORMATS, "FLUX_PGREP_FORMAT_DEFAULT"), JOB_FIELDS, "Error in user format: ");
    return withFlux(async (h) => {
      const rows = await searchJobs(h, options, test);
      if (rows.length === 0) return 1;
      const plain = options.format === undefined && process.env["FLUX_PGREP_FORMAT_DEFAULT"] === undefined;
      printTable(format, rows, JOB_FIELDS, { header: !options.noHeader && !plain });
      return 0;
    });
  },
});
