// flux job-frobnicator: what does this instance make of these jobs?
import { pluginCommand } from "./job-plugins.ts";

export default pluginCommand(
  "frobnicator",
  "change jobs as the instance does before it takes them",
  `Reads jobs {"jobspec", "userid", "urgency", "flags"} from standard input, one a line, and answers each with
{"errnum": 0, "data": JOBSPEC}, or {"errnum": N, "errstr": "why not"}.

Example:
  flux submit --dry-run hostname | flux job-frobnicator --jobspec-only`,
);
