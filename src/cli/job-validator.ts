// flux job-validator: would this instance take these jobs?
import { pluginCommand } from "./job-plugins.ts";

export default pluginCommand(
  "validator",
  "check jobs as the instance does before it takes them",
  `Reads jobs {"jobspec", "userid", "urgency", "flags"} from standard input, one a line, and answers each with {"errnum": 0}, or
{"errnum": N, "errstr": "why not"}.

Example:
  flux submit --dry-run hostname | flux job-validator --jobspec-only`,
);
