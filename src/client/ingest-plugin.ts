// Plugins of job-ingest: what is done with a job before it gets its id. Frobnicators change its jobspec, one after the
// other; validators then look at what came out, and refuse it or not.
//
//   import { defineValidator } from "…/src/client/ingest-plugin.ts";     // types only: plain JavaScript works too
//
//   export default defineValidator({
//     description: "Jobs need a bank",
//     start: ({ options }) => ({ jobspec }) => {
//       if (jobspec.attributes?.system?.bank === undefined) throw new Error("attributes.system.bank: who pays for this?");
//     },
//   });
//
// A class Validator or Frobnicator in Python, written against Flux's bindings (flux.job.validator, flux.job.frobnicator), is
// named by the path of its .py file, and runs in an interpreter of its own.
//
// A file is named by its path in [ingest.validator] plugins or [ingest.frobnicator] plugins. A path that doesn't end in .ts,
// .js, .mts, .mjs or .py is that of a program, which gets one line of JSON a job on its standard input:
//
//   {"jobspec": {…}, "userid": 1000, "urgency": 16, "flags": 0}
//
// and answers each, in order, with a line on its standard output: {"errnum": 0}, or {"errnum": 22, "errstr": "why not"};
// a frobnicator adds "data", the jobspec that it made. It ends when its standard input does. One that ends before is
// started again with the next job.
import type { JsonObject } from "../formats/json.ts";
import type { Flux } from "./flux.ts";

export interface IngestJob {
  /** Never change it. */
  readonly jobspec: JsonObject;
  readonly userid: number;
  readonly urgency: number;
  readonly flags: number;
}

export interface IngestContext {
  /** The configuration of the instance. */
  readonly config: JsonObject;
  /** The table [ingest.validator.NAME], NAME being the file's name without its ending. */
  readonly options: JsonObject;
  /** Options from [ingest.validator] args: --name=value. One without a value is "". */
  readonly args: ReadonlyMap<string, string>;
  /** Rejects where there is no broker: `flux job-validator` may be called anywhere. */
  readonly open: () => Promise<Flux>;
}

/** Throws, or returns a promise that rejects, to refuse the job: with the error's message, and errno when it is a FluxError. */
export type Validate = (job: IngestJob) => void | Promise<void>;
/** Returns the jobspec that takes the place of the job's. */
export type Frobnicate = (job: IngestJob) => JsonObject | Promise<JsonObject>;

interface IngestPlugin<T> {
  /** One line, for --list-plugins. */
  readonly description?: string;
  /** Names of `args` that it knows, without dashes. Default: any. */
  readonly args?: readonly string[];
  /** Called for each new configuration. May throw: then the old configuration stays. */
  start(context: IngestContext): T | Promise<T>;
}

export type ValidatorPlugin = IngestPlugin<Validate>;
export type FrobnicatorPlugin = IngestPlugin<Frobnicate>;

export function defineValidator(plugin: ValidatorPlugin): ValidatorPlugin {
  return plugin;
}

export function defineFrobnicator(plugin: FrobnicatorPlugin): FrobnicatorPlugin {
  return plugin;
}
