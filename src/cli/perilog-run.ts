// flux perilog-run: the command of a prolog, an epilog or of housekeeping that runs what is in a folder: first all
// executable files of /etc/flux/system/NAME.d in order of their names, then, where --exec-per-rank asks for it, a program on
// each rank of the job.
//
//   [job-manager.prolog]
//   command = ["flux", "perilog-run", "prolog"]
//
// The job is that of FLUX_JOB_ID. Ranks where the program fails are drained. With exit-on-first-error = true in that table, or
// -x, nothing runs after a script that fails.
import { accessSync, constants, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { runOnRanks } from "../client/bulk.ts";
import type { Flux } from "../client/flux.ts";
import { drain, resourceStatus } from "../client/resources.ts";
import { parseDuration } from "../formats/fsd.ts";
import { formatJobId } from "../formats/fluid.ts";
import { Rset } from "../formats/rset.ts";
import { isJsonObject, type JsonObject } from "../formats/json.ts";
import { shellExitCode } from "../formats/waitstatus.ts";
import { FluxError } from "../message/errno.ts";
import { spawnProcess } from "../os/spawn.ts";
import { defineCommand, flag, text, UsageError, valueOr } from "./command.ts";
import { withFlux } from "./connect.ts";
import { jobIdArgument } from "./job-id.ts";
import { printError, write, writeError } from "./output.ts";

const KINDS = ["prolog", "epilog", "housekeeping"] as const;
type Kind = (typeof KINDS)[number];

const FOLDER = "/etc/flux/system";
const TIMEOUT = "30m";
const SIGTERM = 15;

/** Executable files of a folder, in order; none when it isn't there. */
export function scriptsIn(folder: string): string[] {
  let names: string[];
  try {
    names = readdirSync(folder).toSorted();
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw new UsageError(`${folder}: ${err instanceof Error ? err.message : String(err)}`);
  }
  return names.map((name) => join(folder, name)).filter((path) => {
    try {
      accessSync(path, constants.X_OK);
      return statSync(path).isFile();
    } catch {
      return false; // not for us to run
    }
  });
}

/** What the instance's configuration says; false where no broker answers: then it is run by hand. */
async function configuredFirstError(kind: Kind): Promise<boolean> {
  let config: JsonObject;
  try {
    config = await withFlux((h) => h.rpc("config.get"));
  } catch (err) {
    if (err instanceof UsageError || err instanceof FluxError) return false;
    throw err;
  }
  const manager = config["job-manager"];
  const table = isJsonObject(manager) ? manager[kind] : undefined;
  return isJsonObject(table) && table["exit-on-first-error"] === true;
}

async function runScript(path: string, verbose: boolean): Promise<number> {
  if (verbose) printError(`running ${path}`);
  const child = spawnProcess({ argv: [path], env: process.env, stdin: "null", stdout: "pipe", stderr: "pipe", onStdout: write, onStderr: writeError });
  const code = shellExitCode((await child.exited).status);
  if (code !== 0) printError(`${path}: exit ${code}`);
  return code;
}

interface PerRank {
  readonly kind: Kind;
  readonly argv: readonly string[];
  readonly timeout_s: number;
}

/** Highest exit code on the job's ranks. Those that are not there are drained, with those where it fails. */
async function runPerRank(h: Flux, { kind, argv, timeout_s }: PerRank): Promise<number> {
  const word = process.env["FLUX_JOB_ID"];
  if (word === undefined) throw new UsageError("FLUX_JOB_ID not found in environment");
  const id = jobIdArgument(word);
  const { R } = await h.rpc("job-manager.getattr", { id, attrs: ["R"] }, { nodeid: 0 });
  if (!isJsonObject(R)) throw new UsageError(`job ${word} has no resources`);
  const ranks = Rset.parse(R).ranks;
  const offline = ranks.intersect((await resourceStatus(h)).offline);
  const bulk = runOnRanks({
    h,
    ranks: ranks.subtract(offline),
    argv,
    env: {},
    onLine: (rank, stream, line) => (stream === "stderr" ? writeError : write)(`${rank}: ${line}\n`),
    onError: (rank, error) => printError(`rank ${rank}: ${error.message}`),
  });
  const timer = timeout_s > 0 && Number.isFinite(timeout_s) ? setTimeout(() => void bulk.kill(SIGTERM).catch((err: unknown) => printError(String(err))), timeout_s * 1000) : undefined;
  const status = await bulk.done;
  clearTimeout(timer);
  const name = formatJobId(id, "f58");
  if (!offline.isEmpty) await drain(h, offline.toString(), { reason: `offline for ${name} ${kind}`, mode: "update" });
  if (!bulk.failed.isEmpty) await drain(h, bulk.failed.toString(), { reason: `${name} ${kind} failed`, mode: "update" });
  return Math.max(shellExitCode(status), offline.isEmpty ? 0 : 1);
}

function subcommand(kind: Kind) {
  return defineCommand({
    name: kind,
    style: "argparse",
    summary: `run the scripts of ${FOLDER}/${kind}.d`,
    usage: "[-d DIRECTORY] [-e CMD[,ARG...]] [-x] [-t DURATION] [-v]",
    options: {
      directory: valueOr("-d, --exec-directory DIRECTORY", `folder of scripts (default ${FOLDER}/${kind}.d)`, String, `${FOLDER}/${kind}.d`),
      perRank: text("-e, --exec-per-rank CMD[,ARG...]", "then run this on every rank of the job"),
      firstError: flag("-x, --exit-on-first-error", "don't go on after a script that fails"),
      timeout: valueOr("-t, --timeout DURATION", `end --exec-per-rank after this long (default ${TIMEOUT}; 0: never)`, parseDuration, parseDuration(TIMEOUT)),
      verbose: flag("-v, --verbose", "say what is run"),
    },
    async run({ options, args }) {
      if (args.length > 0) throw new UsageError(`unexpected argument ${args[0]}`);
      const firstError = options.firstError || (await configuredFirstError(kind));
      let highest = 0;
      for (const path of scriptsIn(options.directory)) {
        highest = Math.max(highest, await runScript(path, options.verbose));
        if (highest > 0 && firstError) return highest;
      }
      const { perRank } = options;
      if (perRank === undefined) return highest;
      return withFlux(async (h) => Math.max(highest, await runPerRank(h, { kind, argv: perRank.split(","), timeout_s: options.timeout })));
    },
  });
}

export default defineCommand({
  name: "perilog-run",
  style: "argparse",
  summary: "run the scripts of a prolog, an epilog or housekeeping",
  details: `Run the executable files of a folder, as the command of [job-manager.prolog], [job-manager.epilog] or [job-manager.housekeeping].
The exit code is the highest of theirs.

Example:
  flux perilog-run prolog --exec-per-rank=/etc/flux/check-node`,
  subcommands: KINDS.map(subcommand),
});
