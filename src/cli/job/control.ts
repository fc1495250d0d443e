// flux job kill, killall, raise, raiseall, urgency: signals, exceptions (RFC 21) and urgencies of jobs.
import type { Flux } from "../../client/flux.ts";
import { ACTIVE, killJob, raiseException, setUrgency, STATE, URGENCY } from "../../client/jobs.ts";
import { type JobId, parseJobId } from "../../formats/fluid.ts";
import type { JsonObject } from "../../formats/json.ts";
import { describeSignal, parseSignal } from "../../formats/signal.ts";
import { FluxError } from "../../message/errno.ts";
import { int, unpack } from "../../message/unpack.ts";
import { defineCommand, flag, text, UsageError, valueOr } from "../command.ts";
import { withFlux } from "../connect.ts";
import { jobIdArgument } from "../job-id.ts";
import { parseUser } from "../job-list.ts";
import { integer } from "../options.ts";
import { writeError, wrongUsage } from "../output.ts";
import { parseStates } from "./info.ts";

const say = (line: string): void => writeError(`flux-job: ${line}\n`);

/** Does something to every job; says for which it failed. Resolves to the exit code. */
async function forEachJob(what: string, words: readonly string[], ids: readonly JobId[], run: (id: JobId) => Promise<void>): Promise<number> {
  const failures = await Promise.all(
    ids.map(async (id, index) => {
      try {
        await run(id);
        return undefined;
      } catch (err) {
        if (!(err instanceof FluxError)) throw err;
        return `${what} ${words[index]}: ${err.message}`;
      }
    }),
  );
  for (const failure of failures) if (failure !== undefined) say(failure);
  return failures.some((failure) => failure !== undefined) ? 1 : 0;
}

function signalArgument(what: string, word: string = "SIGTERM"): number {
  // Numbers are the service's to judge.
  if (/^\d+$/.test(word)) return Number(word);
  try {
    return parseSignal(word);
  } catch {
    throw new UsageError(`${what}: Invalid signal ${word}`);
  }
}

export const kill = defineCommand({
  name: "kill",
  style: "getopt",
  summary: "send a signal to the tasks of jobs",
  usage: "[OPTIONS] ids...",
  details: "Send a signal to all tasks of running jobs.\n\nExample:\n  flux job kill --signal=USR1 ƒ2d4mS3y",
  options: { signal: text("-s, --signal SIG", "signal by name or number (default SIGTERM)") },
  run({ options, args }) {
    if (args.length === 0) throw wrongUsage("flux job kill [OPTIONS] ids...");
    const ids = args.map((word) => {
      try {
        return parseJobId(word);
      } catch {
        throw new UsageError(`invalid jobid: ${word}`);
      }
    });
    const signum = signalArgument("kill", options.signal);
    return withFlux((h) => forEachJob("kill", args, ids, (id) => killJob(h, id, signum)));
  },
});

export const killall = defineCommand({
  name: "killall",
  style: "getopt",
  summary: "send a signal to all your running jobs",
  usage: "[OPTIONS]",
  options: {
    signal: text("-s, --signal SIG", "signal by name or number (default SIGTERM)"),
    user: text("-u, --user USER", "jobs of this user, or of all (instance owner only)"),
    force: flag("-f, --force", "really do it"),
  },
  async run({ options, args }) {
    if (args.length > 0) throw wrongUsage("flux job killall [OPTIONS]");
    const signum = signalArgument("killall", options.signal);
    const userid = await userArgument(options.user);
    return withFlux(async (h) => {
      const request = { dry_run: !options.force, userid, signum };
      const { count, errors } = await toAll(h, "killall", "job-manager.killall", request);
      report(count, errors, options.force, describeSignal(signum));
      return 0;
    });
  },
});

/** User id as the job manager takes it: -1 for all. */
async function userArgument(word: string | undefined): Promise<number> {
  if (word === "all") return -1;
  return word === undefined ? (process.getuid?.() ?? 0) : parseUser(word);
}

async function toAll(h: Flux, what: string, topic: string, request: JsonObject): Promise<{ count: number; errors: number }> {
  try {
    return unpack(await h.rpc(topic, request), { count: int, errors: int });
  } catch (err) {
    throw err instanceof FluxError ? new UsageError(`${what}: ${err.message}`) : err;
  }
}

function report(count: number, errors: number, force: boolean, done: string): void {
  if (count === 0) say("Command matched 0 jobs");
  else say(force ? `${done} ${count} jobs (${errors} errors)` : `Command matched ${count} jobs (-f to confirm)`);
}

export const raise = defineCommand({
  name: "raise",
  style: "getopt",
  summary: "raise an exception on jobs",
  usage: "[OPTIONS] ids... [--] [message ...]",
  details: "Raise an exception on jobs; severity 0 ends them.\n\nExample:\n  flux job raise --type=note --severity=7 ƒ2d4mS3y look at this",
  options: {
    severity: valueOr("-s, --severity N", "0 (fatal, default) to 7", integer(Number.MIN_SAFE_INTEGER), 0),
    type: text("-t, --type TYPE", "type of the exception (default cancel)"),
    message: text("-m, --message NOTE", "what happened"),
  },
  run({ options, args }) {
    if (args.length === 0) throw wrongUsage("flux job raise [OPTIONS] ids... [--] [message ...]");
    const { ids, words, rest } = leadingIds(args);
    if (rest !== "" && options.message !== undefined) throw new UsageError("Do not set note on command line and with --message");
    if (ids.length === 0) throw new UsageError(`error parsing jobid: "${args[0]}"`);
    const note = options.message ?? (rest === "" ? undefined : rest);
    return withFlux((h) => forEachJob("raise", words, ids, (id) => raiseException(h, id, options.type ?? "cancel", options.severity, note)));
  },
});

/** Job ids, then words that are none: a message. */
function leadingIds(args: readonly string[]): { ids: JobId[]; words: string[]; rest: string } {
  const ids: JobId[] = [];
  for (const word of args) {
    try {
      ids.push(parseJobId(word));
    } catch {
      break;
    }
  }
  const rest = args.slice(ids.length);
  return { ids, words: args.slice(0, ids.length), rest: (rest[0] === "--" ? rest.slice(1) : rest).join(" ") };
}

export const raiseall = defineCommand({
  name: "raiseall",
  style: "getopt",
  summary: "raise an exception on all your jobs",
  usage: "[OPTIONS] type [message ...]",
  options: {
    severity: valueOr("-s, --severity N", "0 (fatal) to 7 (default)", integer(), 7),
    user: text("-u, --user USER", "jobs of this user, or of all (instance owner only)"),
    states: text("-S, --states STATES", "jobs in these states (default: active)"),
    force: flag("-f, --force", "really do it"),
  },
  async run({ options, args }) {
    const [type, ...words] = args;
    if (type === undefined) throw wrongUsage("flux job raiseall [OPTIONS] type [message ...]");
    const states = options.states === undefined ? ACTIVE : parseStates(options.states);
    if ((states & STATE.INACTIVE) !== 0) throw new UsageError("Exceptions cannot be raised on inactive jobs");
    const userid = await userArgument(options.user);
    return withFlux(async (h) => {
      const request = { dry_run: !options.force, userid, states, severity: options.severity, type, note: words.join(" ") };
      const { count, errors } = await toAll(h, "raiseall", "job-manager.raiseall", request);
      report(count, errors, options.force, "Raised exception on");
      return 0;
    });
  },
});

const URGENCY_WORDS: Readonly<Record<string, number>> = { hold: URGENCY.HOLD, default: URGENCY.DEFAULT, expedite: URGENCY.EXPEDITE };

export const urgency = defineCommand({
  name: "urgency",
  style: "getopt",
  summary: "set the urgency of a job",
  usage: "[OPTIONS] id urgency",
  details: "Set the urgency of a pending job: 0-31, HOLD, EXPEDITE or DEFAULT.\n\nExample:\n  flux job urgency ƒ2d4mS3y hold",
  options: { verbose: flag("-v, --verbose", "print the urgency it had") },
  run({ options, args }) {
    const [word, level] = args;
    if (word === undefined || level === undefined || args.length !== 2) throw wrongUsage("flux job urgency [OPTIONS] id urgency");
    const id = jobIdArgument(word);
    const number = URGENCY_WORDS[level.toLowerCase()] ?? (/^\d+$/.test(level) ? Number(level) : undefined);
    if (number === undefined) throw new UsageError(`error parsing urgency: "${level}"`);
    return withFlux(async (h) => {
      let old: number;
      try {
        old = await setUrgency(h, id, number);
      } catch (err) {
        throw err instanceof FluxError ? new UsageError(`${word}: ${err.message}`) : err;
      }
      if (options.verbose) writeError(`old urgency: ${old === URGENCY.HOLD ? "job held" : old === URGENCY.EXPEDITE ? "job expedited" : old}\n`);
      return 0;
    });
  },
});

