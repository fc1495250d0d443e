// flux update: changes attributes of jobs that are not over, as far as the job manager's plugins allow it.
import { attributeOf } from "./job/attribute.ts";
import type { Flux } from "../client/flux.ts";
import { watchEventlog } from "../client/jobs.ts";
import { parseDuration } from "../formats/fsd.ts";
import type { JobId } from "../formats/fluid.ts";
import { encodeJson, type Json, type JsonObject } from "../formats/json.ts";
import { defineCommand, flag, hidden, requireArguments, UsageError } from "./command.ts";
import { withFlux } from "./connect.ts";
import { memberText } from "./eventlog-lines.ts";
import { jobIdArgument, showJobId } from "./job-id.ts";
import { print, printError } from "./output.ts";
import { spacedJson } from "./spaced-json.ts";
import { jsonOrText } from "./object-words.ts";

const DURATION = "attributes.system.duration";
const ALIASES: Readonly<Record<string, string>> = { name: "attributes.system.job.name" };
const USAGE = "[-n] [-v] [--wait] JOBID KEY=VALUE [KEY=VALUE ...]";

/** The jobspec key that a word means: attributes.system is assumed. */
export function updateKey(word: string): string {
  const key = Object.hasOwn(ALIASES, word) ? (ALIASES[word] as string) : word;
  return /^(attributes|resources|tasks)\./.test(key) ? key : `attributes.system.${key}`;
}

/** Seconds of "+5m", "-5m" or "1h"; 0 is without end. Throws UsageError. */
export function newDuration(word: string, current_s: () => number, job: string): number {
  const sign = /^[+-]/.exec(word)?.[0];
  const given_s = durationOf(sign === undefined ? word : word.slice(1));
  if (sign === undefined) return Number.isFinite(given_s) ? given_s : 0;
  const now_s = current_s();
  if (now_s === 0) throw new UsageError(`duration for ${job} is unlimited, can't update by ${word}`);
  const then_s = sign === "+" ? now_s + given_s : now_s - given_s;
  if (then_s <= 0) throw new UsageError(`current duration for ${job} (${shortDuration(now_s)}) cannot be reduced by ${word.slice(1)}`);
  return Number.isFinite(then_s) ? then_s : 0;
}

function durationOf(word: string): number {
  try {
    return parseDuration(word);
  } catch {
    throw new UsageError("invalid Flux standard duration");
  }
}

function shortDuration(seconds: number): string {
  const [size, unit]: readonly [number, string] = seconds < 60 ? [1, "s"] : seconds < 3600 ? [60, "m"] : seconds < 86400 ? [3600, "h"] : [86400, "d"];
  return `${Number((seconds / size).toPrecision(4))}${unit}`;
}

async function updatesOf(h: () => Flux, id: JobId, words: readonly string[]): Promise<JsonObject> {
  const updates: Record<string, Json> = {};
  for (const word of words) {
    const equals = word.indexOf("=");
    const key = updateKey(equals < 0 ? word : word.slice(0, equals));
    const value = equals < 0 ? "" : word.slice(equals + 1);
    if (key !== DURATION) {
      updates[key] = jsonOrText(value);
      continue;
    }
    const current_s = /^[+-]/.test(value) ? await attributeOf(h(), id, "duration") : 0;
    updates[key] = newDuration(value, () => (typeof current_s === "number" ? current_s : 0), showJobId(id));
  }
  return updates;
}

async function waitForUpdate(h: Flux, id: JobId, updates: JsonObject, since_s: number): Promise<void> {
  for await (const { name, timestamp, context } of watchEventlog(h, id)) {
    if (name !== "jobspec-update" || timestamp <= since_s) continue;
    if (Object.entries(updates).every(([key, value]) => encodeJson(context?.[key] ?? null) === encodeJson(value))) return;
  }
}

export default defineCommand({
  name: "update",
  style: "argparse",
  summary: "change attributes of jobs",
  usage: USAGE,
  details: `Change attributes of a pending or running job. attributes.system. is assumed before KEY; name is the job's name.

Examples:
  flux update ƒ2d4mS3y duration=+30m
  flux update ƒ2d4mS3y queue=debug`,
  options: {
    dryRun: flag("-n, --dry-run", "print the request instead of sending it"),
    dry: hidden(flag("--dry", "as --dry-run")),
    verbose: flag("-v, --verbose", "say what was updated"),
    wait: flag("--wait", "wait until the update is in the job's eventlog"),
  },
  run({ options, args }) {
    const [word = "", ...pairs] = args;
    requireArguments([...(word === "" ? ["JOBID"] : []), ...(pairs.length === 0 ? ["KEY=VALUE"] : [])], "flux update", USAGE);
    const id = jobIdArgument(word);
    const since_s = Date.now() / 1000;
    return withFlux(async (h) => {
      const updates = await updatesOf(() => h, id, pairs);
      if (options.dryRun || options.dry) {
        print(spacedJson(updates));
        return 0;
      }
      await h.rpc("job-manager.update", { id, updates }, { nodeid: 0 });
      if (options.wait) await waitForUpdate(h, id, updates, since_s);
      if (options.verbose) for (const [key, value] of Object.entries(updates)) printError(`flux-update: INFO: updated ${key} to ${typeof value === "string" ? value : memberText(key, value)}`);
      return 0;
    });
  },
});
