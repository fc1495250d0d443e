// The formats of tables of jobs that come with flux jobs and flux pgrep.
import type { NamedFormats } from "./named-formats.ts";

const START = "{id.f58:>12} ?:{queue:<8.8} +:{username:<8} {name:<10.10+} ";
/** By the names that --format takes. */
export const JOB_FORMATS = {
  default: {
    description: "Default flux-jobs format string",
    format: `${START}{status_abbrev:>2.2} {ntasks:>6} {nnodes:>6h} {contextual_time!F:>8h} {contextual_info}`,
  },
  cute: {
    description: "Cute flux-jobs format string (default with emojis)",
    format: `${START}{status_emoji:>5.5} {ntasks:>6} {nnodes:>6h} {contextual_time!F:>8h} {contextual_info}`,
  },
  long: {
    description: "Extended flux-jobs format string",
    format: `${START}{status:>9.9} {ntasks:>6} {nnodes:>6h} {t_submit!d:%b%d %R::>12} {t_remaining!F:>12h} {contextual_time!F:>8h} {contextual_info}`,
  },
  deps: {
    description: "Show job urgency, priority, and dependencies",
    format: "{id.f58:>12} ?:{queue:<8.8} {name:<10.10+} {urgency:<3} {priority:<12} {state:<8.8} {dependencies}",
  },
  endreason: {
    description: "Show why each job ended",
    format: `${START}{status_abbrev:>2.2} {t_inactive!d:%b%d %R::>12h} {inactive_reason}`,
  },
} as const satisfies NamedFormats;
