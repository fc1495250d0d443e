// What flux job-validator and flux job-frobnicator have in common: they do to lines of JSON on standard input what
// job-ingest does to jobs, with the same plugins.
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import { Flux } from "../client/flux.ts";
import type { IngestJob } from "../client/ingest-plugin.ts";
import { decodeJsonObject, type JsonObject } from "../formats/json.ts";
import { int, obj, uint, unpack } from "../message/unpack.ts";
import { FROBNICATORS_DEFAULT, parseIngestConfig, VALIDATORS_DEFAULT } from "../modules/job-ingest/ingest-config.ts";
import { answerOf, listPlugins, Pipeline } from "../modules/job-ingest/pipeline.ts";
import { getuid } from "../os/credentials.ts";
import { FluxError, toFluxError } from "../message/errno.ts";
import { type CommandSpecAny, defineCommand, flag, list, text, UsageError } from "./command.ts";
import { print } from "./output.ts";
import { spacedJson } from "./spaced-json.ts";

const URGENCY_DEFAULT = 16;

export function pluginCommand(kind: "validator" | "frobnicator", summary: string, details: string): CommandSpecAny {
  return defineCommand({
    name: `job-${kind}`,
    style: "argparse",
    summary,
    usage: "[--jobspec-only] [--plugins=LIST] [OPTIONS]",
    details,
    options: {
      jobspecOnly: flag("--jobspec-only", "each line is a jobspec, not a job"),
      listPlugins: flag("--list-plugins", "list the plugins there are, and exit"),
      plugins: list("--plugins LIST", `plugins to use, comma-separated: names, or paths of files and programs (default: ${(kind === "validator" ? VALIDATORS_DEFAULT : FROBNICATORS_DEFAULT).join(",")})`),
      arg: list("--arg NAME=VALUE", "an argument for a plugin"),
      ...(kind === "validator" ? VALIDATOR_OPTIONS : {}),
    },
    async run({ options }) {
      if (options.listPlugins) {
        print("Available plugins:", ...listPlugins(kind).map(([name, description]) => `${name.padEnd(20)}  ${description}`));
        return 0;
      }
      const args = [...options.arg.map((word) => `--${word}`), ...pluginArguments(options)];
      const names = options.plugins.flatMap((word) => word.split(",")).filter((name) => name !== "").map((name) => (name.includes("/") ? resolve(name) : name));
      const session = new Session();
      try {
        return await processLines(kind, await openPipeline(kind, names, args, session), options.jobspecOnly);
      } finally {
        session.close();
      }
    },
  });
}

const VALIDATOR_OPTIONS = {
  "require-version": text("--require-version V", "plugin jobspec: the version that jobspecs must have: 1 or any"),
  schema: text("--schema FILE", "plugin schema: the JSON schema"),
  "require-instance-minnodes": text("--require-instance-minnodes N", "plugin require-instance: only for jobs of so many nodes"),
  "require-instance-mincores": text("--require-instance-mincores N", "plugin require-instance: only for jobs of so many cores"),
};

function pluginArguments(options: Readonly<Record<string, unknown>>): string[] {
  return Object.keys(VALIDATOR_OPTIONS).flatMap((name) => (typeof options[name] === "string" ? [`--${name}=${options[name]}`] : []));
}

/** A connection that is made when a plugin wants it. */
class Session {
  #opened: Promise<Flux> | undefined;

  open(): Promise<Flux> {
    return (this.#opened ??= Flux.open());
  }

  close(): void {
    this.#opened?.then((h) => h.close()).catch(() => undefined); // it was never open
  }
}

async function openPipeline(kind: "validator" | "frobnicator", names: readonly string[], args: readonly string[], session: Session): Promise<Pipeline> {
  // Validators work without an instance; frobnicators apply its configuration.
  const config = await session.open().then((h) => h.rpc("config.get"), (err: unknown): JsonObject => {
    if (kind === "validator") return {};
    throw new UsageError(`Unable to connect to Flux: ${toFluxError(err).message}`);
  });
  const defaults = parseIngestConfig({}, []);
  const stage = { enabled: true, plugins: names.length > 0 ? names : defaults[kind].plugins, args };
  const none = { enabled: false, plugins: [], args: [] };
  try {
    return await Pipeline.create({
      config,
      validator: kind === "validator" ? stage : none,
      frobnicator: kind === "frobnicator" ? stage : none,
      buffer_bytes: defaults.buffer_bytes,
      open: () => session.open(),
      env: process.env,
      log: (_level, line) => process.stderr.write(`${line}\n`),
    });
  } catch (err) {
    throw err instanceof FluxError ? new UsageError(err.message) : err;
  }
}

/** Exit code 1 when a jobspec of --jobspec-only was refused. Throws UsageError for a line that is no job. */
async function processLines(kind: "validator" | "frobnicator", pipeline: Pipeline, jobspecOnly: boolean): Promise<number> {
  let refused = false;
  for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
    if (line.trim() === "") continue;
    const answer = await answerTo(kind, pipeline, line, jobspecOnly);
    if (answer["errnum"] !== 0) refused = true;
    print(spacedJson(answer));
  }
  pipeline.close();
  return jobspecOnly && refused && kind === "validator" ? 1 : 0;
}

async function answerTo(kind: "validator" | "frobnicator", pipeline: Pipeline, line: string, jobspecOnly: boolean): Promise<JsonObject> {
  const job = parseJob(line, jobspecOnly);
  try {
    if (kind === "frobnicator") return { data: await pipeline.frobnicate(job), errnum: 0 };
    await pipeline.validate(job);
    return { errnum: 0 };
  } catch (err) {
    return answerOf(err);
  }
}

function parseJob(line: string, jobspecOnly: boolean): IngestJob {
  let value: JsonObject;
  try {
    value = decodeJsonObject(line);
  } catch (err) {
    throw new UsageError(toFluxError(err).message);
  }
  if (jobspecOnly) return { jobspec: value, userid: getuid(), urgency: URGENCY_DEFAULT, flags: 0 };
  for (const key of ["jobspec", "userid", "flags", "urgency"]) {
    if (!Object.hasOwn(value, key)) throw new UsageError("Missing keys in input. Did you mean to use --jobspec-only?");
  }
  return unpack(value, { jobspec: obj, userid: uint, urgency: int, flags: int });
}
