// flux job info, id, last, list, stats, namespace: what is known of jobs.
import { readFileSync } from "node:fs";
import { statesByName, STATE, ACTIVE, USERID_ANY } from "../../client/jobs.ts";
import { JOB_LOOKUP } from "../../client/job-info.ts";
import { formatJobId, JOB_ID_FORMS, type JobIdForm, parseJobId } from "../../formats/fluid.ts";
import { encodeJson } from "../../formats/json.ts";
import { arr, jobid, str, unpack } from "../../message/unpack.ts";
import { defineCommand, flag, text, UsageError, value } from "../command.ts";
import { withFlux } from "../connect.ts";
import { jobIdArgument, showJobId } from "../job-id.ts";
import { findJobs, listJobs, parseUser } from "../job-list.ts";
import { integer, real } from "../options.ts";
import { print, writeError, wrongUsage } from "../output.ts";
import { spacedJson } from "../spaced-json.ts";
import { isTerminal } from "../../os/terminal.ts";

const INFO_USAGE = `Usage: flux job info id key
some useful keys are:
  J                    - signed jobspec
  R                    - allocated resources
  eventlog             - primary job eventlog
  jobspec              - job specification
  guest.exec.eventlog  - execution eventlog
  guest.input          - job input log
  guest.output         - job output log
Use flux job info -h to list available options
`;

export const info = defineCommand({
  name: "info",
  style: "getopt",
  summary: "print what is stored of a job",
  usage: "id key",
  details: "Print what is stored of a job.\n\nExample:\n  flux job info ƒ2d4mS3y R",
  options: {
    original: flag("-o, --original", "key jobspec: as it was submitted"),
    base: flag("-b, --base", "keys jobspec and R: without later updates"),
  },
  async run({ options, args }) {
    const [word, key] = args;
    if (word === undefined || key === undefined || args.length !== 2) {
      writeError(INFO_USAGE);
      throw new UsageError("");
    }
    const id = jobIdArgument(word);
    return withFlux(async (h) => {
      const lookup = async (name: string, flags: number): Promise<string> => {
        const payload = await h.rpc("job-info.lookup", { id, keys: [name], flags });
        return unpack({ found: payload[name] ?? null }, { found: str }).found;
      };
      if (options.original && key === "jobspec") {
        const { unwrap } = await import("../../formats/signature.ts");
        print(Buffer.from(unwrap(await lookup("J", 0)).payload).toString());
        return 0;
      }
      const current = !options.base && (key === "R" || key === "jobspec");
      print(await lookup(key, current ? JOB_LOOKUP.CURRENT : 0));
      return 0;
    });
  },
});

export const id = defineCommand({
  name: "id",
  style: "getopt",
  summary: "convert job ids to another form",
  usage: "[OPTIONS] [id ...]",
  details: "Convert job ids, given as arguments or one a line on stdin.\n\nExample:\n  flux job id --to=dec ƒ2d4mS3y",
  options: { to: text("-t, --to FORM", "dec (default), hex, dothex, kvs, words, f58, f58plain or emoji") },
  run({ options, args }) {
    const form = options.to ?? "dec";
    if (!JOB_ID_FORMS.some((known) => known === form)) throw new UsageError(`Unknown to=${form}`);
    const words = args.length > 0 ? args : stdinLines();
    for (const word of words) {
      let parsed;
      try {
        parsed = parseJobId(word);
      } catch {
        throw new UsageError(`${word}: malformed input`);
      }
      print(formatJobId(parsed, form as JobIdForm));
    }
    return 0;
  },
});

function stdinLines(): string[] {
  return readFileSync(0, "utf8").split("\n").map((line) => line.trim()).filter((line) => line !== "");
}

export const last = defineCommand({
  name: "last",
  style: "getopt",
  summary: "print the ids of your latest jobs",
  usage: "[N|SLICE]",
  details: "Print the id of your latest job, or of several.\n\nExamples:\n  flux job last\n  flux job last 3\n  flux job last '[1:4]'",
  async run({ args }) {
    const [word = "1"] = args;
    if (args.length > 1 || (!word.includes("[") && !/^[+-]?\d+$/.test(word))) throw wrongUsage("flux-job last SLICE");
    const slice = word.includes("[") ? word : `[:${Number(word)}]`;
    return withFlux(async (h) => {
      const { jobs } = unpack(await h.rpc("job-manager.history.get", { slice }), { jobs: arr(jobid) });
      if (jobs.length === 0) throw new UsageError("job history is empty");
      print(...jobs.map((job) => showJobId(job)));
      return 0;
    });
  },
});

/** JSON is for programs: who types this wants to see jobs. */
function refuseTerminal(): void {
  if (!isTerminal(1)) return;
  writeError("This is not the command you are looking for. Try flux-jobs(1).\n");
  throw new UsageError("");
}

export const list = defineCommand({
  name: "list",
  style: "getopt",
  hidden: true,
  summary: "print jobs as JSON, one a line",
  usage: "[OPTIONS]",
  options: {
    count: value("-c, --count N", "at most N jobs", integer(0)),
    states: text("-s, --states STATES", "jobs in these states, separated by commas (default: active)"),
    user: text("-u, --user USER", "jobs of this user, or of all"),
    allMine: flag("-a, --all-user", "your jobs in all states"),
    all: flag("-A, --all", "everybody's jobs in all states"),
  },
  async run({ options }) {
    refuseTerminal();
    const userid = options.all ? USERID_ANY : options.user === undefined ? (process.getuid?.() ?? 0) : await parseUser(options.user);
    const states = options.all || options.allMine ? ACTIVE | STATE.INACTIVE : parseStates(options.states ?? "active");
    return withFlux(async (h) => {
      const rows = await listJobs(h, { attributes: ["all"], max: options.count ?? 0, userid, states, results: 0 });
      print(...rows.map((row) => spacedJson(row.info, false)));
      return 0;
    });
  },
});

/** Names of states, separated by commas. Throws UsageError. */
export function parseStates(words: string): number {
  let states = 0;
  for (const word of words.split(",")) {
    const bits = statesByName(word);
    if (bits === undefined) throw new UsageError(`Invalid state ${word} specified`);
    states |= bits;
  }
  return states;
}

export const listIds = defineCommand({
  name: "list-ids",
  style: "getopt",
  hidden: true,
  summary: "print some jobs as JSON, one a line",
  usage: "[OPTIONS] id ...",
  options: { waitState: text("-W, --wait-state STATE", "once they are or have been in this state") },
  async run({ options, args }) {
    refuseTerminal();
    if (args.length === 0) throw wrongUsage("flux job list-ids [OPTIONS] id ...");
    const state = options.waitState === undefined ? undefined : parseStates(options.waitState);
    const ids = args.map(jobIdArgument);
    return withFlux(async (h) => {
      let missing = 0;
      const rows = await findJobs(h, ids, ["all"], (index) => {
        missing++;
        writeError(`flux-job: ${args[index]}: No such file or directory\n`);
      }, state);
      print(...rows.map((row) => spacedJson(row.info, false)));
      return missing > 0 ? 1 : 0;
    });
  },
});

export const listInactive = defineCommand({
  name: "list-inactive",
  style: "getopt",
  hidden: true,
  summary: "print inactive jobs as JSON, one a line",
  usage: "[OPTIONS]",
  options: {
    count: value("-c, --count N", "at most N jobs", integer(0)),
    since: value("-s, --since T", "that became inactive since T, in seconds since the epoch", real),
  },
  run({ options }) {
    refuseTerminal();
    return withFlux(async (h) => {
      const since = options.since === undefined ? {} : { since_s: options.since };
      const rows = await listJobs(h, { attributes: ["all"], max: options.count ?? 0, userid: USERID_ANY, states: STATE.INACTIVE, results: 0, ...since });
      print(...rows.map((row) => spacedJson(row.info, false)));
      return 0;
    });
  },
});

export const stats = defineCommand({
  name: "stats",
  style: "getopt",
  summary: "print counts of jobs as JSON",
  run() {
    return withFlux(async (h) => {
      print(encodeJson(await h.rpc("job-list.job-stats", {})));
      return 0;
    });
  },
});

export const namespace = defineCommand({
  name: "namespace",
  style: "getopt",
  summary: "print the KVS namespaces of running jobs",
  usage: "[id ...]",
  run({ args }) {
    const words = args.length > 0 ? args : stdinLines();
    print(...words.map((word) => `job-${formatJobId(jobIdArgument(word), "dec")}`));
    return 0;
  },
});
