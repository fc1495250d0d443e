// flux job memo, purge, submit: notes on jobs, the end of inactive ones, and jobspecs from files.
import { readFileSync } from "node:fs";
import type { Flux } from "../../client/flux.ts";
import { FLAG, submitJob, submitSigned, URGENCY } from "../../client/jobs.ts";
import type { JsonObject } from "../../formats/json.ts";
import { FluxError } from "../../message/errno.ts";
import { int, unpack } from "../../message/unpack.ts";
import { defineCommand, flag, list, UsageError, value, valueOr } from "../command.ts";
import { withFlux } from "../connect.ts";
import { systemErrorText } from "../file-error.ts";
import { jobIdArgument, showJobId } from "../job-id.ts";
import { integer, seconds } from "../options.ts";
import { print, wrongUsage } from "../output.ts";
import { jsonOrText, withMember } from "../object-words.ts";

/** The service's own words after the subcommand's name. */
async function named<T>(what: string, answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (err) {
    throw err instanceof FluxError ? new UsageError(`${what}: ${err.message}`) : err;
  }
}

export const memo = defineCommand({
  name: "memo",
  style: "getopt",
  summary: "add notes to a job",
  usage: "[--volatile] id key=value [key=value, ...]",
  details: "Add notes to a job, which `flux jobs -o '{user.KEY}'` shows; null removes one.\n\nExample:\n  flux job memo ƒ2d4mS3y step=3",
  options: { volatile: flag("--volatile", "not in the eventlog: lost at a restart") },
  run({ options, args }) {
    const [word, ...pairs] = args;
    if (word === undefined || pairs.length === 0) throw wrongUsage("flux-job memo [--volatile] id key=value [key=value, ...]");
    const id = jobIdArgument(word);
    let notes: JsonObject = {};
    for (const pair of pairs) {
      const equals = pair.indexOf("=");
      if (equals <= 0) throw new UsageError(`memo: no value for key=${pair}`);
      notes = withMember(notes, pair.slice(0, equals).split("."), jsonOrText(givenOrStdin(pair.slice(equals + 1))));
    }
    return withFlux(async (h) => {
      await named("memo", h.rpc("job-manager.memo", { id, volatile: options.volatile, memo: notes }));
      return 0;
    });
  },
});

/** "-" stands for what is on stdin. */
function givenOrStdin(word: string): string {
  return word === "-" ? readFileSync(0, "utf8") : word;
}

const BATCH_DEFAULT = 50;

export const purge = defineCommand({
  name: "purge",
  style: "getopt",
  summary: "forget inactive jobs",
  usage: "[--age-limit=FSD] [--num-limit=N] [--batch=COUNT] [--force] [ID ...]",
  details: "Forget inactive jobs: those given, or the oldest.\n\nExample:\n  flux job purge --force --num-limit=1000",
  options: {
    ageLimit: value("--age-limit FSD", "those that became inactive longer ago than this", seconds),
    numLimit: value("--num-limit COUNT", "the oldest until COUNT are left", integer(0)),
    force: flag("-f, --force", "really do it: there is no way back"),
    batch: valueOr("--batch COUNT", `so many in one request (default ${BATCH_DEFAULT})`, integer(1), BATCH_DEFAULT),
  },
  run({ options, args }) {
    const ids = args.map(jobIdArgument);
    const { force, batch } = options;
    return withFlux(async (h) => {
      const request = { age_limit: options.ageLimit ?? -1, num_limit: options.numLimit ?? -1, batch, force };
      const total = ids.length > 0 ? await purgeIds(h, ids, force) : await purgeRange(h, request);
      const { inactive_jobs: left } = unpack(await h.rpc("job-manager.stats-get", undefined, { nodeid: 0 }), { inactive_jobs: int });
      print(force ? `purged ${total} inactive jobs, ${left} remaining` : `use --force to purge ${total} of ${left} inactive jobs`);
      return 0;
    });
  },
});

async function purgeRange(h: Flux, request: { readonly age_limit: number; readonly num_limit: number; readonly batch: number; readonly force: boolean }): Promise<number> {
  let total = 0;
  for (;;) {
    const { count } = unpack(await named("purge", h.rpc("job-manager.purge", request, { nodeid: 0 })), { count: int });
    total += count;
    if (!request.force || count < request.batch) return total;
  }
}

/** Unlike "purge", "purge-id" of stock flux-core takes `force` as a number only. */
async function purgeIds(h: Flux, ids: readonly bigint[], force: boolean): Promise<number> {
  const answers = await Promise.all(ids.map((id) => named("purge", h.rpc("job-manager.purge-id", { id, force: Number(force) }, { nodeid: 0 }))));
  return answers.reduce((total, answer) => total + unpack(answer, { count: int }).count, 0);
}

const FLAGS: Readonly<Record<string, number>> = { debug: FLAG.DEBUG, waitable: FLAG.WAITABLE, novalidate: FLAG.NOVALIDATE, signed: 0 };

export const submit = defineCommand({
  name: "submit",
  style: "getopt",
  summary: "submit a jobspec",
  usage: "[OPTIONS] [jobspec]",
  details: "Submit the jobspec in a file, or on stdin.\n\nExample:\n  flux submit --dry-run hostname | flux job submit",
  options: {
    urgency: valueOr("-u, --urgency N", "0 to 31 (default 16)", integer(), URGENCY.DEFAULT),
    flags: list("-f, --flags FLAGS", "debug, waitable, novalidate, signed"),
  },
  run({ options, args }) {
    const [path = "-"] = args;
    if (args.length > 1) throw wrongUsage("flux job submit [OPTIONS] [jobspec]");
    const words = options.flags.flatMap((word) => word.split(","));
    let flags = 0;
    for (const word of words) {
      const bit = Object.hasOwn(FLAGS, word) ? FLAGS[word] : undefined;
      if (bit === undefined) throw new UsageError(`unknown flag: ${word}`);
      flags |= bit;
    }
    const content = readJobspec(path);
    if (content === "") throw new UsageError("required jobspec is empty");
    const terms = { urgency: options.urgency, flags };
    return withFlux(async (h) => {
      const id = words.includes("signed") ? await submitSigned(h, content.trim(), terms) : await submitJob(h, content, terms);
      print(showJobId(id));
      return 0;
    });
  },
});

function readJobspec(path: string): string {
  try {
    return readFileSync(path === "-" ? 0 : path, "utf8");
  } catch (err) {
    throw new UsageError(systemErrorText(err, path));
  }
}
