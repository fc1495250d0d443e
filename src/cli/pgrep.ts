// flux pgrep: find jobs by name or id.
import { defineCommand, flag, text } from "./command.ts";
import { withFlux } from "./connect.ts";
import { JOB_FORMATS } from "./job-formats.ts";
import { JOB_FIELDS } from "./job-row.ts";
import { SEARCH_OPTIONS, searchJobs, searchTest } from "./job-search.ts";
import { chooseFormat, type NamedFormats } from "./named-formats.ts";
import { parseTable, printTable } from "./table.ts";

const FORMATS: NamedFormats = {
  default: { description: "Default flux-pgrep format string", format: "{id.f58}" },
  full: { description: "full flux-pgrep format string", format: JOB_FORMATS.default.format },
  long: { description: "Extended flux-pgrep format string", format: JOB_FORMATS.long.format },
  deps: JOB_FORMATS.deps,
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
  async run({ options, args }) {
    const chosen = await chooseFormat(options.format, { file: "flux-jobs", builtin: FORMATS, variable: "FLUX_PGREP_FORMAT_DEFAULT" });
    if (chosen === undefined) return 0;
    const test = searchTest(args, "pgrep");
    const format = parseTable(chosen, JOB_FIELDS, "Error in user format: ");
    return withFlux(async (h) => {
      const rows = await searchJobs(h, options, test);
      if (rows.length === 0) return 1;
      const plain = options.format === undefined && process.env["FLUX_PGREP_FORMAT_DEFAULT"] === undefined;
      printTable(format, rows, JOB_FIELDS, { header: !options.noHeader && !plain });
      return 0;
    });
  },
});
