// What commands that submit jobs have in common: their options, the jobspec (RFC 14, 25) these make, and its submission.
import { readFileSync, statSync } from "node:fs";
import { basename } from "node:path";
import type { Flux } from "../client/flux.ts";
import { FLAG, submitJob, URGENCY } from "../client/jobs.ts";
import { FormatError } from "../formats/error.ts";
import { parseDuration } from "../formats/fsd.ts";
import type { JobId } from "../formats/fluid.ts";
import { decodeJson, encodeJson, isJsonObject, type Json, type JsonObject } from "../formats/json.ts";
import { type CommandOptions, getAttribute, type Jobspec, type JobspecSettings, jobspecFromCommand, setAttribute, setShellOption } from "../formats/jobspec.ts";
import { encodeData } from "../formats/stdio.ts";
import { NOFILE_VARIABLE } from "../os/limits.ts";
import { counter, flag, list, type OptionSpec, type OptionValues, text, UsageError } from "./command.ts";
import { applyEnvironmentRules } from "./environment-rules.ts";
import { systemErrorText } from "./file-error.ts";
import { printError } from "./output.ts";
import { finishJobspec } from "./submission-plugins.ts";
import { applyRlimitRules } from "./rlimit-rules.ts";

// ---- options

/** The value of an option whose order among options of other names matters. */
interface Ordered {
  readonly order: number;
  readonly text: string;
}

let optionsGiven = 0;

function ordered(flags: string, help: string, prefix: string = ""): OptionSpec<readonly Ordered[]> {
  return { flags, help, kind: "list", initial: [], parse: (word) => ({ order: optionsGiven++, text: prefix + word }) };
}

/** Options of every command that submits. */
export const SUBMISSION_OPTIONS = {
  bank: text("-B, --bank BANK", "charge the job to this bank"),
  queue: text("-q, --queue NAME", "submit to this queue"),
  timeLimit: text("-t, --time-limit MIN|FSD", "time limit: minutes, or a duration with a unit: 30s, 1.5h, 2d"),
  urgency: text("--urgency N", "0 (or hold) to 31 (or expedite); default 16"),
  jobName: text("--job-name NAME", "name of the job; default: the command's"),
  setopt: list("-o, --setopt OPT", "set job shell option OPT, or OPT=VALUE (repeatable)"),
  setattr: list("-S, --setattr ATTR", "set jobspec attribute ATTR=VALUE; ^ATTR=FILE reads JSON from a file (repeatable)"),
  addFile: list("--add-file [NAME=]PATH", "put a file into the jobspec; the job finds it as {{tmpdir}}/NAME (repeatable)"),
  dependency: ordered("--dependency URI", "wait for something, e.g. afterok:JOBID (repeatable)"),
  beginTime: ordered("--begin-time +FSD|TIME", "don't start before then", "begin-time:"),
  requires: list("--requires CONSTRAINT", "only nodes like this, e.g. 'host:node[1-3] and -gpu' (repeatable)"),
  env: ordered("--env RULE", "NAME=VALUE sets, PATTERN exports, -PATTERN removes, ^FILE reads rules (repeatable)"),
  envRemove: ordered("--env-remove PATTERN", "remove matching environment variables (repeatable)", "-"),
  envFile: ordered("--env-file FILE", "read rules for the environment from a file (repeatable)", "^"),
  rlimit: list("--rlimit RULE", "NAME, NAME=VALUE or -NAME: resource limits that the job inherits (repeatable)"),
  input: text("--input FILENAME|RANKS", "stdin from a file, or only to these task ranks"),
  output: text("--output FILENAME", "stdout to a file, e.g. out.{{id}}"),
  error: text("--error FILENAME", "stderr to a file"),
  unbuffered: flag("-u, --unbuffered", "don't buffer input and output"),
  labelIo: flag("-l, --label-io", "label lines of output with the task's rank"),
  cwd: text("--cwd DIRECTORY", "working directory of the job"),
  flags: list("--flags FLAGS", "submission flags: debug, waitable, novalidate"),
  signal: text("--signal [SIG][@TIME]", "send SIG (default SIGUSR1) TIME (default 60s) before the time limit"),
  dryRun: flag("--dry-run", "print the jobspec, submit nothing"),
  quiet: flag("--quiet", "don't print the job id"),
  listPlugins: flag("--list-plugins", "list the command-line plugins and exit"),
  verbose: counter("-v, --verbose", "say more on stderr (repeatable)"),
  resourcesShape: text("--resources-shape SHAPE", "resources as an RFC 46 shape, e.g. 'slot=2/core=4'; other resource options are ignored"),
  resourcesJson: text("--resources-json FILE", "resources section of the jobspec from a JSON file"),
} as const;

/** Options of `flux run`, `submit` and `bulksubmit`: how many of what. */
export const RESOURCE_OPTIONS = {
  taskmap: text("--taskmap URI", "how tasks map to nodes: block, cyclic, cyclic:N, manual:TASKMAP, hostfile:FILE"),
  nodes: text("-N, --nodes N", "number of nodes"),
  exclusive: flag("-x, --exclusive", "with --nodes: whole nodes"),
  ntasks: text("-n, --ntasks N", "number of tasks"),
  coresPerTask: text("-c, --cores-per-task N", "cores for each task"),
  gpusPerTask: text("-g, --gpus-per-task N", "GPUs for each task"),
  cores: text("--cores N", "total number of cores; not with per-task options"),
  tasksPerNode: text("--tasks-per-node N", "tasks on each node; not with per-task options"),
  tasksPerCore: text("--tasks-per-core N", "tasks on each core; not with per-task options"),
  gpusPerNode: text("--gpus-per-node N", "GPUs on each node; not with per-task options"),
} as const;

export type SubmissionOptions = OptionValues<typeof SUBMISSION_OPTIONS>;
export type ResourceOptions = OptionValues<typeof RESOURCE_OPTIONS>;
export type JobOptions = SubmissionOptions & ResourceOptions;

/** Values of options with one name or several, in the order they were given. */
function inOrder(...lists: readonly (readonly Ordered[])[]): string[] {
  return lists.flat().toSorted((a, b) => a.order - b.order).map(({ text: word }) => word);
}

// ---- jobspec

/** The jobspec of a command line. Throws UsageError. */
export async function jobspecOfOptions(options: JobOptions, words: readonly string[]): Promise<Jobspec> {
  const command = words[0] === "--" ? words.slice(1) : words;
  if (command.length === 0) throw new UsageError("job command and arguments are missing");
  const jobspec = makeJobspec({ command, ...resourcesOf(options), ...settingsOf(options) });
  await applyResources(jobspec, options);
  await applySubmissionOptions(jobspec, options);
  if (options.taskmap !== undefined) setShellOption(jobspec, "taskmap", uriEntry(options.taskmap, "taskmap"));
  await finishJobspec(options, jobspec);
  return jobspec;
}

/** What options say of a job whatever its resources. A job of some commands has no files for input and output. Throws UsageError. */
export function settingsOf(options: Omit<SubmissionOptions, FileOption> & Partial<Pick<SubmissionOptions, FileOption>>): JobspecSettings {
  const { environment, expand } = applyEnvironmentRules(inOrder(options.env, options.envRemove, options.envFile), ownEnvironment());
  const { input } = options;
  return {
    ...(options.timeLimit === undefined ? {} : { duration_s: timeLimit_s(options.timeLimit) }),
    environment,
    ...(Object.keys(expand).length === 0 ? {} : { envExpand: expand }),
    cwd: options.cwd ?? process.cwd(),
    name: options.jobName,
    input: input === undefined || stdinRanks(input) !== undefined ? undefined : input,
    output: options.output,
    error: options.error,
    labelIo: options.labelIo,
    unbuffered: options.unbuffered,
    queue: options.queue,
    bank: options.bank,
  };
}

type FileOption = "input" | "output" | "error" | "labelIo";

/** What the job gets of our environment: not what our own launcher put there. */
export function ownEnvironment(): Record<string, string> {
  const environment: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) if (value !== undefined && name !== NOFILE_VARIABLE) environment[name] = value;
  return environment;
}

function makeJobspec(options: CommandOptions): Jobspec {
  try {
    return jobspecFromCommand(options);
  } catch (err) {
    throw asUsageError(err);
  }
}

/** A format error as the one line a user needs. */
export function asUsageError(err: unknown): unknown {
  if (!(err instanceof FormatError)) return err;
  return new UsageError(err.message.replace(/^invalid job request: /, ""));
}

/** The value of an option that is an integer; undefined when it isn't given. Throws UsageError. */
export function wholeNumber(name: string, value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  if (!/^\s*[+-]?\d+\s*$/.test(value)) throw new UsageError(`--${name}: invalid int value '${value}'`);
  return Number(value);
}

function resourcesOf(options: JobOptions): Partial<CommandOptions> {
  if (options.resourcesShape !== undefined || options.resourcesJson !== undefined) return {};
  const nodes = wholeNumber("nodes", options.nodes);
  if (nodes !== undefined && nodes < 1) throw new UsageError("node count must be an integer >= 1 (if set)");
  const tasksPerNode = wholeNumber("tasks-per-node", options.tasksPerNode);
  const tasksPerCore = wholeNumber("tasks-per-core", options.tasksPerCore);
  if (tasksPerNode !== undefined && tasksPerCore !== undefined) {
    throw new UsageError("Do not specify both the number of tasks per node and per core");
  }
  return {
    nodes,
    exclusive: options.exclusive,
    // 0 tasks or cores per task stand for the default.
    ntasks: wholeNumber("ntasks", options.ntasks) || undefined,
    coresPerTask: wholeNumber("cores-per-task", options.coresPerTask) || undefined,
    gpusPerTask: wholeNumber("gpus-per-task", options.gpusPerTask),
    cores: wholeNumber("cores", options.cores),
    tasksPerNode,
    tasksPerCore,
    gpusPerNode: wholeNumber("gpus-per-node", options.gpusPerNode),
  };
}

/** Seconds of --time-limit: a bare number is minutes. */
export function timeLimit_s(limit: string): number {
  const minutes = Number(limit);
  if (limit.trim() !== "" && Number.isFinite(minutes)) {
    if (minutes < 0) throw new UsageError("duration must not be negative");
    return minutes * 60;
  }
  try {
    return parseDuration(limit);
  } catch {
    throw new UsageError(`--time-limit=${limit}: invalid Flux standard duration: give minutes, or a number with s, m, h or d, such as 90s or 1.5h`);
  }
}

/** The ranks that --input names, undefined when it names a file. */
export function stdinRanks(input: string): string | undefined {
  return /^\[?[\d,-]+\]?$/.test(input) ? input : undefined;
}

/** --resources-shape and --resources-json. Throws UsageError. */
export async function applyResources(jobspec: Jobspec, { resourcesShape, resourcesJson }: Pick<SubmissionOptions, "resourcesShape" | "resourcesJson">): Promise<void> {
  if (resourcesShape === undefined && resourcesJson === undefined) return;
  if (resourcesShape !== undefined && resourcesJson !== undefined) throw new UsageError("--resources-shape and --resources-json exclude each other: use only one");
  if (resourcesShape !== undefined) {
    const { parseShape } = await import("../formats/shape.ts");
    try {
      jobspec.resources = parseShape(resourcesShape);
    } catch (err) {
      throw asUsageError(err);
    }
  } else {
    const value = readJsonFile(resourcesJson as string, "--resources-json");
    if (!Array.isArray(value)) throw new UsageError(`--resources-json: ${resourcesJson} holds no list of resources`);
    jobspec.resources = value as Jobspec["resources"];
  }
  const slot = findSlot(jobspec.resources);
  if (slot === undefined) throw new UsageError("the resources have no slot");
  if (slot.label === undefined || slot.label === "default") slot.label = "task";
  for (const task of jobspec.tasks) task.slot = slot.label;
}

function findSlot(resources: Jobspec["resources"]): Jobspec["resources"][number] | undefined {
  for (const vertex of resources) {
    const slot = vertex.type === "slot" ? vertex : findSlot(vertex.with ?? []);
    if (slot !== undefined) return slot;
  }
  return undefined;
}

/** Applies what is the same for every kind of job. Throws UsageError. */
export async function applySubmissionOptions(jobspec: Jobspec, options: Omit<SubmissionOptions, FileOption>): Promise<void> {
  try {
    const rlimits = applyRlimitRules(options.rlimit);
    if (Object.keys(rlimits).length > 0) setShellOption(jobspec, "rlimit", rlimits);
    if (options.signal) setShellOption(jobspec, "signal", await signalOption(options.signal));
    const dependencies = await dependenciesOf(options);
    if (dependencies.length > 0) setAttribute(jobspec, "system.dependencies", dependencies);
    if (options.requires.length > 0) setAttribute(jobspec, "system.constraints", await constraintOf(options.requires.join(" ")));
    for (const word of options.setopt) setOption(jobspec, "system.shell.options.", ...keyAndValue("--setopt", word));
    for (const word of options.setattr) setOption(jobspec, "", ...keyAndValue("--setattr", word));
    for (const word of options.addFile) attachFile(jobspec, word);
  } catch (err) {
    throw asUsageError(err);
  }
}

function setOption(jobspec: Jobspec, parent: string, key: string, value: Json): void {
  try {
    setAttribute(jobspec, parent + key, value);
  } catch (err) {
    if (!(err instanceof FormatError)) throw err;
    const full = /^(?:system|user)\./.test(parent + key) ? "attributes." : "";
    throw new UsageError(`failed to set ${full}${parent}${key} to ${typeof value === "string" ? value : encodeJson(value)}: ${err.message.replace(/^invalid attribute name "(?:[^"\\]|\\.)*": /, "")}`);
  }
}

async function signalOption(option: string): Promise<JsonObject> {
  const [name = "", time = ""] = option.split(/@(.*)/s);
  const { parseSignal } = await import("../formats/signal.ts");
  let signum: number;
  try {
    signum = parseSignal(name === "" ? "SIGUSR1" : name);
  } catch {
    throw new UsageError(`--signal=${option}: ${/^[+-]?\d+$/.test(name) ? "signal must be > 0" : `signal '${name}' is invalid`}`);
  }
  try {
    return { signum, timeleft: parseDuration(time === "" ? "60s" : time) };
  } catch {
    throw new UsageError(`--signal=${option}: invalid Flux standard duration`);
  }
}

async function dependenciesOf({ dependency, beginTime }: Pick<SubmissionOptions, "dependency" | "beginTime">): Promise<JsonObject[]> {
  const uris = inOrder(dependency, beginTime);
  const entries: JsonObject[] = [];
  for (const uri of uris) {
    if (uri.startsWith("begin-time:") && beginTime.some((given) => given.text === uri)) {
      const { parseMoment } = await import("./moment.ts");
      const moment = parseMoment(uri.slice("begin-time:".length));
      entries.push({ scheme: "begin-time", value: Number.isInteger(moment) ? `${moment}.0` : String(moment) });
    } else {
      const entry = uriEntry(uri, "dependency");
      if (entry["scheme"] === "after") printError("dependency scheme 'after' is deprecated, use 'afterstart'");
      entries.push(entry);
    }
  }
  return entries;
}

/** `SCHEME:VALUE?key=value` (RFC 26) as an entry of a jobspec. */
function uriEntry(uri: string, what: string): JsonObject {
  const match = /^([A-Za-z][\w+.-]*):?([^?]*)(?:\?(.*))?$/s.exec(uri);
  if (match === null) throw new UsageError(`Invalid ${what} URI "${uri}"`);
  const [, scheme = "", value = "", query] = match;
  const entry: Record<string, Json> = { scheme, value };
  const parameters = new URLSearchParams(query ?? "");
  for (const key of new Set(parameters.keys())) {
    const values = parameters.getAll(key).map(numberOrText);
    entry[key] = values.length === 1 ? (values[0] as Json) : values;
  }
  return entry;
}

function numberOrText(word: string): string | number {
  return word.trim() !== "" && Number.isFinite(Number(word)) ? Number(word) : word;
}

async function constraintOf(query: string): Promise<JsonObject> {
  const { parseConstraintQuery } = await import("../formats/constraint-query.ts");
  try {
    return parseConstraintQuery(query);
  } catch (err) {
    if (!(err instanceof FormatError)) throw err;
    const problem = err.message.replace(/^invalid constraint query "(?:[^"\\]|\\.)*": /, "").replace(/ at character (\d+)$/, " in position $1");
    throw new UsageError(`--requires='${query}': ${problem}`);
  }
}

/** KEY, KEY=VALUE (JSON, or text when it is none) or ^KEY=FILE. */
function keyAndValue(option: string, word: string): [key: string, value: Json] {
  const equals = word.indexOf("=");
  const key = equals < 0 ? word : word.slice(0, equals);
  const given = equals < 0 ? undefined : word.slice(equals + 1);
  if (key.startsWith("^")) {
    if (given === undefined) throw new UsageError(`${option}: ^${key.slice(1)}: =FILE is missing`);
    return [key.slice(1), readJsonFile(given, option)];
  }
  if (given === undefined) return [key, 1];
  try {
    return [key, decodeJson(given) as Json];
  } catch {
    return [key, given];
  }
}

function readJsonFile(path: string, option: string): Json {
  let content: string;
  try {
    content = readFileSync(path, "utf8");
  } catch (err) {
    throw new UsageError(`${option}: ${systemErrorText(err, path)}`);
  }
  try {
    return decodeJson(content) as Json;
  } catch (err) {
    throw new UsageError(`${option}: ${path}: ${err instanceof Error ? err.message : String(err)}`);
  }
}

const REGULAR_FILE = 0o100000;

/** NAME and what follows its "="; twice the same word without. */
function splitOnce(word: string): [before: string, after: string] {
  const equals = word.indexOf("=");
  return equals < 0 || equals === word.length - 1 ? [word, word] : [word.slice(0, equals), word.slice(equals + 1)];
}

/** [NAME[:PERMS]=]PATH, or NAME[:PERMS]=CONTENT when the content has a newline, also one written as \n (RFC 37). */
function attachFile(jobspec: Jobspec, word: string): void {
  const [given, path] = splitOnce(word.replaceAll("\\n", "\n"));
  if (given.includes("\n")) throw new UsageError("--add-file: file name missing");
  const [, named, permissions] = /^(.*):([0-7]{1,4})$/s.exec(given) ?? [];
  const name = path === given ? basename(path) : (named ?? given);
  const file = path.includes("\n") ? { mode: REGULAR_FILE | 0o600, bytes: Buffer.from(path) } : readAttachment(path, word);
  const mode = permissions === undefined ? file.mode : REGULAR_FILE | Number.parseInt(permissions, 8);
  const files = getAttribute(jobspec, "system.files");
  const entry = { mode, size: file.bytes.length, encoding: "utf-8", ...encodeData(file.bytes) };
  setAttribute(jobspec, "system.files", { ...(isJsonObject(files) ? files : {}), [name]: entry });
}

function readAttachment(path: string, word: string): { mode: number; bytes: Buffer } {
  try {
    const { mode } = statSync(path);
    return { mode, bytes: readFileSync(path) };
  } catch (err) {
    throw new UsageError(`--add-file=${word}: ${systemErrorText(err, path)}`);
  }
}

// ---- submission

export interface SubmissionTerms {
  readonly urgency: number;
  readonly flags: number;
}

/** --urgency and --flags. Throws UsageError. */
export function submissionTerms({ urgency, flags }: Pick<SubmissionOptions, "urgency" | "flags">): SubmissionTerms {
  return { urgency: parseUrgency(urgency ?? "default"), flags: parseFlags(flags) };
}

/** A number, or default, hold or expedite. The range is the service's business. */
export function parseUrgency(word: string): number {
  if (word === "default") return URGENCY.DEFAULT;
  if (word === "hold") return URGENCY.HOLD;
  if (word === "expedite") return URGENCY.EXPEDITE;
  if (!/^[+-]?\d+$/.test(word)) throw new UsageError(`invalid literal for int() with base 10: '${word}'`);
  return Number(word);
}

function parseFlags(words: readonly string[]): number {
  const known: Readonly<Record<string, number>> = { debug: FLAG.DEBUG, waitable: FLAG.WAITABLE, novalidate: FLAG.NOVALIDATE };
  let flags = 0;
  for (const word of words.flatMap((given) => given.split(","))) {
    const bit = Object.hasOwn(known, word) ? known[word] : undefined;
    if (bit === undefined) throw new UsageError(`--flags: Unknown flag ${word}`);
    flags |= bit;
  }
  return flags;
}

export function submitJobspec(h: Flux, jobspec: Jobspec, terms: SubmissionTerms): Promise<JobId> {
  return submitJob(h, encodeJson(jobspec), terms);
}

/** --dry-run: shows the jobspec instead of submitting it; returns the exit code. */
export async function printJobspec(jobspec: Jobspec): Promise<number> {
  const [{ spacedJson }, { print }] = await Promise.all([import("./spaced-json.ts"), import("./output.ts")]);
  print(spacedJson(jobspec));
  return 0;
}
