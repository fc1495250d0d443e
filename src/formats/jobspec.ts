// Jobspec (RFC 14, and its version 1, RFC 25): what a job asks for: resources, tasks, attributes.

import { parseConstraint } from "./constraint.ts";
import { FormatError, fieldError } from "./error.ts";
import { decodeJson, isJsonObject, type Json, type JsonObject } from "./json.ts";
import { checkResourceRange, parseResourceCount, type ResourceRange } from "./resource-range.ts";

export interface JobspecResource {
  type: string;
  /** A number; or, beyond version 1, a range, or a range or idset as text. */
  count: number | string | ResourceRange;
  unit?: string;
  exclusive?: boolean;
  label?: string;
  id?: string;
  with?: JobspecResource[];
}

export interface JobspecTask {
  command: string[];
  slot: string;
  count:
    | { readonly per_slot: number }
    | { readonly total: number }
    | { readonly per_resource: { readonly type: string; readonly count: number } };
  attributes?: JsonObject;
  distribution?: string;
}

export interface JobspecAttributes {
  system?: Record<string, Json>;
  user?: Record<string, Json>;
}

export interface Jobspec {
  resources: JobspecResource[];
  tasks: JobspecTask[];
  attributes: JobspecAttributes;
  version: number;
}

/** What a scheduler of nodes, cores and GPUs needs to know of a version 1 jobspec. */
export interface JobspecCounts {
  /** Nodes asked for, 0 when the jobspec leaves them to the scheduler. */
  readonly nnodes: number;
  /** All slots; with nodes, nnodes times slotsPerNode. */
  readonly nslots: number;
  /** 0 when no nodes are asked for. */
  readonly slotsPerNode: number;
  readonly coresPerSlot: number;
  readonly gpusPerSlot: number;
  readonly exclusive: boolean;
  /** 0 when only the allocation decides: tasks per node without a number of nodes, or per core of exclusive nodes. */
  readonly ntasks: number;
  /** Seconds; 0 is unlimited. */
  readonly duration_s: number;
}

const WHAT = "jobspec";
/** Bounds on one resource request. */
const MAX_DEPTH = 32;
const MAX_VERTICES = 4096;

const positive = (value: unknown): value is number => typeof value === "number" && Number.isSafeInteger(value) && value >= 1;

function checkCount(value: unknown, type: string, field: string, version: number): void {
  if (typeof value === "number") {
    const least = type === "node" || type === "slot" || type === "core" ? 1 : 0;
    if (!Number.isSafeInteger(value) || value < least)
      throw fieldError(WHAT, field, `must be an integer of at least ${least}, not ${value}`);
    return;
  }
  if (version === 1) throw fieldError(WHAT, field, "must be an integer in version 1");
  if (typeof value === "string") {
    try {
      parseResourceCount(value);
    } catch (cause) {
      throw cause instanceof FormatError ? fieldError(WHAT, field, cause.message) : cause;
    }
    return;
  }
  checkResourceRange(value, field);
}

function checkResources(
  value: unknown,
  field: string,
  version: number,
  depth: number,
  seen: { vertices: number; labels: Set<string> },
): void {
  if (!Array.isArray(value) || value.length === 0) throw fieldError(WHAT, field, "must be a list of at least one resource");
  if (depth > MAX_DEPTH) throw fieldError(WHAT, field, `more than ${MAX_DEPTH} levels of resources`);
  value.forEach((vertex: unknown, i) => {
    const at = `${field}[${i}]`;
    if (++seen.vertices > MAX_VERTICES) throw fieldError(WHAT, at, `more than ${MAX_VERTICES} resources`);
    if (!isJsonObject(vertex)) throw fieldError(WHAT, at, "must be an object");
    const { type, count, label, exclusive } = vertex;
    if (typeof type !== "string") throw fieldError(WHAT, `${at}.type`, "must be a string");
    if (count === undefined) throw fieldError(WHAT, `${at}.count`, "is required");
    checkCount(count, type, `${at}.count`, version);
    for (const name of ["id", "unit", "label"] as const) {
      if (vertex[name] !== undefined && typeof vertex[name] !== "string")
        throw fieldError(WHAT, `${at}.${name}`, "must be a string");
    }
    if (exclusive !== undefined && typeof exclusive !== "boolean") throw fieldError(WHAT, `${at}.exclusive`, "must be a boolean");
    if (type === "slot" && typeof label !== "string") throw fieldError(WHAT, `${at}.label`, "is required in a slot");
    if (typeof label === "string") {
      if (seen.labels.has(label)) throw fieldError(WHAT, `${at}.label`, `"${label}" is used twice`);
      seen.labels.add(label);
    }
    if (vertex["with"] !== undefined) checkResources(vertex["with"], `${at}.with`, version, depth + 1, seen);
    else if (type === "slot") throw fieldError(WHAT, `${at}.with`, "is required in a slot");
  });
}

function checkTaskCount(count: unknown, field: string, version: number): void {
  if (!isJsonObject(count)) throw fieldError(WHAT, field, "must be an object");
  const names = Object.keys(count);
  const kind = names[0];
  if (names.length !== 1 || kind === undefined)
    throw fieldError(WHAT, field, "must have exactly one of per_slot, total and per_resource");
  const value = count[kind];
  if (kind === "per_slot" || kind === "total") {
    if (!positive(value)) throw fieldError(WHAT, `${field}.${kind}`, "must be a positive integer");
  } else if (kind === "per_resource" && version !== 1) {
    if (!isJsonObject(value) || typeof value["type"] !== "string" || !positive(value["count"])) {
      throw fieldError(WHAT, `${field}.per_resource`, "must have a type and a positive count");
    }
  } else
    throw fieldError(
      WHAT,
      `${field}.${kind}`,
      version === 1 ? "must be per_slot or total in version 1" : "must be per_slot, total or per_resource",
    );
}

/** A slot need not exist: stock Flux takes such jobspecs, which have one anyway. */
function checkTasks(value: unknown, version: number): void {
  if (!Array.isArray(value) || value.length === 0) throw fieldError(WHAT, "tasks", "must be a list of at least one task");
  if (version === 1 && value.length > 1) throw fieldError(WHAT, "tasks", "must be exactly one in version 1");
  value.forEach((task: unknown, i) => {
    const at = `tasks[${i}]`;
    if (!isJsonObject(task)) throw fieldError(WHAT, at, "must be an object");
    const { command, slot, count, attributes, distribution } = task;
    if (!Array.isArray(command)) throw fieldError(WHAT, `${at}.command`, "must be a list of strings");
    if (command.length === 0) throw fieldError(WHAT, `${at}.command`, "must not be empty");
    command.forEach((word: unknown, j) => {
      if (typeof word !== "string") throw fieldError(WHAT, `${at}.command[${j}]`, "must be a string");
    });
    if (typeof slot !== "string") throw fieldError(WHAT, `${at}.slot`, "must be a string");
    checkTaskCount(count, `${at}.count`, version);
    if (attributes !== undefined && !isJsonObject(attributes)) throw fieldError(WHAT, `${at}.attributes`, "must be an object");
    if (distribution !== undefined && typeof distribution !== "string")
      throw fieldError(WHAT, `${at}.distribution`, "must be a string");
  });
}

function checkDependencies(value: unknown, field: string): void {
  if (!Array.isArray(value)) throw fieldError(WHAT, field, "must be a list");
  value.forEach((dependency: unknown, i) => {
    if (!isJsonObject(dependency)) throw fieldError(WHAT, `${field}[${i}]`, "must be an object");
    for (const name of ["scheme", "value"] as const) {
      if (typeof dependency[name] !== "string") throw fieldError(WHAT, `${field}[${i}].${name}`, "must be a string");
    }
  });
}

function checkSystem(system: unknown, version: number): void {
  const at = "attributes.system";
  if (system === undefined) {
    if (version === 1) throw fieldError(WHAT, at, "is required in version 1");
    return;
  }
  if (!isJsonObject(system)) throw fieldError(WHAT, at, "must be an object");
  const { duration, cwd, environment, queue, dependencies, constraints, job, shell } = system;
  if (duration === undefined ? version === 1 : typeof duration !== "number" || !(duration >= 0)) {
    throw fieldError(WHAT, `${at}.duration`, "must be a number of seconds, not negative");
  }
  if (cwd !== undefined && typeof cwd !== "string") throw fieldError(WHAT, `${at}.cwd`, "must be a string");
  if (queue !== undefined && typeof queue !== "string") throw fieldError(WHAT, `${at}.queue`, "must be a string");
  if (environment !== undefined) {
    if (!isJsonObject(environment)) throw fieldError(WHAT, `${at}.environment`, "must be an object");
    for (const name of Object.keys(environment)) {
      const value = environment[name];
      if (typeof value !== "string" && value !== null)
        throw fieldError(WHAT, `${at}.environment.${name}`, "must be a string, or null to unset it");
    }
  }
  if (job !== undefined && !isJsonObject(job)) throw fieldError(WHAT, `${at}.job`, "must be an object");
  if (shell !== undefined && !isJsonObject(shell)) throw fieldError(WHAT, `${at}.shell`, "must be an object");
  if (dependencies !== undefined) checkDependencies(dependencies, `${at}.dependencies`);
  if (constraints !== undefined) {
    try {
      parseConstraint(constraints);
    } catch (cause) {
      throw cause instanceof FormatError ? fieldError(WHAT, `${at}.constraints`, cause.message) : cause;
    }
  }
}

/** Text or a decoded value. Throws FormatError whose message names the field: `tasks[0].command: must be a list of strings`. */
export function parseJobspec(input: unknown): Jobspec {
  const value = typeof input === "string" ? decodeJson(input) : input;
  if (!isJsonObject(value)) throw fieldError(WHAT, "", "must be an object");
  for (const name of ["resources", "tasks", "attributes", "version"]) {
    if (value[name] === undefined) throw fieldError(WHAT, name, "is required");
  }
  for (const name of Object.keys(value)) {
    if (!["resources", "tasks", "attributes", "version"].includes(name)) throw fieldError(WHAT, name, "unknown member");
  }
  const { resources, tasks, attributes, version } = value;
  if (!positive(version)) throw fieldError(WHAT, "version", "must be a positive integer");
  const seen = { vertices: 0, labels: new Set<string>() };
  checkResources(resources, "resources", version, 0, seen);
  checkTasks(tasks, version);
  if (!isJsonObject(attributes)) throw fieldError(WHAT, "attributes", "must be an object");
  for (const name of Object.keys(attributes)) {
    if (name !== "system" && name !== "user") throw fieldError(WHAT, `attributes.${name}`, "unknown member");
    if (!isJsonObject(attributes[name])) throw fieldError(WHAT, `attributes.${name}`, "must be an object");
  }
  checkSystem(attributes["system"], version);
  return value as object as Jobspec;
}

interface Tally {
  node: number;
  slot: number;
  core: number;
  gpu: number;
  exclusive: boolean;
}

/** Multiplies counts down one path from the top; in version 1 there is only one path to each type. */
function tally(resources: readonly JobspecResource[], field: string, factor: number, inSlot: boolean, counts: Tally): void {
  resources.forEach((vertex, i) => {
    const at = `${field}[${i}]`;
    const { type, count } = vertex;
    if (typeof count !== "number") throw fieldError(WHAT, `${at}.count`, "this scheduler needs an integer");
    if (type !== "node" && type !== "slot" && type !== "core" && type !== "gpu") {
      throw fieldError(WHAT, `${at}.type`, `resource type '${type}' is not node, slot, core or gpu`);
    }
    if (counts[type] > 0) throw fieldError(WHAT, at, `more than one ${type} resource`);
    if ((type === "core" || type === "gpu") && !inSlot) throw fieldError(WHAT, at, `a ${type} must be in a slot`);
    if ((type === "node" || type === "slot") && inSlot) throw fieldError(WHAT, at, `a ${type} cannot be in a slot`);
    // Cores and GPUs are counted for one slot; nodes and slots for the whole job.
    counts[type] = type === "core" || type === "gpu" ? count : factor * count;
    if (vertex.exclusive === true && type === "node") counts.exclusive = true;
    if (vertex.with) tally(vertex.with, `${at}.with`, factor * count, inSlot || type === "slot", counts);
  });
}

function perResourceOption(jobspec: Jobspec): { type: unknown; count: number } | undefined {
  const option = getAttribute(jobspec, "system.shell.options.per-resource");
  if (!isJsonObject(option) || option["type"] === undefined) return undefined;
  return { type: option["type"], count: positive(option["count"]) ? option["count"] : 1 };
}

function taskCount(jobspec: Jobspec, counts: Tally): number {
  const perResource = perResourceOption(jobspec);
  if (perResource?.type === "node") return perResource.count * counts.node;
  if (perResource?.type === "core") return counts.exclusive ? 0 : perResource.count * counts.slot * counts.core;
  const count = jobspec.tasks[0]?.count;
  if (count === undefined) return 0;
  if ("total" in count) return count.total;
  if ("per_slot" in count) return count.per_slot * counts.slot;
  throw fieldError(WHAT, "tasks[0].count", "per_resource is not supported by this scheduler");
}

/** Counts of a jobspec whose resources are [node >] slot > (core[, gpu]). Throws FormatError for other shapes. */
export function jobspecCounts(jobspec: Jobspec): JobspecCounts {
  const counts: Tally = { node: 0, slot: 0, core: 0, gpu: 0, exclusive: false };
  tally(jobspec.resources, "resources", 1, false, counts);
  if (counts.slot === 0) throw fieldError(WHAT, "resources", "there is no slot");
  if (counts.core === 0) throw fieldError(WHAT, "resources", "there is no core in the slot");
  const duration = getAttribute(jobspec, "system.duration");
  return {
    nnodes: counts.node,
    nslots: counts.slot,
    slotsPerNode: counts.node === 0 ? 0 : counts.slot / counts.node,
    coresPerSlot: counts.core,
    gpusPerSlot: counts.gpu,
    exclusive: counts.exclusive,
    ntasks: taskCount(jobspec, counts),
    duration_s: typeof duration === "number" ? duration : 0,
  };
}

/** Members of an attribute path: `system.` is assumed where neither system, user nor attributes begins it; a leading `.` means attributes. */
function attributePath(path: string): string[] {
  const plain = path.startsWith("attributes.") ? path.slice("attributes.".length) : path.startsWith(".") ? path.slice(1) : path;
  const full = path === plain && !/^(?:system|user)\./.test(plain) ? `system.${plain}` : plain;
  const names = full.split(".");
  if (names.includes("")) throw new FormatError("attribute name", path, "it has an empty part");
  return names;
}

/** Value at a dotted path such as `system.duration` or `duration`; undefined when there is none. */
export function getAttribute(jobspec: Jobspec, path: string): Json | undefined {
  let value: Json | undefined = jobspec.attributes as object as JsonObject;
  for (const name of attributePath(path)) {
    if (!isJsonObject(value) || !Object.hasOwn(value, name)) return undefined;
    value = value[name];
  }
  return value;
}

function withValue(object: JsonObject | undefined, names: readonly string[], value: Json | undefined, path: string): JsonObject {
  const [name, ...rest] = names;
  if (name === undefined) return object ?? {};
  const result: Record<string, Json> = { ...object };
  const before = result[name];
  if (rest.length === 0) {
    if (value === undefined) delete result[name];
    else result[name] = value;
    return result;
  }
  if (before !== undefined && !isJsonObject(before))
    throw new FormatError("attribute name", path, `"${name}" is set and is no object`);
  result[name] = withValue(before, rest, value, path);
  return result;
}

/** Sets an attribute in place, making the objects on the way; undefined removes it. Throws FormatError when a value is in the way. */
export function setAttribute(jobspec: Jobspec, path: string, value: Json | undefined): void {
  jobspec.attributes = withValue(jobspec.attributes as object as JsonObject, attributePath(path), value, path);
}

/** Sets `attributes.system.shell.options.NAME`. */
export function setShellOption(jobspec: Jobspec, name: string, value: Json | undefined): void {
  setAttribute(jobspec, `system.shell.options.${name}`, value);
}

/** Settings of any job, whatever its resources. */
export interface JobspecSettings {
  readonly duration_s?: number | undefined;
  readonly environment?: Readonly<Record<string, string | null>> | undefined;
  readonly envExpand?: Readonly<Record<string, string>> | undefined;
  readonly cwd?: string | undefined;
  readonly rlimits?: Readonly<Record<string, number>> | undefined;
  readonly name?: string | undefined;
  /** Paths; "none" and "kvs" leave the stream where it is. */
  readonly input?: string | undefined;
  readonly output?: string | undefined;
  readonly error?: string | undefined;
  readonly labelIo?: boolean | undefined;
  readonly unbuffered?: boolean | undefined;
  readonly queue?: string | undefined;
  readonly bank?: string | undefined;
}

export interface CommandOptions extends JobspecSettings {
  readonly command: readonly string[];
  readonly nodes?: number | undefined;
  readonly exclusive?: boolean | undefined;
  // per task
  readonly ntasks?: number | undefined;
  readonly coresPerTask?: number | undefined;
  readonly gpusPerTask?: number | undefined;
  // per resource: not together with those above
  readonly cores?: number | undefined;
  readonly tasksPerNode?: number | undefined;
  readonly tasksPerCore?: number | undefined;
  readonly gpusPerNode?: number | undefined;
}

function optionError(problem: string): FormatError {
  return new FormatError("job request", "", problem);
}

function atLeast(least: number, name: string, value: number | undefined): void {
  if (value !== undefined && !(Number.isSafeInteger(value) && value >= least))
    throw optionError(`${name} must be an integer >= ${least}`);
}

function slotOf(count: number, cores: number, gpus: number | undefined): JobspecResource {
  const children: JobspecResource[] = [{ type: "core", count: cores }];
  if (gpus !== undefined && gpus > 0) children.push({ type: "gpu", count: gpus });
  return { type: "slot", count, with: children, label: "task" };
}

function nodeOf(count: number, exclusive: boolean, slot: JobspecResource): JobspecResource {
  return { type: "node", count, ...(exclusive ? { exclusive } : {}), with: [slot] };
}

function makeJobspec(resource: JobspecResource, command: readonly string[], count: JobspecTask["count"]): Jobspec {
  if (command.length === 0) throw optionError("job command and arguments are missing");
  return {
    resources: [resource],
    tasks: [{ command: [...command], slot: "task", count }],
    attributes: { system: { duration: 0 } },
    version: 1,
  };
}

/** Tasks decide: each task is a slot. */
function perTask(options: CommandOptions): Jobspec {
  const { command, nodes, coresPerTask = 1, gpusPerTask } = options;
  const ntasks = options.ntasks ?? nodes ?? 1;
  const exclusive = options.exclusive === true || (options.ntasks === undefined && nodes !== undefined);
  atLeast(1, "task count", ntasks);
  atLeast(1, "cores per task", coresPerTask);
  atLeast(0, "gpus per task", gpusPerTask);
  atLeast(1, "node count", nodes);
  if (nodes === undefined) {
    if (exclusive) throw optionError("exclusive can only be set with a node count");
    return makeJobspec(slotOf(ntasks, coresPerTask, gpusPerTask), command, { per_slot: 1 });
  }
  if (nodes > ntasks) throw optionError("node count must not be greater than task count");
  const slot = slotOf(Math.ceil(ntasks / nodes), coresPerTask, gpusPerTask);
  return makeJobspec(nodeOf(nodes, exclusive, slot), command, ntasks % nodes === 0 ? { per_slot: 1 } : { total: ntasks });
}

function checkPerResource({
  ntasks,
  coresPerTask,
  gpusPerTask,
  cores,
  nodes,
  tasksPerNode,
  tasksPerCore,
  gpusPerNode,
  exclusive,
}: CommandOptions): void {
  if (ntasks !== undefined || coresPerTask !== undefined || (gpusPerTask ?? 0) > 0) {
    throw optionError("Per-resource options can't be used with per-task options. (See --help for details)");
  }
  if (tasksPerNode !== undefined && tasksPerCore !== undefined)
    throw optionError("Do not specify both the number of tasks per node and per core");
  atLeast(1, "--tasks-per-node", tasksPerNode);
  atLeast(1, "--tasks-per-core", tasksPerCore);
  atLeast(1, "ncores", cores);
  atLeast(1, "nnodes", nodes);
  atLeast(0, "gpus_per_node", gpusPerNode);
  if ((gpusPerNode ?? 0) > 0 && nodes === undefined) throw optionError("--gpus-per-node requires --nodes");
  if (nodes === undefined && cores === undefined) throw optionError("must specify node or core count with per_resource");
  if (nodes === undefined && exclusive === true) throw optionError("exclusive can only be set with a node count");
  if (nodes !== undefined && cores !== undefined) {
    if (cores < nodes) throw optionError("number of cores cannot be less than nnodes");
    if (cores % nodes !== 0) throw optionError("number of cores must be evenly divisible by node count");
  }
}

/** Resources decide, and tasks are counted on what is allocated. */
function perResource(options: CommandOptions): Jobspec {
  checkPerResource(options);
  const { command, cores, nodes, tasksPerNode, tasksPerCore, gpusPerNode } = options;
  // Nodes without cores are whole nodes.
  const exclusive = options.exclusive === true || (nodes !== undefined && cores === undefined);
  const resource =
    nodes === undefined
      ? slotOf(cores ?? 1, 1, undefined)
      : nodeOf(nodes, exclusive, slotOf(1, cores === undefined ? 1 : cores / nodes, gpusPerNode));
  const jobspec = makeJobspec(resource, command, { per_slot: 1 });
  if (tasksPerNode !== undefined) setShellOption(jobspec, "per-resource", { type: "node", count: tasksPerNode });
  if (tasksPerCore !== undefined) setShellOption(jobspec, "per-resource", { type: "core", count: tasksPerCore });
  return jobspec;
}

function setFile(jobspec: Jobspec, stream: string, path: string | undefined): boolean {
  if (path === undefined || (stream !== "input.stdin" && (path === "none" || path === "kvs"))) return false;
  setShellOption(jobspec, `${stream}.type`, "file");
  setShellOption(jobspec, `${stream}.path`, path);
  return true;
}

/** Applies what does not concern resources. Throws FormatError. */
export function applySettings(jobspec: Jobspec, settings: JobspecSettings): void {
  const { duration_s = 0, labelIo, unbuffered } = settings;
  if (!Number.isFinite(duration_s) || duration_s < 0) throw optionError("duration must be a normal, finite value");
  setAttribute(jobspec, "system.duration", duration_s);
  setAttribute(jobspec, "system.environment", { ...settings.environment });
  if (settings.envExpand) setShellOption(jobspec, "env-expand", settings.envExpand);
  setAttribute(jobspec, "system.cwd", settings.cwd);
  if (settings.rlimits) setShellOption(jobspec, "rlimit", settings.rlimits);
  if (settings.name !== undefined) setAttribute(jobspec, "system.job.name", settings.name);
  setFile(jobspec, "input.stdin", settings.input);
  for (const [stream, path] of [
    ["stdout", settings.output],
    ["stderr", settings.error],
  ] as const) {
    if (setFile(jobspec, `output.${stream}`, path) && labelIo === true) setShellOption(jobspec, `output.${stream}.label`, true);
  }
  if (unbuffered === true) {
    setShellOption(jobspec, "output.stdout.buffer.type", "none");
    setShellOption(jobspec, "output.stderr.buffer.type", "none");
    setShellOption(jobspec, "output.batch-timeout", 0.05);
    setShellOption(jobspec, "input.batch-timeout", 0);
  }
  if (settings.queue !== undefined) setAttribute(jobspec, "system.queue", settings.queue);
  if (settings.bank !== undefined) setAttribute(jobspec, "system.bank", settings.bank);
}

/** Jobspec of `flux run` and `flux submit`. Throws FormatError with the sentence the command prints. */
export function jobspecFromCommand(options: CommandOptions): Jobspec {
  const { cores, tasksPerNode, tasksPerCore, gpusPerNode } = options;
  const byResource = [cores, tasksPerNode, tasksPerCore, gpusPerNode].some((value) => value !== undefined);
  const jobspec = byResource ? perResource(options) : perTask(options);
  applySettings(jobspec, options);
  return jobspec;
}

export interface InstanceOptions extends JobspecSettings {
  /** Initial program of the nested instance; none for an interactive shell. */
  readonly command: readonly string[];
  /** The user has written "--" in front of it. */
  readonly isMarked?: boolean | undefined;
  readonly nslots?: number | undefined;
  readonly coresPerSlot?: number | undefined;
  readonly gpusPerSlot?: number | undefined;
  readonly nodes?: number | undefined;
  readonly exclusive?: boolean | undefined;
  readonly brokerOptions?: readonly string[] | undefined;
  /** Configuration of the nested instance. */
  readonly config?: JsonObject | undefined;
}

/** For people who ask for an instance of no size. */
export const SLOTS_MISSING = "Number of slots to allocate must be specified: by -n or -N, for a script also in a line such as #flux: -N1";

/** Jobspec of `flux alloc` and `flux batch`: a nested instance, one broker a node, that runs a command. Throws FormatError. */
export function jobspecForInstance(options: InstanceOptions): Jobspec {
  const { nslots, nodes, coresPerSlot, gpusPerSlot, config } = options;
  if (nslots === undefined && nodes === undefined) throw optionError(SLOTS_MISSING);
  const brokerOptions = [...(options.brokerOptions ?? []), ...(config === undefined ? [] : ["-c{{tmpdir}}/conf.json"])];
  // A program whose name looks like an option is none of the broker's.
  const mark = options.isMarked === true || options.command[0]?.startsWith("-") === true ? ["--"] : [];
  const jobspec = perTask({
    command: ["flux", "broker", ...brokerOptions, ...mark, ...options.command],
    ntasks: nslots,
    nodes,
    coresPerTask: coresPerSlot,
    gpusPerTask: gpusPerSlot,
    exclusive: options.exclusive,
  });
  applySettings(jobspec, options);
  setShellOption(jobspec, "per-resource.type", "node");
  setShellOption(jobspec, "mpi", "none");
  setShellOption(jobspec, "exit-timeout", "none");
  if (config !== undefined) addFile(jobspec, "conf.json", { mode: 0o100600, data: config });
  return jobspec;
}

/** Jobspec of `flux batch`: the script travels in the jobspec. */
export function jobspecForScript(
  script: string,
  options: Omit<InstanceOptions, "command"> & { readonly args?: readonly string[] | undefined },
): Jobspec {
  if (!script.startsWith("#!")) throw optionError(`${options.name ?? "script"} does not appear to start with '#!'`);
  const { args = [], ...rest } = options;
  const jobspec = jobspecForInstance({ ...rest, command: ["{{tmpdir}}/script", ...args] });
  addFile(jobspec, "script", { mode: 0o100700, data: script, encoding: "utf-8" });
  return jobspec;
}

/** A file of RFC 37 that the shell unpacks for the job. `mode` is st_mode. */
export function addFile(
  jobspec: Jobspec,
  path: string,
  file: { readonly mode: number; readonly data: Json; readonly encoding?: string },
): void {
  const files = getAttribute(jobspec, "system.files");
  const size = typeof file.data === "string" && file.encoding !== undefined ? { size: Buffer.byteLength(file.data) } : {};
  const entry: JsonObject = {
    mode: file.mode,
    ...size,
    ...(file.encoding === undefined ? {} : { encoding: file.encoding }),
    data: file.data,
  };
  setAttribute(jobspec, "system.files", { ...(isJsonObject(files) ? files : {}), [path]: entry });
}
